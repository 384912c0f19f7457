// WAIT: requests are admitted in groups. Types are classes of prompt length; a group of a type
// comes in when `group` of its requests wait (in the fluid model, as many as arrive while one batch
// is served keep the memory full and no fuller), so that iterations with prompts are few and large.
// Memory stays within its limit because a group is admitted as far as there is room, in order of
// arrival. Who waits longer than max_wait, and the oldest when nothing runs, comes in without a
// group.
#include <algorithm>
#include <vector>

#include "policies/scheduler/scheduler.h"

namespace kvsim {
namespace {

class Wait final : public Scheduler {
 public:
  struct Params {
    std::vector<std::int64_t> edges{512, 2048};
    std::int64_t group = 4;
    Duration max_wait{std::chrono::seconds(1)};
    static constexpr Rows kFields{
        field("edges", &Params::edges, between<std::int64_t>(1, 1 << 30),
              "prompt tokens at which the next type begins, ascending; none = one type"),
        field("group", &Params::group, between<std::int64_t>(1, 1 << 20),
              "requests of a type that are admitted together (the threshold n of the fluid model)"),
        field("max_wait", &Params::max_wait, any,
              "who has waited this long comes in without a group; 0 = never")};
  };
  Wait(Params p, const Context& c) : params_(std::move(p)), rank_(c.rank) {
    if (!std::is_sorted(params_.edges.begin(), params_.edges.end()))
      throw InputError("the edges of the types must ascend");
    counts_.resize(params_.edges.size() + 1);
  }
  [[nodiscard]] Traits traits() const override {
    return {.queue = Traits::Queue::moving, .moves = true};
  }

  void prepare(std::span<const SchedulerRequest> waiting, Time now) override {
    std::fill(counts_.begin(), counts_.end(), 0);
    const SchedulerRequest* oldest = nullptr;
    for (const SchedulerRequest& r : waiting) {
      if (r.slot >= released_.size()) released_.resize(r.slot + 1);
      if (!released_[r.slot]) ++counts_[type_of(r)];
      if (oldest == nullptr || r.arrival < oldest->arrival ||
          (r.arrival == oldest->arrival && r.index < oldest->index))
        oldest = &r;
    }
    for (const SchedulerRequest& r : waiting) {
      const bool late = params_.max_wait > Duration{0} && now - r.arrival >= params_.max_wait;
      if (late || r.was_admitted || counts_[type_of(r)] >= params_.group) released_[r.slot] = true;
    }
    if (rank_->running() == 0 && oldest != nullptr) released_[oldest->slot] = true;
  }
  Standing standing(const SchedulerRequest& r, Time) override {
    return released_[r.slot] ? Standing{} : Standing::held();
  }
  void left(const SchedulerRequest& r) override {
    if (r.slot < released_.size()) released_[r.slot] = false;
  }

 private:
  [[nodiscard]] std::size_t type_of(const SchedulerRequest& r) const {
    const auto at = std::upper_bound(params_.edges.begin(), params_.edges.end(), r.prompt);
    return static_cast<std::size_t>(at - params_.edges.begin());
  }

  Params params_;
  SchedulerRank* rank_;
  std::vector<bool> released_;  // by slot
  std::vector<std::int64_t> counts_;
};

const Register<Wait> kSelf{
    "wait", "fluid-guided: requests of a type are admitted in groups",
    "Ao et al., Optimizing LLM Inference: Fluid-Guided Online Scheduling with "
    "Memory Constraints, 2025, arXiv:2504.11320"};

}  // namespace
}  // namespace kvsim
