#pragma once
// How the KV of a stored prefix comes back to the GPU: the contract of restore planners.
//
// Of a sequence [0, local) is on the GPU, [local, local + stored) lies in a lower tier, and
// `tail_tokens` after it are computed in any case. A plan cuts the stored range, front to back,
// into
//   recompute_tokens   computed again from token ids (the front: its attention is the shortest)
//   hidden_tokens      by layers: recompute_layers from token ids, then hidden_layers from stored
//                      hidden states (load, then project), the others as KV
//   load_tokens        loaded as KV
// Loading and computing run side by side; the tail waits for both.
#include <cstdint>

#include "sim/base/quantity.h"
#include "sim/base/registry.h"
#include "sim/base/time.h"
#include "sim/state/step_estimator.h"

namespace kvsim {

// Of all layers that hold KV: recomputed from token ids, restored from hidden states, the others
// as KV. -1 = not fixed.
struct LayerSplit {
  std::int64_t recompute = -1, hidden = -1;
  [[nodiscard]] bool fixed() const { return hidden >= 0; }
};

struct RestoreQuestion {
  std::int64_t local_tokens = 0, stored_tokens = 0, tail_tokens = 0;
  std::int64_t grain = 1;   // tokens; cuts are multiples of it, counted from local_tokens
  std::int64_t layers = 1;  // that hold KV
  Bytes kv_bytes;           // of a token, all layers
  Bytes hidden_bytes;       // of a token, the inputs of all layers; 0 = none are stored
  Bandwidth bandwidth;      // what the route is expected to give; 0 = nothing can be loaded
  Duration latency{};       // before the first byte
  LayerSplit stored;        // the split that the tiers hold; a planner must not choose another
  const StepEstimator* steps = nullptr;
};

struct RestorePlan {
  std::int64_t recompute_tokens = 0, hidden_tokens = 0, load_tokens = 0;  // sum = stored_tokens
  std::int64_t recompute_layers = 0, hidden_layers = 0;                   // of hidden_tokens
  Bytes bytes;                                                            // to load
  Duration load_time{};     // predicted, latency included
  Duration compute_time{};  // predicted: recomputation and projection, without the tail
  Duration total{};         // predicted, until the tail is computed
};

class RestorePlanner {
 public:
  using Contract = RestorePlanner;
  static constexpr const char* kKind = "restore";
  struct Context {};
  virtual ~RestorePlanner() = default;
  // Requires stored_tokens >= 0, grain >= 1, layers >= 1 and an estimator.
  virtual RestorePlan plan(const RestoreQuestion&) = 0;
  // Tokens for whose plan the tiers hold what it needs of each layer and nothing else; 0 = they
  // hold KV.
  [[nodiscard]] virtual std::int64_t stored_for() const { return 0; }
};

// Latency and bytes over the bandwidth; 0 for no bytes; Duration::max() when nothing can be loaded.
Duration load_time(const RestoreQuestion&, Bytes);
// The plan with its bytes and times, load and compute side by side.
RestorePlan priced(const RestoreQuestion&, RestorePlan);
// Everything as KV, everything from token ids.
RestorePlan load_all(const RestoreQuestion&);
RestorePlan recompute_all(const RestoreQuestion&);
// The shorter total; `a` when they are equal.
RestorePlan shorter(const RestorePlan& a, const RestorePlan& b);

// The first cut x in 0, grain, 2 grain ..., n with rising(x) >= falling(x); n when there is none.
// The least max(rising, falling) is there or one grain before, if rising never falls and falling
// never rises.
template <class Rising, class Falling>
std::int64_t crossing(std::int64_t n, std::int64_t grain, Rising rising, Falling falling) {
  std::int64_t low = 0, high = (n + grain - 1) / grain;  // in grains
  while (low < high) {
    const std::int64_t mid = low + (high - low) / 2;
    if (rising(mid * grain) >= falling(mid * grain))
      high = mid;
    else
      low = mid + 1;
  }
  return low * grain < n ? low * grain : n;
}

}  // namespace kvsim
