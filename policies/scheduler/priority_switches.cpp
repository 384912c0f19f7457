// Priorities that change while requests wait and run, the load that context switching is measured
// under (FastSwitch): every so often each request draws a new one. Who is more urgent than somebody
// who runs displaces it once that has produced a token since it was admitted, so that everybody
// gets on. Within a priority the first to arrive goes first.
#include <vector>

#include "policies/scheduler/scheduler.h"
#include "sim/base/random.h"

namespace kvsim {
namespace {

class PrioritySwitches final : public Scheduler {
 public:
  struct Params {
    Duration every{std::chrono::seconds(1)};
    int levels = 4;
    double stays = 0;
    static constexpr Rows kFields{
        field("every", &Params::every, between(Duration{1}, Duration{std::chrono::hours(24)}),
              "between two draws of all priorities"),
        field("levels", &Params::levels, between(1, 1 << 20), "priorities, all as likely"),
        field("stays", &Params::stays, between(0.0, 0.99),
              "share of the requests that a draw leaves as they are (0: random, near 1: one after "
              "another)")};
  };
  PrioritySwitches(Params p, const Context& c)
      : params_(p), random_(c.seed, "scheduler/switches") {}
  [[nodiscard]] Traits traits() const override {
    return {.queue = Traits::Queue::moving, .ranks_running = true, .preempts = true, .moves = true};
  }
  Standing standing(const SchedulerRequest& r, Time now) override {
    return {level(r.index, to_ns(now - Time{}) / to_ns(params_.every)), 0};
  }
  bool displaces(const SchedulerRequest& waiting, const SchedulerRequest& running,
                 Time now) override {
    return running.sampled > sampled_before_[running.slot] &&
           standing(waiting, now).level < standing(running, now).level;
  }
  void admitted(const SchedulerRequest& r, Time) override {
    if (r.slot >= sampled_before_.size()) sampled_before_.resize(r.slot + 1);
    sampled_before_[r.slot] = r.sampled;
  }

 private:
  // As its last draw that did not leave it has it.
  [[nodiscard]] std::int64_t level(std::uint64_t request, std::int64_t draw) const {
    const Rng own = random_.at(request);
    for (;; --draw) {
      Rng rng = own.at(static_cast<std::uint64_t>(draw));
      if (draw == 0 || rng.uniform() >= params_.stays)
        return static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(params_.levels)));
    }
  }

  Params params_;
  Rng random_;
  std::vector<std::int64_t> sampled_before_;  // by slot: its present admission
};

const Register<PrioritySwitches> kSelf{
    "priority-switches", "by a priority that is drawn anew every so often; displaces who has less",
    "Shen et al., FastSwitch, 2024, arXiv:2411.18424"};

}  // namespace
}  // namespace kvsim
