#pragma once
// Intervals for what simulations estimate: pure functions of numbers and a random stream.
//
// Independent units (one number a seed): the studentised bootstrap (Hall 1988,
// doi:10.1214/aos/1176350933), which follows skewed differences where Student's interval falls
// short; on the side where Student's is wider, Student's, so that few seeds promise no more than
// normal ones would.
//
// One run: requests wait for each other, so neighbours are alike and resampling single requests
// promises too much. The stationary bootstrap (Politis and Romano 1994,
// doi:10.1080/01621459.1994.10476870) resamples blocks of neighbours in order of arrival; its mean
// block follows the autocorrelation (Politis and White 2004, doi:10.1081/ETR-120028836, corrected
// by Patton, Politis and White 2009, doi:10.1080/07474930802459016), and the quantiles are taken
// wider for few blocks (Hesterberg 2015, doi:10.1080/00031305.2015.1089789).
#include <cstddef>
#include <span>
#include <vector>

#include "sim/base/random.h"

namespace kvsim {

struct Estimate {
  double value = 0, low = 0, high = 0;
  [[nodiscard]] bool is_clear() const { return low > 0 || high < 0; }  // zero lies outside
};

// Cumulative distribution of the standard normal, and its inverse for p in (0, 1).
double normal_cdf(double z);
double normal_quantile(double p);
// Of Student's t with `degrees` >= 1 of freedom, p in (0, 1).
double student_quantile(double p, std::size_t degrees);

// What two sides are compared by: mean b - mean a, or mean b / mean a - 1 (mean a != 0).
enum class Contrast { difference, relative };

// Fewest units an interval is given for.
inline constexpr std::size_t kFewestUnits = 5;

// Paired: a[i] and b[i] are one unit (a seed), and resampled together. Not paired: two samples,
// which may differ in size. At least kFewestUnits on each side; level in (0, 1). Where too many
// resamples lack spread (values that are nearly all the same), Student's alone. No spread at all: a
// point.
Estimate contrast_of_means(Contrast, std::span<const double> a, std::span<const double> b,
                           bool paired, double level, Rng);

// Mean block length for the stationary bootstrap of the mean of a series: 1 for independent values,
// at most 3 sqrt(n) and n / 3. `series` in order of arrival.
double mean_block_length(std::span<const double> series);

struct Block {
  std::size_t start, length;  // goes round from the last element to the first
};
// One resample of 0 ... n-1 in blocks of geometric length; the lengths add up to n (n >= 1).
void draw_blocks(std::size_t n, double mean_length, Rng&, std::vector<Block>& out);

// The percentile interval of resampled statistics, taken as wide as Student's t with as many
// degrees of freedom as there are blocks less one asks for. `draws` are sorted in place.
Estimate percentile_interval(double value, std::vector<double>& draws, double level, double blocks);

}  // namespace kvsim
