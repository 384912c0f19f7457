#include "policies/token/indices/common.h"

#include <cmath>
#include <limits>

namespace kvsim::token {

std::int32_t nearest_centroid(std::span<const float> point, std::span<const float> centroids,
                              bool cosine) {
  const std::size_t dim = point.size();
  std::int32_t best = 0;
  double least = std::numeric_limits<double>::infinity();
  for (std::size_t c = 0; c * dim < centroids.size(); ++c) {
    const auto centre = row_of(centroids, c, dim);
    const double along = dot(point, centre), square = dot(centre, centre);
    const double distance = cosine ? -along / std::sqrt(square + 1e-30) : square - 2 * along;
    if (distance < least) least = distance, best = static_cast<std::int32_t>(c);
  }
  return best;
}

Clusters cluster(std::span<const float> points, std::size_t n, std::size_t dim, std::size_t stride,
                 std::size_t count, int rounds, bool cosine) {
  count = std::max<std::size_t>(1, std::min(count, n));
  Clusters out;
  out.of_point.assign(n, 0);
  for (std::size_t c = 0; c < count && n > 0; ++c) {
    const auto seed = points.subspan(c * n / count * stride, dim);
    out.centroids.insert(out.centroids.end(), seed.begin(), seed.end());
  }
  if (n == 0) out.centroids.assign(count * dim, 0.0F);
  for (int round = 0; round < rounds; ++round) {
    bool moved = false;
    std::vector<double> sums(count * dim, 0.0), sizes(count, 0.0);
    for (std::size_t i = 0; i < n; ++i) {
      const auto point = points.subspan(i * stride, dim);
      const std::int32_t to = nearest_centroid(point, out.centroids, cosine);
      moved = moved || to != out.of_point[i] || round == 0;
      out.of_point[i] = to;
      sizes[static_cast<std::size_t>(to)] += 1;
      for (std::size_t d = 0; d < dim; ++d)
        sums[static_cast<std::size_t>(to) * dim + d] += double{point[d]};
    }
    for (std::size_t c = 0; c < count; ++c)
      for (std::size_t d = 0; d < dim && sizes[c] > 0; ++d)
        out.centroids[c * dim + d] = static_cast<float>(sums[c * dim + d] / sizes[c]);
    if (!moved) break;
  }
  return out;
}

}  // namespace kvsim::token
