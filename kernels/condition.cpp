#include "kernels/condition.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/element.h"

namespace kvsim::kernels {

namespace {

std::size_t u(std::int64_t n) { return static_cast<std::size_t>(n); }

// Moves the numbers at `index` (ascending) out and fills each place with the mean of the rest of
// its row.
Outliers take(std::span<float> matrix, std::int32_t dims, std::vector<std::int32_t> index) {
  Outliers out{std::move(index), {}};
  for (const std::int32_t i : out.index) out.value.push_back(to_f16(matrix[u(i)]));
  for (std::size_t first = 0; first < out.index.size();) {
    const std::int32_t row = out.index[first] / dims;
    std::size_t end = first;
    double sum = 0;
    for (const float x : matrix.subspan(u(row) * u(dims), u(dims))) sum += x;
    for (; end < out.index.size() && out.index[end] / dims == row; ++end)
      sum -= matrix[u(out.index[end])];
    const auto left = static_cast<double>(u(dims) - (end - first));
    for (; first < end; ++first)
      matrix[u(out.index[first])] = left == 0 ? 0 : static_cast<float>(sum / left);
  }
  return out;
}

}  // namespace

Outliers take_outliers(std::span<float> matrix, std::int32_t dims, double fraction) {
  std::vector<std::int32_t> order(matrix.size());
  std::iota(order.begin(), order.end(), 0);
  const auto count = std::clamp<std::int64_t>(
      std::llround(fraction * static_cast<double>(matrix.size())), 0, std::ssize(order));
  std::nth_element(order.begin(), order.begin() + count, order.end(),
                   [&](std::int32_t x, std::int32_t y) {
                     const float ax = std::abs(matrix[u(x)]), ay = std::abs(matrix[u(y)]);
                     return ax != ay ? ax > ay : x < y;
                   });
  order.resize(u(count));
  std::sort(order.begin(), order.end());
  return take(matrix, dims, std::move(order));
}

Outliers take_outliers_above(std::span<float> matrix, std::int32_t dims, float threshold) {
  std::vector<std::int32_t> index;
  for (std::size_t i = 0; i < matrix.size(); ++i)
    if (std::abs(matrix[i]) > threshold) index.push_back(static_cast<std::int32_t>(i));
  return take(matrix, dims, std::move(index));
}

void put_outliers(const Outliers& outliers, std::span<float> matrix) {
  for (std::size_t i = 0; i < outliers.index.size(); ++i)
    matrix[u(outliers.index[i])] = from_f16(outliers.value[i]);
}

std::vector<float> smoothing_factors(std::span<const float> keys, std::span<const float> queries,
                                     std::int32_t dims, double alpha) {
  const auto largest = [&](std::span<const float> rows) {
    std::vector<double> top(u(dims));
    for (std::size_t i = 0; i < rows.size(); ++i)
      top[i % u(dims)] = std::max(top[i % u(dims)], std::abs(double{rows[i]}));
    return top;
  };
  const std::vector<double> key = largest(keys), query = largest(queries);
  std::vector<float> factors(u(dims), 1.0F);
  for (std::size_t d = 0; d < factors.size(); ++d)
    if (key[d] > 0 && query[d] > 0)
      factors[d] = static_cast<float>(std::pow(key[d], alpha) / std::pow(query[d], 1 - alpha));
  return factors;
}

std::vector<float> fit_codebook(std::span<const float> values, std::span<const float> weights,
                                int levels) {
  struct Point {
    double x = 0, weight = 1;
  };
  std::vector<Point> points(values.size());
  for (std::size_t i = 0; i < points.size(); ++i)
    points[i] = {values[i], weights.empty() ? 1.0 : double{weights[i]}};
  std::stable_sort(points.begin(), points.end(),
                   [](const Point& a, const Point& b) { return a.x < b.x; });
  std::vector<double> centre(u(levels));
  for (int i = 0; i < levels && !points.empty(); ++i)
    centre[u(i)] = points[(u(2 * i) + 1) * points.size() / (2 * u(levels))].x;
  for (int round = 0; round < 100; ++round) {
    std::vector<double> sum(centre.size()), weight(centre.size());
    std::size_t cell = 0;
    for (const Point& p : points) {
      while (cell + 1 < centre.size() && p.x > (centre[cell] + centre[cell + 1]) / 2) ++cell;
      sum[cell] += p.weight * p.x, weight[cell] += p.weight;
    }
    bool moved = false;
    for (std::size_t i = 0; i < centre.size(); ++i) {
      if (weight[i] == 0) continue;  // an empty cell keeps its place
      moved = moved || centre[i] != sum[i] / weight[i];
      centre[i] = sum[i] / weight[i];
    }
    if (!moved) break;
  }
  return {centre.begin(), centre.end()};
}

}  // namespace kvsim::kernels
