// Blocks that waiting requests need go last (ObjectTable::queued); otherwise leaves by last use.
#include "policies/eviction/leaf_policy.h"

namespace kvsim {
namespace {

class LookAhead final : public LeafColumns<> {
 public:
  struct Params {
    static constexpr Rows<> kFields{};
  };
  LookAhead(Params, const Context& c) : LeafColumns(c) {}

 private:
  void note(const Access& a, bool) override { at(a.id).tick = static_cast<double>(a.tick); }
  void refresh(const Access& a) override { at(a.id).tick = static_cast<double>(a.tick); }
  // Falls only when a request is served, which touches its blocks.
  [[nodiscard]] Rank rank(ObjectId id) const override {
    return {objects_->queued[id] > 0 ? 1.0 : 0.0, at(id).tick};
  }
};

const Register<LookAhead> kSelf{
    "look-ahead", "of the leaves of the prefix tree, those no waiting request needs first, by age",
    "Gao et al., CachedAttention, ATC 2024"};

}  // namespace
}  // namespace kvsim
