#pragma once
// Policies of a radix tree: a block leaves only after everything that continues it, so a cache that
// holds all ancestors of its blocks keeps doing so. As SGLang evicts: a heap of leaves by rank;
// when a leaf goes, its parent may become one.
#include <algorithm>
#include <vector>

#include "policies/eviction/eviction.h"

namespace kvsim {

class LeafPolicy : public EvictionPolicy {
 public:
  void on_hit(const Access& a) override {
    note(a, true);
    touched(a.id);
  }
  void on_insert(const Access& a) override;
  void on_release(const Access& a) override {
    hears_releases_ = true;
    refresh(a);
    touched(a.id);
  }
  void on_split(const Access& upper, ObjectId lower) override;
  void on_remove(ObjectId id) override { leave(id); }
  ObjectId evict(const Access& incoming) override;

 protected:
  // The smallest leaves first; equals by id.
  struct Rank {
    double first = 0, second = 0;
    auto operator<=>(const Rank&) const = default;
  };
  explicit LeafPolicy(const Context& c) : EvictionPolicy(c) {}
  // What the policy keeps of an object, before rank() is asked: it is hit, or inserted.
  virtual void note(const Access&, bool hit) = 0;
  // Its last user left: what ranks by time counts from here.
  virtual void refresh(const Access&) {}
  // The new first part of a node, noted as inserted just now, takes over what should be the same.
  virtual void inherit(ObjectId upper, ObjectId lower) {
    (void)upper;
    (void)lower;
  }
  // May grow between touches (an object found with a greater rank than it was queued with is queued
  // again), must not fall.
  [[nodiscard]] virtual Rank rank(ObjectId) const = 0;
  // The leaf that would be evicted now; kNoObject when all are pinned.
  ObjectId candidate();
  virtual void left(ObjectId) {}  // evicted
  [[nodiscard]] bool resident(ObjectId id) const {
    return id < nodes_.size() && nodes_[id].resident;
  }
  [[nodiscard]] bool full() const { return static_cast<std::int64_t>(residents_) >= capacity_; }
  [[nodiscard]] std::uint32_t depth(ObjectId id) const { return objects_->depth[id]; }

 private:
  struct Node {
    std::uint32_t children = 0;  // resident ones
    std::uint32_t stamp = 0;     // of its entry in the heap
    bool resident = false;
  };
  struct Entry {
    Rank rank;
    ObjectId id;
    std::uint32_t stamp;
    // Heaps put the greatest first.
    bool operator<(const Entry& o) const { return rank != o.rank ? rank > o.rank : id > o.id; }
  };
  void cover() {
    if (nodes_.size() < objects_->size()) nodes_.resize(objects_->size());
  }
  void queue(ObjectId id) {
    if (heap_.size() > 2 * residents_ + 1024) drop_dead();
    heap_.push_back({rank(id), id, ++nodes_[id].stamp});
    std::push_heap(heap_.begin(), heap_.end());
  }
  void touched(ObjectId id) {
    if (nodes_[id].children == 0) queue(id);
  }
  [[nodiscard]] bool dead(const Entry& e) const {
    const Node& n = nodes_[e.id];
    return !n.resident || n.children > 0 || n.stamp != e.stamp;
  }
  void leave(ObjectId);
  void drop_dead();

  std::vector<Node> nodes_;
  std::vector<Entry> heap_;   // leaves, and entries of objects that are no leaves any more
  std::vector<Entry> aside_;  // pinned leaves met by one search
  std::size_t residents_ = 0;
  bool hears_releases_ = false;  // so a pinned leaf comes back when it no longer is
};

// Most ranks end in the last use.
struct LastUse {
  double tick = 0;
};
template <class State = LastUse>
class LeafColumns : public LeafPolicy {
 protected:
  using LeafPolicy::LeafPolicy;
  State& at(ObjectId id) {
    if (states_.size() <= id) states_.resize(objects_->size());
    return states_[id];
  }
  const State& at(ObjectId id) const { return states_[id]; }

 private:
  std::vector<State> states_;
};

}  // namespace kvsim
