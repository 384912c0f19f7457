// Random streams: counter-based, independent of each other, with the moments of the laws they are
// named after.
#include "sim/base/random.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <functional>
#include <set>

namespace kvsim {
namespace {

struct Moments {
  double mean = 0, variance = 0;
};
Moments moments(const std::function<double()>& draw, int n = 200'000) {
  double sum = 0, squares = 0;
  for (int i = 0; i < n; ++i) {
    const double x = draw();
    sum += x;
    squares += x * x;
  }
  return {sum / n, squares / n - (sum / n) * (sum / n)};
}

// Integer streams are exact on every compiler. The finaliser is SplitMix64's: its first output for
// state 0 is the published 0xe220a8397b1dcdaf.
TEST(Random, GoldenWords) {
  EXPECT_EQ(mix64(0), 0xe220a8397b1dcdafULL);
  Rng r(42, "golden");
  const std::uint64_t first = r.next(), second = r.next();
  Rng again(42, "golden");
  EXPECT_EQ(again.next(), first);
  EXPECT_EQ(again.next(), second);
  EXPECT_EQ(first, 0xf0a18d63ba960975ULL);
  EXPECT_EQ(second, 0x94cf17244b8ce166ULL);
  EXPECT_EQ(Rng(42, "golden").at(7).next(), 0x7e8afd8a9c809f95ULL);
}

TEST(Random, AStreamOfAnItemIsIndependentOfDrawsBefore) {
  Rng used(1, "x");
  for (int i = 0; i < 100; ++i) used.next();
  const Rng fresh(1, "x");
  for (const std::uint64_t i : {0ULL, 1ULL, 99ULL, ~0ULL})
    EXPECT_EQ(used.at(i).next(), fresh.at(i).next());
}

TEST(Random, StreamsDiffer) {
  std::set<std::uint64_t> seen;
  for (std::uint64_t seed = 0; seed < 20; ++seed)
    for (const char* path : {"", "a", "b", "ab", "ba"})
      for (std::uint64_t i = 0; i < 20; ++i) seen.insert(Rng(seed, path).at(i).next());
  EXPECT_EQ(seen.size(), 20U * 5 * 20);
}

TEST(Random, UniformFillsItsInterval) {
  Rng r(3, "uniform");
  std::array<int, 16> bins{};
  for (int i = 0; i < 160'000; ++i) {
    const double u = r.uniform();
    ASSERT_TRUE(u >= 0 && u < 1);
    ++bins[static_cast<std::size_t>(u * 16)];
  }
  double chi = 0;
  for (const int n : bins) chi += (n - 10'000.0) * (n - 10'000.0) / 10'000.0;
  EXPECT_LT(chi, 37.7);  // chi-square, 15 degrees of freedom: P(> 37.7) = 0.001
  for (const std::uint64_t n : {1ULL, 2ULL, 3ULL, 1'000'003ULL})
    for (int i = 0; i < 1000; ++i) ASSERT_LT(r.below(n), n);
}

// Bounds: five standard errors of the mean, 5 % of the variance.
void expect_moments(const char* name, const Moments& m, double mean, double variance) {
  EXPECT_NEAR(m.mean, mean, 5 * std::sqrt(variance / 200'000)) << name;
  EXPECT_NEAR(m.variance, variance, 0.05 * variance) << name;
}

TEST(Random, MomentsOfTheLaws) {
  Rng r(9, "moments");
  expect_moments("exponential", moments([&] { return r.exponential(3); }), 3, 9);
  expect_moments("normal", moments([&] { return r.normal(); }), 0, 1);
  for (const double shape : {0.3, 1.0, 2.5, 40.0})
    expect_moments("gamma", moments([&] { return r.gamma(shape, 2); }), shape * 2, shape * 4);
  for (const double shape : {0.8, 1.0, 2.0}) {
    const double g1 = std::tgamma(1 + 1 / shape), g2 = std::tgamma(1 + 2 / shape);
    expect_moments("weibull", moments([&] { return r.weibull(shape, 5); }), 5 * g1,
                   25 * (g2 - g1 * g1));
  }
  const double s2 = 0.25;
  expect_moments("lognormal", moments([&] { return r.lognormal(1, 0.5); }), std::exp(1 + s2 / 2),
                 (std::exp(s2) - 1) * std::exp(2 + s2));
}

TEST(Random, NeverInfinite) {
  Rng r(4, "extremes");
  for (int i = 0; i < 100'000; ++i) {
    ASSERT_TRUE(std::isfinite(r.exponential(1)));
    ASSERT_TRUE(std::isfinite(r.normal()));
    ASSERT_TRUE(std::isfinite(r.gamma(0.05, 1)));
  }
}

}  // namespace
}  // namespace kvsim
