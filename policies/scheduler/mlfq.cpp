// Skip-join multi-level feedback queues (FastServe), for when lengths are not known. Each queue has
// a quantum of batch time, a multiple of the one above. A request joins the first queue whose
// quantum covers its prefill, sinks by one when it has used a quantum up, and rises to where it
// joined when it has waited too long. Whoever is in a higher queue displaces who runs in a lower
// one that has produced a token since its admission (so that everybody gets on); within a queue the
// first to come into it goes first.
//
// Time is that of the iterations in whose batch a request was, its own share or not. The KV of the
// displaced is handled as engine.preemption says; FastServe's way is mode: swap, copies: ahead.
#include <algorithm>
#include <cmath>
#include <vector>

#include "policies/scheduler/scheduler.h"

namespace kvsim {
namespace {

class Mlfq final : public Scheduler {
 public:
  struct Params {
    Duration quantum{};
    double growth = 2;
    int queues = 8;
    bool skip_join = true;
    Duration promote_after{std::chrono::seconds(10)};
    static constexpr Rows kFields{
        field("quantum", &Params::quantum, any,
              "of the highest queue; 0 = an iteration that decodes one short sequence"),
        field("growth", &Params::growth, between(1.0, 100.0),
              "quantum of each queue over the last"),
        field("queues", &Params::queues, between(1, 32),
              "how many; 1: first come, first served; nobody sinks from the lowest"),
        field("skip_join", &Params::skip_join, any,
              "newcomers join where their prefill fits; false: the highest queue"),
        field("promote_after", &Params::promote_after, any,
              "waiting this long without running rises to where it would join; 0 = never")};
  };
  Mlfq(Params p, const Context& c) : params_(p), steps_(c.steps) {
    if (steps_ == nullptr) return;
    Duration q = p.quantum > Duration{0} ? p.quantum : steps_->decode(1);
    for (int i = 0; i < p.queues; ++i) {
      quanta_.push_back(q);
      q = Duration{
          static_cast<std::int64_t>(std::min(static_cast<double>(to_ns(q)) * p.growth, 1e18))};
    }
  }
  [[nodiscard]] Traits traits() const override {
    return {.queue = Traits::Queue::moving, .ranks_running = true, .preempts = true, .moves = true};
  }

  Standing standing(const SchedulerRequest& r, Time now) override {
    Job& j = jobs_[r.slot];
    if (r.running)
      sink(j, r.attained);
    else
      rise(j, r, now);
    return {j.queue, to_seconds(j.joined - Time{})};
  }
  bool displaces(const SchedulerRequest& waiting, const SchedulerRequest& running,
                 Time now) override {
    return running.sampled > jobs_[running.slot].sampled_before &&
           standing(waiting, now).level < standing(running, now).level;
  }
  // It runs until it sinks; in the lowest queue for that queue's quantum.
  Turn turn(const SchedulerRequest& r, Time now) override {
    const Job& j = jobs_[r.slot];
    Turn t;
    const Duration used = j.queue + 1 < params_.queues ? r.attained - j.used_before : Duration{0};
    t.length = std::max(Duration{0}, quanta_[static_cast<std::size_t>(j.queue)] - used);
    if (!r.running && params_.promote_after > Duration{0} && r.sampled != j.sampled_risen &&
        entrance(r) < j.queue)
      t.promotion = std::max(Duration{0}, params_.promote_after - (now - j.waits_since));
    return t;
  }
  void admitted(const SchedulerRequest& r, Time) override {
    jobs_[r.slot].sampled_before = r.sampled;
  }
  void arrived(const SchedulerRequest& r, Time now) override {
    if (r.slot >= jobs_.size()) jobs_.resize(r.slot + 1);
    Job& j = jobs_[r.slot] = {};
    join(j, entrance(r), r, now);
    j.waits_since = now;
  }
  void preempted(const SchedulerRequest& r, Time now) override {
    Job& j = jobs_[r.slot];
    sink(j, r.attained);
    j.waits_since = now;
  }

 private:
  struct Job {
    int queue = 0;
    Duration used_before{};  // of its batch time, before it came into this queue
    Time joined{}, waits_since{};
    std::int64_t sampled_before = 0;  // its present admission
    std::int64_t sampled_risen = -1;  // when it rose last
  };
  // The moment it sinks is counted in its own batch time, so that it does not matter when it is
  // asked for.
  void sink(Job& j, Duration attained) {
    while (j.queue + 1 < params_.queues &&
           attained - j.used_before >= quanta_[static_cast<std::size_t>(j.queue)]) {
      const Duration used = quanta_[static_cast<std::size_t>(j.queue)];
      j.used_before += used;
      j.joined += used;
      ++j.queue;
    }
  }
  void rise(Job& j, const SchedulerRequest& r, Time now) {
    // Once for each token: two that rise over each other in turn would both never get on.
    if (r.sampled == j.sampled_risen || params_.promote_after == Duration{0} ||
        now - j.waits_since <= params_.promote_after)
      return;
    j.sampled_risen = r.sampled;
    if (const int queue = entrance(r); queue < j.queue) join(j, queue, r, now);
  }
  void join(Job& j, int queue, const SchedulerRequest& r, Time now) {
    j.queue = queue;
    j.used_before = r.attained;
    j.joined = now;
  }
  [[nodiscard]] int entrance(const SchedulerRequest& r) const {
    if (!params_.skip_join) return 0;
    const Duration prefill = steps_->prefill(r.computed, r.known());
    int queue = 0;
    while (queue + 1 < params_.queues && quanta_[static_cast<std::size_t>(queue)] < prefill)
      ++queue;
    return queue;
  }

  Params params_;
  const StepEstimator* steps_;
  std::vector<Duration> quanta_;
  std::vector<Job> jobs_;  // by slot
};

const Register<Mlfq> kSelf{"mlfq",
                           "skip-join multi-level feedback queues: lengths need not be known",
                           "Wu et al., FastServe, arXiv:2305.05920 (NSDI 2026)"};

}  // namespace
}  // namespace kvsim
