#pragma once
// Doubly linked lists over dense object ids, from which most policies make their order. A node
// stands in at most one list of a Lists; what else a policy keeps of an object lies beside the
// links, so that an access touches one cache line.
#include <vector>

#include "policies/eviction/eviction.h"

namespace kvsim {

struct ListLink {
  ObjectId older = kNoObject, newer = kNoObject;
};

struct List {
  ObjectId oldest = kNoObject, newest = kNoObject;
  std::int64_t size = 0;
};
struct UncountedList {
  ObjectId oldest = kNoObject, newest = kNoObject;
};

template <class Node>  // derives from ListLink
class Lists {
 public:
  void cover(std::size_t objects) {
    if (nodes_.size() < objects) nodes_.resize(objects);
  }
  [[nodiscard]] std::size_t size() const { return nodes_.size(); }
  Node& operator[](ObjectId id) { return nodes_[id]; }
  const Node& operator[](ObjectId id) const { return nodes_[id]; }

  template <class L>
  void push_newest(L& list, ObjectId id) {
    Node& n = nodes_[id];
    n.older = list.newest;
    n.newer = kNoObject;
    (list.newest == kNoObject ? list.oldest : nodes_[list.newest].newer) = id;
    list.newest = id;
    if constexpr (requires { list.size; }) ++list.size;
  }
  template <class L>
  void remove(L& list, ObjectId id) {
    const Node& n = nodes_[id];
    (n.older == kNoObject ? list.oldest : nodes_[n.older].newer) = n.newer;
    (n.newer == kNoObject ? list.newest : nodes_[n.newer].older) = n.older;
    if constexpr (requires { list.size; }) --list.size;
  }
  template <class L>
  void move_newest(L& list, ObjectId id) {
    if (list.newest == id) return;
    remove(list, id);
    push_newest(list, id);
  }
  template <class L>
  ObjectId pop_oldest(L& list) {
    const ObjectId id = list.oldest;
    if (id != kNoObject) remove(list, id);
    return id;
  }
  void prefetch(ObjectId id) const {
    if (id < nodes_.size()) __builtin_prefetch(&nodes_[id], 1);
  }

 private:
  std::vector<Node> nodes_;
};

// A policy whose whole knowledge of an object is one node.
template <class Node>
class ListPolicy : public EvictionPolicy {
 public:
  void prefetch(ObjectId id) const override { nodes_.prefetch(id); }

 protected:
  explicit ListPolicy(const Context& c) : EvictionPolicy(c) { nodes_.cover(objects_->size()); }
  // The node of an object that may be new to this policy.
  Node& node(ObjectId id) {
    if (id >= nodes_.size()) nodes_.cover(objects_->size());
    return nodes_[id];
  }
  // The oldest that may leave; kNoObject when all are pinned.
  template <class L>
  [[nodiscard]] ObjectId oldest_free(const L& list) const {
    ObjectId id = list.oldest;
    while (id != kNoObject && pinned(id)) id = nodes_[id].newer;
    return id;
  }
  Lists<Node> nodes_;
};

}  // namespace kvsim
