#pragma once
// Arrival processes: gaps of unit mean, laid on a clock that runs at the rate of the moment.
#include <cstdint>

#include "sim/base/fields.h"
#include "sim/base/random.h"

namespace kvsim {

enum class ArrivalKind : std::uint8_t {
  poisson,
  gamma,
  weibull,
  constant,
  diurnal,
  spike,
  all_at_once
};
constexpr auto enum_names(ArrivalKind) {
  return std::array{std::pair{ArrivalKind::poisson, "poisson"},
                    std::pair{ArrivalKind::gamma, "gamma"},
                    std::pair{ArrivalKind::weibull, "weibull"},
                    std::pair{ArrivalKind::constant, "constant"},
                    std::pair{ArrivalKind::diurnal, "diurnal"},
                    std::pair{ArrivalKind::spike, "spike"},
                    std::pair{ArrivalKind::all_at_once, "all-at-once"}};
}

struct ArrivalParams {
  ArrivalKind process = ArrivalKind::poisson;
  Rate rate{1.0};
  double cv = 1.0;
  double shape = 1.0;
  double peak_to_trough = 2.0;
  Duration period{std::chrono::hours(24)};
  Duration at{0};
  Duration duration{std::chrono::minutes(1)};
  double factor = 2.0;
  static constexpr Rows kFields{
      field("process", &ArrivalParams::process, any, "law of the gaps and course of the rate"),
      field("rate", &ArrivalParams::rate, between(Rate{1e-9}, Rate{1e9}),
            "mean rate (spike: outside the spike)"),
      field("cv", &ArrivalParams::cv, between(0.01, 100.0),
            "gamma, diurnal, spike: deviation / mean of the gaps; 1 = Poisson"),
      field("shape", &ArrivalParams::shape, between(0.1, 100.0),
            "weibull: shape; 1 = Poisson, below 1 = bursts"),
      field("peak_to_trough", &ArrivalParams::peak_to_trough, between(1.0, 1e6),
            "diurnal: highest / lowest rate of the sine"),
      field("period", &ArrivalParams::period, any, "diurnal: of the sine; time 0 is the trough"),
      field("at", &ArrivalParams::at, any, "spike: begins"),
      field("duration", &ArrivalParams::duration, any, "spike: lasts"),
      field("factor", &ArrivalParams::factor, between(1e-3, 1e6), "spike: rate inside / rate")};
};

class Arrivals {
 public:
  // Throws InputError.
  Arrivals(const ArrivalParams&, double rate_scale, std::uint64_t seed);
  // Arrival `count` (from 0, in order), in seconds; not decreasing.
  double next();

 private:
  [[nodiscard]] double gap() const;
  [[nodiscard]] double on_clock(
      double expected) const;  // when the expected number of arrivals reaches `expected`
  ArrivalParams params_;
  double scale_;
  Rng gaps_;
  std::uint64_t count_ = 0;
  double expected_ = 0, last_ = 0;
};

}  // namespace kvsim
