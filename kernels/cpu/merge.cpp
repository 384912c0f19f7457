#include "kernels/merge.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/merge.cpp"
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4)
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/cpu/lanes.inc"
#include "kernels/threads.h"

// Lengths and angles are made of f32 dot products; where a difference of nearly equal numbers would
// lose the angle (nearly parallel rows) it comes from |a' - b'| and |a' + b'| of the unit vectors.

HWY_BEFORE_NAMESPACE();
namespace kvsim::kernels::cpu::HWY_NAMESPACE {

float dot_product(const float* a, const float* b, std::size_t n) { return dot(a, b, n); }

void accumulate(float factor, const float* x, float* y, std::size_t n) {
  add_scaled(factor, x, y, n);
}

// out = fa * a + fb * b.
void blend(float fa, const float* a, float fb, const float* b, float* out, std::size_t n) {
  const Wide d;
  const auto va = hn::Set(d, fa), vb = hn::Set(d, fb);
  std::size_t i = 0;
  for (; i + hn::Lanes(d) <= n; i += hn::Lanes(d))
    hn::StoreU(hn::MulAdd(va, hn::LoadU(d, a + i), hn::Mul(vb, hn::LoadU(d, b + i))), d, out + i);
  for (; i < n; ++i) out[i] = fa * a[i] + fb * b[i];
}

}  // namespace kvsim::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvsim::kernels::cpu {

HWY_EXPORT(dot_product);
HWY_EXPORT(accumulate);
HWY_EXPORT(blend);

namespace {

std::size_t u(std::int64_t n) { return static_cast<std::size_t>(n); }

float dot(const float* a, const float* b, std::size_t n) {
  return HWY_DYNAMIC_DISPATCH(dot_product)(a, b, n);
}
float length(const float* a, std::size_t n) { return std::sqrt(dot(a, a, n)); }
float cosine(float product, float length_a, float length_b) {
  return length_a == 0 || length_b == 0 ? 0.0F : product / length_a / length_b;
}

// Lengths of the rows first .. end - 1.
void lengths(std::span<const float> x, std::size_t dim, std::int64_t first, std::int64_t end,
             std::vector<float>& out) {
  for (std::size_t t = u(first); t < u(end); ++t) out[t] = length(x.data() + t * dim, dim);
}

void merge_row(const LayerMerge& a, std::size_t t) {
  const std::size_t n = u(a.dim);
  const float *x = a.a.data() + t * n, *y = a.b.data() + t * n;
  float* out = a.direction.data() + t * n;
  const float length_x = length(x, n), length_y = length(y, n);
  const float inverse_x = length_x == 0 ? 0 : 1 / length_x;
  const float inverse_y = length_y == 0 ? 0 : 1 / length_y;
  double angle = 0;
  if (length_x > 0 && length_y > 0) {
    const auto blend = HWY_DYNAMIC_DISPATCH(blend);
    blend(inverse_x, x, -inverse_y, y, out, n);
    const double apart = length(out, n);
    blend(inverse_x, x, inverse_y, y, out, n);
    angle = 2 * std::atan2(apart, double{length(out, n)});
  }
  double share_x = 1 - double{a.at}, share_y = double{a.at};
  if (std::sin(angle) >= 1e-3) {
    share_x = std::sin(share_x * angle) / std::sin(angle);
    share_y = std::sin(share_y * angle) / std::sin(angle);
  }
  HWY_DYNAMIC_DISPATCH(blend)
  (static_cast<float>(share_x) * inverse_x, x, static_cast<float>(share_y) * inverse_y, y, out, n);
  const float whole = length(out, n);
  HWY_DYNAMIC_DISPATCH(blend)(whole == 0 ? 0 : 1 / whole, out, 0, out, out, n);
  a.length_a[t] = length_x;
  a.length_b[t] = length_y;
  a.angle[t] = static_cast<float>(angle);
}

}  // namespace

void similarity(const NeighbourSimilarity& a, Threads& threads) {
  const std::size_t dim = u(a.dim);
  std::vector<float> size(u(a.tokens));
  threads.run([&](int thread) {
    const auto [first, end] = threads.part(a.tokens, thread);
    lengths(a.x, dim, first, end, size);
  });
  threads.run([&](int thread) {
    const auto [first, end] = threads.part(std::max(0, a.tokens - 1), thread);
    for (std::size_t t = u(first); t < u(end); ++t) {
      const float* x = a.x.data() + t * dim;
      a.out[t] = cosine(dot(x, x + dim, dim), size[t], size[t + 1]);
    }
  });
}

void assign(const NearestKept& a, Threads& threads) {
  const std::size_t dim = u(a.dim);
  std::vector<float> size(u(a.tokens));
  threads.run([&](int thread) {
    const auto [first, end] = threads.part(a.tokens, thread);
    lengths(a.x, dim, first, end, size);
  });
  threads.run([&](int thread) {
    const auto [first, end] = threads.part(a.tokens, thread);
    for (std::size_t t = u(first); t < u(end); ++t) {
      const auto own = std::lower_bound(a.kept.begin(), a.kept.end(), static_cast<std::int32_t>(t));
      std::int32_t best = -1;
      float most = -2;
      if (own != a.kept.end() && *own == static_cast<std::int32_t>(t)) {
        best = static_cast<std::int32_t>(own - a.kept.begin());
        most = 1;
      } else {
        for (std::size_t c = 0; c < a.kept.size(); ++c) {
          const std::size_t k = u(a.kept[c]);
          const float s =
              cosine(dot(a.x.data() + t * dim, a.x.data() + k * dim, dim), size[t], size[k]);
          if (s > most) most = s, best = static_cast<std::int32_t>(c);
        }
      }
      if (best < 0) most = 0;
      a.cluster[t] = most < a.threshold ? -1 : best;
      a.similarity[t] = most;
    }
  });
}

// Each thread takes its share of the dims of all clusters, so that sums keep the tokens' order.
void merge(const WeightedMerge& a, Threads& threads) {
  const std::size_t dim = u(a.dim);
  std::vector<float> weight(u(a.clusters));
  for (std::size_t t = 0; t < u(a.tokens); ++t)
    if (a.cluster[t] >= 0) weight[u(a.cluster[t])] += a.weight[t];
  threads.run([&](int thread) {
    const auto [first, end] = threads.part(a.dim, thread, 16);
    const std::size_t at = u(first), n = u(end - first);
    for (std::size_t c = 0; c < u(a.clusters); ++c)
      std::fill_n(a.out.data() + c * dim + at, n, 0.0F);
    for (std::size_t t = 0; t < u(a.tokens); ++t) {
      if (a.cluster[t] < 0 || a.weight[t] == 0) continue;
      const std::size_t c = u(a.cluster[t]);
      HWY_DYNAMIC_DISPATCH(accumulate)
      (a.weight[t] / weight[c], a.x.data() + t * dim + at, a.out.data() + c * dim + at, n);
    }
  });
}

void merge_layers(const LayerMerge& a, Threads& threads) {
  threads.run([&](int thread) {
    const auto [first, end] = threads.part(a.tokens, thread);
    for (std::size_t t = u(first); t < u(end); ++t) merge_row(a, t);
  });
}

}  // namespace kvsim::kernels::cpu
#endif
