// Hyperbolic caching: of a sample, the object with the fewest accesses per time in the cache.
#include "policies/eviction/residents.h"

namespace kvsim {
namespace {

class Hyperbolic final : public EvictionPolicy {
 public:
  struct Params {
    int samples = 64;
    static constexpr Rows kFields{
        field("samples", &Params::samples, between(1, 4096),
              "objects drawn per eviction, with repetition; the age is counted in accesses")};
  };
  Hyperbolic(Params p, const Context& c)
      : EvictionPolicy(c), samples_(p.samples), random_(c.random) {}
  void on_hit(const Access& a) override { ++known_[a.id].count; }
  void on_insert(const Access& a) override {
    residents_.add(a.id, objects_->size());
    if (known_.size() < objects_->size()) known_.resize(objects_->size());
    known_[a.id] = {a.tick, 1};
  }
  void on_remove(ObjectId id) override { residents_.remove(id); }
  ObjectId evict(const Access& incoming) override {
    if (residents_.size() == 0) return kNoObject;
    ObjectId worst = kNoObject;
    double lowest = 0;
    for (int i = 0; i < samples_; ++i) {
      const ObjectId id = residents_.draw(random_);
      if (pinned(id)) continue;
      const Known& k = known_[id];
      const double score = static_cast<double>(k.count) /
                           static_cast<double>(std::max<std::int64_t>(incoming.tick - k.since, 1));
      if (worst != kNoObject && score >= lowest) continue;
      worst = id;
      lowest = score;
    }
    if (worst == kNoObject)
      worst = residents_.any(random_, [this](ObjectId o) { return !pinned(o); });
    if (worst != kNoObject) residents_.remove(worst);
    return worst;
  }

 private:
  struct Known {
    std::int64_t since = 0, count = 0;
  };
  int samples_;
  Rng random_;
  Residents residents_;
  std::vector<Known> known_;
};

const Register<Hyperbolic> kSelf{"hyperbolic", "fewest accesses per time in the cache, by sampling",
                                 "Blankstein, Sen and Freedman, USENIX ATC 2017"};

}  // namespace
}  // namespace kvsim
