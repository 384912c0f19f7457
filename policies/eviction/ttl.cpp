// A lease: a leaf makes room for newcomers once it has not been used for `ttl`, the oldest use
// first. While every leaf is under lease, newcomers are served without being kept.
#include "policies/eviction/leaf_policy.h"

namespace kvsim {
namespace {

struct Lease {
  double tick = 0;
  Time used{};
};

class Ttl final : public LeafColumns<Lease> {
 public:
  struct Params {
    Duration ttl = std::chrono::minutes(5);
    static constexpr Rows kFields{
        field("ttl", &Params::ttl, between<Duration>(Duration{0}, std::chrono::hours(24 * 365)),
              "time since the last use for which a block stays whatever comes")};
  };
  Ttl(Params p, const Context& c) : LeafColumns(c), ttl_(p.ttl) {}
  bool admits(const Access& a) override {
    if (!full()) return true;
    const ObjectId id = candidate();
    return id == kNoObject || a.now - at(id).used >= ttl_;
  }

 private:
  void note(const Access& a, bool) override { at(a.id) = {static_cast<double>(a.tick), a.now}; }
  void refresh(const Access& a) override { note(a, true); }
  [[nodiscard]] Rank rank(ObjectId id) const override { return {at(id).tick, 0}; }
  Duration ttl_;
};

const Register<Ttl> kSelf{"ttl", "of the leaves of the prefix tree, those unused for a time",
                          "leases for agent sessions; prompt caches of model APIs (5 min)"};

}  // namespace
}  // namespace kvsim
