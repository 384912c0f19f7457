#include "sim/study/confidence.h"

#include <algorithm>
#include <cmath>

#include "sim/base/check.h"
#include "sim/base/random.h"
#include "sim/base/stats.h"

namespace kvsim {

namespace {

// Upper tail of Student's t at x >= 0 through the regularised incomplete beta function, by the
// continued fraction of Abramowitz and Stegun 26.5.8 (Lentz's method).
double beta_fraction(double a, double b, double x) {
  constexpr double kTiny = 1e-300;
  const auto nonzero = [](double v) { return std::abs(v) < kTiny ? kTiny : v; };
  double c = 1, d = 1 / nonzero(1 - (a + b) * x / (a + 1)), f = d;
  for (int m = 1; m <= 300; ++m) {
    const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 / nonzero(1 + even * d);
    c = nonzero(1 + even / c);
    f *= d * c;
    const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / nonzero(1 + odd * d);
    c = nonzero(1 + odd / c);
    f *= d * c;
    if (std::abs(d * c - 1) < 1e-15) break;
  }
  return f;
}

double incomplete_beta(double a, double b, double x) {
  if (x <= 0 || x >= 1) return x <= 0 ? 0 : 1;
  const double front = std::exp(std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b) +
                                a * std::log(x) + b * std::log1p(-x));
  return x < (a + 1) / (a + b + 2) ? front * beta_fraction(a, b, x) / a
                                   : 1 - front * beta_fraction(b, a, 1 - x) / b;
}

double upper_tail(double x, int freedom) {
  return 0.5 * incomplete_beta(freedom / 2.0, 0.5, freedom / (freedom + x * x));
}

}  // namespace

double student_t_quantile(double p, int freedom) {
  KVSIM_CHECK(p > 0 && p < 1 && freedom >= 1, "p {}, freedom {}", p, freedom);
  if (p < 0.5) return -student_t_quantile(1 - p, freedom);
  double low = 0, high = 1;
  while (upper_tail(high, freedom) > 1 - p && high < 1e12) high *= 2;
  for (int i = 0; i < 200 && high - low > 1e-13 * high; ++i) {
    const double middle = (low + high) / 2;
    (upper_tail(middle, freedom) > 1 - p ? low : high) = middle;
  }
  return high;
}

ConfidenceInterval mean_interval(std::span<const double> values, double confidence) {
  KVSIM_CHECK(values.size() >= 2, "{} values", values.size());
  const auto n = static_cast<double>(values.size());
  double sum = 0, squares = 0;
  for (const double v : values) sum += v;
  const double mean = sum / n;
  for (const double v : values) squares += (v - mean) * (v - mean);
  const double half = student_t_quantile(confidence, static_cast<int>(values.size()) - 1) *
                      std::sqrt(squares / (n - 1) / n);
  return {mean, mean - half, mean + half};
}

ConfidenceInterval block_bootstrap(std::span<const double> values, double confidence,
                                   const std::function<double(std::vector<double>&)>& statistic) {
  KVSIM_CHECK(!values.empty(), "no values");
  const std::size_t n = values.size();
  const auto block = static_cast<std::size_t>(std::ceil(std::sqrt(static_cast<double>(n))));
  const auto resamples =
      static_cast<std::size_t>(std::max(200.0, std::ceil(20 / (1 - confidence))));
  Rng rng(n, "block-bootstrap");
  std::vector<double> sample(values.begin(), values.end()), results;
  ConfidenceInterval out;
  out.value = statistic(sample);
  for (std::size_t r = 0; r < resamples; ++r) {
    sample.clear();
    while (sample.size() < n) {
      const std::size_t start = rng.below(n), most = std::min(block, n - sample.size());
      for (std::size_t i = 0; i < most; ++i) sample.push_back(values[(start + i) % n]);
    }
    results.push_back(statistic(sample));
  }
  std::sort(results.begin(), results.end());
  out.low = percentile_sorted(results, 1 - confidence);
  out.high = percentile_sorted(results, confidence);
  return out;
}

}  // namespace kvsim
