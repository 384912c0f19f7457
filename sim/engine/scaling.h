#pragma once
// Which instances of a fleet, or of one of its pools, are paid for: off, starting (the model is
// loaded), up, or draining (no new requests). World asks the rule and moves instances
// (world_scale.cpp); this keeps their state, the rule's view of first tokens, the cool-down and the
// time that instances cost.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "policies/scaler/scaler.h"
#include "sim/state/outcome.h"

namespace kvsim {

// Autoscaling of a run as plain values; sim/run fills them from a scenario.
struct ScalingPlan {
  std::unique_ptr<Scaler> rule;
  std::uint32_t from = 0, count = 0;  // instances, of one pool; count 0: all of the run
  std::int64_t least = 1, first = 1;  // instances that serve at least, and when the run begins
  Duration every = std::chrono::seconds(15);
  Duration start{};  // from the decision until an instance takes requests
  Duration up_cooldown{}, down_cooldown{};
  bool migrates = false;  // requests of a draining instance go on elsewhere,
  Duration move_every = std::chrono::milliseconds(100);  // one that decodes this often (Llumnix)
  std::optional<Duration> ttft{};
};

class Scaling {
 public:
  enum class State : std::uint8_t { off, starting, up, draining };

  // Of `instances` from plan.from on. Instances are named by their number in the run.
  Scaling(ScalingPlan plan, std::size_t instances)
      : plan_(std::move(plan)),
        traits_(plan_.rule->traits()),
        states_(instances, State::off),
        generations_(instances, 0),
        since_(instances),
        paid_(instances, 0) {
    if (!traits_.ttft) traits_.ttft = plan_.ttft;
  }
  [[nodiscard]] const ScalingPlan& plan() const { return plan_; }
  [[nodiscard]] const Scaler::Traits& traits() const { return traits_; }
  [[nodiscard]] State state(std::size_t i) const { return states_[i - plan_.from]; }
  [[nodiscard]] std::size_t size() const { return states_.size(); }
  [[nodiscard]] std::uint32_t begin() const { return plan_.from; }
  [[nodiscard]] std::uint32_t end() const {
    return plan_.from + static_cast<std::uint32_t>(states_.size());
  }
  [[nodiscard]] std::int64_t count(State s) const {
    return std::count(states_.begin(), states_.end(), s);
  }
  // Of its last start: an older start that was called off says nothing any more.
  [[nodiscard]] std::uint32_t generation(std::size_t i) const {
    return generations_[i - plan_.from];
  }

  void hear_first_token(Duration ttft) { ttfts_.push_back(ttft); }
  // Instances that should serve by the rule, within bounds; forgets first tokens heard so far.
  std::int64_t wanted(FleetView);
  [[nodiscard]] std::int64_t last_wanted() const { return wanted_; }
  // That many may be added or taken away now: cool-down.
  [[nodiscard]] bool may_add(Time now) const { return now >= up_from_; }
  [[nodiscard]] bool may_take(Time now) const { return now >= down_from_; }

  // An instance changes; gives the record of it, whose counts of requests the caller fills.
  ScaleEvent change(std::size_t i, State to, Time now);
  // Nanoseconds that each instance was not off until `end`.
  [[nodiscard]] std::vector<std::int64_t> paid(Time end) const;

 private:
  ScalingPlan plan_;
  Scaler::Traits traits_;
  std::vector<State> states_;
  std::vector<std::uint32_t> generations_;
  std::vector<Time> since_;  // not off
  std::vector<std::int64_t> paid_;
  std::vector<Duration> ttfts_;
  Time up_from_{}, down_from_{};
  std::int64_t wanted_ = 0;
};

}  // namespace kvsim
