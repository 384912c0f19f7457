#include "kernels/transformer.h"

#include <algorithm>
#include <cmath>

#include "kernels/element.h"

namespace kvsim::kernels::reference {

namespace {
std::size_t u(std::int64_t n) { return static_cast<std::size_t>(n); }
}  // namespace

void linear(const Linear& a) {
  for (std::size_t m = 0; m < u(a.rows); ++m)
    for (std::size_t n = 0; n < u(a.out_dim); ++n) {
      double sum = 0;
      for (std::size_t k = 0; k < u(a.in_dim); ++k) {
        const std::size_t i = n * u(a.in_dim) + k;
        const float weight = a.weight_f16.empty() ? a.weight_f32[i] : from_f16(a.weight_f16[i]);
        sum += double{a.x[m * u(a.in_dim) + k]} * double{weight};
      }
      a.out[m * u(a.out_dim) + n] = static_cast<float>(sum);
    }
}

void rms_norm(const RmsNorm& a) {
  for (std::size_t r = 0; r < u(a.rows); ++r) {
    const auto x = a.x.subspan(r * u(a.dim), u(a.dim));
    double squares = 0;
    for (const float v : x) squares += double{v} * double{v};
    const double inverse = 1 / std::sqrt(squares / a.dim + double{a.epsilon});
    for (std::size_t d = 0; d < x.size(); ++d)
      a.out[r * u(a.dim) + d] = static_cast<float>(x[d] * inverse * double{a.weight[d]});
  }
}

void rope(const Rope& a) {
  const std::size_t half = u(a.dim) / 2;
  for (std::size_t r = 0; r < u(a.rows); ++r)
    for (std::size_t h = 0; h < u(a.heads); ++h) {
      float* x = &a.x[(r * u(a.heads) + h) * u(a.dim)];
      for (std::size_t i = 0; i < half; ++i) {
        const double angle =
            a.positions[r] * std::pow(a.theta, -2.0 * static_cast<double>(i) / a.dim);
        float& p = x[a.pairs == RopePairs::adjacent ? 2 * i : i];
        float& q = x[a.pairs == RopePairs::adjacent ? 2 * i + 1 : i + half];
        const double x0 = p, x1 = q;
        p = static_cast<float>(x0 * std::cos(angle) - x1 * std::sin(angle));
        q = static_cast<float>(x0 * std::sin(angle) + x1 * std::cos(angle));
      }
    }
}

void silu_gate(const SiluGate& a) {
  for (std::size_t i = 0; i < a.gate.size(); ++i) {
    const double g = a.gate[i];
    a.out[i] = static_cast<float>(g / (1 + std::exp(-g)) * double{a.up[i]});
  }
}

void softmax(const Softmax& a) {
  for (std::size_t r = 0; r < u(a.rows); ++r) {
    const auto x = a.x.subspan(r * u(a.columns), u(a.columns));
    if (x.empty()) continue;
    const double top = *std::max_element(x.begin(), x.end());
    double sum = 0;
    for (const float v : x) sum += std::exp(v - top);
    for (std::size_t c = 0; c < x.size(); ++c)
      a.out[r * u(a.columns) + c] =
          static_cast<float>(a.log ? x[c] - top - std::log(sum) : std::exp(x[c] - top) / sum);
  }
}

}  // namespace kvsim::kernels::reference
