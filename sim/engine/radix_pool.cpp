#include "sim/engine/radix_pool.h"

#include <algorithm>

#include "sim/base/hash.h"

namespace kvsim {

// Keys are chained: a first block names its node wherever the tree is entered.
std::uint64_t RadixPool::first_block(ObjectId id) const {
  const Span& s = spans_[nodes_[id].first];
  return hash_combine(s.key, static_cast<std::uint64_t>(s.start));
}

ObjectId RadixPool::child_at(Cursor& c) const {
  if (!c.settle()) return kNoObject;
  const auto at = by_first_.find(c.identity());
  return at == by_first_.end() ? kNoObject : at->second;
}

// Blocks from the start of the node that agree with the content, which ends at `most`. The cursor
// moves on by them.
std::int64_t RadixPool::match(ObjectId id, Cursor& c, std::int64_t most) const {
  const std::int64_t begin = c.at;
  for (std::uint32_t i = nodes_[id].first; i != kNone; i = spans_[i].next) {
    const Span& s = spans_[i];
    if (c.at >= most || !c.settle() || c.content[c.chunk].key != s.key || c.start() != s.start)
      break;
    const std::int64_t n = std::min({s.count, c.content[c.chunk].end - c.at, most - c.at});
    c.at += n;
    if (n < s.count) break;
  }
  return c.at - begin;
}

KvPool::Hit RadixPool::look_up(std::span<const ContentChunk> content, std::int64_t most) {
  path_.clear();
  Hit hit;
  Cursor c{content, 0, 0};
  while (c.at < most) {
    const ObjectId child = child_at(c);
    if (child == kNoObject) break;
    path_last_ = match(child, c, most);
    path_.push_back(child);
    if (nodes_[child].refs == 0) hit.queued += path_last_;
    if (path_last_ < nodes_[child].blocks) break;
  }
  hit.blocks = c.at;
  return hit;
}

void RadixPool::publish(Hold& hold, std::span<const ContentChunk> content, std::int64_t full) {
  Cursor c{content, hold.chunk, hold.hashed};
  while (hold.hashed < full) {
    const ObjectId child = child_at(c);
    if (child == kNoObject) {
      const ObjectId fresh = add(hold, c, full);
      by_first_.emplace(first_block(fresh), fresh);
    } else {
      const std::int64_t n = match(child, c, full);
      adopt(hold, n < nodes_[child].blocks ? cut(child, n) : child);
    }
  }
  c.settle();
  hold.chunk = c.chunk;
}

ObjectId RadixPool::cut(ObjectId id, std::int64_t blocks) {
  const std::uint64_t first = first_block(id);
  const ObjectId upper = split(id, blocks);
  by_first_[first] = upper;
  by_first_.emplace(first_block(id), id);
  return upper;
}

}  // namespace kvsim
