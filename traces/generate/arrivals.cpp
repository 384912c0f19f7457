#include "traces/generate/arrivals.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "traces/record_check.h"

namespace kvsim {

Arrivals::Arrivals(const ArrivalParams& params, double rate_scale, std::uint64_t seed)
    : params_(params), scale_(rate_scale), gaps_(seed, "generate/arrivals") {
  if (!(rate_scale > 0) || !std::isfinite(rate_scale))
    throw InputError("rate_scale has to be above 0");
  if (params.process == ArrivalKind::diurnal && params.period.count() <= 0)
    throw InputError("generate.arrivals.period has to be above 0");
}

double Arrivals::gap() const {
  Rng rng = gaps_.at(count_);
  switch (params_.process) {
    case ArrivalKind::constant:
      return count_ == 0 ? 0.0 : 1.0;
    case ArrivalKind::all_at_once:
      return 0.0;
    case ArrivalKind::weibull:
      return rng.weibull(params_.shape, 1.0 / std::tgamma(1.0 + 1.0 / params_.shape));
    case ArrivalKind::poisson:
      return rng.exponential(1.0);
    default:
      break;
  }
  if (params_.cv == 1.0) return rng.exponential(1.0);
  const double squared = params_.cv * params_.cv;
  return rng.gamma(1.0 / squared, squared);
}

double Arrivals::on_clock(double expected) const {
  const double flat = expected / params_.rate.value;
  if (params_.process == ArrivalKind::spike) {
    const double at = to_seconds(params_.at), lasts = to_seconds(params_.duration);
    if (flat <= at) return flat;
    if (flat <= at + lasts * params_.factor) return at + (flat - at) / params_.factor;
    return flat - lasts * (params_.factor - 1);
  }
  if (params_.process != ArrivalKind::diurnal) return flat;
  // Rate r (1 - a cos(w t)), so that r (t - a sin(w t) / w) are expected by t: monotone, solved by
  // halving.
  const double a = (params_.peak_to_trough - 1) / (params_.peak_to_trough + 1);
  const double w = 2 * std::numbers::pi / to_seconds(params_.period);
  double low = std::max(0.0, flat - a / w), high = flat + a / w;
  for (int i = 0; i < 60; ++i) {
    const double middle = 0.5 * (low + high);
    (middle - a * std::sin(w * middle) / w < flat ? low : high) = middle;
  }
  return high;
}

double Arrivals::next() {
  expected_ += gap();
  ++count_;
  last_ = std::max(last_, on_clock(expected_) / scale_);
  if (!(last_ <= kMaxSeconds))
    throw InputError("generate.arrivals: a request arrives after more than 100 years");
  return last_;
}

}  // namespace kvsim
