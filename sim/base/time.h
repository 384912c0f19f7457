#pragma once
// Simulated time: integer nanoseconds since the start of the run, on a clock that has no now().
#include <chrono>
#include <cstdint>
#include <ratio>

namespace kvsim {

struct SimClock {
  using rep = std::int64_t;
  using period = std::nano;
  using duration = std::chrono::duration<rep, period>;
  using time_point = std::chrono::time_point<SimClock>;
  static constexpr bool is_steady = true;
};

using Duration = SimClock::duration;
using Time = SimClock::time_point;

inline constexpr Time kTimeZero{Duration{0}};
inline constexpr Time kNever = Time::max();

constexpr double to_seconds(Duration d) { return static_cast<double>(d.count()) * 1e-9; }
constexpr std::int64_t to_ns(Time t) { return t.time_since_epoch().count(); }
constexpr std::int64_t to_ns(Duration d) { return d.count(); }

// Rounds up to a whole nanosecond, so that work never takes less than its exact price.
constexpr Duration from_ns_ceil(double ns) {
  const auto whole = static_cast<std::int64_t>(ns);
  return Duration{whole + (static_cast<double>(whole) < ns ? 1 : 0)};
}

}  // namespace kvsim
