#pragma once
// Layers that keep different things, in one pool of blocks (vLLM's hybrid KV cache manager,
// engine-semantics section 5). A block of the pool is the KV of block_tokens tokens in the layers
// that keep every token; where there are none, that of the windowed layers, or all states of a
// sequence. What a sequence holds besides is counted in the same blocks, rounded up.
//
// What differs from vLLM: no page is larger than another, so nothing is padded but that rounding;
// the tokens of a prefill piece that lie outside the window when it ends are never counted.
#include <algorithm>
#include <cstdint>

namespace kvsim {

struct HybridMemory {
  bool on = false;
  std::int64_t full = 1;           // 0: no layer keeps every token
  std::int64_t window_units = 0;   // blocks of the pool for one block of the windowed layers
  std::int64_t window_blocks = 0;  // most of these that a sequence keeps
  std::int64_t state_units = 0;    // for the states of a sequence

  // Blocks of the pool for a sequence of so many blocks of tokens.
  [[nodiscard]] constexpr std::int64_t units(std::int64_t blocks) const {
    return full * blocks + window_units * std::min(blocks, window_blocks) +
           (blocks > 0 ? state_units : 0);
  }
};

// Where a sequence can be taken up again although its layers have forgotten earlier tokens: copies
// of its states and of its last window, in room of their own. Tokens.
struct SnapshotRules {
  std::int64_t slots = 0;  // 0: none are kept, no prefix is ever hit
  std::int64_t align = 1;  // they lie at multiples of this, itself a multiple of a block
  std::int64_t every = 0;  // one at each multiple in a prompt; 0 = only near its end and where a
                           // known prefix ends
  bool outputs = true;     // one near the end of the output, for the next turn
  bool cuts = false;       // a state exists only where an iteration ends: pieces end there
};

}  // namespace kvsim
