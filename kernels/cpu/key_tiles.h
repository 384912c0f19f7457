#pragma once
// Keys of whole tiles of 16 tokens between the two orders of kv_cache.h; shared by the copies and
// the page codecs.
#include <cstddef>

#include "kernels/kv_cache.h"

namespace kvsim::kernels::cpu {

// Copies and codecs that move this many bytes or more of KV in 16 or 32 bits store past the caches,
// which would not hold the result for its reader and would read each line before it is written.
inline constexpr std::size_t kStreamedBytes = std::size_t{4} << 20;

// `tiles` tiles of k_dim keys, which lie one after the other, from the other order into `to`. Not
// in place.
void reorder_tiles(Element, int k_dim, std::size_t tiles, KeyOrder to, const std::byte* in,
                   std::byte* out);

}  // namespace kvsim::kernels::cpu
