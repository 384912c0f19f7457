// Earliest deadline first: who waits goes by when its next token is due. With one objective for all
// that is the order of arrival; objectives that grow with the prompt, or by class, make the
// difference.
#include "policies/scheduler/deadline.h"

namespace kvsim {
namespace {

class Edf final : public Scheduler {
 public:
  struct Params {
    DeadlineParams deadline;
    bool preempt = false, late_last = false;
    static constexpr Rows kFields{
        field("deadline", &Params::deadline, any, "when tokens are due"),
        field("preempt", &Params::preempt, any,
              "who waits displaces those whose next token is due later"),
        field("late_last", &Params::late_last, any,
              "who has missed its deadline goes behind all that have not")};
  };
  Edf(Params p, const Context& c) : params_(std::move(p)), deadline_(params_.deadline, c) {}
  [[nodiscard]] Traits traits() const override {
    return {.queue = Traits::Queue::moving,
            .ranks_running = true,
            .preempts = params_.preempt,
            .moves = params_.late_last || params_.preempt};
  }
  Standing standing(const SchedulerRequest& r, Time now) override {
    const double due = deadline_.next(r);
    return {params_.late_last && !r.running && due < to_seconds(now - Time{}) ? 1 : 0, due};
  }
  // Who is late already gains nothing by it.
  bool displaces(const SchedulerRequest& waiting, const SchedulerRequest& running,
                 Time now) override {
    const double due = deadline_.next(waiting);
    return due < deadline_.next(running) && due >= to_seconds(now - Time{});
  }

 private:
  Params params_;
  Deadline deadline_;
};

const Register<Edf> kSelf{"edf", "earliest deadline first, by when the next token is due",
                          "Liu and Layland 1973, doi:10.1145/321738.321743"};

}  // namespace
}  // namespace kvsim
