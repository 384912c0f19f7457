#pragma once
// Which parameters matter: estimators over the points of a design and the outcome at each, NaN
// where there is none. Pure functions.
#include <cstddef>
#include <span>
#include <vector>

#include "sim/study/design.h"

namespace kvsim {

// Elementary effects of one axis: change of the outcome over change of the coordinate in [0, 1].
struct MorrisIndex {
  double mu = 0, mu_star = 0, sigma = 0;  // mean, mean of the absolute values, deviation
  std::size_t effects = 0;                // that could be computed
};
// One index an axis, of points from morris_points().
std::vector<MorrisIndex> morris_indices(std::span<const UnitPoint> points,
                                        std::span<const double> outcome);

// Shares of the outcome's variance: of the axis alone, and of all in which it takes part. A margin
// is half of the 95 % bootstrap interval over rows.
struct SobolIndex {
  double first = 0, total = 0, first_margin = 0, total_margin = 0;
};
struct SobolIndices {
  std::vector<SobolIndex> axes;
  std::size_t rows = 0;  // complete ones, on which the estimates stand
  double variance = 0;   // of the outcome; 0: nothing matters, and the indices are 0
};
// Of points from saltelli_points(): first order by Saltelli 2010, total by Jansen 1999. Rows with a
// missing outcome are left out.
SobolIndices sobol_indices(std::size_t axes, std::span<const double> outcome);

}  // namespace kvsim
