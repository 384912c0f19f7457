#include "policies/token/footprint.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "policies/token/encode.h"
#include "policies/token/plan.h"

namespace kvsim::token {

namespace {

double d(std::int64_t n) { return static_cast<double>(n); }

// What one head holds and reads, before it is summed up.
struct HeadCost {
  double kept = 0, read = 0, picked = 0;
  TokenForm form;
  double coded_share = 0;  // of the tokens held, those in encoded form
};

}  // namespace

struct FootprintModel::Body {
  TokenPolicies policies;
  KvShape shape;
  EncodedForm form;
  std::unique_ptr<TokenBudget> budget;
  std::unique_ptr<TokenIndex> index;
  TokenScore::Needs needs, salience;
  Traits traits;
  std::vector<std::int64_t> pairs;  // of merged layers

  Body(TokenPolicies p, KvShape s)
      : policies(std::move(p)), shape(s), form(policies, shape), budget(make_budget(policies)) {
    TokenScore::Context score;
    score.k_dim = static_cast<std::int32_t>(shape.k_dim);
    bool query_aware = false;
    if (policies.select) {
      const auto made = make_score(*policies.select, score);
      needs = made->needs();
      query_aware = made->query_aware() || budget->rows() != 0;
    }
    if (policies.quantize && policies.quantize->salient.value < 1) {
      SelectSpec by;
      by.score = policies.quantize->importance;
      salience = make_score(by, score)->needs();
      query_aware = true;
    }
    if (policies.retrieve) {
      TokenIndex::Context c;
      c.k_dim = score.k_dim;
      index = make_index(*policies.retrieve, c);
    }
    if (policies.merge && policies.merge->target == MergeTarget::layer)
      pairs = layer_pairs(*policies.merge, shape.layers);
    describe(query_aware);
  }

  void describe(bool query_aware);
  [[nodiscard]] std::vector<HeadPlan> plans(std::int64_t prompt) const {
    const BudgetQuestion q = budget_question(policies, shape, prompt);
    std::vector<HeadPlan> all = first_plans(q);
    if (policies.select) budget->allocate(q, all);
    return all;
  }
  [[nodiscard]] HeadCost head(std::int64_t layer, const HeadPlan&, std::int64_t prompt,
                              std::int64_t generated) const;
  [[nodiscard]] double read_of(std::int64_t layer, std::int64_t kept, std::int64_t prompt,
                               double& picked) const;
  void add_index(Footprint&, double n) const;
  void place(Footprint&, const TokenForm& held, double n) const;
  void add_step(Footprint&, double coded_share, double fresh) const;
  void add_selection(Footprint&, std::int64_t prompt, std::int64_t generated) const;
};

void FootprintModel::Body::describe(bool query_aware) {
  const TokenPolicies& p = policies;
  const bool unlimited = !p.budget || p.budget->size.unlimited();
  traits.drops_tokens = p.select && (!unlimited || p.budget);
  traits.lists_by_head = p.select && budget->by_head();
  traits.lists_by_layer = p.select && (budget->by_layer() || p.select->dense_layers > 0);
  traits.whole_prompt = p.select && (needs.prompt_queries != 0 || budget->rows() != 0);
  traits.replayable = !(traits.drops_tokens && query_aware) && salience.prompt_queries == 0;
  traits.leaves_holes =
      p.select && p.select->trigger != Trigger::prefill && p.quantize && form.grain() > 1;
  const auto refuse = [&](const char* why) {
    if (traits.shareable) traits.shareable_why.clear();
    traits.shareable = false;
    if (!traits.shareable_why.empty()) traits.shareable_why += "; ";
    traits.shareable_why += why;
  };
  if (traits.drops_tokens && query_aware)
    refuse("tokens were chosen by the queries of one request");
  if (traits.drops_tokens && !query_aware)
    traits.shareable_why = "the same prefix keeps the same tokens, whatever follows";
  if (p.merge && p.merge->target == MergeTarget::previous)
    traits.shareable_why = "runs of tokens from the front share slots: full runs serve others";
  if (p.merge && p.merge->target != MergeTarget::previous &&
      p.merge->target != MergeTarget::layer && p.merge->target != MergeTarget::share)
    refuse("slots hold what other tokens left behind");
  if (p.low_rank && p.low_rank->per_prompt) refuse("the basis belongs to the whole prompt");
  if (salience.prompt_queries != 0) refuse("precision was chosen by the queries of one request");
  if (traits.shareable && traits.shareable_why.empty())
    traits.shareable_why = p.retrieve ? "nothing is lost; summaries are cached with their block"
                                      : "every token's form is its own";
}

double FootprintModel::Body::read_of(std::int64_t layer, std::int64_t kept, std::int64_t prompt,
                                     double& picked) const {
  if (!policies.retrieve || layer < policies.retrieve->dense_layers) return d(kept);
  const RetrieveSpec& r = *policies.retrieve;
  if (index->takes_all()) return picked = d(kept), picked;
  const std::int64_t always = std::min(kept, r.sinks + r.recent);
  const double unit =
      index->cost(shape.k_dim, d(shape.element_bits) / 8, std::max<std::int64_t>(1, kept))
          .unit_tokens;
  const std::int64_t most = policies.budget ? policies.budget->size.of(prompt) : kept;
  double pick = std::max(0.0, d(std::min(most, kept) - always));
  if (r.threshold > 0 || r.margin > 0) pick = std::min(pick, r.expected_share.value * d(kept));
  pick = std::max(std::floor(pick / unit + 1e-9), d(r.least_units)) * unit;
  picked = std::min(pick, d(kept - always));
  return d(always) + picked;
}

HeadCost FootprintModel::Body::head(std::int64_t layer, const HeadPlan& plan, std::int64_t prompt,
                                    std::int64_t generated) const {
  HeadCost c;
  std::int64_t kept = prompt + generated, of_prompt = prompt;
  if (policies.select && layer >= policies.select->dense_layers) {
    const SelectSpec& s = *policies.select;
    const bool spares = s.protect == Protect::separators || plan.separators;
    const auto spared = static_cast<std::int64_t>(
        std::ceil((spares ? s.protected_share.value : 0.0) *
                  d(std::max<std::int64_t>(0, prompt - plan.sinks - plan.recent))));
    const std::int64_t all = kept;
    kept = held_tokens(s, plan, prompt, generated, spared);
    of_prompt = held_tokens(s, plan, prompt, 0, spared);
    if (plan.compensate && kept < all) ++kept;
  }
  if (policies.merge && policies.merge->target == MergeTarget::previous)
    kept = merged_slots(*policies.merge, kept);
  // The prompt is one batch, what comes later one batch a grain.
  const std::int64_t first = form.encoded(std::min(of_prompt, kept));
  std::int64_t later = form.prompt_only() ? 0 : form.encoded(kept) - first;
  later = std::max<std::int64_t>(0, later);
  const auto add = [&](const TokenForm& f, double times) {
    c.form.keys += f.keys * times;
    c.form.values += f.values * times;
  };
  const double heads = d(form.heads());
  add(form.batch(first), 1 / heads);
  if (later > 0) add(form.batch(form.grain()), d(later / form.grain()) / heads);
  add(form.exact(), d(kept - first - later));
  add(form.bases(), 1 / heads);
  c.kept = d(kept);
  c.coded_share = kept > 0 ? d(first + later) / d(kept) : 0;
  c.read = read_of(layer, kept, prompt, c.picked);
  return c;
}

// Units are ranked for every query head; their summaries are read for every KV head.
void FootprintModel::Body::add_index(Footprint& f, double n) const {
  if (!index || index->takes_all()) return;
  const RetrieveSpec& r = *policies.retrieve;
  const IndexCost c = index->cost(shape.k_dim, d(shape.element_bits) / 8,
                                  std::max<std::int64_t>(1, static_cast<std::int64_t>(n)));
  const double units = std::ceil(n / c.unit_tokens);
  const double visited = r.read_share.value > 0 ? units * r.read_share.value : units;
  const double layers = d(std::max<std::int64_t>(0, shape.layers - r.dense_layers));
  f.stored.summaries += layers * d(shape.kv_heads) * (units * c.summary_bytes + c.base_bytes);
  const double bytes = layers * d(shape.kv_heads) * visited * c.read_bytes;
  const double flops = layers * d(shape.q_heads) * (visited * c.unit_flops + c.query_flops);
  const bool far = r.home == Home::cpu_compute || r.home == Home::ssd_compute;
  (far ? f.far_bytes : f.index_bytes) += bytes;
  (far ? f.far_flops : f.index_flops) += flops;
}

// Where the bytes lie, and what crosses the link in a step.
void FootprintModel::Body::place(Footprint& f, const TokenForm& held, double n) const {
  const double kv = sum_of(held).total();
  f.gpu_bytes = f.stored.total();
  if (!policies.retrieve || policies.retrieve->home == Home::gpu) return;
  const RetrieveSpec& r = *policies.retrieve;
  const bool computes = r.home != Home::cpu_fetch;
  const double share = n > 0 ? std::min(1.0, d(r.sinks + r.recent + r.gpu_tokens) / n) : 0;
  const double moves = r.values_only ? held.values.total() : kv;
  double near = f.stored.state + (r.values_only ? held.keys.total() : 0) + share * moves;
  if (r.gpu_heads > 0) near += kv * d(std::min(r.gpu_heads, shape.heads())) / d(shape.heads());
  // Ranking happens where the keys are.
  (computes ? f.host_bytes : near) += f.stored.summaries;
  // Dense layers never leave the GPU.
  const double dense = d(std::min(r.dense_layers, shape.layers)) / d(shape.layers);
  near += dense * (1 - share) * moves;
  f.gpu_bytes = near;
  f.host_bytes += (1 - dense) * moves;
  if (r.home == Home::ssd_compute) std::swap(f.host_bytes, f.disk_bytes);
}

void FootprintModel::Body::add_step(Footprint& f, double coded_share, double fresh) const {
  const double read = f.read_tokens * d(shape.heads());  // tokens times heads
  const double group = d(shape.group());
  const LowRankSpec* low = policies.low_rank ? &*policies.low_rank : nullptr;
  const double heads = d(form.heads());
  const double key_width =
      low != nullptr && low->absorb_keys ? d(form.key_width()) : d(shape.k_dim);
  const double value_width =
      low != nullptr && low->absorb_values ? d(form.value_width()) : d(shape.v_dim);
  const double flops = 2 * read * group * (key_width + value_width);
  const bool far = policies.retrieve && (policies.retrieve->home == Home::cpu_compute ||
                                         policies.retrieve->home == Home::ssd_compute);
  (far ? f.far_flops : f.attention_flops) += flops;
  const double numbers = read * d(shape.k_dim + shape.v_dim) * coded_share;
  if (policies.quantize) f.restore_flops += policies.quantize->operations * numbers;
  if (low != nullptr && form.key_rank() > 0 && !low->absorb_keys)
    f.restore_flops += 2 * read * coded_share * d(form.key_rank()) * d(shape.k_dim);
  if (low != nullptr && form.value_rank() > 0 && !low->absorb_values)
    f.restore_flops += 2 * read * coded_share * d(form.value_rank()) * d(shape.v_dim);
  // Three operations a number turn a key to its position.
  const bool turns = (low != nullptr && low->pre_rope && !low->absorb_keys) ||
                     (policies.quantize && policies.quantize->pre_rope);
  if (turns) f.restore_flops += 3 * read * coded_share * d(shape.k_dim);
  if (policies.select && policies.select->reindex) f.restore_flops += 3 * read * d(shape.k_dim);
  // A token is encoded once: a range, a code and a projection for each number.
  if (form.encodes() && !form.prompt_only()) {
    const double token = d(shape.heads()) * d(shape.k_dim + shape.v_dim);
    f.encode_flops = 4 * token;
    if (low != nullptr)
      f.encode_flops += 2 * token * d(form.key_width() + form.value_width()) / 2 / heads;
    f.encode_bytes = token * d(shape.element_bits) / 8 + fresh;
  }
}

void FootprintModel::Body::add_selection(Footprint& f, std::int64_t prompt,
                                         std::int64_t generated) const {
  const double slots = f.kept_tokens * d(shape.heads());
  if (policies.select) {
    f.score_flops = needs.step_flops * slots + needs.write_flops * d(shape.heads());
    if (needs.steps) f.score_bytes = 4 * f.kept_tokens * d(shape.q_heads * shape.layers);
    if (policies.select->trigger != Trigger::prefill) f.stored.state += needs.state_bytes * slots;
  }
  if (salience.prompt_queries != 0) {
    f.score_bytes += 4 * f.kept_tokens * d(shape.q_heads * shape.layers) * salience.query_share;
    f.stored.state += salience.state_bytes * slots;
  }
  if (!policies.merge) return;
  const MergeSpec& m = *policies.merge;
  const double dims = d(m.keys ? shape.k_dim + shape.v_dim : shape.v_dim);
  if (m.counted) f.stored.state += 4 * slots;
  const bool leaves = policies.select && policies.select->trigger != Trigger::prefill &&
                      d(prompt + generated) > f.kept_tokens;
  if (leaves) {  // one token a step and head, in the long run
    const bool searches = m.target == MergeTarget::nearest || m.target == MergeTarget::residual;
    f.merge_flops = d(shape.heads()) * (searches ? 2 * d(shape.k_dim) * f.kept_tokens : 0.0) +
                    d(shape.heads()) * 2 * dims * d(m.span);
    f.merge_bytes = d(shape.heads()) * 2 * dims * d(m.span) * d(shape.element_bits) / 8;
  } else if (m.target == MergeTarget::previous) {
    f.merge_flops = d(shape.heads()) * 2 * dims;
    f.merge_bytes = d(shape.heads()) * 2 * dims * d(shape.element_bits) / 8;
  } else if (m.target == MergeTarget::layer) {
    const double paired =
        d(std::count_if(pairs.begin(), pairs.end(), [](auto l) { return l >= 0; }));
    f.merge_flops = 8 * dims * paired * d(shape.kv_heads);  // two lengths, an angle, two sums
    f.restore_flops += f.read_tokens * 2 * paired * d(shape.kv_heads) * dims;
  }
}

Footprint FootprintModel::at(std::int64_t prompt, std::int64_t generated) const {
  const Body& b = *body_;
  const KvShape& s = b.shape;
  const std::vector<HeadPlan> plans = b.plans(prompt);
  Footprint f;
  TokenForm held;
  double coded = 0, picked = 0, read_bytes = 0;
  HeadCost c;
  const double heads = d(s.heads());
  for (std::int64_t l = 0; l < s.layers; ++l) {
    const auto layer = static_cast<std::size_t>(l);
    double share = 1;  // of the layer's bytes that are its own
    if (!b.pairs.empty()) {
      const bool paired =
          b.pairs[layer] >= 0 || (layer + 1 < b.pairs.size() && b.pairs[layer + 1] == l);
      if (paired) share = paired_share(*b.policies.merge);
    }
    if (b.policies.merge && b.policies.merge->target == MergeTarget::share)
      share = d(owned_layers(*b.policies.merge, s.layers)) / d(s.layers);
    for (std::int64_t h = 0; h < s.kv_heads; ++h) {
      // Neighbours mostly have the same plan.
      const auto i = static_cast<std::size_t>(l * s.kv_heads + h);
      if (h == 0 || plans[i].tokens != plans[i - 1].tokens ||
          plans[i].protected_only != plans[i - 1].protected_only)
        c = b.head(l, plans[i], prompt, generated);
      held.keys += c.form.keys * share;
      held.values += c.form.values * share;
      if (share < 1 && !b.pairs.empty())
        held.keys.scales += 2 * 2 * c.kept * (1 - b.policies.merge->apart.value);
      f.kept_tokens += c.kept / heads;
      f.read_tokens += c.read / heads;
      picked += c.picked;
      coded += c.coded_share / heads;
      const double bytes = sum_of(c.form).total() * share;
      read_bytes += c.kept > 0 ? bytes * c.read / c.kept : 0;
      f.page_bytes +=
          c.kept > 0 ? bytes / c.kept * std::ceil(c.kept / d(s.block_tokens)) * d(s.block_tokens)
                     : 0;
    }
  }
  f.stored = sum_of(held);
  b.add_index(f, d(prompt + generated));
  b.add_selection(f, prompt, generated);
  const double kv = sum_of(held).total(), tokens = f.kept_tokens * heads;
  b.place(f, held, d(prompt + generated));
  b.add_step(f, coded, tokens > 0 ? kv / tokens * heads : 0);
  if (b.policies.retrieve && b.policies.retrieve->home != Home::gpu) {
    const RetrieveSpec& r = *b.policies.retrieve;
    const bool fetches = r.home == Home::cpu_fetch;
    const double token = tokens > 0 ? (r.values_only ? held.values.total() : kv) / tokens : 0;
    const double moved = picked * token;
    f.page_bytes = std::min(f.page_bytes, f.gpu_bytes);
    if (fetches) {
      f.fetch_bytes = moved * (1 - r.hit_rate.value);
      const double unit = b.index->takes_all()
                              ? d(prompt + generated)
                              : b.index->cost(s.k_dim, 2, prompt + generated).unit_tokens;
      f.fetches = picked * (1 - r.hit_rate.value) / unit * (r.values_only ? 1 : 2);
    } else {
      read_bytes -= moved;
      f.far_bytes += moved;
      f.query_bytes = d(s.layers * s.q_heads) *
                      (d(s.k_dim + s.v_dim) * d(s.element_bits) / 8 + 8);  // and two statistics
    }
  }
  f.read_bytes = read_bytes;
  f.offload_bytes = f.gpu_bytes;
  return f;
}

PrefillCost FootprintModel::prefill(std::int64_t prompt) const {
  const Body& b = *body_;
  const KvShape& s = b.shape;
  const double n = d(prompt);
  PrefillCost cost;
  const auto rows = [&](const TokenScore::Needs& needs, std::int64_t asked) {
    if (asked == 0 || needs.query_share == 0) return;
    const bool all = asked < 0 || asked >= prompt;
    const double seen = all ? n * n / 2 : d(asked) * n;
    cost.flops += 2 * seen * d(s.k_dim * s.q_heads * s.layers) * needs.query_share;
    // Sums per token are written; of a short window the rows themselves.
    cost.bytes += (all ? n : d(asked) * n) * 4 * d(s.q_heads * s.layers);
    cost.needs_attention_rows = cost.needs_attention_rows || all;
  };
  if (b.needs.attention) rows(b.needs, b.needs.prompt_queries);
  if (b.salience.attention) rows(b.salience, b.salience.prompt_queries);
  if (b.policies.select) rows({}, b.budget->rows());
  cost.flops += n * b.needs.write_flops * d(s.heads());
  if (b.index)
    cost.flops +=
        n * d(s.heads()) * b.index->cost(s.k_dim, d(s.element_bits) / 8, prompt).build_flops;
  const Footprint after = at(prompt, 0);
  if (b.form.encodes()) {
    cost.flops += 4 * n * d(s.heads() * (s.k_dim + s.v_dim));
    cost.bytes += n * s.token_bytes() + after.stored.total();
    if (b.form.prompt_only())  // a truncated decomposition, one pass a vector
      cost.flops += 4 * n * d(s.layers * s.kv_heads) *
                    (d(b.form.key_rank() * s.k_dim) + d(b.form.value_rank() * s.v_dim));
  }
  cost.offload_bytes = after.host_bytes + after.disk_bytes;
  cost.peak_kv_bytes = n * s.token_bytes();
  const bool written_small = !b.policies.select && !b.form.prompt_only() &&
                             !(b.policies.retrieve && b.policies.retrieve->home != Home::gpu) &&
                             b.salience.prompt_queries == 0;
  if (written_small) cost.peak_kv_bytes = after.stored.total();
  if (!b.policies.select) return cost;
  const std::vector<HeadPlan> plans = b.plans(prompt);
  double linear = 0, attention = 0;
  for (const HeadPlan& p : plans) {
    const double kept = d(std::min(prompt, p.protected_only ? p.sinks + p.recent : p.tokens)) / n;
    linear += kept / d(s.heads());
    attention += (b.policies.select->nested ? kept * kept
                                            : std::min(1.0, p.protected_only ? 2 * kept : 1.0)) /
                 d(s.heads());
  }
  if (b.policies.select->nested) {
    cost.linear_share = linear;
    cost.attention_share = attention;
    cost.peak_kv_bytes *= linear;
  } else if (b.policies.select->stream_prompt) {
    cost.attention_share = attention;
    cost.peak_kv_bytes = after.stored.total();
  }
  return cost;
}

std::vector<std::int64_t> FootprintModel::bends(std::int64_t prompt) const {
  const Body& b = *body_;
  std::vector<std::int64_t> at;
  const auto reached = [&](std::int64_t tokens) {
    if (tokens < kNoLimit && tokens > prompt) at.push_back(tokens - prompt);
  };
  if (b.policies.select && b.policies.select->trigger != Trigger::prefill) {
    const std::vector<HeadPlan> plans = b.plans(prompt);
    for (std::size_t i = 0; i < plans.size(); ++i) {
      const HeadPlan& p = plans[i];
      if (i == 0 || p.tokens != plans[i - 1].tokens || p.recent != plans[i - 1].recent ||
          p.protected_only != plans[i - 1].protected_only)
        reached(p.protected_only ? p.sinks + p.recent : p.tokens);
    }
  }
  if (b.policies.retrieve) {
    const RetrieveSpec& r = *b.policies.retrieve;
    reached(r.sinks + r.recent);
    reached(r.sinks + r.recent + r.gpu_tokens);
    if (b.policies.budget) reached(b.policies.budget->size.of(prompt));
  }
  if (exact_tokens() > 0) reached(exact_tokens());
  std::sort(at.begin(), at.end());
  at.erase(std::unique(at.begin(), at.end()), at.end());
  return at;
}

std::int64_t FootprintModel::burst(std::int64_t prompt) const {
  const Body& b = *body_;
  std::int64_t steps = b.form.grain();
  if (b.policies.select && b.policies.select->trigger == Trigger::interval)
    steps = std::max(steps, b.policies.select->every);
  if (b.policies.select && b.policies.select->trigger == Trigger::full && b.policies.budget &&
      !b.policies.budget->size.unlimited())
    steps =
        std::max(steps, evicted_at_once(*b.policies.select, b.policies.budget->size.of(prompt)));
  return steps;
}

std::int64_t FootprintModel::exact_tokens() const {
  const EncodedForm& f = body_->form;
  return f.encodes() ? f.sinks() + f.residual() + f.grain() - 1 : 0;
}

std::int64_t FootprintModel::kernels() const {
  const TokenPolicies& p = body_->policies;
  std::int64_t n = 0;
  if (p.select && p.select->trigger != Trigger::prefill) n += body_->needs.attention ? 2 : 1;
  if (p.retrieve && !body_->index->takes_all()) n += 2;  // scores of units, and the best of them
  if (p.merge) n += 1;
  if (body_->form.encodes() && !body_->form.prompt_only()) n += 1;
  return n;
}

FootprintModel::FootprintModel(TokenPolicies p, KvShape s)
    : body_(std::make_unique<Body>(std::move(p), s)) {}
FootprintModel::~FootprintModel() = default;
FootprintModel::FootprintModel(FootprintModel&&) noexcept = default;
const Traits& FootprintModel::traits() const { return body_->traits; }
const TokenPolicies& FootprintModel::policies() const { return body_->policies; }

}  // namespace kvsim::token
