#include <algorithm>
#include <limits>

#include "policies/token/cache_body.h"

namespace kvsim::token {

// Order of a pipeline: select, merge, low rank and codes; the index is built over what stays.
void TokenCache::Body::seal() {
  plan_budgets();
  if (merges(MergeTarget::previous))
    for (Head& h : heads) merge_runs(*policies.merge, h);
  drop(true);
  const KvShape& s = options.shape;
  if (merges(MergeTarget::share)) {
    sources = choose_sources(*policies.merge, heads, s.layers);
    for (std::int64_t l = 0; l < s.layers; ++l)
      for (std::int64_t h = 0; h < s.kv_heads; ++h) {
        const std::int64_t from = sources[static_cast<std::size_t>(l)];
        if (from == l) continue;
        heads[at(l, h)].keys = heads[at(from, h)].keys;
        heads[at(l, h)].values = heads[at(from, h)].values;
      }
  }
  merge_pairs(true);
  for (std::size_t i = 0; i < heads.size(); ++i) {
    if (!indices[i]) continue;
    HeadRows rows;
    rows.heads = static_cast<std::int32_t>(s.group());
    rows.slots = prompt;
    rows.query = queries[i];
    indices[i]->build(heads[i].tokens(), rows);
  }
  encode(true);
}

void TokenCache::Body::plan_budgets() {
  BudgetQuestion q = budget_question(policies, options.shape, prompt);
  plans = first_plans(q);
  if (!policies.select) return;
  q.classes = classes;
  const std::vector<std::vector<float>> scored = all_scores();
  for (const auto& one : scored) q.scores.emplace_back(one);
  if (budget->rows() != 0)
    for (const auto& one : attention) q.attention.emplace_back(one);
  budget->allocate(q, plans);
}

// Scores of all heads, of heads that share a set of tokens their sum.
std::vector<std::vector<float>> TokenCache::Body::all_scores() {
  const KvShape& s = options.shape;
  std::vector<std::vector<float>> all(heads.size());
  for (std::size_t i = 0; i < heads.size(); ++i) {
    all[i].resize(heads[i].slots());
    scores[i]->score(heads[i].tokens(), all[i]);
  }
  const Scope scope = policies.select->scope;
  if (scope == Scope::head) return all;
  const auto members = static_cast<std::size_t>(scope == Scope::layer ? s.kv_heads : s.heads());
  for (std::size_t first = 0; first < all.size(); first += members) {
    std::vector<double> sum(all[first].size(), 0.0);
    for (std::size_t i = first; i < first + members; ++i)
      for (std::size_t t = 0; t < sum.size(); ++t) sum[t] += double{all[i][t]};
    for (std::size_t i = first; i < first + members; ++i)
      for (std::size_t t = 0; t < sum.size(); ++t) all[i][t] = static_cast<float>(sum[t]);
  }
  return all;
}

// Slots that a head may hold now; those that it has when none leave.
std::int64_t TokenCache::Body::capacity(const HeadPlan& plan, std::size_t slots,
                                        bool sealing) const {
  const SelectSpec& s = *policies.select;
  const auto n = static_cast<std::int64_t>(slots);
  if (sealing && s.trigger != Trigger::full) return std::min(n, plan.tokens);
  switch (s.trigger) {
    case Trigger::prefill:
      return n;
    case Trigger::step:
      return std::min(n, plan.tokens);
    case Trigger::interval:
      return generated % s.every == 0 ? std::min(n, plan.tokens) : n;
    case Trigger::full:
      if (plan.tokens <= 1) return std::min(n, plan.tokens);
      return n >= plan.tokens ? plan.tokens - evicted_at_once(s, plan.tokens) : n;
  }
  return n;
}

void TokenCache::Body::drop(bool sealing) {
  if (!policies.select) return;
  const KvShape& s = options.shape;
  bool any = false;
  for (std::size_t i = 0; i < heads.size(); ++i)
    any = any || plans[i].protected_only ||
          capacity(plans[i], heads[i].slots(), sealing) < std::ssize(heads[i].positions);
  if (!any) return;
  const std::vector<std::vector<float>> all = all_scores();
  for (std::int64_t l = 0; l < s.layers; ++l)
    for (std::int64_t h = 0; h < s.kv_heads && selects(l); ++h) {
      const std::size_t i = at(l, h);
      drop_head(l, h, capacity(plans[i], heads[i].slots(), sealing), all[i], sealing);
    }
}

// Tokens that the layer below no longer has.
std::vector<std::uint8_t> TokenCache::Body::banned(std::int64_t layer, const Head& head) const {
  std::vector<std::uint8_t> out;
  if (!policies.select->nested || layer == 0 || !selects(layer - 1)) return out;
  const Head& below = heads[at(layer - 1, 0)];
  for (const std::int32_t position : head.positions)
    out.push_back(std::binary_search(below.positions.begin(), below.positions.end(), position) ? 0
                                                                                               : 1);
  return out;
}

void TokenCache::Body::drop_head(std::int64_t layer, std::int64_t h, std::int64_t most,
                                 std::span<const float> scored, bool sealing) {
  const std::size_t i = at(layer, h);
  Head& head = heads[i];
  PickQuestion q;
  q.select = &*policies.select;
  q.plan = plans[i];
  q.capacity = most;
  q.head = &head;
  q.scores = scored;
  const std::vector<std::uint8_t> out = banned(layer, head);
  q.banned = out;
  q.rng = rng("pick", policies.select->scope == Scope::head ? i : 0)
              .at(static_cast<std::uint64_t>(sealing ? 0 : generated));
  const std::vector<std::int32_t> kept = pick_kept(q, threads);
  if (kept.size() == head.slots()) return;
  if (policies.merge) {
    choose_leftovers(*policies.merge, head, kept, scored, plans[i].recent);
    merge_evicted(*policies.merge, head, kept, scored, gates[i],
                  rng("merge", i).at(static_cast<std::uint64_t>(generated)), threads);
  }
  if (plans[i].compensate) head.compensate(kept);
  head.keep(kept);
  scores[i]->keep(kept);
  if (importance[i]) importance[i]->keep(kept);
}

void TokenCache::Body::merge_pairs(bool sealing) {
  const KvShape& s = options.shape;
  for (std::int64_t l = 0; l < s.layers && !pairs.empty(); ++l) {
    if (pairs[static_cast<std::size_t>(l)] < 0) continue;
    for (std::int64_t h = 0; h < s.kv_heads; ++h) {
      Head& upper = heads[at(l, h)];
      Head& lower = heads[at(pairs[static_cast<std::size_t>(l)], h)];
      merge_layer_pair(*policies.merge, lower, upper, sealing ? 0 : upper.slots() - 1,
                       angles[at(l, h)], threads);
    }
  }
}

void TokenCache::Body::encode(bool sealing) {
  if (!form.encodes() || (form.prompt_only() && !sealing)) return;
  const KvShape& s = options.shape;
  const std::int64_t groups = s.kv_heads / form.heads();
  for (std::int64_t l = 0; l < s.layers; ++l)
    for (std::int64_t g = 0; g < groups; ++g) encode_group(l, g, sealing);
}

void TokenCache::Body::encode_group(std::int64_t layer, std::int64_t group, bool sealing) {
  std::vector<Head*> members;
  const std::size_t first = at(layer, group * form.heads());
  for (std::size_t i = 0; i < static_cast<std::size_t>(form.heads()); ++i)
    members.push_back(&heads[first + i]);
  if (sealing) {
    encoders.emplace_back(TensorEncoder::Context{&policies, &form, options.rope,
                                                 rng("encode", encoders.size()), &threads});
    encoders.back().fit(members, queries[first]);
  }
  TensorEncoder& encoder =
      encoders[static_cast<std::size_t>(layer * (options.shape.kv_heads / form.heads()) + group)];
  const Head& head = *members[0];
  // Exact slots behind the sinks, the oldest first: a run, since codes are given in order.
  const auto sinks =
      static_cast<std::size_t>(std::min<std::int64_t>(form.sinks(), std::ssize(head.positions)));
  const auto open = [&] {
    std::size_t at_slot = sinks;
    while (at_slot < head.slots() && head.batch[at_slot] >= 0) ++at_slot;
    return at_slot;
  };
  const auto grain = static_cast<std::size_t>(form.grain());
  for (;;) {
    const std::size_t from = open();
    const std::int64_t ready =
        std::ssize(head.positions) - static_cast<std::int64_t>(from) - form.residual();
    if (ready < form.grain()) return;
    const std::size_t n = sealing ? static_cast<std::size_t>(ready) / grain * grain : grain;
    std::vector<std::uint8_t> salient;
    if (importance[first]) {
      std::vector<float> scored(head.slots());
      importance[first]->score(head.tokens(), scored);
      std::vector<std::int32_t> candidates;
      for (std::size_t t = from; t < from + n; ++t)
        candidates.push_back(static_cast<std::int32_t>(t));
      salient.assign(n, 0);
      for (const std::int32_t t :
           best_of(scored, candidates, form.salient(static_cast<std::int64_t>(n)), threads))
        salient[static_cast<std::size_t>(t) - from] = 1;
    }
    encoder.encode(members, from, from + n, salient);
  }
}

void TokenCache::Body::finish_step() {
  ++generated;
  tokens = prompt + static_cast<std::int32_t>(generated);
  drop(false);
  merge_pairs(false);
  encode(false);
}

}  // namespace kvsim::token
