// KV stays where it is: nothing to do when the tool returns, nothing for others meanwhile.
#include "policies/pause/pause.h"

namespace kvsim {
namespace {

class Keep final : public PausePolicy {
 public:
  struct Params {
    static constexpr Rows<> kFields{};
  };
  Keep(Params, const Context&) {}
  PauseFate decide(const PauseQuestion&) override { return PauseFate::keep; }
};

const Register<Keep> kSelf{"keep", "KV stays on the GPU while the tool runs",
                           "Abhyankar et al., INFERCEPT, ICML 2024, arXiv:2402.01869 (Preserve)"};

}  // namespace
}  // namespace kvsim
