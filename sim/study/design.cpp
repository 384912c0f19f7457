#include "sim/study/design.h"

#include <array>
#include <bit>
#include <numeric>

#include "sim/base/check.h"
#include "sim/base/random.h"

namespace kvsim {
namespace {

// A primitive polynomial of degree s whose inner coefficients are the bits of a, and the first s
// direction numbers. Dimensions 2 to 32 of the authors' table new-joe-kuo-6.21201 (S. Joe, F. Y.
// Kuo, Constructing Sobol sequences with better two-dimensional projections, SIAM J. Sci. Comput.
// 30, 2008); dimension 1 is van der Corput's.
struct Direction {
  unsigned s, a;
  std::array<std::uint32_t, 7> m;
};
constexpr std::array<Direction, kSobolDimensions - 1> kDirections{
    {{1, 0, {1}},
     {2, 1, {1, 3}},
     {3, 1, {1, 3, 1}},
     {3, 2, {1, 1, 1}},
     {4, 1, {1, 1, 3, 3}},
     {4, 4, {1, 3, 5, 13}},
     {5, 2, {1, 1, 5, 5, 17}},
     {5, 4, {1, 1, 5, 5, 5}},
     {5, 7, {1, 1, 7, 11, 19}},
     {5, 11, {1, 1, 5, 1, 1}},
     {5, 13, {1, 1, 1, 3, 11}},
     {5, 14, {1, 3, 5, 5, 31}},
     {6, 1, {1, 3, 3, 9, 7, 49}},
     {6, 13, {1, 1, 1, 15, 21, 21}},
     {6, 16, {1, 3, 1, 13, 27, 49}},
     {6, 19, {1, 1, 1, 15, 7, 5}},
     {6, 22, {1, 3, 1, 15, 13, 25}},
     {6, 25, {1, 1, 5, 5, 19, 61}},
     {7, 1, {1, 3, 7, 11, 23, 15, 103}},
     {7, 4, {1, 3, 7, 13, 13, 15, 69}},
     {7, 7, {1, 1, 3, 13, 7, 35, 63}},
     {7, 8, {1, 3, 5, 9, 1, 25, 53}},
     {7, 14, {1, 3, 1, 13, 9, 35, 107}},
     {7, 19, {1, 3, 1, 5, 27, 61, 31}},
     {7, 21, {1, 1, 5, 11, 19, 41, 61}},
     {7, 28, {1, 3, 5, 3, 3, 13, 69}},
     {7, 31, {1, 1, 7, 13, 1, 19, 1}},
     {7, 32, {1, 3, 7, 5, 13, 19, 59}},
     {7, 37, {1, 1, 3, 9, 25, 29, 41}},
     {7, 41, {1, 3, 5, 13, 23, 1, 55}},
     {7, 42, {1, 3, 7, 3, 13, 59, 17}}}};

constexpr unsigned kBits = 32;
using DirectionNumbers = std::array<std::uint32_t, kBits>;  // v_1 ... v_32 as fractions of 2^32

DirectionNumbers direction_numbers(std::size_t dimension) {
  DirectionNumbers v{};
  if (dimension == 0) {
    for (unsigned i = 0; i < kBits; ++i) v[i] = 1U << (kBits - 1 - i);
    return v;
  }
  const Direction& d = kDirections[dimension - 1];
  for (unsigned i = 0; i < kBits; ++i) {
    if (i < d.s) {
      v[i] = d.m[i] << (kBits - 1 - i);
      continue;
    }
    v[i] = v[i - d.s] ^ (v[i - d.s] >> d.s);
    for (unsigned k = 1; k < d.s; ++k)
      if (((d.a >> (d.s - 1 - k)) & 1U) != 0) v[i] ^= v[i - k];
  }
  return v;
}

std::vector<std::size_t> permutation(std::size_t n, Rng& rng) {
  std::vector<std::size_t> p(n);
  std::iota(p.begin(), p.end(), std::size_t{0});
  for (std::size_t i = n; i > 1; --i) std::swap(p[i - 1], p[rng.below(i)]);
  return p;
}

}  // namespace

std::vector<UnitPoint> latin_hypercube(std::size_t n, std::size_t axes, std::uint64_t seed) {
  std::vector<UnitPoint> points(n, UnitPoint(axes));
  const Rng all(seed, "latin-hypercube");
  for (std::size_t axis = 0; axis < axes; ++axis) {
    Rng rng = all.at(axis);
    const std::vector<std::size_t> cell = permutation(n, rng);
    for (std::size_t i = 0; i < n; ++i)
      points[i][axis] = (static_cast<double>(cell[i]) + rng.uniform()) / static_cast<double>(n);
  }
  return points;
}

std::vector<UnitPoint> sobol_points(std::size_t n, std::size_t axes) {
  KVSIM_CHECK(axes <= kSobolDimensions, "{} dimensions", axes);
  std::vector<UnitPoint> points(n, UnitPoint(axes));
  for (std::size_t axis = 0; axis < axes; ++axis) {
    const DirectionNumbers v = direction_numbers(axis);
    std::uint32_t x = 0;  // point i is point i - 1 with one direction number flipped (Gray code)
    for (std::size_t i = 1; i < n; ++i) {
      x ^= v[static_cast<unsigned>(std::countr_zero(i))];
      points[i][axis] = static_cast<double>(x) * 0x1p-32;
    }
  }
  return points;
}

std::vector<UnitPoint> morris_points(std::size_t trajectories, int levels, std::size_t axes,
                                     std::uint64_t seed) {
  KVSIM_CHECK(levels >= 2 && levels % 2 == 0, "{} levels", levels);
  const auto count = static_cast<std::size_t>(levels);
  std::vector<UnitPoint> points;
  points.reserve(trajectories * (axes + 1));
  const Rng all(seed, "morris");
  for (std::size_t t = 0; t < trajectories; ++t) {
    Rng rng = all.at(t);
    std::vector<std::size_t> level(axes);
    for (std::size_t& l : level) l = rng.below(count);
    const auto add = [&] {
      UnitPoint& p = points.emplace_back();
      for (const std::size_t l : level)
        p.push_back(static_cast<double>(l) / static_cast<double>(count - 1));
    };
    add();
    for (const std::size_t axis : permutation(axes, rng)) {
      level[axis] = level[axis] < count / 2 ? level[axis] + count / 2 : level[axis] - count / 2;
      add();
    }
  }
  return points;
}

std::vector<UnitPoint> saltelli_points(std::size_t n, std::size_t axes) {
  std::vector<UnitPoint> points;
  points.reserve(n * (axes + 2));
  for (const UnitPoint& row : sobol_points(n, 2 * axes)) {
    const auto middle = row.begin() + static_cast<std::ptrdiff_t>(axes);
    const UnitPoint a(row.begin(), middle), b(middle, row.end());
    points.push_back(a);
    points.push_back(b);
    for (std::size_t axis = 0; axis < axes; ++axis) points.emplace_back(a)[axis] = b[axis];
  }
  return points;
}

}  // namespace kvsim
