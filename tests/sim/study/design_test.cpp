#include "sim/study/design.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

namespace kvsim {
namespace {

// The first points of the sequence as Bratley and Fox 1988 and every table since print them.
TEST(Design, SobolBeginsAsPublished) {
  const std::vector<UnitPoint> known{{0, 0, 0},
                                     {0.5, 0.5, 0.5},
                                     {0.75, 0.25, 0.25},
                                     {0.25, 0.75, 0.75},
                                     {0.375, 0.375, 0.625},
                                     {0.875, 0.875, 0.125},
                                     {0.625, 0.125, 0.875},
                                     {0.125, 0.625, 0.375}};
  EXPECT_EQ(sobol_points(8, 3), known);
}

// A (0, m, 1)-net in each dimension: every interval of length 2^-m holds one of 2^m points.
TEST(Design, SobolIsBalancedInEveryDimension) {
  const std::size_t n = 1024;
  const auto points = sobol_points(n, kSobolDimensions);
  for (std::size_t axis = 0; axis < kSobolDimensions; ++axis) {
    std::set<std::size_t> cells;
    for (const UnitPoint& p : points)
      cells.insert(static_cast<std::size_t>(p[axis] * static_cast<double>(n)));
    EXPECT_EQ(cells.size(), n) << "axis " << axis;
  }
}

// The first two dimensions form a (0, m, 2)-net: every box of 2^-i by 2^-(m-i) holds one point.
TEST(Design, SobolPairIsANet) {
  constexpr unsigned kM = 8;
  const auto points = sobol_points(std::size_t{1} << kM, 2);
  for (unsigned i = 0; i <= kM; ++i) {
    std::set<std::pair<int, int>> boxes;
    for (const UnitPoint& p : points)
      boxes.emplace(static_cast<int>(std::ldexp(p[0], static_cast<int>(i))),
                    static_cast<int>(std::ldexp(p[1], static_cast<int>(kM - i))));
    EXPECT_EQ(boxes.size(), points.size()) << "i = " << i;
  }
}

// Wrong direction numbers show as repeated or missing boxes in pairs of dimensions: with 2^13
// points every pair must reach all 16 x 16 boxes about equally.
TEST(Design, SobolPairsFillTheSquare) {
  const auto points = sobol_points(1 << 13, kSobolDimensions);
  for (std::size_t a = 0; a < kSobolDimensions; ++a)
    for (std::size_t b = 0; b < a; ++b) {
      std::vector<int> hits(256);
      for (const UnitPoint& p : points)
        ++hits[static_cast<std::size_t>(p[a] * 16) * 16 + static_cast<std::size_t>(p[b] * 16)];
      for (const int h : hits) EXPECT_NEAR(h, 32, 32) << a << ", " << b;
      EXPECT_GT(*std::min_element(hits.begin(), hits.end()), 0) << a << ", " << b;
    }
}

TEST(Design, LatinHypercubeHitsEachRowAndColumnOnce) {
  for (const std::size_t n : {1U, 7U, 64U}) {
    const auto points = latin_hypercube(n, 5, 3);
    ASSERT_EQ(points.size(), n);
    for (std::size_t axis = 0; axis < 5; ++axis) {
      std::set<std::size_t> cells;
      for (const UnitPoint& p : points) {
        EXPECT_GE(p[axis], 0);
        EXPECT_LT(p[axis], 1);
        cells.insert(static_cast<std::size_t>(p[axis] * static_cast<double>(n)));
      }
      EXPECT_EQ(cells.size(), n);
    }
  }
  EXPECT_EQ(latin_hypercube(16, 2, 1), latin_hypercube(16, 2, 1));
  EXPECT_NE(latin_hypercube(16, 2, 1), latin_hypercube(16, 2, 2));
}

TEST(Design, MorrisMovesOneAxisAtATimeByHalfTheLevels) {
  const std::size_t axes = 4;
  const auto points = morris_points(20, 6, axes, 9);
  ASSERT_EQ(points.size(), 20 * (axes + 1));
  for (std::size_t t = 0; t < 20; ++t) {
    std::set<std::size_t> moved;
    for (std::size_t i = 1; i <= axes; ++i) {
      const UnitPoint &before = points[t * (axes + 1) + i - 1], &after = points[t * (axes + 1) + i];
      for (std::size_t axis = 0; axis < axes; ++axis) {
        EXPECT_GE(after[axis], 0);
        EXPECT_LE(after[axis], 1);
        if (before[axis] == after[axis]) continue;
        EXPECT_NEAR(std::abs(before[axis] - after[axis]), 0.6, 1e-12);
        moved.insert(axis);
      }
    }
    EXPECT_EQ(moved.size(), axes);
  }
}

TEST(Design, SaltelliTakesOneCoordinateOfTheOtherPoint) {
  const auto points = saltelli_points(16, 3);
  ASSERT_EQ(points.size(), 16U * 5);
  for (std::size_t row = 0; row < 16; ++row) {
    const UnitPoint &a = points[row * 5], &b = points[row * 5 + 1];
    for (std::size_t axis = 0; axis < 3; ++axis)
      for (std::size_t c = 0; c < 3; ++c)
        EXPECT_EQ(points[row * 5 + 2 + axis][c], c == axis ? b[c] : a[c]);
  }
}

}  // namespace
}  // namespace kvsim
