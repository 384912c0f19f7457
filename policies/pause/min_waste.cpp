// The least of three wastes, each memory times time. For a context of C tokens:
//   keep     T_tool C
//   discard  T_forward(C) (C + others): it holds memory while computed again, and so do the others
//            that wait for that
//   swap     2 T_copy(C) C: it holds memory during both copies, which run beside the iterations;
//            where a copy stops the batch (`copies_stop`), 2 T_copy(C) (C + others)
// INFERCEPT counts the last in the second form, and hides copies as far as a budget goes.
#include <algorithm>

#include "policies/pause/pause.h"
#include "sim/base/random.h"

namespace kvsim {
namespace {

class MinWaste final : public PausePolicy {
 public:
  struct Params {
    double error = 0;
    bool swap = true, copies_stop = false;
    static constexpr Rows kFields{
        field("error", &Params::error, between(0.0, 10.0),
              "pauses are believed wrong by a lognormal factor: deviation of its logarithm; 0 = "
              "known"),
        field("swap", &Params::swap, any, "host memory may be used"),
        field("copies_stop", &Params::copies_stop, any,
              "a copy is charged with the memory of the whole batch, as if it stopped it")};
  };
  MinWaste(Params p, const Context& c) : params_(p), random_(c.seed, "pause/min-waste") {}
  [[nodiscard]] bool swaps() const override { return params_.swap; }
  PauseFate decide(const PauseQuestion& q) override {
    double pause = to_seconds(q.pause);
    if (params_.error > 0) pause *= random_.at(q.request).at(q.call).lognormal(0.0, params_.error);
    const auto own = static_cast<double>(q.context);
    const double batch = own + static_cast<double>(q.others);
    const double keep = pause * own, discard = to_seconds(q.recompute) * batch;
    PauseFate best = keep <= discard ? PauseFate::keep : PauseFate::discard;
    if (!params_.swap || !q.copy) return best;
    const double swap = 2 * to_seconds(*q.copy) * (params_.copies_stop ? batch : own);
    if (swap < std::min(keep, discard)) best = PauseFate::swap;
    return best;
  }

 private:
  Params params_;
  Rng random_;
};

const Register<MinWaste> kSelf{"min-waste", "keep, discard or swap, whatever wastes least memory",
                               "Abhyankar et al., INFERCEPT, ICML 2024, arXiv:2402.01869"};

}  // namespace
}  // namespace kvsim
