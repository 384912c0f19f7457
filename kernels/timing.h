#pragma once
// Wall-clock times of kernels on machines that others use too. A call counts only when the process
// had all its cores during it: its CPU time was at least 98.5 % of threads x wall time, or at least
// 45 % (threads may wait for each other) and none of them was preempted. Every other call is
// dropped. (Threads spin between calls, so an idle worker of the team does not look preempted; no
// other team may be alive meanwhile.)
#include <cstdint>
#include <functional>
#include <vector>

namespace kvsim::kernels {

// Seconds per call; NaN when no call counted.
struct Timing {
  double median = 0, p5 = 0, p95 = 0, best = 0;
  std::int64_t calls = 0;     // that counted
  std::int64_t rejected = 0;  // preempted
};

struct TimingRules {
  int threads = 1;
  std::int64_t warm_up = 2;  // calls before the first that may count
  std::int64_t calls = 41;   // wanted
  double budget = 5;         // seconds after which it ends with what it has
};

// The p-quantile (nearest rank) of a non-empty list, sorted by the call.
double quantile(std::vector<double>& values, double p);
Timing summarise(std::vector<double> seconds, std::int64_t rejected);

// One call under the rule: < 0 when it was preempted, else seconds.
double time_once(int threads, const std::function<void()>& call);
// Times call(0), call(1), ...; the argument tells which copy of the inputs to use.
Timing time_calls(const TimingRules&, const std::function<void(std::int64_t)>& call);
// The same for several that shall be compared, in turn within the same minutes, so that what slows
// the machine slows all of them. The budget is for all together.
std::vector<Timing> time_in_turn(const TimingRules&,
                                 const std::vector<std::function<void(std::int64_t)>>& calls);

}  // namespace kvsim::kernels
