#pragma once
// The residents of a cache as a dense array, to draw samples from.
#include <vector>

#include "policies/eviction/eviction.h"

namespace kvsim {

class Residents {
 public:
  [[nodiscard]] std::size_t size() const { return ids_.size(); }
  [[nodiscard]] bool contains(ObjectId id) const {
    return id < place_.size() && place_[id] != kNoObject;
  }
  void add(ObjectId id, std::size_t objects) {
    if (place_.size() < objects) place_.resize(objects, kNoObject);
    place_[id] = static_cast<ObjectId>(ids_.size());
    ids_.push_back(id);
  }
  void remove(ObjectId id) {
    const ObjectId at = place_[id];
    ids_[at] = ids_.back();
    place_[ids_[at]] = at;
    ids_.pop_back();
    place_[id] = kNoObject;
  }
  [[nodiscard]] ObjectId draw(Rng& random) const { return ids_[random.below(ids_.size())]; }
  // The first from a random place on that free(id) allows; kNoObject when there is none.
  template <class Free>
  ObjectId any(Rng& random, Free free) const {
    if (ids_.empty()) return kNoObject;
    const std::size_t from = random.below(ids_.size());
    for (std::size_t i = 0; i < ids_.size(); ++i) {
      const ObjectId id = ids_[(from + i) % ids_.size()];
      if (free(id)) return id;
    }
    return kNoObject;
  }

 private:
  std::vector<ObjectId> ids_;
  std::vector<ObjectId> place_;  // in ids_; kNoObject for others
};

}  // namespace kvsim
