// Belady's MIN: evicts what is used farthest in the future. Needs Access::next_use.
#include "policies/eviction/lists.h"
#include "policies/eviction/tick_set.h"

namespace kvsim {
namespace {

struct BeladyNode : ListLink {  // links: objects that are never used again
  std::int64_t next_use = kNoNextUse;
};

class Belady final : public ListPolicy<BeladyNode> {
 public:
  struct Params {
    bool bypass = false;
    static constexpr Rows kFields{
        field("bypass", &Params::bypass, any,
              "an object that is never used again, or later than all residents of a full cache, "
              "is not kept: the fewest misses possible; false always inserts, as libCacheSim")};
  };
  Belady(Params p, const Context& c) : ListPolicy(c), bypass_(p.bypass) {}
  [[nodiscard]] bool needs_future() const override { return true; }
  void on_hit(const Access& a) override {
    forget(a.id);
    remember(a);
  }
  bool admits(const Access& a) override {
    if (!bypass_) return true;
    if (a.next_use == kNoNextUse) return false;
    return size_ < capacity_ || never_.oldest != kNoObject ||
           a.next_use < ticks_.last_before(kNoNextUse);
  }
  void on_insert(const Access& a) override {
    node(a.id);
    remember(a);
    ++size_;
  }
  void on_remove(ObjectId id) override {
    forget(id);
    --size_;
  }
  ObjectId evict(const Access&) override {
    ObjectId id = oldest_free(never_);
    for (std::int64_t at = kNoNextUse; id == kNoObject;) {
      at = ticks_.last_before(at);
      if (at < 0) return kNoObject;
      if (!pinned(ticks_.object(at))) id = ticks_.object(at);
    }
    on_remove(id);
    return id;
  }

 private:
  void remember(const Access& a) {
    nodes_[a.id].next_use = a.next_use;
    if (a.next_use == kNoNextUse)
      nodes_.push_newest(never_, a.id);
    else
      ticks_.insert(a.next_use, a.id);
  }
  void forget(ObjectId id) {
    const std::int64_t at = nodes_[id].next_use;
    if (at == kNoNextUse)
      nodes_.remove(never_, id);
    else
      ticks_.erase(at);
  }
  bool bypass_;
  std::int64_t size_ = 0;
  UncountedList never_;
  TickSet ticks_;
};

const Register<Belady> kSelf{"belady", "farthest next use, from knowledge of the future",
                             "Belady 1966, doi:10.1147/sj.52.0078"};

}  // namespace
}  // namespace kvsim
