// By the clock: a number of instances from each time of day on.
#include <algorithm>
#include <vector>

#include "policies/scaler/scaler.h"

namespace kvsim {
namespace {

struct ScheduleStep {
  Duration at{};
  std::int64_t instances = 1;
  static constexpr Rows kFields{
      field("at", &ScheduleStep::at, any, "from then on, counted from the start of the period"),
      field("instances", &ScheduleStep::instances, between<std::int64_t>(0, 1 << 20),
            "so many serve")};
};

class Schedule final : public Scaler {
 public:
  struct Params {
    std::vector<ScheduleStep> steps;
    Duration period = std::chrono::hours(24);
    static constexpr Rows kFields{
        field("steps", &Params::steps, any, "[{at: 8 h, instances: 6}, ...], in order of time"),
        field("period", &Params::period,
              between<Duration>(std::chrono::seconds(1), std::chrono::hours(24 * 366)),
              "the steps come again")};
  };
  Schedule(Params p, const Context&) : params_(std::move(p)) {
    if (params_.steps.empty())
      throw InputError("the schedule has no steps", "such as steps: [{at: 8 h, instances: 6}]");
    const auto earlier = [](const auto& a, const auto& b) { return a.at < b.at; };
    if (!std::is_sorted(params_.steps.begin(), params_.steps.end(), earlier))
      throw InputError("the steps of the schedule are not in order of time", "sort them by at");
    if (params_.steps.back().at >= params_.period)
      throw InputError("a step of the schedule lies behind its period", "raise the period");
  }
  // Before the first step of a period the last one still holds.
  std::int64_t wanted(const FleetView& v) override {
    const Duration time = (v.now - Time{}) % params_.period;
    const ScheduleStep* step = &params_.steps.back();
    for (const ScheduleStep& s : params_.steps)
      if (s.at <= time) step = &s;
    return step->instances;
  }

 private:
  Params params_;
};

const Register<Schedule> kSelf{"schedule", "a number of instances by time of day",
                               "KEDA, cron scaler"};

}  // namespace
}  // namespace kvsim
