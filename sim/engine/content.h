#pragma once
// The content of a request in KV blocks: a block belongs to the segment that holds its last token.
#include <vector>

#include "sim/state/kv_pool.h"
#include "traces/trace_source.h"

namespace kvsim {

// Gives the tokens that the segments cover.
inline std::int64_t to_content(const Request& r, std::int64_t block_tokens,
                               std::vector<ContentChunk>& out) {
  out.clear();
  std::int64_t tokens = 0;
  for (const Segment& segment : r.segments) {
    tokens += segment.tokens;
    out.push_back({segment.key, tokens / block_tokens});
  }
  return tokens;
}

}  // namespace kvsim
