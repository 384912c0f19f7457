#pragma once
// F4 on tensors: what leaves is folded into what stays; tokens of neighbouring layers share a
// direction.
#include <cstdint>
#include <span>
#include <vector>

#include "policies/token/head.h"
#include "policies/token/spec.h"

namespace kvsim::token {

// Folds the slots that are not in `kept` (ascending) into kept ones, before Head::keep. `gate` is
// the head's own, moved where the spec says so. `scores` [slots].
void merge_evicted(const MergeSpec&, Head&, std::span<const std::int32_t> kept,
                   std::span<const float> scores, double& gate, Rng rng, kernels::Threads&);
// The kept slots of least score that become slots for leftovers, unless there are some already.
void choose_leftovers(const MergeSpec&, Head&, std::span<const std::int32_t> kept,
                      std::span<const float> scores, std::int64_t protected_recent);
// target previous: runs of the prompt, then one token more (the last slot, or a new one).
void merge_runs(const MergeSpec&, Head&);
void append_to_run(const MergeSpec&, Head&, std::int64_t token, std::span<const float> key,
                   std::span<const float> value);

// target layer: slots [from, ...) of a pair share a direction. `limit` are the angles (keys,
// values) above which they stay apart: found from the share `apart` when the prompt is sealed
// (first < 0), then kept. Counts the tokens that stayed apart.
struct LayerAngles {
  double keys = -1, values = -1;
  std::int64_t apart_keys = 0, apart_values = 0;
};
void merge_layer_pair(const MergeSpec&, Head& lower, Head& upper, std::size_t from, LayerAngles&,
                      kernels::Threads&);

// target share: whose cache each layer reads (itself, or one below it), the most dissimilar pairs
// first. heads [layer][kv head].
std::vector<std::int64_t> choose_sources(const MergeSpec&, std::span<const Head> heads,
                                         std::int64_t layers);

}  // namespace kvsim::token
