#include "kernels/timing.h"

#include <sys/resource.h>
#include <time.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace kvsim::kernels {

namespace {

constexpr double kQuietShare = 0.985;
// Of a call in which threads wait for each other, one of two working alone for instance.
constexpr double kBusyShare = 0.45;

double seconds_of(clockid_t clock) {
  timespec t{};
  clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

// Of all threads of the process until now.
long involuntary_switches() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_nivcsw;
}

}  // namespace

double quantile(std::vector<double>& values, double p) {
  std::sort(values.begin(), values.end());
  const double rank = std::ceil(p * static_cast<double>(values.size())) - 1;
  return values[static_cast<std::size_t>(
      std::clamp(rank, 0.0, static_cast<double>(values.size() - 1)))];
}

Timing summarise(std::vector<double> seconds, std::int64_t rejected) {
  constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
  if (seconds.empty()) return {kNone, kNone, kNone, kNone, 0, rejected};
  return {quantile(seconds, 0.5),
          quantile(seconds, 0.05),
          quantile(seconds, 0.95),
          seconds.front(),
          static_cast<std::int64_t>(seconds.size()),
          rejected};
}

double time_once(int threads, const std::function<void()>& call) {
  const long preempted = involuntary_switches();
  const double cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
  const double begin = seconds_of(CLOCK_MONOTONIC);
  call();
  const double wall = seconds_of(CLOCK_MONOTONIC) - begin;
  const double used = seconds_of(CLOCK_PROCESS_CPUTIME_ID) - cpu;
  const bool is_quiet =
      used >= kQuietShare * threads * wall ||
      (used >= kBusyShare * threads * wall && involuntary_switches() == preempted);
  return is_quiet ? wall : -1;
}

Timing time_calls(const TimingRules& rules, const std::function<void(std::int64_t)>& call) {
  return time_in_turn(rules, {call}).front();
}

std::vector<Timing> time_in_turn(const TimingRules& rules,
                                 const std::vector<std::function<void(std::int64_t)>>& calls) {
  const double end = seconds_of(CLOCK_MONOTONIC) + rules.budget;
  std::vector<std::vector<double>> seconds(calls.size());
  std::vector<std::int64_t> rejected(calls.size());
  const auto have = [&] {
    std::size_t least = seconds.front().size();
    for (const auto& s : seconds) least = std::min(least, s.size());
    return static_cast<std::int64_t>(least);
  };
  for (std::int64_t i = 0; have() < rules.calls; ++i) {
    for (std::size_t k = 0; k < calls.size(); ++k) {
      const double t = time_once(rules.threads, [&] { calls[k](i); });
      if (i < rules.warm_up) continue;
      if (t < 0)
        ++rejected[k];
      else
        seconds[k].push_back(t);
    }
    if (i >= rules.warm_up && seconds_of(CLOCK_MONOTONIC) > end) break;
  }
  std::vector<Timing> all;
  for (std::size_t k = 0; k < calls.size(); ++k)
    all.push_back(summarise(std::move(seconds[k]), rejected[k]));
  return all;
}

}  // namespace kvsim::kernels
