#pragma once
// Deadlines of requests, from the scenario's objectives or a scheduler's own parameters.
#include <optional>
#include <vector>

#include "policies/scheduler/scheduler.h"

namespace kvsim {

struct DeadlineParams {
  std::optional<Duration> ttft, tpot;
  Duration per_token{};
  std::vector<double> classes;
  static constexpr Rows kFields{
      field("ttft", &DeadlineParams::ttft, any,
            "from arrival to the first token; default: slo.ttft"),
      field("tpot", &DeadlineParams::tpot, any,
            "for each token after it; default: slo.tpot, else as if there were none to come"),
      field("per_token", &DeadlineParams::per_token, any,
            "more time to the first token for each token of the prompt"),
      field("classes", &DeadlineParams::classes, between(1e-6, 1e6),
            "factors on all of these for requests of priority 0, 1, ...; others have 1")};
};

class Deadline {
 public:
  Deadline(const DeadlineParams& p, const Scheduler::Context& c) : params_(p) {
    if (!params_.ttft) params_.ttft = c.ttft;
    if (!params_.tpot) params_.tpot = c.tpot;
    if (!params_.ttft)
      throw InputError("there is no deadline to go by",
                       "set slo.ttft, or engine.scheduler.deadline.ttft");
  }
  // Of its next token, in seconds since the start.
  [[nodiscard]] double next(const SchedulerRequest& r) const {
    const Duration first = *params_.ttft + params_.per_token * r.prompt;
    const Duration later = params_.tpot.value_or(Duration{0}) * r.sampled;
    const auto c = static_cast<std::size_t>(r.priority);
    const double factor = r.priority >= 0 && c < params_.classes.size() ? params_.classes[c] : 1;
    return to_seconds(r.arrival - Time{}) + to_seconds(first + later) * factor;
  }

 private:
  DeadlineParams params_;
};

}  // namespace kvsim
