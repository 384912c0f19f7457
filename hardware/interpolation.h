#pragma once
// Piecewise linear functions over measured points, nested to any number of axes. Between two
// points: the straight line; beyond the ends: the line of the last two points, with a slope that
// lets time neither fall when there is more work nor become negative when there is less. The points
// of one axis may differ from slice to slice.
#include <algorithm>
#include <cstddef>
#include <vector>

#include "sim/base/diagnostics.h"

namespace kvsim {

// The line through (x0, y0) and (x1, y1) where x lies before, between or behind them; `first` and
// `last` tell whether x0 is the first and x1 the last measured point. Requires x0 < x1, 0 <= x0.
struct LineSegment {
  double at_zero = 0, slope = 0;
  [[nodiscard]] double at(double x) const { return at_zero + slope * x; }
};
inline LineSegment segment(double x0, double y0, double x1, double y1, bool before, bool behind) {
  double slope = (y1 - y0) / (x1 - x0);
  if (behind) {
    slope = std::max(slope, 0.0);
    return {y1 - slope * x1, slope};
  }
  if (before && x0 > 0) slope = std::min(slope, y0 / x0);
  return {y0 - slope * x0, slope};
}

// Number of knots <= x: 0 is before the first, size() at or behind the last.
template <class X>
std::size_t cell_of(const std::vector<double>& knots, X x) {
  return static_cast<std::size_t>(
      std::upper_bound(knots.begin(), knots.end(), static_cast<double>(x)) - knots.begin());
}

template <class Child>
struct Nested {
  std::vector<double> x;  // ascending, >= 1 point
  std::vector<Child> y;

  static constexpr std::size_t kMostPoints = 8192;  // of one axis: no honest grid has more

  // The child at x, inserted in order when new. Throws InputError beyond kMostPoints.
  Child& slot(double at, bool& is_new) {
    const auto it = std::lower_bound(x.begin(), x.end(), at);
    const auto i = it - x.begin();
    is_new = it == x.end() || *it != at;
    if (is_new) {
      if (x.size() == kMostPoints)
        throw InputError("a table has more than 8192 points on one axis", "is it a grid?");
      x.insert(it, at);
      y.insert(y.begin() + i, Child{});
    }
    return y[static_cast<std::size_t>(i)];
  }
  Child& slot(double at) {
    bool ignored = false;
    return slot(at, ignored);
  }

  template <class... Rest>
  [[nodiscard]] double at(double q, Rest... rest) const {
    const auto value = [&](std::size_t i) {
      if constexpr (sizeof...(Rest) == 0)
        return y[i];
      else
        return y[i].at(rest...);
    };
    if (x.size() == 1) return value(0);
    const std::size_t cell = cell_of(x, q);
    const std::size_t i = std::clamp<std::size_t>(cell, 1, x.size() - 1);
    if (cell > 0 && q == x[cell - 1]) return value(cell - 1);
    return segment(x[i - 1], value(i - 1), x[i], value(i), cell == 0, cell == x.size()).at(q);
  }
};
using Curve = Nested<double>;

}  // namespace kvsim
