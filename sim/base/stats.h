#pragma once
// Summary statistics; percentiles by linear interpolation between order statistics (numpy's
// default).
#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

namespace kvsim {

// `sorted` ascending and not empty; q in [0, 1].
inline double percentile_sorted(std::span<const double> sorted, double q) {
  const double rank = q * static_cast<double>(sorted.size() - 1);
  const auto low = static_cast<std::size_t>(rank);
  const auto high = std::min(low + 1, sorted.size() - 1);
  return sorted[low] + (rank - static_cast<double>(low)) * (sorted[high] - sorted[low]);
}

struct Summary {
  std::size_t count = 0;
  double mean = 0, std = 0, min = 0, p50 = 0, p90 = 0, p95 = 0, p99 = 0, max = 0;
};

// All zero for an empty sample. `std` is the population deviation, as vLLM's benchmark prints it.
Summary summarize(std::vector<double> values);

}  // namespace kvsim
