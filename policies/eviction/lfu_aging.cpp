// LFU with dynamic ageing the way libCacheSim does it: new objects start one above the least count
// present, and a hit adds that least count. (The published LFU-DA is `gdsf` with cost and size 1.)
#include <map>

#include "policies/eviction/lists.h"

namespace kvsim {
namespace {

struct CountNode : ListLink {
  std::uint64_t count = 0;
};

class LfuAging final : public ListPolicy<CountNode> {
 public:
  struct Params {
    static constexpr Rows<> kFields{};
  };
  LfuAging(Params, const Context& c) : ListPolicy(c) {}
  void on_hit(const Access& a) override {
    CountNode& n = nodes_[a.id];
    const std::uint64_t old = n.count, fresh = old + least_;
    most_ = std::max(most_, fresh);
    take_out(a.id);
    if (least_ == old) raise_least();
    put(a.id, fresh);
  }
  void on_insert(const Access& a) override {
    node(a.id);
    put(a.id, least_ + 1);
  }
  void on_remove(ObjectId id) override {
    const std::uint64_t count = nodes_[id].count;
    take_out(id);
    if (least_ == count) raise_least();
  }
  ObjectId evict(const Access&) override {
    const auto named = by_count_.find(std::max<std::uint64_t>(least_, 1));
    ObjectId id = named == by_count_.end() ? kNoObject : oldest_free(named->second);
    for (auto it = by_count_.begin(); id == kNoObject && it != by_count_.end(); ++it)
      id = oldest_free(it->second);
    if (id == kNoObject) return id;
    least_ = nodes_[id].count;
    on_remove(id);
    return id;
  }

 private:
  void put(ObjectId id, std::uint64_t count) {
    nodes_[id].count = count;
    nodes_.push_newest(by_count_[count], id);
  }
  void take_out(ObjectId id) {
    const auto it = by_count_.find(nodes_[id].count);
    nodes_.remove(it->second, id);
    if (it->second.oldest == kNoObject) by_count_.erase(it);
  }
  // To the next count that is present, if nothing has the least one any more. Counts above those
  // that hits have reached are not looked at.
  void raise_least() {
    if (by_count_.count(least_) > 0) return;
    const auto next = by_count_.upper_bound(least_);
    if (next != by_count_.end() && next->first <= most_) least_ = next->first;
  }
  std::map<std::uint64_t, UncountedList> by_count_;  // none is empty
  std::uint64_t least_ = 0;
  std::uint64_t most_ = 0;  // that a hit has reached
};

const Register<LfuAging> kSelf{"lfu-aging", "frequency where new objects start at the least count",
                               "LFUDA of libCacheSim, after Arlitt et al. 2000"};

}  // namespace
}  // namespace kvsim
