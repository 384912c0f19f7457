#include "sim/study/sensitivity.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numbers>

namespace kvsim {
namespace {

template <class F>
std::vector<double> outcomes(const std::vector<UnitPoint>& points, F f) {
  std::vector<double> all;
  for (const UnitPoint& p : points) all.push_back(f(p));
  return all;
}

// A linear function has the same effect everywhere: its slope.
TEST(Sensitivity, MorrisOfALinearFunctionIsItsSlopes) {
  const auto points = morris_points(10, 4, 3, 1);
  const auto all = morris_indices(
      points, outcomes(points, [](const UnitPoint& p) { return 5 + 3 * p[0] - 2 * p[1]; }));
  const double slopes[] = {3, -2, 0};
  ASSERT_EQ(all.size(), 3U);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_NEAR(all[i].mu, slopes[i], 1e-12);
    EXPECT_NEAR(all[i].mu_star, std::abs(slopes[i]), 1e-12);
    EXPECT_NEAR(all[i].sigma, 0, 1e-12);
    EXPECT_EQ(all[i].effects, 10U);
  }
}

// x0 * x1: the effect of x0 is x1, so both deviate, and both means are those of the other's levels.
TEST(Sensitivity, MorrisSeesInteractions) {
  const auto points = morris_points(400, 4, 2, 1);
  const auto all =
      morris_indices(points, outcomes(points, [](const UnitPoint& p) { return p[0] * p[1]; }));
  for (const MorrisIndex& m : all) {
    EXPECT_NEAR(m.mu, 0.5, 0.06);
    // Levels 0, 1/3, 2/3, 1: deviation sqrt(5)/6.
    EXPECT_NEAR(m.sigma, std::sqrt(5.0) / 6, 0.04);
  }
}

TEST(Sensitivity, FailedTrialsCostTheirEffectsOnly) {
  const auto points = morris_points(5, 4, 2, 1);
  auto y = outcomes(points, [](const UnitPoint& p) { return p[0] + 2 * p[1]; });
  y[1] = std::numeric_limits<double>::quiet_NaN();  // the middle of the first trajectory
  const auto all = morris_indices(points, y);
  EXPECT_EQ(all[0].effects + all[1].effects, 8U);
  EXPECT_NEAR(all[1].mu, 2, 1e-12);
}

// Ishigami and Homma 1990: sin x1 + a sin^2 x2 + b x3^4 sin x1 on [-pi, pi]^3, whose variances are
// a^2/8 + b pi^4/5 + b^2 pi^8/18 + 1/2 in all, (1 + b pi^4/5)^2/2 of x1, a^2/8 of x2, and b^2 pi^8
// (1/18 - 1/50) of x1 with x3.
TEST(Sensitivity, SobolIndicesOfIshigamiAreTheClosedForms) {
  constexpr double kA = 7, kB = 0.1;
  const double pi = std::numbers::pi, pi4 = std::pow(pi, 4), pi8 = pi4 * pi4;
  const double v1 = 0.5 * std::pow(1 + kB * pi4 / 5, 2), v2 = kA * kA / 8,
               v13 = kB * kB * pi8 * (1.0 / 18 - 1.0 / 50), v = v1 + v2 + v13;
  EXPECT_NEAR(v, kA * kA / 8 + kB * pi4 / 5 + kB * kB * pi8 / 18 + 0.5, 1e-9);
  const auto y = outcomes(saltelli_points(4096, 3), [&](const UnitPoint& p) {
    const double x1 = pi * (2 * p[0] - 1), x2 = pi * (2 * p[1] - 1), x3 = pi * (2 * p[2] - 1);
    return std::sin(x1) + kA * std::pow(std::sin(x2), 2) + kB * std::pow(x3, 4) * std::sin(x1);
  });
  const SobolIndices all = sobol_indices(3, y);
  EXPECT_EQ(all.rows, 4096U);
  EXPECT_NEAR(all.variance, v, 0.02 * v);
  const double first[] = {v1 / v, v2 / v, 0}, total[] = {(v1 + v13) / v, v2 / v, v13 / v};
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_NEAR(all.axes[i].first, first[i], 0.02) << i;
    EXPECT_NEAR(all.axes[i].total, total[i], 0.02) << i;
    EXPECT_LT(all.axes[i].first_margin, 0.08);
    EXPECT_GT(all.axes[i].total_margin, 0);
  }
}

// A sum has no interactions: first and total agree, and the shares are slopes squared.
TEST(Sensitivity, SobolIndicesOfALinearFunction) {
  auto y = outcomes(saltelli_points(1024, 2),
                    [](const UnitPoint& p) { return 100 + 3 * p[0] + 1 * p[1]; });
  y[7] = std::numeric_limits<double>::infinity();
  const SobolIndices all = sobol_indices(2, y);
  EXPECT_EQ(all.rows, 1023U);
  EXPECT_NEAR(all.axes[0].first, 0.9, 0.01);
  EXPECT_NEAR(all.axes[1].first, 0.1, 0.01);
  EXPECT_NEAR(all.axes[0].total, 0.9, 0.01);
  EXPECT_NEAR(all.axes[1].total, 0.1, 0.01);
}

TEST(Sensitivity, AConstantOutcomeBlamesNobody) {
  const SobolIndices all = sobol_indices(2, std::vector<double>(16, 4.0));
  EXPECT_EQ(all.variance, 0);
  EXPECT_EQ(all.axes[0].first, 0);
  EXPECT_EQ(all.axes[0].total, 0);
  EXPECT_EQ(sobol_indices(2, std::vector<double>(4, NAN)).rows, 0U);
}

}  // namespace
}  // namespace kvsim
