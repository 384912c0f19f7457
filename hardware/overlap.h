#pragma once
// Time of a pass over layers whose KV comes in layer by layer while others compute
// (CachedAttention, USENIX ATC 2024; Pensieve). Layer i computes when it is there and layer i - 1
// is done; transfers follow each other without a gap.
#include <algorithm>
#include <cstdint>

#include "sim/base/time.h"

namespace kvsim {

// `transfer` and `compute` of one layer; `preloaded` layers are there at the start. Without them
// x + (L - 1) max(x, y) + y.
constexpr Duration layerwise_time(Duration transfer, Duration compute, std::int64_t layers,
                                  std::int64_t preloaded = 0) {
  const std::int64_t missing = layers - preloaded;
  if (missing <= 0) return compute * layers;
  // Either compute never waits, or it waits once for the first layer that was missing, or transfers
  // are the slower stream and the last one decides: the wait is linear in the layer, so between
  // these no other layer can be the worst.
  return std::max({compute * layers, transfer + compute * missing, transfer * missing + compute});
}

}  // namespace kvsim
