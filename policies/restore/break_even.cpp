// Loads when that is faster than computing: bytes / bandwidth against the prefill of these tokens.
// The border in bandwidth is the reuse bound of Mooncake.
#include "policies/restore/restore.h"

namespace kvsim {
namespace {

class BreakEven final : public RestorePlanner {
 public:
  struct Params {
    static constexpr Rows<> kFields{};
  };
  BreakEven(Params, const Context&) {}
  RestorePlan plan(const RestoreQuestion& q) override {
    return shorter(recompute_all(q), load_all(q));
  }
};

const Register<BreakEven> kSelf{"break-even", "loads all or computes all, whichever is faster",
                                "Qin et al., Mooncake, FAST 2025, section on the reuse bound"};

}  // namespace
}  // namespace kvsim
