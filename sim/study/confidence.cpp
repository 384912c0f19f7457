#include "sim/study/confidence.h"

#include <algorithm>
#include <cmath>

#include "sim/base/check.h"
#include "sim/base/random.h"
#include "sim/base/stats.h"
#include "sim/study/bootstrap.h"

namespace kvsim {

ConfidenceInterval mean_interval(std::span<const double> values, double confidence) {
  KVSIM_CHECK(values.size() >= 2, "{} values", values.size());
  const auto n = static_cast<double>(values.size());
  double sum = 0, squares = 0;
  for (const double v : values) sum += v;
  const double mean = sum / n;
  for (const double v : values) squares += (v - mean) * (v - mean);
  const double half =
      student_quantile(confidence, values.size() - 1) * std::sqrt(squares / (n - 1) / n);
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
