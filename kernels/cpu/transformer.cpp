#include "kernels/transformer.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/transformer.cpp"
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4)
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/cpu/lanes.inc"
#include "kernels/cpu/softmax.inc"
#include "kernels/threads.h"
#include "sim/base/check.h"

HWY_BEFORE_NAMESPACE();
namespace kvsim::kernels::cpu::HWY_NAMESPACE {

template <Element W>
HWY_INLINE float weight_at(const std::byte* row, std::size_t k) {
  if constexpr (W == Element::f16) return f16_at(row, k);
  float w = 0;
  std::memcpy(&w, row + 4 * k, sizeof w);
  return w;
}

// out[m][n] for Rows rows of x and Outs of the weight: every load serves Rows or Outs products.
template <Element W, std::size_t Rows, std::size_t Outs>
HWY_INLINE void tile(const std::byte* weight, std::size_t in_dim, const float* x, float* out,
                     std::size_t out_dim) {
  const Wide d;
  constexpr std::size_t kSize = W == Element::f16 ? 2 : 4;
  const std::size_t lanes = hn::Lanes(d);
  hn::Vec<Wide> sum[Rows][Outs];
  for (auto& row : sum)
    for (auto& s : row) s = hn::Zero(d);
  std::size_t k = 0;
  for (; k + lanes <= in_dim; k += lanes) {
    hn::Vec<Wide> w[Outs];
    for (std::size_t n = 0; n < Outs; ++n) w[n] = load<W>(d, weight + (n * in_dim + k) * kSize);
    for (std::size_t m = 0; m < Rows; ++m) {
      const auto v = hn::LoadU(d, x + m * in_dim + k);
      for (std::size_t n = 0; n < Outs; ++n) sum[m][n] = hn::MulAdd(v, w[n], sum[m][n]);
    }
  }
  for (std::size_t m = 0; m < Rows; ++m)
    for (std::size_t n = 0; n < Outs; ++n) {
      float all = hn::GetLane(hn::SumOfLanes(d, sum[m][n]));
      for (std::size_t i = k; i < in_dim; ++i)
        all += x[m * in_dim + i] * weight_at<W>(weight + n * in_dim * kSize, i);
      out[m * out_dim + n] = all;
    }
}

template <Element W, std::size_t Outs>
HWY_INLINE void all_rows(const Linear& a, const std::byte* weight, std::size_t n) {
  const auto in_dim = static_cast<std::size_t>(a.in_dim);
  const auto out_dim = static_cast<std::size_t>(a.out_dim);
  const auto rows = static_cast<std::size_t>(a.rows);
  constexpr std::size_t kSize = W == Element::f16 ? 2 : 4;
  weight += n * in_dim * kSize;
  std::size_t m = 0;
  for (; m + 4 <= rows; m += 4)
    tile<W, 4, Outs>(weight, in_dim, a.x.data() + m * in_dim, a.out.data() + m * out_dim + n,
                     out_dim);
  for (; m < rows; ++m)
    tile<W, 1, Outs>(weight, in_dim, a.x.data() + m * in_dim, a.out.data() + m * out_dim + n,
                     out_dim);
}

template <Element W>
void linear_as(const Linear& a, const std::byte* weight, std::size_t n, std::size_t end) {
  for (; n + 4 <= end; n += 4) all_rows<W, 4>(a, weight, n);
  for (; n < end; ++n) all_rows<W, 1>(a, weight, n);
}

// Outputs n .. end - 1 of every row.
void linear_part(const Linear& a, std::size_t n, std::size_t end) {
  if (a.weight_f16.empty())
    linear_as<Element::f32>(a, reinterpret_cast<const std::byte*>(a.weight_f32.data()), n, end);
  else
    linear_as<Element::f16>(a, reinterpret_cast<const std::byte*>(a.weight_f16.data()), n, end);
}

void rms_norm_row(const RmsNorm& a, std::size_t row) {
  const Wide d;
  const auto n = static_cast<std::size_t>(a.dim);
  const float* x = a.x.data() + row * n;
  float* out = a.out.data() + row * n;
  const float mean = dot(x, x, n) / static_cast<float>(n);
  const float inverse = 1 / std::sqrt(mean + a.epsilon);
  std::size_t i = 0;
  for (; i + hn::Lanes(d) <= n; i += hn::Lanes(d))
    hn::StoreU(hn::Mul(hn::Mul(hn::LoadU(d, x + i), hn::Set(d, inverse)),
                       hn::LoadU(d, a.weight.data() + i)),
               d, out + i);
  for (; i < n; ++i) out[i] = x[i] * inverse * a.weight[i];
}

void silu_part(const SiluGate& a, std::size_t i, std::size_t end) {
  const Wide d;
  const auto one = hn::Set(d, 1.0F);
  for (; i + hn::Lanes(d) <= end; i += hn::Lanes(d)) {
    const auto gate = hn::LoadU(d, a.gate.data() + i);
    const auto silu = hn::Div(gate, hn::Add(one, hn::Exp(d, hn::Neg(gate))));
    hn::StoreU(hn::Mul(silu, hn::LoadU(d, a.up.data() + i)), d, a.out.data() + i);
  }
  for (; i < end; ++i) a.out[i] = a.gate[i] / (1 + std::exp(-a.gate[i])) * a.up[i];
}

void softmax_row(const Softmax& a, std::size_t row) {
  const auto n = static_cast<std::size_t>(a.columns);
  const float* x = a.x.data() + row * n;
  float* out = a.out.data() + row * n;
  const float top = row_max(x, n);
  const float sum = exp_row(x, top, a.log ? nullptr : out, n);
  if (a.log)
    map_row(x, 1, -top - std::log(sum), out, n);
  else
    map_row(out, 1 / sum, 0, out, n);
}

}  // namespace kvsim::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvsim::kernels::cpu {

HWY_EXPORT(linear_part);
HWY_EXPORT(rms_norm_row);
HWY_EXPORT(silu_part);
HWY_EXPORT(softmax_row);

void linear(const Linear& a, Threads& threads) {
  KVSIM_CHECK(a.weight_f32.empty() != a.weight_f16.empty() || a.in_dim == 0 || a.out_dim == 0,
              "one weight");
  threads.run([&](int thread) {
    const auto [first, end] = threads.part(a.out_dim, thread, 4);
    HWY_DYNAMIC_DISPATCH(linear_part)
    (a, static_cast<std::size_t>(first), static_cast<std::size_t>(end));
  });
}

void rms_norm(const RmsNorm& a, Threads& threads) {
  threads.run([&](int thread) {
    const auto [first, end] = threads.part(a.rows, thread);
    for (std::int64_t r = first; r < end; ++r)
      HWY_DYNAMIC_DISPATCH(rms_norm_row)(a, static_cast<std::size_t>(r));
  });
}

void rope(const Rope& a, Threads& threads) {
  const auto heads = static_cast<std::size_t>(a.heads), dim = static_cast<std::size_t>(a.dim);
  threads.run([&](int thread) {
    const auto [first, end] = threads.part(a.rows, thread);
    for (auto r = static_cast<std::size_t>(first); r < static_cast<std::size_t>(end); ++r)
      for (std::size_t i = 0; i < dim / 2; ++i) {
        const double angle =
            a.positions[r] * std::pow(a.theta, -2.0 * static_cast<double>(i) / a.dim);
        const auto c = static_cast<float>(std::cos(angle));
        const auto s = static_cast<float>(std::sin(angle));
        const std::size_t at = a.pairs == RopePairs::adjacent ? 2 * i : i;
        const std::size_t step = a.pairs == RopePairs::adjacent ? 1 : dim / 2;
        for (std::size_t h = 0; h < heads; ++h) {
          float* x = a.x.data() + (r * heads + h) * dim + at;
          const float x0 = x[0], x1 = x[step];
          x[0] = x0 * c - x1 * s;
          x[step] = x0 * s + x1 * c;
        }
      }
  });
}

void silu_gate(const SiluGate& a, Threads& threads) {
  threads.run([&](int thread) {
    const auto [first, end] = threads.part(std::ssize(a.gate), thread, 16);
    HWY_DYNAMIC_DISPATCH(silu_part)
    (a, static_cast<std::size_t>(first), static_cast<std::size_t>(end));
  });
}

void softmax(const Softmax& a, Threads& threads) {
  if (a.columns == 0) return;
  threads.run([&](int thread) {
    const auto [first, end] = threads.part(a.rows, thread);
    for (std::int64_t r = first; r < end; ++r)
      HWY_DYNAMIC_DISPATCH(softmax_row)(a, static_cast<std::size_t>(r));
  });
}

}  // namespace kvsim::kernels::cpu
#endif
