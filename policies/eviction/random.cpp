// A victim drawn uniformly.
#include "policies/eviction/residents.h"

namespace kvsim {
namespace {

class Random final : public EvictionPolicy {
 public:
  struct Params {
    static constexpr Rows<> kFields{};
  };
  Random(Params, const Context& c) : EvictionPolicy(c), random_(c.random) {}
  void on_hit(const Access&) override {}
  void on_insert(const Access& a) override { residents_.add(a.id, objects_->size()); }
  void on_remove(ObjectId id) override { residents_.remove(id); }
  ObjectId evict(const Access&) override {
    const ObjectId id = residents_.any(random_, [this](ObjectId o) { return !pinned(o); });
    if (id != kNoObject) residents_.remove(id);
    return id;
  }

 private:
  Rng random_;
  Residents residents_;
};

const Register<Random> kSelf{"random", "a victim drawn uniformly", "textbook"};

}  // namespace
}  // namespace kvsim
