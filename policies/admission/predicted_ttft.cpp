// Early rejection: who would not see its first token in time is refused at once, so that its work
// is not done in vain. It waits at least as long as the prompts before it and its own take to be
// computed, each alone, and as the queue takes to be admitted as fast as the last were. What the
// iteration under way still takes is not counted.
#include <algorithm>

#include "policies/admission/admission.h"

namespace kvsim {
namespace {

class PredictedTtft final : public Admission {
 public:
  struct Params {
    std::optional<Duration> limit;
    double factor = 1.0;
    static constexpr Rows kFields{
        field("limit", &Params::limit, any, "most predicted TTFT; default: slo.ttft"),
        field("factor", &Params::factor, between(0.01, 100.0),
              "the time to compute is multiplied by this: above 1 for batches that decode beside "
              "the prompts, below for prefixes that are found")};
  };
  PredictedTtft(Params p, const Context& c) : params_(p), steps_(c.steps) {
    if (p.limit) return;
    if (!c.ttft)
      throw InputError("there is no limit to compare with",
                       "set engine.admission.limit, or slo.ttft");
    params_.limit = c.ttft;
  }
  const char* refuse(const AdmissionQuestion& q) override {
    const double compute = to_seconds(q.backlog + steps_->prefill(0, q.prompt)) * params_.factor;
    const double queue = static_cast<double>(q.waiting) * to_seconds(q.admission_gap);
    return to_seconds(q.waited) + std::max(compute, queue) > to_seconds(*params_.limit)
               ? "its first token was predicted to come too late"
               : nullptr;
  }

 private:
  Params params_;
  const StepEstimator* steps_;
};

const Register<PredictedTtft> kSelf{
    "predicted-ttft", "refuses who would see its first token too late",
    "early rejection: Qin et al., Mooncake, FAST 2025, section 7 (there over two pools)"};

}  // namespace
}  // namespace kvsim
