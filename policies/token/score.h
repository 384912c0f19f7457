#pragma once
// F1: the importance of cached tokens, one object per layer and KV head. Order of calls: observe()
// for the prompt's queries that needs() asks for, in chunks, in order; then for every step, if
// needs().steps, observe() of the new token's query over all slots, the new one included. score()
// and keep() at any time after the prompt.
#include <cstdint>
#include <span>

#include "policies/token/shape.h"
#include "sim/base/random.h"
#include "sim/base/registry.h"

namespace kvsim::kernels {
class Threads;
}

namespace kvsim::token {

// Attention of `queries` queries of a KV head's group over its slots. Rows of a slot that a query
// does not see: logit -infinity, weight 0.
struct HeadRows {
  std::int32_t queries = 0, heads = 0, slots = 0;
  std::int32_t first = 0;                  // position of the first query
  std::span<const float> logits, weights;  // [queries][heads][slots]
  std::span<const float> query;            // [queries][heads][k_dim]
};
// What a KV head holds, exact; slots in order of position.
struct HeadTokens {
  std::int32_t slots = 0, k_dim = 0, v_dim = 0;
  std::span<const float> keys, values;  // [slots][dim]
  std::span<const std::int32_t> positions;
};

class TokenScore {
 public:
  using Contract = TokenScore;
  static constexpr const char* kKind = "token-score";
  struct Context {
    Rng rng{0, ""};
    std::int32_t k_dim = 0;
    float scale = 1;                      // of logits
    kernels::Threads* threads = nullptr;  // null: only needs() is asked
  };
  static constexpr std::int64_t kAllQueries = -1;
  struct Needs {
    std::int64_t prompt_queries = 0;  // the last so many; kAllQueries
    bool steps = false;               // rows of every decode step
    double query_share = 1;           // of those queries, as far as work is counted
    bool attention = false;           // of those queries, the rows and not only the vectors
    double state_bytes = 0;           // kept per slot
    double step_flops = 0;            // per slot and step besides attention
    double write_flops = 0;           // per new token
  };
  virtual ~TokenScore() = default;
  [[nodiscard]] virtual Needs needs() const = 0;
  // False when scores depend only on the tokens themselves: a compressed prefix then serves any
  // continuation.
  [[nodiscard]] virtual bool query_aware() const { return needs().prompt_queries != 0; }
  virtual void observe(const HeadRows&) {}
  // One number per slot, larger = more important.
  virtual void score(const HeadTokens&, std::span<float> out) = 0;
  // Only these slots (ascending) remain, as slots 0, 1, ...
  virtual void keep(std::span<const std::int32_t> /*slots*/) {}
};

}  // namespace kvsim::token
