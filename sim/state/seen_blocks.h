#pragma once
// How much of a content somebody has had, for the pools and directories that remember it by chunk.
#include <algorithm>
#include <cstdint>
#include <span>

#include "sim/state/kv_pool.h"

namespace kvsim {

// Blocks of the content beyond the first `from`, at most up to block `most`, that follow each other
// from there: seen_of(key) is the number of leading blocks of a chunk that were had, 0 = none.
// Chunks without a block of their own end nothing.
template <class SeenOf>
std::int64_t seen_blocks_of(std::span<const ContentChunk> content, std::int64_t from,
                            std::int64_t most, SeenOf&& seen_of) {
  std::int64_t begin = 0, seen = from;
  for (const ContentChunk& c : content) {
    if (begin >= most) break;
    const std::int64_t end = std::min(c.end, most);
    if (end > from && end > begin) {
      seen = std::max(seen, std::min(end, begin + seen_of(c.key)));
      if (seen < end) break;
    }
    begin = c.end;
  }
  return seen - from;
}

}  // namespace kvsim
