// Least slack first: who could begin the latest ago and still be in time goes first. Slack is the
// time to its next token's deadline less the time that its known tokens take to be computed alone.
#include "policies/scheduler/deadline.h"

namespace kvsim {
namespace {

class LeastSlack final : public Scheduler {
 public:
  struct Params {
    DeadlineParams deadline;
    bool late_last = false;
    static constexpr Rows kFields{field("deadline", &Params::deadline, any, "when tokens are due"),
                                  field("late_last", &Params::late_last, any,
                                        "who cannot be in time any more goes behind all that can")};
  };
  LeastSlack(Params p, const Context& c)
      : params_(std::move(p)), deadline_(params_.deadline, c), steps_(c.steps) {}
  [[nodiscard]] Traits traits() const override {
    return {.queue = Traits::Queue::moving, .moves = params_.late_last};
  }
  Standing standing(const SchedulerRequest& r, Time now) override {
    const double latest = deadline_.next(r) - to_seconds(steps_->prefill(r.computed, r.known()));
    return {params_.late_last && latest < to_seconds(now - Time{}) ? 1 : 0, latest};
  }

 private:
  Params params_;
  Deadline deadline_;
  const StepEstimator* steps_;
};

const Register<LeastSlack> kSelf{"least-slack", "least time to spare before its deadline first",
                                 "least laxity: Mok 1983, MIT LCS TR-297"};

}  // namespace
}  // namespace kvsim
