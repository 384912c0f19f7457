#include "policies/eviction/leaf_policy.h"

namespace kvsim {

void LeafPolicy::on_insert(const Access& a) {
  cover();
  note(a, false);
  ++residents_;
  nodes_[a.id].resident = true;
  if (const ObjectId p = objects_->parent[a.id]; p != kNoObject) ++nodes_[p].children;
  touched(a.id);
}

void LeafPolicy::on_split(const Access& upper, ObjectId lower) {
  cover();
  note(upper, false);
  inherit(upper.id, lower);
  ++residents_;
  nodes_[upper.id].resident = true;
  nodes_[upper.id].children = 1;  // the node before it has as many as it had
}

void LeafPolicy::leave(ObjectId id) {
  --residents_;
  nodes_[id].resident = false;
  const ObjectId p = objects_->parent[id];
  if (p != kNoObject && --nodes_[p].children == 0 && nodes_[p].resident) queue(p);
}

void LeafPolicy::drop_dead() {
  std::erase_if(heap_, [this](const Entry& e) { return dead(e); });
  std::make_heap(heap_.begin(), heap_.end());
}

ObjectId LeafPolicy::candidate() {
  ObjectId first = kNoObject;
  aside_.clear();
  while (!heap_.empty()) {
    const Entry e = heap_.front();
    if (!dead(e) && !pinned(e.id) && rank(e.id) <= e.rank) {
      first = e.id;
      break;
    }
    std::pop_heap(heap_.begin(), heap_.end());
    heap_.pop_back();
    if (dead(e)) continue;
    if (!pinned(e.id)) {
      queue(e.id);
    } else if (!hears_releases_) {
      aside_.push_back(e);
    }
  }
  for (const Entry& e : aside_) {
    heap_.push_back(e);
    std::push_heap(heap_.begin(), heap_.end());
  }
  return first;
}

ObjectId LeafPolicy::evict(const Access&) {
  const ObjectId victim = candidate();
  if (victim == kNoObject) return victim;
  left(victim);
  leave(victim);
  return victim;
}

}  // namespace kvsim
