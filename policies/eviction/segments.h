#pragma once
// Segmented LRU: a hit moves an object one segment up, and an overfull segment gives its oldest to
// the one below. Also the main cache of W-TinyLFU.
#include <vector>

#include "policies/eviction/leaving.h"
#include "policies/eviction/lists.h"

namespace kvsim {

struct SegmentNode : ListLink {
  std::uint8_t segment = 0;
};

template <class Node>  // derives from SegmentNode and lives in the policy's Lists
class Segments {
 public:
  Segments(Lists<Node>& nodes, std::vector<std::int64_t> most)
      : nodes_(nodes), most_(std::move(most)), lists_(most_.size()) {}
  [[nodiscard]] std::int64_t size() const { return size_; }
  [[nodiscard]] std::int64_t lowest_most() const { return most_.front(); }
  // Into the lowest segment with room; into segment 0 when none has.
  void insert(ObjectId id) {
    std::size_t s = 0;
    while (s < most_.size() && lists_[s].size >= most_[s]) ++s;
    place(id, s == most_.size() ? 0 : s);
    ++size_;
  }
  // What falls out of segment 0 (which is overfull when the capacity is no multiple of the number
  // of segments) goes to `leaving`.
  template <class Free>
  void hit(ObjectId id, Leaving& leaving, Free free) {
    const std::size_t s = nodes_[id].segment;
    if (s + 1 == lists_.size()) return nodes_.move_newest(lists_[s], id);
    nodes_.remove(lists_[s], id);
    place(id, s + 1);
    std::size_t at = s + 1;
    for (; at > 0 && lists_[at].size > most_[at]; --at)
      place(nodes_.pop_oldest(lists_[at]), at - 1);
    while (at == 0 && lists_[0].size > most_[0]) {
      const ObjectId out = oldest_of(lists_[0], free);
      if (out == kNoObject) return;
      remove(out);
      leaving.add(out);
    }
  }
  void remove(ObjectId id) {
    nodes_.remove(lists_[nodes_[id].segment], id);
    --size_;
  }
  // The oldest of the lowest segment of which free(id) is true, or kNoObject.
  template <class Free>
  ObjectId victim(Free free) const {
    for (const List& l : lists_)
      if (const ObjectId id = oldest_of(l, free); id != kNoObject) return id;
    return kNoObject;
  }

 private:
  void place(ObjectId id, std::size_t segment) {
    nodes_[id].segment = static_cast<std::uint8_t>(segment);
    nodes_.push_newest(lists_[segment], id);
  }
  template <class Free>
  ObjectId oldest_of(const List& l, Free free) const {
    ObjectId id = l.oldest;
    while (id != kNoObject && !free(id)) id = nodes_[id].newer;
    return id;
  }
  Lists<Node>& nodes_;
  std::vector<std::int64_t> most_;
  std::vector<List> lists_;
  std::int64_t size_ = 0;
};

}  // namespace kvsim
