// Quantiles against tables; intervals against laws they must obey and the level they promise.
#include "sim/study/bootstrap.h"

#include <gtest/gtest.h>

#include <cmath>

namespace kvsim {
namespace {

TEST(Bootstrap, QuantilesAreThoseOfTheTables) {
  EXPECT_NEAR(normal_quantile(0.975), 1.959964, 1e-6);
  EXPECT_NEAR(normal_quantile(0.001), -3.090232, 1e-6);
  EXPECT_NEAR(normal_cdf(1.0), 0.841345, 1e-6);
  // Abramowitz and Stegun, table 26.10.
  EXPECT_NEAR(student_quantile(0.975, 1), 12.706, 5e-4);
  EXPECT_NEAR(student_quantile(0.975, 2), 4.303, 5e-4);
  EXPECT_NEAR(student_quantile(0.975, 9), 2.262, 5e-4);
  EXPECT_NEAR(student_quantile(0.995, 5), 4.032, 5e-4);
  EXPECT_NEAR(student_quantile(0.05, 30), -1.697, 5e-4);
  EXPECT_NEAR(student_quantile(0.975, 5000), 1.96, 1e-3);
  EXPECT_NEAR(student_quantile(0.5, 3), 0, 1e-9);
}

std::vector<double> drawn(std::size_t n, Rng& rng, double mean, double deviation) {
  std::vector<double> v(n);
  for (double& x : v) x = mean + deviation * rng.normal();
  return v;
}

TEST(Bootstrap, AConstantDifferenceIsAPoint) {
  const std::vector<double> a{1, 5, 2, 8, 4, 9}, b{3, 7, 4, 10, 6, 11};
  const Estimate e = contrast_of_means(Contrast::difference, a, b, true, 0.95, Rng(1, "t"));
  EXPECT_DOUBLE_EQ(e.value, 2);
  EXPECT_EQ(e.low, e.value);
  EXPECT_EQ(e.high, e.value);
  EXPECT_TRUE(e.is_clear());
  const Estimate r = contrast_of_means(Contrast::relative, a, a, true, 0.95, Rng(1, "t"));
  EXPECT_EQ(r.value, 0);
  EXPECT_FALSE(r.is_clear());
}

TEST(Bootstrap, IntervalsFollowShiftAndScale) {
  Rng rng(2, "t");
  const std::vector<double> a = drawn(12, rng, 10, 2);
  std::vector<double> b = drawn(12, rng, 11, 3);
  const Estimate e = contrast_of_means(Contrast::difference, a, b, true, 0.9, Rng(3, "t"));
  EXPECT_LT(e.low, e.value);
  EXPECT_GT(e.high, e.value);
  for (double& x : b) x += 100;
  const Estimate shifted = contrast_of_means(Contrast::difference, a, b, true, 0.9, Rng(3, "t"));
  EXPECT_NEAR(shifted.low, e.low + 100, 1e-9);
  EXPECT_NEAR(shifted.high, e.high + 100, 1e-9);
  std::vector<double> a2 = a, b2 = b;
  for (double& x : a2) x *= 7;
  for (double& x : b2) x *= 7;
  const Estimate ratio = contrast_of_means(Contrast::relative, a, b, true, 0.9, Rng(3, "t"));
  const Estimate scaled = contrast_of_means(Contrast::relative, a2, b2, true, 0.9, Rng(3, "t"));
  EXPECT_NEAR(scaled.low, ratio.low, 1e-9);
  EXPECT_NEAR(scaled.high, ratio.high, 1e-9);
}

// The share of 400 repetitions whose interval holds the truth lies within four deviations of what
// the interval promises; `most` is above the level where the interval may be wider.
template <class Draw>
void expect_coverage(Contrast kind, bool is_paired, double truth, double least, double most,
                     Draw draw) {
  constexpr int kRepetitions = 400;
  int held = 0;
  for (std::uint64_t k = 0; k < kRepetitions; ++k) {
    Rng rng = Rng(11, "coverage").at(k);
    const auto [a, b] = draw(rng);
    const Estimate e = contrast_of_means(kind, a, b, is_paired, 0.95, rng);
    held += e.low <= truth && truth <= e.high;
  }
  EXPECT_GE(held, least * kRepetitions);
  EXPECT_LE(held, most * kRepetitions);
}

TEST(Bootstrap, CoversTheMeanOfNormalDifferences) {
  expect_coverage(Contrast::difference, true, 1.0, 0.92, 0.995, [](Rng& rng) {
    std::vector<double> a = drawn(10, rng, 50, 20), b = a;  // common randomness, far larger
    for (double& x : b) x += 1 + 2 * rng.normal();
    return std::pair{a, b};
  });
}

TEST(Bootstrap, CoversTheDifferenceOfTwoSamples) {
  expect_coverage(Contrast::difference, false, 0.0, 0.92, 0.995, [](Rng& rng) {
    const auto a = drawn(15, rng, 5, 1);
    return std::pair{a, drawn(25, rng, 5, 3)};
  });
}

TEST(Bootstrap, CoversARatioOfMeansAndSkewedValues) {
  expect_coverage(Contrast::relative, true, 0.2, 0.91, 0.995, [](Rng& rng) {
    std::vector<double> a, b;
    for (int i = 0; i < 20; ++i) {
      a.push_back(1 + rng.exponential(1));
      b.push_back(a.back() * 1.2 + rng.exponential(1) - 1);
    }
    return std::pair{a, b};
  });
}

std::vector<double> autoregressive(std::size_t n, double correlation, Rng& rng) {
  std::vector<double> v(n);
  double state = rng.normal() / std::sqrt(1 - correlation * correlation);
  for (double& x : v) x = state = correlation * state + rng.normal();
  return v;
}

TEST(Bootstrap, BlocksAreAsLongAsTheSeriesHangsTogether) {
  double independent = 0, dependent = 0;
  for (std::uint64_t k = 0; k < 20; ++k) {
    Rng rng = Rng(5, "series").at(k);
    independent += mean_block_length(autoregressive(500, 0, rng)) / 20;
    dependent += mean_block_length(autoregressive(500, 0.9, rng)) / 20;
  }
  EXPECT_LT(independent, 4);
  EXPECT_GT(dependent, 15);
  EXPECT_LE(dependent, 3 * std::sqrt(500.0) + 1);
  EXPECT_EQ(mean_block_length(std::vector<double>(100, 3.0)), 1);
  EXPECT_EQ(mean_block_length(std::vector<double>{1, 2}), 1);
}

TEST(Bootstrap, BlocksAddUpAndTreatEveryPlaceAlike) {
  Rng rng(6, "blocks");
  std::vector<Block> blocks;
  std::vector<int> times(50);
  std::size_t all = 0;
  for (int k = 0; k < 4000; ++k) {
    draw_blocks(50, 5, rng, blocks);
    std::size_t sum = 0;
    for (const Block& b : blocks) {
      sum += b.length;
      for (std::size_t i = 0; i < b.length; ++i) ++times[(b.start + i) % 50];
    }
    ASSERT_EQ(sum, 50U);
    all += blocks.size();
  }
  // Geometric blocks of mean 5, of which the last is cut: 1 + 49 / 5 on average.
  EXPECT_NEAR(static_cast<double>(all) / 4000, 1 + 49.0 / 5, 0.3);
  for (const int n : times) EXPECT_NEAR(n, 4000, 500);
  draw_blocks(1, 1, rng, blocks);
  ASSERT_EQ(blocks.size(), 1U);
}

TEST(Bootstrap, PercentilesAreThoseOfTheDrawsAndWiderForFewBlocks) {
  std::vector<double> draws;
  for (int i = 1; i < 2000; ++i) draws.push_back(normal_quantile(i / 2000.0));
  const Estimate many = percentile_interval(0, draws, 0.95, 1e6);
  EXPECT_NEAR(many.low, -1.96, 0.01);
  EXPECT_NEAR(many.high, 1.96, 0.01);
  const Estimate few = percentile_interval(0, draws, 0.95, 10);
  EXPECT_NEAR(few.high, 2.262 * std::sqrt(10.0 / 9), 0.05);  // Student, 9 degrees
}

// Neighbours that are alike: resampling single values promises far too much, blocks far less so.
TEST(Bootstrap, BlocksCoverTheMeanOfADependentSeriesWhereSingleValuesDoNot) {
  constexpr std::size_t n = 400;
  constexpr int kRepetitions = 150;
  int held = 0, naive = 0;
  for (std::uint64_t k = 0; k < kRepetitions; ++k) {
    Rng rng = Rng(8, "dependent").at(k);
    const std::vector<double> series = autoregressive(n, 0.8, rng);
    std::vector<double> up_to(2 * n + 1);
    for (std::size_t i = 0; i < 2 * n; ++i) up_to[i + 1] = up_to[i] + series[i % n];
    const auto covers = [&](double length) {
      std::vector<double> means;
      std::vector<Block> blocks;
      for (int draw = 0; draw < 300; ++draw) {
        draw_blocks(n, length, rng, blocks);
        double sum = 0;
        for (const Block& b : blocks) sum += up_to[b.start + b.length] - up_to[b.start];
        means.push_back(sum / n);
      }
      const Estimate e = percentile_interval(up_to[n] / n, means, 0.95, n / length);
      return e.low <= 0 && 0 <= e.high;
    };
    held += covers(2 * mean_block_length(series));
    naive += covers(1);
  }
  EXPECT_GT(held, 0.85 * kRepetitions);
  EXPECT_LT(naive, 0.65 * kRepetitions);
}

}  // namespace
}  // namespace kvsim
