#include "policies/token/plan.h"

#include <algorithm>
#include <cmath>

namespace kvsim::token {

std::unique_ptr<TokenScore> make_score(const SelectSpec& s, const TokenScore::Context& c) {
  return Registry::instance().make<TokenScore>(s.score.name, s.score.params, c);
}
std::unique_ptr<TokenIndex> make_index(const RetrieveSpec& r, const TokenIndex::Context& c) {
  return Registry::instance().make<TokenIndex>(r.index.name, r.index.params, c);
}
std::unique_ptr<TokenBudget> make_budget(const TokenPolicies& p) {
  const BudgetSpec b = p.budget.value_or(BudgetSpec{});
  return Registry::instance().make<TokenBudget>(b.by.name, b.by.params, {});
}

std::int64_t recent_tokens(const SelectSpec& s, std::int64_t budget) {
  const double share = s.recent_share.value * static_cast<double>(std::min(budget, kNoLimit));
  return std::max(s.recent, static_cast<std::int64_t>(std::llround(share)));
}

BudgetQuestion budget_question(const TokenPolicies& p, const KvShape& shape, std::int64_t prompt) {
  BudgetQuestion q;
  q.layers = shape.layers;
  q.heads = shape.kv_heads;
  q.prompt = prompt;
  q.tokens = p.budget ? std::min(p.budget->size.of(prompt), kNoLimit) : kNoLimit;
  if (!p.select) return q;
  const bool limited = q.tokens < kNoLimit;
  q.sinks = std::min(p.select->sinks, q.tokens);
  q.recent =
      std::min(limited ? recent_tokens(*p.select, q.tokens) : p.select->recent, q.tokens - q.sinks);
  return q;
}

std::vector<HeadPlan> first_plans(const BudgetQuestion& q) {
  HeadPlan plan;
  plan.tokens = q.tokens;
  plan.sinks = q.sinks;
  plan.recent = q.recent;
  return std::vector<HeadPlan>(static_cast<std::size_t>(q.layers * q.heads), plan);
}

std::int64_t evicted_at_once(const SelectSpec& s, std::int64_t budget) {
  const double exact = s.evict.value * static_cast<double>(budget);
  return std::clamp<std::int64_t>(static_cast<std::int64_t>(std::llround(exact)), 1,
                                  std::max<std::int64_t>(1, budget - 1));
}

std::int64_t held_tokens(const SelectSpec& s, const HeadPlan& plan, std::int64_t prompt,
                         std::int64_t generated, std::int64_t protected_plain) {
  const std::int64_t n = prompt + generated;
  if (plan.protected_only) return std::min(n, plan.sinks + plan.recent + protected_plain);
  const std::int64_t most = plan.tokens;
  switch (s.trigger) {
    case Trigger::prefill:
      return std::min(prompt, most) + generated;
    case Trigger::step:
      return std::min(n, most);
    case Trigger::interval: {
      const std::int64_t since = generated % s.every;
      return std::min(n - since, most) + since;
    }
    case Trigger::full: {
      if (most >= kNoLimit || n < most) return n;
      if (most <= 1) return most;
      // The buffer runs from most - drop up to most.
      const std::int64_t drop = evicted_at_once(s, most);
      if (prompt >= most) return most - drop + generated % drop;
      return most - drop + (n - most) % drop;
    }
  }
  return n;
}

std::int64_t merged_slots(const MergeSpec& m, std::int64_t tokens) {
  if (tokens == 0) return 0;
  return static_cast<std::int64_t>(std::floor(static_cast<double>(tokens - 1) / m.ratio + 1e-9)) +
         1;
}

std::vector<std::int64_t> layer_pairs(const MergeSpec& m, std::int64_t layers) {
  std::vector<std::int64_t> below(static_cast<std::size_t>(layers), -1);
  const auto from =
      static_cast<std::int64_t>(std::llround(m.from_depth.value * static_cast<double>(layers)));
  for (std::int64_t l = from; l + 1 < layers; l += 2) below[static_cast<std::size_t>(l + 1)] = l;
  return below;
}
double paired_share(const MergeSpec& m) { return (1 - m.apart.value) / 2 + m.apart.value; }

std::int64_t owned_layers(const MergeSpec& m, std::int64_t layers) {
  return std::clamp<std::int64_t>(std::llround(m.from_depth.value * static_cast<double>(layers)), 1,
                                  layers);
}

}  // namespace kvsim::token
