// RAGCache: Greedy-Dual-Size-Frequency on the leaves of a prefix tree. Priority = clock + uses *
// cost of a block, where the clock is the priority of the last victim, and blocks cost more to
// recompute the deeper they lie, because attention reads all that comes before.
#include "policies/eviction/leaf_policy.h"

namespace kvsim {
namespace {

struct Value {
  double uses = 0, priority = 0, tick = 0;
};

class Pgdsf final : public LeafColumns<Value> {
 public:
  struct Params {
    double position_cost = 0.017;
    static constexpr Rows kFields{
        field("position_cost", &Params::position_cost, between(0.0, 1e6),
              "a block's cost grows by this share of the first's with each block before it; "
              "Llama-3-8B, 512 tokens: 4 * 32 layers * 4096 * 512 / (2 * 8.03e9) = 0.017")};
  };
  Pgdsf(Params p, const Context& c) : LeafColumns(c), position_cost_(p.position_cost) {}

 private:
  void note(const Access& a, bool hit) override {
    Value& v = at(a.id);
    const double uses = hit ? v.uses + 1 : 1;
    v = {uses, clock_ + uses * (1 + position_cost_ * depth(a.id)), static_cast<double>(a.tick)};
  }
  void refresh(const Access& a) override { at(a.id).tick = static_cast<double>(a.tick); }
  [[nodiscard]] Rank rank(ObjectId id) const override { return {at(id).priority, at(id).tick}; }
  void left(ObjectId id) override { clock_ = std::max(clock_, at(id).priority); }
  double position_cost_;
  double clock_ = 0;
};

const Register<Pgdsf> kSelf{"pgdsf",
                            "of the leaves of the prefix tree, least clock + uses * recompute cost",
                            "Jin et al., RAGCache, 2024 (prefix-aware GDSF)"};

}  // namespace
}  // namespace kvsim
