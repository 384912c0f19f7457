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
  if (heap_.size() > 2 * residents_ + 1024) drop_dead();
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
    if (pinned(e.id))
      aside_.push_back(e);
    else
      queue(e.id);
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
