#pragma once
// Objects that a policy pushed out on a hit and that the cache has not fetched yet (shed, evict).
#include <algorithm>
#include <vector>

#include "sim/state/object_table.h"

namespace kvsim {

class Leaving {
 public:
  void add(ObjectId id) { ids_.push_back(id); }
  // The first of which free(id) is true, taken out; or kNoObject.
  template <class Free>
  ObjectId take(Free free) {
    for (auto it = ids_.begin(); it != ids_.end(); ++it) {
      if (!free(*it)) continue;
      const ObjectId id = *it;
      ids_.erase(it);
      return id;
    }
    return kNoObject;
  }
  // Whether it was among them; it is no longer.
  bool forget(ObjectId id) {
    if (ids_.empty()) return false;
    const auto it = std::find(ids_.begin(), ids_.end(), id);
    if (it == ids_.end()) return false;
    ids_.erase(it);
    return true;
  }

 private:
  std::vector<ObjectId> ids_;
};

}  // namespace kvsim
