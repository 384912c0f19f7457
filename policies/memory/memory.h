#pragma once
// How much GPU memory a sequence's KV takes and when: the contract of every memory manager. It
// answers once with rules, and at each admission with a reservation; the engine keeps the blocks.
#include <cstdint>

#include "sim/base/quantity.h"
#include "sim/base/registry.h"
#include "sim/base/time.h"
#include "sim/state/contiguous_slab.h"

namespace kvsim {

struct MemoryRules {
  std::int64_t block_tokens = 16;  // grain in which memory is handed out
  // Of one block over all layers of a rank; 0 = the scenario's block.
  Bytes block_bytes{};
  bool null_block = true;  // the engine keeps block 0 to itself
  // A sequence lies in one piece: admission needs a hole, nothing grows, prefixes are not shared.
  bool contiguous = false;
  HoleFit fit = HoleFit::first;
  // Driver time to map or unmap one block in a sequence's address range; 0 = free of charge.
  Duration map_block{}, unmap_block{};
  bool map_ahead = false;    // what is known an iteration ahead is mapped behind that iteration
  bool keep_mapped = false;  // blocks of an ended sequence stay mapped for the next in its slot
  std::int64_t eager_blocks = 0;  // mapped in the background for whoever comes next
  // Activations live in the pool too: an iteration of n tokens needs
  // n * activation_bytes / activation_tokens - unlent_bytes of it.
  std::int64_t lent_blocks = 0;
  std::int64_t activation_bytes = 0, activation_tokens = 1, unlent_bytes = 0, pool_block_bytes = 1;
  // Above 0: KV is handed out layer by layer of so many. A prompt that does not fit may come in
  // with KV of some layers on the GPU; that of the others moves to host memory as it is computed.
  std::int64_t layers = 0;
  Bytes host_bytes{};  // of host memory for them, a GPU
  // With its first token such a request leaves the batch, and all its KV the GPU, until there is
  // room for it; so does who is preempted. Else it decodes, its layers come for every iteration.
  bool parks = false;
  // Prompts come in only while the running decodes keep this mean time per token; 0 = always.
  Duration tpot_bound{};
};

class MemoryManager {
 public:
  using Contract = MemoryManager;
  static constexpr const char* kKind = "memory";
  struct Context {
    std::int64_t block_tokens = 16;  // of the scenario
    std::int64_t max_model_len = 0;  // prompt + output tokens
    std::int64_t max_batched_tokens = 1;
    bool shares_prefixes = false;  // a prefix index is on
    Bytes plane;                   // K or V of one token and layer, on one rank
    std::int64_t layers = 1;       // with KV
    std::int64_t planes = 1;       // of all layers with KV on the fullest rank: 2 a layer, or 1
                                   // where K and V are one latent
    std::int64_t activation_bytes = 0;  // set aside for max_batched_tokens
    std::int64_t block_bytes = 1;       // of one block of block_tokens on the fullest rank
  };
  virtual ~MemoryManager() = default;
  // Asked once. Throws InputError when the scenario does not suit it.
  [[nodiscard]] virtual MemoryRules rules() const = 0;
  // Tokens whose memory an admitted sequence holds from the start, at least prompt + output;
  // 0 = blocks as tokens come.
  [[nodiscard]] virtual std::int64_t reserve(std::int64_t prompt, std::int64_t output) const {
    (void)prompt, (void)output;
    return 0;
  }
  // Layers of a prompt that stay on the GPU when not all of it fits, in 1..rules().layers; asked
  // only where that is above 0. `compute`: the whole prompt; `move`: all of its KV to host memory
  // over idle links.
  [[nodiscard]] virtual std::int64_t resident_layers(Duration compute, Duration move) const {
    (void)compute, (void)move;
    return 1;
  }
};

}  // namespace kvsim
