#pragma once
// Are the intervals of a comparison right? The comparison again and again with new seeds, against
// the mean over many more.
#include <cstddef>
#include <string>
#include <vector>

#include "sim/study/compare.h"

namespace kvsim {

struct CoverageOptions {
  std::size_t repetitions = 200;
  std::size_t truth_seeds = 2000;
};

struct CoverageRow {
  std::string name, statistic, unit;
  double truth = 0, mean_width = 0;  // of B - A
  std::size_t held = 0;              // intervals with the truth in them
  std::size_t clear = 0;             // intervals without zero
};

struct CoverageResult {
  std::size_t repetitions = 0, truth_seeds = 0;
  // Held by 95 % of the draws of a binomial with the asked confidence.
  std::size_t expected_low = 0, expected_high = 0;
  std::vector<CoverageRow> rows;  // those with an interval in every repetition
};

// Both sides are scenarios. Repetition k takes its own options.seeds seeds a side; the truth takes
// others. Throws InputError for databases, and where the seed changes nothing.
CoverageResult measure_coverage(const CompareSide& a, const CompareSide& b, const CompareOptions&,
                                const CoverageOptions&);

// The narrowest central range of a binomial that leaves out at most 2.5 % on either side.
std::pair<std::size_t, std::size_t> binomial_range(std::size_t n, double p);

}  // namespace kvsim
