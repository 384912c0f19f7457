// Of the leaves the one with the fewest uses while in the cache, among those the oldest use.
#include "policies/eviction/leaf_policy.h"

namespace kvsim {
namespace {

struct UseCount {
  double uses = 0, tick = 0;
};

class LeafLfu final : public LeafColumns<UseCount> {
 public:
  struct Params {
    static constexpr Rows<> kFields{};
  };
  LeafLfu(Params, const Context& c) : LeafColumns(c) {}

 private:
  void note(const Access& a, bool hit) override {
    UseCount& u = at(a.id);
    u = {hit ? u.uses + 1 : 1, static_cast<double>(a.tick)};
  }
  void refresh(const Access& a) override { at(a.id).tick = static_cast<double>(a.tick); }
  void inherit(ObjectId upper, ObjectId lower) override { at(upper).uses = at(lower).uses; }
  [[nodiscard]] Rank rank(ObjectId id) const override { return {at(id).uses, at(id).tick}; }
};

const Register<LeafLfu> kSelf{"leaf-lfu", "of the leaves of the prefix tree, least frequently used",
                              "SGLang 0.5, radix eviction policy lfu"};

}  // namespace
}  // namespace kvsim
