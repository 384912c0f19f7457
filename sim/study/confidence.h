#pragma once
// How sure a figure is: over repetitions with other seeds, or over blocks of requests of one run.
#include <functional>
#include <span>
#include <vector>

namespace kvsim {

// One-sided limits, each with the confidence that was asked for.
struct ConfidenceInterval {
  double value = 0, low = 0, high = 0;
};

// Of the mean of independent repetitions (two or more), by Student's t.
ConfidenceInterval mean_interval(std::span<const double> values, double confidence);

// Of a statistic of one run's requests in order of arrival: the bootstrap of blocks of neighbours
// that wrap around (Politis and Romano 1992), since neighbours share a queue and a cache. Blocks of
// sqrt(n) requests; percentiles of the resampled statistic. The draws depend on n alone, so that
// runs of the same requests are resampled alike. `statistic` may reorder what it is given; empty
// `values` are not allowed.
ConfidenceInterval block_bootstrap(std::span<const double> values, double confidence,
                                   const std::function<double(std::vector<double>&)>& statistic);

}  // namespace kvsim
