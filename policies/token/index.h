#pragma once
// F2: summaries by which a step finds the tokens worth reading, one object per layer and KV head.
// Every slot belongs to one unit; units are ranked by an estimate of their logit.
#include <cstdint>
#include <span>

#include "policies/token/score.h"

namespace kvsim::token {

struct IndexCost {
  double unit_tokens = 1;    // tokens in a unit, the mean
  double summary_bytes = 0;  // of one unit of one head
  double read_bytes = 0;     // of one unit of one head, to rank it
  double unit_flops = 0;     // to rank one unit for one query head
  double query_flops = 0;    // before that, per query head
  double build_flops = 0;    // per token and head, once
  double base_bytes = 0;     // per head, whatever the context (codebooks)
};

class TokenIndex {
 public:
  using Contract = TokenIndex;
  static constexpr const char* kKind = "token-index";
  struct Context {
    Rng rng{0, ""};
    std::int32_t k_dim = 0;
    float scale = 1;
    kernels::Threads* threads = nullptr;  // null: only cost() is asked
  };
  virtual ~TokenIndex() = default;
  // For keys of so many numbers of so many bytes at `tokens` tokens.
  [[nodiscard]] virtual IndexCost cost(std::int64_t k_dim, double element_bytes,
                                       std::int64_t tokens) const = 0;
  // All reads need a fetch: nothing is ranked.
  [[nodiscard]] virtual bool takes_all() const { return false; }
  // Prompt queries whose vectors and attention build() gets; 0 = none.
  [[nodiscard]] virtual std::int64_t rows() const { return 0; }
  // The prompt; `rows` as asked for.
  virtual void build(const HeadTokens&, const HeadRows& rows) = 0;
  // The last slot is new.
  virtual void append(const HeadTokens&) = 0;
  [[nodiscard]] virtual std::int32_t units() const = 0;
  [[nodiscard]] virtual std::span<const std::int32_t> unit_of_slot() const = 0;
  // Estimated logits of all units for one query.
  virtual void rank(std::span<const float> query, std::span<float> out) = 0;
};

}  // namespace kvsim::token
