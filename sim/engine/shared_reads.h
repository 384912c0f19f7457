#pragma once
// Which of the contexts that decode lies in blocks that several of them hold, so that an attention
// kernel over the tree of prefixes reads it once (taxonomy F10: ChunkAttention, Hydragen, DeFT,
// bifurcated attention). All levels of the tree count, from two sharers on.
#include <cstdint>
#include <vector>

#include "sim/engine/decode_group.h"
#include "sim/engine/sequence.h"

namespace kvsim {

class SharedReads {
 public:
  // Fills the shape's shared sums; looks at the members anew only when the group has changed.
  void describe(const DecodeGroup&, const std::vector<Sequence>&, const KvPool&,
                std::int64_t block_tokens, StepShape&);

  // Holds of members have changed although nobody joined or left.
  void changed() { version_ = kUnknown; }

 private:
  static constexpr std::uint64_t kUnknown = ~std::uint64_t{0};
  void count(const DecodeGroup&, const std::vector<Sequence>&, const KvPool&);

  std::uint64_t version_ = 0;
  std::int64_t held_blocks_ = 0, read_blocks_ = 0;  // of runs with several holders
  std::vector<std::uint32_t> holders_;              // by run
  std::vector<KvPool::Piece> runs_;                 // scratch
};

}  // namespace kvsim
