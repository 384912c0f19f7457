#pragma once
// Objects by a small whole rank, first in first out within a rank: every operation in constant
// amortised time where ranks grow by few at a time.
#include <algorithm>
#include <vector>

#include "policies/eviction/lists.h"

namespace kvsim {

struct RankNode : ListLink {
  std::uint32_t rank = 0, count = 0;  // count belongs to the user
};

// Node derives from RankNode and lives in the policy's Lists.
template <class Node>
class RankBuckets {
 public:
  explicit RankBuckets(Lists<Node>& nodes) : nodes_(nodes) {}
  void push(ObjectId id, std::uint32_t rank) {
    if (rank < base_) rebase(rank);
    if (rank - base_ >= buckets_.size())
      buckets_.resize(std::max<std::size_t>(rank - base_ + 1, 2 * buckets_.size()));
    nodes_[id].rank = rank;
    nodes_.push_newest(buckets_[rank - base_], id);
    low_ = std::min(low_, rank);
    high_ = std::max(high_, rank);
  }
  void remove(ObjectId id) { nodes_.remove(buckets_[nodes_[id].rank - base_], id); }
  // The first of lowest rank of which use(id) is true, or kNoObject.
  template <class Use>
  ObjectId first(Use use) {
    for (; low_ < high_ && bucket(low_).oldest == kNoObject;) ++low_;
    for (std::uint32_t r = low_; r <= high_ && r - base_ < buckets_.size(); ++r)
      for (ObjectId id = bucket(r).oldest; id != kNoObject; id = nodes_[id].newer)
        if (use(id)) return id;
    return kNoObject;
  }
  // The same from the newest end of a rank.
  template <class Use>
  ObjectId last_of_first(Use use) {
    if (first(use) == kNoObject) return kNoObject;
    for (std::uint32_t r = low_;; ++r)
      for (ObjectId id = bucket(r).newest; id != kNoObject; id = nodes_[id].older)
        if (use(id)) return id;
  }
  // Ranks below this one are not pushed any more: their empty buckets may go.
  void forget_below(std::uint32_t rank) {
    const std::uint32_t drop = std::min(rank, low_) - std::min(base_, std::min(rank, low_));
    if (drop < 4096 || drop < buckets_.size() / 2) return;
    buckets_.erase(buckets_.begin(), buckets_.begin() + drop);
    base_ += drop;
  }

 private:
  UncountedList& bucket(std::uint32_t rank) { return buckets_[rank - base_]; }
  void rebase(std::uint32_t rank) {
    buckets_.insert(buckets_.begin(), base_ - rank, UncountedList{});
    base_ = rank;
  }
  Lists<Node>& nodes_;
  std::vector<UncountedList> buckets_;
  std::uint32_t base_ = 0;            // rank of the first bucket
  std::uint32_t low_ = 0, high_ = 0;  // no object is below low_ or above high_
};

}  // namespace kvsim
