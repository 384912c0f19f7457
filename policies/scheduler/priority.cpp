// The request's own priority, lower numbers first: vLLM's policy `priority`. Who waits never
// displaces who runs; when KV blocks are short, the least urgent of the running is preempted.
// (SGLang's policy of that name takes larger numbers first, and lets them displace.)
#include "policies/scheduler/scheduler.h"

namespace kvsim {
namespace {

class Priority final : public Scheduler {
 public:
  struct Params {
    bool preempt = false;
    std::int64_t margin = 0;
    static constexpr Rows kFields{
        field("preempt", &Params::preempt, any,
              "a waiting request displaces running ones that are less urgent (SGLang)"),
        field("margin", &Params::margin, between<std::int64_t>(0, 1'000'000),
              "by more than this (SGLang: 10)")};
  };
  Priority(Params p, const Context&) : params_(p) {}
  [[nodiscard]] Traits traits() const override {
    return {.queue = Traits::Queue::fixed, .ranks_running = true, .preempts = params_.preempt};
  }
  Standing standing(const SchedulerRequest& r, Time) override { return {r.priority, 0}; }
  bool displaces(const SchedulerRequest& waiting, const SchedulerRequest& running, Time) override {
    return waiting.priority + params_.margin < running.priority;
  }

 private:
  Params params_;
};

const Register<Priority> kSelf{"priority", "lower priority numbers first; the highest is preempted",
                               "vLLM v1, scheduling policy priority"};

}  // namespace
}  // namespace kvsim
