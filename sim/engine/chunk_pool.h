#pragma once
// Nodes of equal size: a prefix is shared in whole nodes only, what is left of it stays its
// sequence's own and is never cached.
//
// With leaves_only it is ChunkAttention's prefix tree (taxonomy S91), without it vLLM's chain of
// block hashes under another eviction policy than the free queue (there a block may leave while
// later ones stay, which then cannot be hit). What differs from vLLM: of two copies of a block only
// one is kept.
#include "sim/engine/node_pool.h"

namespace kvsim {

class ChunkPool final : public NodePool {
 public:
  explicit ChunkPool(Options options) : NodePool(std::move(options)) {}
  Hit look_up(std::span<const ContentChunk>, std::int64_t most) override;
  void publish(Hold&, std::span<const ContentChunk>, std::int64_t full) override;

 private:
  [[nodiscard]] ObjectId next(Cursor) const;
  ObjectId cut(ObjectId id, std::int64_t blocks) override;
};

}  // namespace kvsim
