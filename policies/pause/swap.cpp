// KV goes to host memory beside the iterations, and comes back when the tool has returned and there
// is room.
#include "policies/pause/pause.h"

namespace kvsim {
namespace {

class Swap final : public PausePolicy {
 public:
  struct Params {
    Duration least{};
    static constexpr Rows kFields{
        field("least", &Params::least, any, "shorter pauses keep their KV on the GPU")};
  };
  Swap(Params p, const Context&) : params_(p) {}
  [[nodiscard]] bool swaps() const override { return true; }
  PauseFate decide(const PauseQuestion& q) override {
    return q.pause < params_.least ? PauseFate::keep : PauseFate::swap;
  }

 private:
  Params params_;
};

const Register<Swap> kSelf{"swap", "KV goes to host memory while the tool runs",
                           "Abhyankar et al., INFERCEPT, ICML 2024, arXiv:2402.01869 (Swap)"};

}  // namespace
}  // namespace kvsim
