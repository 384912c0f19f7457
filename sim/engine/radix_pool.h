#pragma once
// SGLang's radix cache (engine-semantics section 8): compressed edges, cut at a block (SGLang's
// page, 1 allowed) where a sequence parts from them; whole leaves are evicted.
//
// What differs from the engine: a look-up alone neither cuts nor refreshes a node; both happen when
// the request is admitted. Uses count a request once, when it first passes a node.
#include "sim/engine/node_pool.h"

namespace kvsim {

class RadixPool final : public NodePool {
 public:
  explicit RadixPool(Options options) : NodePool(std::move(options)) {}
  Hit look_up(std::span<const ContentChunk>, std::int64_t most) override;
  void publish(Hold&, std::span<const ContentChunk>, std::int64_t full) override;

 private:
  [[nodiscard]] ObjectId child_at(Cursor&) const;
  std::int64_t match(ObjectId, Cursor&, std::int64_t most) const;
  [[nodiscard]] std::uint64_t first_block(ObjectId) const;
  ObjectId cut(ObjectId id, std::int64_t blocks) override;
  void forget(ObjectId id) override { by_first_.erase(first_block(id)); }
  void forget_all() override { by_first_.clear(); }

  boost::unordered_flat_map<std::uint64_t, ObjectId> by_first_;  // cached nodes by first block
};

}  // namespace kvsim
