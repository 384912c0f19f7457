// Shortest job first: who waits goes by the work it still needs; nobody who runs is displaced.
#include "policies/scheduler/job_size.h"

namespace kvsim {
namespace {

class Sjf final : public Scheduler {
 public:
  struct Params {
    SizeBy by = SizeBy::time;
    double error = 0;
    static constexpr Rows kFields{
        field("by", &Params::by, any,
              "size of a job: time it takes alone, tokens to be computed, or output tokens"),
        field("error", &Params::error, between(0.0, 10.0),
              "the output length is believed wrong by a lognormal factor: deviation of its "
              "logarithm; 0 = known")};
  };
  Sjf(Params p, const Context& c) : size_(p.by, p.error, c) {}
  [[nodiscard]] Traits traits() const override { return {.queue = Traits::Queue::fixed}; }
  Standing standing(const SchedulerRequest& r, Time) override { return {0, size_.left(r)}; }

 private:
  JobSize size_;
};

const Register<Sjf> kSelf{
    "sjf", "the shortest first, by predicted length, without preemption",
    "textbook; predicted lengths: Fu et al., Efficient LLM Scheduling by Learning to Rank, 2024"};

}  // namespace
}  // namespace kvsim
