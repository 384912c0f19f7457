#include "kernels/merge.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace kvsim::kernels::reference {

namespace {

std::size_t u(std::int64_t n) { return static_cast<std::size_t>(n); }

double dot(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += double{a[i]} * double{b[i]};
  return sum;
}
double cosine(std::span<const float> a, std::span<const float> b) {
  const double lengths = std::sqrt(dot(a, a)) * std::sqrt(dot(b, b));
  return lengths == 0 ? 0 : dot(a, b) / lengths;
}
std::span<const float> row(std::span<const float> x, std::int32_t t, std::int32_t dim) {
  return x.subspan(u(t) * u(dim), u(dim));
}

}  // namespace

void similarity(const NeighbourSimilarity& a) {
  for (std::int32_t t = 0; t + 1 < a.tokens; ++t)
    a.out[u(t)] = static_cast<float>(cosine(row(a.x, t, a.dim), row(a.x, t + 1, a.dim)));
}

void assign(const NearestKept& a) {
  for (std::int32_t t = 0; t < a.tokens; ++t) {
    std::int32_t best = -1;
    double most = -2;
    for (std::size_t c = 0; c < a.kept.size(); ++c) {
      const double s = a.kept[c] == t ? 3 : cosine(row(a.x, t, a.dim), row(a.x, a.kept[c], a.dim));
      if (s > most) most = s, best = static_cast<std::int32_t>(c);
    }
    most = best < 0 ? 0 : std::min(most, 1.0);
    a.cluster[u(t)] = most < a.threshold ? -1 : best;
    a.similarity[u(t)] = static_cast<float>(most);
  }
}

void merge(const WeightedMerge& a) {
  std::vector<double> sum(u(a.clusters) * u(a.dim)), weight(u(a.clusters));
  for (std::int32_t t = 0; t < a.tokens; ++t) {
    const std::int32_t c = a.cluster[u(t)];
    if (c < 0) continue;
    weight[u(c)] += a.weight[u(t)];
    for (std::size_t d = 0; d < u(a.dim); ++d)
      sum[u(c) * u(a.dim) + d] += double{a.weight[u(t)]} * double{row(a.x, t, a.dim)[d]};
  }
  for (std::size_t i = 0; i < sum.size(); ++i) {
    const double w = weight[i / u(a.dim)];
    a.out[i] = w == 0 ? 0 : static_cast<float>(sum[i] / w);
  }
}

void merge_layers(const LayerMerge& a) {
  for (std::int32_t t = 0; t < a.tokens; ++t) {
    const auto x = row(a.a, t, a.dim), y = row(a.b, t, a.dim);
    const double length_x = std::sqrt(dot(x, x)), length_y = std::sqrt(dot(y, y));
    const bool has_zero = length_x == 0 || length_y == 0;
    const double angle = has_zero ? 0 : std::acos(std::clamp(cosine(x, y), -1.0, 1.0));
    double share_x = 1 - double{a.at}, share_y = double{a.at};
    if (std::sin(angle) >= 1e-3) {
      share_x = std::sin(share_x * angle) / std::sin(angle);
      share_y = std::sin(share_y * angle) / std::sin(angle);
    }
    std::vector<double> direction(u(a.dim));
    double squares = 0;
    for (std::size_t d = 0; d < direction.size(); ++d) {
      if (length_x > 0) direction[d] += share_x * x[d] / length_x;
      if (length_y > 0) direction[d] += share_y * y[d] / length_y;
      squares += direction[d] * direction[d];
    }
    for (std::size_t d = 0; d < direction.size(); ++d)
      a.direction[u(t) * u(a.dim) + d] =
          squares == 0 ? 0 : static_cast<float>(direction[d] / std::sqrt(squares));
    a.length_a[u(t)] = static_cast<float>(length_x);
    a.length_b[u(t)] = static_cast<float>(length_y);
    a.angle[u(t)] = static_cast<float>(angle);
  }
}

}  // namespace kvsim::kernels::reference
