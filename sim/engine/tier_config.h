#pragma once
// The tiers below the GPU as plain values; sim/run fills them from a scenario.
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "policies/restore/restore.h"
#include "sim/base/tier.h"
#include "sim/base/time.h"

namespace kvsim {

struct PrefetchConfig {
  PrefetchRule rule = PrefetchRule::on_admission;
  std::int64_t look_ahead = 0;  // requests of the queue, for look_ahead
  std::int64_t min_tokens = 0;  // a shorter prefetch is not begun
  double share = 1;             // of the first tier, under prefetch at once
  PrefetchWait wait = PrefetchWait::complete;
  Duration wait_base{}, wait_per_1024{}, wait_most{};  // of `timeout`; per 1,024 tokens
};

struct TierConfig {
  std::string name;
  TierKind kind = TierKind::cpu;
  std::int64_t chunk_bytes = 0;  // of one chunk as this tier stores it, for one rank
  // Reads go through the first tier: a place there is taken, the chunk is copied up, then loaded.
  bool staged = false;
  Duration lookup{};  // an existence check is answered after this; 0 = at once
  WriteRule write = WriteRule::through;
  std::int64_t write_after = 1;  // uses of a chunk before it is written here
  bool contiguous = false;       // only behind a chunk that is here (SGLang: from the root)
  std::int64_t pin_tokens = 0;   // chunks within the first so many tokens stay once they are here
  PrefetchConfig prefetch;       // of a staged tier
  bool track_queue = false;      // the eviction policy wants to know what waiting requests need
  bool pooled = false;  // its stores are one pool: a rank writes to its own and reads from any
  std::int64_t replicate_after = 0;  // reads of a chunk by others before the reader keeps a copy
  std::int64_t most_copies = 0;      // of a chunk in the pool; 0 = any number
};

struct OffloadConfig {
  std::vector<TierConfig> tiers;  // nearest first
  std::int64_t chunk_blocks = 1;  // blocks of the engine in one chunk
  LoadMode load = LoadMode::async;
  std::int64_t load_layers = 1;      // that an overlapped load is cut into
  std::int64_t min_load_tokens = 0;  // a shorter hit is computed instead
  // How much of a hit is loaded; empty = all of it.
  std::function<std::unique_ptr<RestorePlanner>()> restore;
  std::int64_t layers = 1;                                  // that hold KV
  std::int64_t kv_token_bytes = 0, hidden_token_bytes = 0;  // of a token, all layers
  LayerSplit stored;           // what the tiers hold of a token, when the restore policy fixes it
  double project_share = 0;    // K and V projections, of the computing of a token without attention
  bool whole_prompts = false;  // written once the prompt is computed, not chunk by chunk of it
  bool outputs = false;        // generated tokens are written too, when a request is over
  std::int64_t look_ahead = 0;  // most of the tiers' prefetch.look_ahead
};

}  // namespace kvsim
