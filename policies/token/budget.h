#pragma once
// F3: how a mean budget is spread over layers and KV heads. Asked once, when the prompt is
// computed. Without tensors (accounting) the observations are empty, and an allocator that decides
// by them answers what it expects.
#include <cstdint>
#include <span>
#include <vector>

#include "policies/token/shape.h"
#include "sim/base/registry.h"

namespace kvsim::token {

// What one KV head keeps of the prompt.
struct HeadPlan {
  std::int64_t tokens = 0;  // at most, protected ones included; beyond the prompt = all
  std::int64_t sinks = 0, recent = 0;
  bool protected_only = false;  // sinks, recent ones and protected classes, whatever `tokens` says
  bool separators = false;      // never leave
  bool compensate = false;      // one token stands for all that left: their mean, counted
};

struct BudgetQuestion {
  std::int64_t layers = 1, heads = 1;  // KV heads per layer
  std::int64_t prompt = 0;
  std::int64_t tokens = 0;              // mean budget of a head; may exceed the prompt
  std::int64_t sinks = 0, recent = 0;   // of the selection; recent <= tokens - sinks
  std::span<const TokenClass> classes;  // [prompt], or empty: all plain
  // Per head (layer * heads + head): scores of the prompt's tokens, and their mean attention over
  // the queries that rows() asks for. Empty without tensors.
  std::vector<std::span<const float>> scores, attention;
};

class TokenBudget {
 public:
  using Contract = TokenBudget;
  static constexpr const char* kKind = "token-budget";
  struct Context {};
  virtual ~TokenBudget() = default;
  // Last prompt queries whose mean attention it reads; TokenScore::kAllQueries = all.
  [[nodiscard]] virtual std::int64_t rows() const { return 0; }
  // Layers, or heads of a layer, may differ in length, so each needs a block list of its own.
  [[nodiscard]] virtual bool by_layer() const { return by_head(); }
  [[nodiscard]] virtual bool by_head() const { return false; }
  // Plans add up to the budget: fixed classes and tests on data may break it, by their nature.
  [[nodiscard]] virtual bool exact() const { return true; }
  // plans [layers * heads] come with tokens, sinks and recent of the question.
  virtual void allocate(const BudgetQuestion&, std::span<HeadPlan> plans) const = 0;
};

}  // namespace kvsim::token
