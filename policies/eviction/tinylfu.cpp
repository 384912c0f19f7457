// TinyLFU admission in front of a plain LRU: a newcomer is kept only when the sketch has seen it
// more often than the object that would leave for it.
#include "policies/eviction/lists.h"
#include "policies/eviction/sketch.h"

namespace kvsim {
namespace {

class TinyLfu final : public ListPolicy<ListLink> {
 public:
  struct Params {
    std::int64_t sample = 10;
    static constexpr Rows kFields{
        field("sample", &Params::sample, between(std::int64_t{1}, std::int64_t{1'000'000}),
              "the sketch is halved after so many accesses per object of capacity")};
  };
  TinyLfu(Params p, const Context& c)
      : ListPolicy(c), sketch_(capacity_), halve_after_(p.sample * capacity_) {}
  void on_hit(const Access& a) override {
    count(a.id);
    nodes_.move_newest(order_, a.id);
  }
  void on_miss(const Access& a) override {
    node(a.id);
    count(a.id);
  }
  bool admits(const Access& a) override {
    if (order_.size < capacity_) return true;
    const ObjectId victim = oldest_free(order_);
    return victim != kNoObject && seen(a.id) > seen(victim);
  }
  void on_insert(const Access& a) override {
    node(a.id);
    nodes_.push_newest(order_, a.id);
  }
  void on_remove(ObjectId id) override { nodes_.remove(order_, id); }
  ObjectId evict(const Access&) override {
    const ObjectId id = oldest_free(order_);
    if (id != kNoObject) nodes_.remove(order_, id);
    return id;
  }

 private:
  [[nodiscard]] std::uint32_t seen(ObjectId id) const {
    return sketch_.estimate(FrequencySketch::key_of(objects_->key[id]));
  }
  void count(ObjectId id) {
    sketch_.add(FrequencySketch::key_of(objects_->key[id]));
    if (++counted_ < halve_after_) return;
    counted_ = 0;
    sketch_.halve();
  }
  FrequencySketch sketch_;
  std::int64_t halve_after_, counted_ = 0;
  List order_;
};

const Register<TinyLfu> kSelf{"tinylfu", "LRU behind admission by a frequency sketch",
                              "Einziger, Friedman and Manes, ACM TOS 2017"};

}  // namespace
}  // namespace kvsim
