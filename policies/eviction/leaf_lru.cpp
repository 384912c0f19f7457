// SGLang's radix cache by default: of the leaves, the one used longest ago.
#include "policies/eviction/leaf_policy.h"

namespace kvsim {
namespace {

class LeafLru final : public LeafColumns<> {
 public:
  struct Params {
    static constexpr Rows<> kFields{};
  };
  LeafLru(Params, const Context& c) : LeafColumns(c) {}

 private:
  void note(const Access& a, bool) override { at(a.id).tick = static_cast<double>(a.tick); }
  void refresh(const Access& a) override { at(a.id).tick = static_cast<double>(a.tick); }
  [[nodiscard]] Rank rank(ObjectId id) const override { return {at(id).tick, 0}; }
};

const Register<LeafLru> kSelf{"leaf-lru", "of the leaves of the prefix tree, least recently used",
                              "Zheng et al., SGLang, 2023 (RadixAttention)"};

}  // namespace
}  // namespace kvsim
