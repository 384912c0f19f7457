// Leaves used only once go before leaves used again; each kind by its last use.
#include "policies/eviction/leaf_policy.h"

namespace kvsim {
namespace {

struct UseCount {
  std::int64_t uses = 0;
  double tick = 0;
};

class LeafSlru final : public LeafColumns<UseCount> {
 public:
  struct Params {
    std::int64_t protect_after = 2;
    static constexpr Rows kFields{
        field("protect_after", &Params::protect_after, between<std::int64_t>(1, 1'000'000),
              "uses while in the cache, the first included, that earn protection")};
  };
  LeafSlru(Params p, const Context& c) : LeafColumns(c), after_(p.protect_after) {}

 private:
  void note(const Access& a, bool hit) override {
    UseCount& u = at(a.id);
    u = {hit ? u.uses + 1 : 1, static_cast<double>(a.tick)};
  }
  void refresh(const Access& a) override { at(a.id).tick = static_cast<double>(a.tick); }
  void inherit(ObjectId upper, ObjectId lower) override { at(upper).uses = at(lower).uses; }
  [[nodiscard]] Rank rank(ObjectId id) const override {
    const UseCount& u = at(id);
    return {u.uses >= after_ ? 1.0 : 0.0, u.tick};
  }
  std::int64_t after_;
};

const Register<LeafSlru> kSelf{"leaf-slru",
                               "of the leaves of the prefix tree, those used once first, by age",
                               "SGLang 0.5, radix eviction policy slru"};

}  // namespace
}  // namespace kvsim
