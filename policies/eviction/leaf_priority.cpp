// Leaves of the least important requests first, among those the oldest use. A block is as important
// as the most important request that used it.
#include "policies/eviction/leaf_policy.h"

namespace kvsim {
namespace {

struct Importance {
  std::int32_t priority = 0;
  double tick = 0;
};

class LeafPriority final : public LeafColumns<Importance> {
 public:
  struct Params {
    static constexpr Rows<> kFields{};
  };
  LeafPriority(Params, const Context& c) : LeafColumns(c) {}

 private:
  void note(const Access& a, bool hit) override {
    Importance& i = at(a.id);
    i = {hit ? std::min(i.priority, a.priority) : a.priority, static_cast<double>(a.tick)};
  }
  void refresh(const Access& a) override { at(a.id).tick = static_cast<double>(a.tick); }
  void inherit(ObjectId upper, ObjectId lower) override { at(upper).priority = at(lower).priority; }
  [[nodiscard]] Rank rank(ObjectId id) const override {
    return {-static_cast<double>(at(id).priority), at(id).tick};
  }
};

const Register<LeafPriority> kSelf{
    "leaf-priority", "of the leaves of the prefix tree, those of unimportant requests first",
    "SGLang 0.5, radix eviction policy priority"};

}  // namespace
}  // namespace kvsim
