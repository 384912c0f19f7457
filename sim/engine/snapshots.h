#pragma once
// Snapshots of one rank: at which prefixes a sequence can be taken up again (hybrid.h). All are of
// one size and live in room of their own, in an order that an eviction policy decides. A hit copies
// it, so nothing is held.
#include <boost/unordered/unordered_flat_map.hpp>
#include <memory>
#include <span>
#include <vector>

#include "policies/eviction/eviction.h"
#include "sim/engine/config.h"
#include "sim/state/kv_pool.h"

namespace kvsim {

class Snapshots {
 public:
  Snapshots(std::int64_t slots, const MakeEvictionPolicy&, std::uint64_t seed);

  // The longest prefix of at most so many blocks that one was saved for; 0 = none.
  [[nodiscard]] std::int64_t find(std::span<const ContentChunk>, std::int64_t most) const;
  // Somebody goes on from the one at `blocks`, which find() gave.
  void use(std::span<const ContentChunk>, std::int64_t blocks, const KvPool::Owner&, Time now);
  void save(std::span<const ContentChunk>, std::int64_t blocks, const KvPool::Owner&, Time now);
  void clear();

  [[nodiscard]] std::int64_t size() const { return size_; }
  [[nodiscard]] std::int64_t saved() const { return saved_; }
  [[nodiscard]] std::int64_t used() const { return used_; }
  [[nodiscard]] std::int64_t evicted() const { return evicted_; }
  // Aborts unless counts and places agree.
  void check() const;

 private:
  // Chunk that holds the last of `blocks` blocks, and how many of them lie in it.
  struct Place {
    std::uint64_t key = 0;
    std::int64_t blocks = 0;
  };
  [[nodiscard]] static Place place_of(std::span<const ContentChunk>, std::int64_t blocks);
  ObjectId intern(const Place&);
  Access access(ObjectId, const KvPool::Owner&, Time now);
  void evict(const Access& incoming);

  std::int64_t slots_, size_ = 0, saved_ = 0, used_ = 0, evicted_ = 0, tick_ = 0;
  ObjectTable objects_;
  std::unique_ptr<EvictionPolicy> policy_;
  std::vector<Place> places_;   // by object
  std::vector<char> resident_;  // likewise
  boost::unordered_flat_map<std::uint64_t, ObjectId> ids_;
  // By chunk: blocks of it that snapshots end after, ascending.
  boost::unordered_flat_map<std::uint64_t, std::vector<std::int64_t>> ends_;
};

}  // namespace kvsim
