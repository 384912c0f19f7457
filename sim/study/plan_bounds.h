#pragma once
// What no schedule, router or cache can beat: analytic bounds beside which a plan's answer is
// printed, so that a wrong answer is visible.
//
// Latency: a request alone on an instance, its prompt computed in one iteration behind the longest
// prefix that any cache could have kept, its tokens one by one at the price of a batch of one.
// Replicas: work that must be done by some time. Of the requests that arrive in a window, all but
// those that may be late have their first token `ttft` after its end, and those of at most H more
// tokens are over `H * tpot` later; their arithmetic and KV traffic at the efficiencies of the
// device, weights and launches free, over that time is a number of busy instances. The same for the
// memory that their own tokens hold for the shortest time they can (Little's law).
// No bound is given for cost laws that move weights, nor for sources that wait for answers
// (sessions): there the requests follow the run.
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "sim/run/build.h"
#include "sim/study/plan_spec.h"

namespace kvsim {

struct PlanRequest {
  double arrival = 0;  // s
  std::int64_t prompt = 0, output = 0;
  std::int64_t fresh = 0;  // prompt tokens that no earlier request brought, >= 1
};

struct PlanWorkload {
  std::vector<PlanRequest> requests;  // by arrival
  bool closed = false;                // arrivals depend on completions
  std::int64_t tokens = 0;            // prompts and outputs
};
// Reads the whole source of a run that was built with its trace.
PlanWorkload read_workload(TraceSource&, bool prefix_cache);

// work instances are busy for it; it must be done within span (of arrivals) + slack.
struct PlanWindow {
  double span = 0, slack = 0, work = 0;  // s, s, instance seconds
  bool memory = false;
};

class PlanBounds {
 public:
  // Of one candidate; `rate` is the workload.rate_scale the workload was read at.
  PlanBounds(BuiltRun&, const PlanWorkload&, const PlanSpec&, double rate);

  // At this rate; 0 = no bound.
  struct Replicas {
    int least = 0;
    double busy = 0;      // before rounding up
    bool memory = false;  // which of the two decides
  };
  [[nodiscard]] Replicas replicas(double rate) const;
  // Of objective i: no number of replicas gets below (at_most) or above (at least).
  [[nodiscard]] std::optional<double> best(std::size_t objective) const { return best_[objective]; }
  // The objective that cannot be met at all, or nothing.
  [[nodiscard]] std::optional<std::size_t> refuted(std::span<const PlanObjective>) const;

 private:
  std::vector<PlanWindow> windows_;
  std::vector<std::optional<double>> best_;
  double rate_ = 1, jitter_ = 0;
};

}  // namespace kvsim
