#include "sim/study/confidence.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "sim/base/random.h"

namespace kvsim {
namespace {

double mean(const std::vector<double>& v) {
  double sum = 0;
  for (const double x : v) sum += x;
  return sum / static_cast<double>(v.size());
}

TEST(Confidence, OfAMeanByHand) {
  const std::vector<double> values{1, 2, 3};  // deviation 1, of the mean 1 / sqrt 3
  const ConfidenceInterval i = mean_interval(values, 0.95);
  EXPECT_DOUBLE_EQ(i.value, 2);
  EXPECT_NEAR(i.high, 2 + 2.91999 / std::sqrt(3), 1e-4);  // t of 2 degrees
  EXPECT_NEAR(i.low, 4 - i.high, 1e-12);
  const ConfidenceInterval same = mean_interval(std::vector<double>{5, 5}, 0.95);
  EXPECT_EQ(same.low, 5);
  EXPECT_EQ(same.high, 5);
}

// Independent values: the limits of the mean are those of theory, 1.645 sigma / sqrt n.
TEST(Confidence, BlocksOfIndependentValuesGiveTheClassicLimits) {
  Rng rng(1, "test");
  std::vector<double> values;
  for (int i = 0; i < 4000; ++i) values.push_back(rng.normal());
  const ConfidenceInterval i = block_bootstrap(values, 0.95, mean);
  const double expected = 1.645 / std::sqrt(4000.0);
  EXPECT_NEAR(i.high - i.value, expected, 0.2 * expected);
  EXPECT_NEAR(i.value - i.low, expected, 0.2 * expected);
  const ConfidenceInterval again = block_bootstrap(values, 0.95, mean);
  EXPECT_EQ(i.low, again.low);
  EXPECT_EQ(i.high, again.high);
}

// Neighbours that are alike carry less: x_i = 0.9 x_(i-1) + e has a mean whose deviation is
// sqrt((1 + 0.9) / (1 - 0.9)) = 4.36 times that of independent values of the same spread.
TEST(Confidence, BlocksSeeThatNeighboursAreAlike) {
  Rng rng(2, "test");
  std::vector<double> values;
  double x = 0, squares = 0;
  for (int i = 0; i < 10'000; ++i) {
    x = 0.9 * x + rng.normal();
    values.push_back(x);
    squares += x * x;
  }
  const double alone = 1.645 * std::sqrt(squares / 10'000 / 10'000);
  const ConfidenceInterval i = block_bootstrap(values, 0.95, mean);
  EXPECT_GT(i.high - i.low, 2 * 3.4 * alone);
  EXPECT_LT(i.high - i.low, 2 * 5.4 * alone);
}

// The one-sided limit of a 90th percentile covers the truth as often as it says.
TEST(Confidence, LimitsCoverTheTruth) {
  const double truth = -std::log(0.1);  // of the exponential distribution
  int covered = 0;
  for (std::uint64_t k = 0; k < 200; ++k) {
    Rng rng(k, "coverage");
    std::vector<double> values;
    for (int i = 0; i < 400; ++i) values.push_back(rng.exponential(1));
    const ConfidenceInterval i = block_bootstrap(values, 0.9, [](std::vector<double>& v) {
      std::nth_element(v.begin(), v.begin() + 360, v.end());
      return v[360];
    });
    covered += truth <= i.high;
  }
  EXPECT_GE(covered, 160);  // 180 expected; blocks of sqrt n see a little less than there is
  EXPECT_LE(covered, 198);
}

}  // namespace
}  // namespace kvsim
