// Nested WAIT: WAIT for outputs whose length is not known. The output is cut into segments; whoever
// comes to the end of one leaves the batch, its KV stays, and goes on when `groups` of the next
// segment wait there, all together. Short requests end within the first segments; the few long ones
// advance in batches, so that the later segments never hold more KV than was foreseen for them
// (groups times the KV of a request at the segment's end, in the fluid model). Who waits longer
// than max_wait, and the oldest when nothing runs, goes on without a group. Requests of later
// segments go first: they free the most memory. Without groups these are the fluid model's
// (fluid.h), from what has come and ended so far.
#include <algorithm>
#include <vector>

#include "policies/scheduler/fluid.h"
#include "policies/scheduler/scheduler.h"

namespace kvsim {
namespace {

class NestedWait final : public Scheduler {
 public:
  struct Params {
    std::vector<std::int64_t> segments{64, 256};
    std::vector<std::int64_t> groups{4, 4, 2};
    Duration max_wait{std::chrono::seconds(1)};
    static constexpr Rows kFields{
        field("segments", &Params::segments, between<std::int64_t>(1, 1 << 30),
              "output tokens at which the second segment begins, the third and so on, ascending"),
        field("groups", &Params::groups, between<std::int64_t>(1, 1 << 20),
              "for each segment, one more than there are limits: requests that enter it together "
              "(the thresholds n of the fluid model); 1 = at once; [] = as many as the fluid model "
              "says of what has come so far"),
        field("max_wait", &Params::max_wait, any,
              "who has waited this long for a segment enters it alone; 0 = never")};
  };
  NestedWait(Params p, const Context& c)
      : params_(std::move(p)),
        rank_(c.rank),
        max_running_(c.max_running),
        fluid_(params_.segments, c.steps) {
    if (!std::is_sorted(params_.segments.begin(), params_.segments.end()))
      throw InputError("the limits of the segments must ascend");
    if (!params_.groups.empty() && params_.groups.size() != params_.segments.size() + 1)
      throw InputError("each segment needs a group",
                       "give one group more than limits in segments, or groups: [] for as many as "
                       "the fluid model says");
    groups_ = params_.groups;
    groups_.resize(params_.segments.size() + 1, 1);
    counts_.resize(groups_.size());
  }
  [[nodiscard]] Traits traits() const override {
    return {.queue = Traits::Queue::moving,
            .ranks_running = true,
            .moves = true,
            .holds_running = true};
  }

  void prepare(std::span<const SchedulerRequest> waiting, Time now) override {
    if (params_.groups.empty())
      for (std::size_t k = 0; k < groups_.size(); ++k) groups_[k] = fluid_.group(k, max_running_);
    std::fill(counts_.begin(), counts_.end(), 0);
    const SchedulerRequest* oldest = nullptr;
    for (const SchedulerRequest& r : waiting) {
      if (!may_run(r)) ++counts_[segment_of(r)];
      if (oldest == nullptr || r.arrival < oldest->arrival ||
          (r.arrival == oldest->arrival && r.index < oldest->index))
        oldest = &r;
    }
    for (const SchedulerRequest& r : waiting) {
      const std::size_t segment = segment_of(r);
      const bool late =
          params_.max_wait > Duration{0} && now - jobs_[r.slot].since >= params_.max_wait;
      if (late || counts_[segment] >= groups_[segment]) release(r);
    }
    if (rank_->running() == 0 && oldest != nullptr) release(*oldest);
  }
  Standing standing(const SchedulerRequest& r, Time) override {
    if (!may_run(r)) return Standing::held();
    return {-static_cast<std::int64_t>(segment_of(r)), 0};
  }
  void arrived(const SchedulerRequest& r, Time now) override {
    if (r.slot >= jobs_.size()) jobs_.resize(r.slot + 1);
    jobs_[r.slot] = {0, now};
    if (!r.was_admitted) fluid_.arrived(r.prompt, now);
  }
  void left(const SchedulerRequest& r) override { fluid_.ended(r.sampled); }
  void preempted(const SchedulerRequest& r, Time now) override { jobs_[r.slot].since = now; }

 private:
  struct Job {
    std::size_t released = 0;  // from the segments before this number
    Time since{};              // it waits
  };
  [[nodiscard]] std::size_t segment_of(const SchedulerRequest& r) const {
    const auto at = std::upper_bound(params_.segments.begin(), params_.segments.end(), r.sampled);
    return static_cast<std::size_t>(at - params_.segments.begin());
  }
  // A segment that is entered by one needs no release by others; who is in it stays in.
  bool may_run(const SchedulerRequest& r) {
    const std::size_t segment = segment_of(r);
    if (groups_[segment] == 1) release(r);
    return segment < jobs_[r.slot].released;
  }
  void release(const SchedulerRequest& r) {
    jobs_[r.slot].released = std::max(jobs_[r.slot].released, segment_of(r) + 1);
  }

  Params params_;
  SchedulerRank* rank_;
  std::vector<Job> jobs_;                      // by slot
  std::vector<std::int64_t> groups_, counts_;  // by segment
  std::int64_t max_running_;
  FluidModel fluid_;
};

const Register<NestedWait> kSelf{
    "nested-wait",
    "fluid-guided for unknown lengths: requests enter each segment of their output "
    "in groups",
    "Ao et al., Optimizing LLM Inference: Fluid-Guided Online Scheduling with "
    "Memory Constraints, 2025, arXiv:2504.11320"};

}  // namespace
}  // namespace kvsim
