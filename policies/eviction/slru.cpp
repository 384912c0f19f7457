// Segmented LRU with equal segments.
#include "policies/eviction/segments.h"

namespace kvsim {
namespace {

class Slru final : public ListPolicy<SegmentNode> {
 public:
  struct Params {
    int segments = 4;
    bool tiny = false;
    static constexpr Rows kFields{
        field("segments", &Params::segments, between(1, 16), "number of segments of equal size"),
        field("tiny", &Params::tiny, any,
              "a capacity below the number of segments still keeps objects; false keeps nothing, "
              "as libCacheSim does")};
  };
  Slru(Params p, const Context& c)
      : ListPolicy(c),
        order_(nodes_, std::vector<std::int64_t>(
                           static_cast<std::size_t>(p.segments),
                           std::max<std::int64_t>(p.tiny ? 1 : 0, capacity_ / p.segments))) {}
  void on_hit(const Access& a) override {
    if (leaving_.forget(a.id)) return order_.insert(a.id);
    order_.hit(a.id, leaving_, [this](ObjectId id) { return !pinned(id); });
  }
  bool admits(const Access&) override { return order_.lowest_most() >= 1; }
  void on_insert(const Access& a) override {
    node(a.id);
    order_.insert(a.id);
  }
  void on_remove(ObjectId id) override {
    if (!leaving_.forget(id)) order_.remove(id);
  }
  ObjectId evict(const Access&) override {
    if (const ObjectId id = shed(); id != kNoObject) return id;
    const ObjectId id = order_.victim([this](ObjectId o) { return !pinned(o); });
    if (id != kNoObject) order_.remove(id);
    return id;
  }
  [[nodiscard]] bool sheds() const override { return true; }
  ObjectId shed() override {
    return leaving_.take([this](ObjectId o) { return !pinned(o); });
  }

 private:
  Segments<SegmentNode> order_;
  Leaving leaving_;
};

const Register<Slru> kSelf{"slru", "segmented LRU: each hit is one step up",
                           "Karedla et al., Computer 27(3), 1994; four segments as libCacheSim"};

}  // namespace
}  // namespace kvsim
