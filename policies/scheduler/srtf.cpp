// Shortest remaining time first: SJF that displaces whoever has more left. A displaced request's KV
// is given up or swapped out, as engine.preemption says; the work that it will have to repeat
// counts as left.
#include "policies/scheduler/job_size.h"

namespace kvsim {
namespace {

class Srtf final : public Scheduler {
 public:
  struct Params {
    SizeBy by = SizeBy::time;
    double error = 0, margin = 0;
    static constexpr Rows kFields{
        field("by", &Params::by, any,
              "size of a job: time it takes alone, tokens to be computed, or output tokens"),
        field("error", &Params::error, between(0.0, 10.0),
              "the output length is believed wrong by a lognormal factor: deviation of its "
              "logarithm; 0 = known"),
        field("margin", &Params::margin, between(0.0, 1.0),
              "who is displaced has more left than the newcomer by this share of its own at "
              "least")};
  };
  Srtf(Params p, const Context& c) : size_(p.by, p.error, c), keep_(1 - p.margin) {}
  [[nodiscard]] Traits traits() const override {
    return {.queue = Traits::Queue::fixed, .ranks_running = true, .preempts = true};
  }
  Standing standing(const SchedulerRequest& r, Time) override { return {0, size_.left(r)}; }
  bool displaces(const SchedulerRequest& waiting, const SchedulerRequest& running, Time) override {
    return size_.left(waiting) < size_.left(running) * keep_;
  }

 private:
  JobSize size_;
  double keep_;
};

const Register<Srtf> kSelf{"srtf", "the least work left first; displaces who has more",
                           "Schrage 1968, doi:10.1287/opre.16.3.687"};

}  // namespace
}  // namespace kvsim
