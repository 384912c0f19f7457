#include "sim/engine/chunk_pool.h"

#include "sim/base/check.h"

namespace kvsim {

// The cached node whose first block is the cursor's.
ObjectId ChunkPool::next(Cursor c) const {
  c.at += options_.share_blocks - 1;
  return c.settle() ? find(c.identity()) : kNoObject;
}

KvPool::Hit ChunkPool::look_up(std::span<const ContentChunk> content, std::int64_t most) {
  path_.clear();
  Hit hit;
  const std::int64_t each = options_.share_blocks;
  Cursor c{content, 0, 0};
  while (c.at + each <= most) {
    const ObjectId id = next(c);
    if (id == kNoObject) break;
    path_.push_back(id);
    if (nodes_[id].refs == 0) hit.queued += each;
    c.at += each;
    c.settle();
  }
  hit.blocks = c.at;
  path_last_ = each;
  return hit;
}

void ChunkPool::publish(Hold& hold, std::span<const ContentChunk> content, std::int64_t full) {
  const std::int64_t each = options_.share_blocks;
  Cursor c{content, hold.chunk, hold.hashed};
  while (c.at + each <= full) {
    const ObjectId id = next(c);
    if (id == kNoObject) {
      add(hold, c, c.at + each);
    } else {
      adopt(hold, id);
      c.at += each;
    }
    c.settle();
  }
  hold.chunk = c.chunk;
}

ObjectId ChunkPool::cut(ObjectId id, std::int64_t) {
  KVSIM_CHECK(false, "node {} is shared in part", id);
  return id;
}

}  // namespace kvsim
