#include "sim/study/bootstrap.h"

#include <algorithm>
#include <cmath>

#include "sim/base/check.h"
#include "sim/base/stats.h"

namespace kvsim {
namespace {

constexpr std::size_t kResamples = 4000;
constexpr double kPi = 3.14159265358979323846;

// The root of an increasing function.
template <class F>
double bisect(double low, double high, F f) {
  for (int i = 0; i < 200 && low < high; ++i) {
    const double middle = low + (high - low) / 2;
    if (middle <= low || middle >= high) break;
    (f(middle) < 0 ? low : high) = middle;
  }
  return low + (high - low) / 2;
}

// P(|T| <= t) for t >= 0 (Abramowitz and Stegun 26.7.3 and 26.7.4).
double student_central(double t, std::size_t degrees) {
  const double angle = std::atan(t / std::sqrt(static_cast<double>(degrees)));
  const double cosine = std::cos(angle), square = cosine * cosine;
  const bool is_odd = degrees % 2 == 1;
  if (degrees == 1) return 2 * angle / kPi;
  double term = is_odd ? cosine : 1, sum = term;
  for (std::size_t k = is_odd ? 3 : 2; k + 2 <= degrees; k += 2) {
    term *= square * static_cast<double>(k - 1) / static_cast<double>(k);
    sum += term;
  }
  return is_odd ? 2 / kPi * (angle + std::sin(angle) * sum) : std::sin(angle) * sum;
}

struct Moments {
  double mean = 0, variance = 0;  // unbiased
};

template <class Value>
Moments moments(std::size_t n, Value value) {
  Moments m;
  for (std::size_t i = 0; i < n; ++i) m.mean += value(i);
  m.mean /= static_cast<double>(n);
  for (std::size_t i = 0; i < n; ++i) m.variance += (value(i) - m.mean) * (value(i) - m.mean);
  m.variance /= static_cast<double>(n - 1);
  return m;
}

struct Contrasted {
  double value = 0, error = 0;  // standard error
};

// Of the relative contrast by linearisation: the mean of (b - ratio a) / mean a.
Contrasted contrasted(Contrast kind, std::span<const double> a, std::span<const double> b,
                      bool paired) {
  const auto na = static_cast<double>(a.size()), nb = static_cast<double>(b.size());
  const Moments ma = moments(a.size(), [&](std::size_t i) { return a[i]; });
  const Moments mb = moments(b.size(), [&](std::size_t i) { return b[i]; });
  const double scale = kind == Contrast::relative ? ma.mean : 1;
  const double ratio = kind == Contrast::relative ? mb.mean / ma.mean : 1;
  const double value = kind == Contrast::relative ? ratio - 1 : mb.mean - ma.mean;
  const double variance =
      paired ? moments(a.size(), [&](std::size_t i) { return b[i] - ratio * a[i]; }).variance / na
             : mb.variance / nb + ratio * ratio * ma.variance / na;
  return {value, std::sqrt(variance) / std::abs(scale)};
}

}  // namespace

double normal_cdf(double z) { return std::erfc(-z / std::sqrt(2.0)) / 2; }

double normal_quantile(double p) {
  KVSIM_CHECK(p > 0 && p < 1, "a quantile of {}", p);
  if (p > 0.5) return -normal_quantile(1 - p);
  return bisect(-40, 0, [&](double z) { return normal_cdf(z) - p; });
}

double student_quantile(double p, std::size_t degrees) {
  KVSIM_CHECK(p > 0 && p < 1 && degrees >= 1, "a quantile of {} with {} degrees", p, degrees);
  if (p < 0.5) return -student_quantile(1 - p, degrees);
  if (degrees > 1000) return normal_quantile(p);
  return bisect(0, 1e6, [&](double t) { return student_central(t, degrees) - (2 * p - 1); });
}

Estimate contrast_of_means(Contrast kind, std::span<const double> a, std::span<const double> b,
                           bool paired, double level, Rng rng) {
  KVSIM_CHECK(
      a.size() >= kFewestUnits && b.size() >= kFewestUnits && (!paired || a.size() == b.size()),
      "{} and {} units", a.size(), b.size());
  const Contrasted seen = contrasted(kind, a, b, paired);
  // Differences of rounding are no spread.
  if (!(seen.error > 1e-13 * std::abs(seen.value))) return {seen.value, seen.value, seen.value};
  std::vector<double> ra(a.size()), rb(b.size()), t;
  t.reserve(kResamples);
  for (std::size_t k = 0; k < kResamples; ++k) {
    for (std::size_t i = 0; i < a.size(); ++i) {
      const auto pick = static_cast<std::size_t>(rng.below(a.size()));
      ra[i] = a[pick];
      if (paired) rb[i] = b[pick];
    }
    for (std::size_t i = 0; !paired && i < b.size(); ++i)
      rb[i] = b[static_cast<std::size_t>(rng.below(b.size()))];
    const Contrasted drawn = contrasted(kind, ra, rb, paired);
    if (drawn.error > 1e-9 * seen.error) t.push_back((drawn.value - seen.value) / drawn.error);
  }
  const double tail = (1 - level) / 2;
  const double half = student_quantile(1 - tail, std::min(a.size(), b.size()) - 1) * seen.error;
  Estimate e{seen.value, seen.value - half, seen.value + half};
  const auto lost = static_cast<double>(kResamples - t.size());
  if (lost > tail * static_cast<double>(kResamples)) return e;
  std::sort(t.begin(), t.end());
  e.low = std::min(e.low, seen.value - percentile_sorted(t, 1 - tail) * seen.error);
  e.high = std::max(e.high, seen.value - percentile_sorted(t, tail) * seen.error);
  return e;
}

double mean_block_length(std::span<const double> series) {
  const std::size_t n = series.size();
  if (n < 9) return 1;
  const auto size = static_cast<double>(n);
  const double mean = moments(n, [&](std::size_t i) { return series[i]; }).mean;
  const auto covariance = [&](std::size_t lag) {
    double sum = 0;
    for (std::size_t i = lag; i < n; ++i) sum += (series[i] - mean) * (series[i - lag] - mean);
    return sum / size;
  };
  const double variance = covariance(0);
  if (!(variance > 0)) return 1;
  // The lag after which `run` correlations in a row are no larger than noise.
  const double digits = std::log10(size);
  const auto run = static_cast<std::size_t>(std::max(5.0, std::ceil(std::sqrt(digits))));
  const auto most = static_cast<std::size_t>(std::ceil(std::sqrt(size))) + run;
  const double noise = 2 * std::sqrt(digits / size);
  std::vector<double> r{1};
  std::size_t quiet = 0, last = 0;
  for (std::size_t lag = 1; lag <= most && lag < n && quiet < run; ++lag) {
    r.push_back(covariance(lag) / variance);
    quiet = std::abs(r.back()) < noise ? quiet + 1 : 0;
    if (quiet == 0) last = lag;
  }
  const std::size_t window = std::min(2 * std::max<std::size_t>(last, 1), std::min(most, n - 1));
  // The flat-top window of Politis and Romano 1995: whole up to half of it, then falling.
  double sum = 1, weighted = 0;
  for (std::size_t lag = 1; lag <= window; ++lag) {
    const double at = static_cast<double>(lag) / static_cast<double>(window);
    const double weight = at <= 0.5 ? 1 : 2 * (1 - at);
    const double c = lag < r.size() ? r[lag] : covariance(lag) / variance;
    sum += 2 * weight * c;
    weighted += 2 * weight * static_cast<double>(lag) * c;
  }
  const double longest = std::min(std::ceil(3 * std::sqrt(size)), std::floor(size / 3));
  if (!(sum > 0)) return 1;
  const double length = std::cbrt(weighted * weighted / (sum * sum) * size);
  return std::clamp(length, 1.0, std::max(1.0, longest));
}

void draw_blocks(std::size_t n, double mean_length, Rng& rng, std::vector<Block>& out) {
  out.clear();
  const double stay = std::log1p(-std::min(1 / mean_length, 1 - 1e-12));
  for (std::size_t filled = 0; filled < n;) {
    const auto start = static_cast<std::size_t>(rng.below(n));
    const double drawn = std::floor(std::log1p(-rng.uniform()) / stay);  // geometric, from 0
    const auto left = static_cast<double>(n - filled);
    const auto length = static_cast<std::size_t>(std::min(drawn + 1, left));
    out.push_back({start, length});
    filled += length;
  }
}

Estimate percentile_interval(double value, std::vector<double>& draws, double level,
                             double blocks) {
  KVSIM_CHECK(!draws.empty(), "an interval of nothing");
  std::sort(draws.begin(), draws.end());
  const double n = std::max(2.0, std::floor(blocks));
  const double t = student_quantile((1 + level) / 2, static_cast<std::size_t>(n) - 1);
  const double tail = normal_cdf(-t * std::sqrt(n / (n - 1)));
  return {value, percentile_sorted(draws, tail), percentile_sorted(draws, 1 - tail)};
}

}  // namespace kvsim
