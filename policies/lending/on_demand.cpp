// Memory is borrowed by those who cannot go on without it, and by nobody else.
#include "policies/lending/lending.h"

namespace kvsim {
namespace {

class OnDemand final : public LendingPolicy {
 public:
  struct Params {
    static constexpr Rows<> kFields{};
  };
  OnDemand(Params, const Context&) {}
  void plan(std::span<const LendingView>, const LendingPrices&, std::vector<Loan>&) override {}
};

const Register<OnDemand> kSelf{"on-demand",
                               "an instance borrows what its running requests lack, no more",
                               "lending without a plan: what greedy is measured against"};

}  // namespace
}  // namespace kvsim
