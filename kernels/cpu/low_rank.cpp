#include "kernels/low_rank.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/low_rank.cpp"
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4)
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>

#include "kernels/cpu/lanes.inc"
#include "kernels/threads.h"

HWY_BEFORE_NAMESPACE();
namespace kvsim::kernels::cpu::HWY_NAMESPACE {

void project_row(const float* basis, std::size_t rank, std::size_t dim, const float* x, float* y) {
  for (std::size_t r = 0; r < rank; ++r) y[r] = dot(x, basis + r * dim, dim);
}

// A few vectors of x stay in registers while all of the basis passes.
void reconstruct_row(const float* basis, std::size_t rank, std::size_t dim, const float* y,
                     float* x) {
  const Wide d;
  const std::size_t lanes = hn::Lanes(d);
  std::size_t i = 0;
  for (; i + 4 * lanes <= dim; i += 4 * lanes) {
    auto sum0 = hn::Zero(d), sum1 = hn::Zero(d), sum2 = hn::Zero(d), sum3 = hn::Zero(d);
    for (std::size_t r = 0; r < rank; ++r) {
      const float* b = basis + r * dim + i;
      const auto c = hn::Set(d, y[r]);
      sum0 = hn::MulAdd(c, hn::LoadU(d, b), sum0);
      sum1 = hn::MulAdd(c, hn::LoadU(d, b + lanes), sum1);
      sum2 = hn::MulAdd(c, hn::LoadU(d, b + 2 * lanes), sum2);
      sum3 = hn::MulAdd(c, hn::LoadU(d, b + 3 * lanes), sum3);
    }
    hn::StoreU(sum0, d, x + i);
    hn::StoreU(sum1, d, x + i + lanes);
    hn::StoreU(sum2, d, x + i + 2 * lanes);
    hn::StoreU(sum3, d, x + i + 3 * lanes);
  }
  std::fill(x + i, x + dim, 0.0F);
  for (std::size_t r = 0; r < rank; ++r) add_scaled(y[r], basis + r * dim + i, x + i, dim - i);
}

}  // namespace kvsim::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvsim::kernels::cpu {

HWY_EXPORT(project_row);
HWY_EXPORT(reconstruct_row);

namespace {

// Groups in turn, so that a basis stays in the cache while the tokens pass.
template <class Row>
void each_row(const Projection& a, std::int64_t in_dim, std::int64_t out_dim, Threads& threads,
              Row row) {
  threads.run([&](int thread) {
    const auto [first, end] = threads.part(a.tokens, thread);
    for (std::int64_t g = 0; g < a.groups; ++g)
      for (std::int64_t t = first; t < end; ++t)
        row(a.bases.data() + g * a.rank * a.dim, a.in.data() + (t * a.groups + g) * in_dim,
            a.out.data() + (t * a.groups + g) * out_dim);
  });
}

}  // namespace

void project(const Projection& a, Threads& threads) {
  each_row(a, a.dim, a.rank, threads, [&](const float* basis, const float* in, float* out) {
    HWY_DYNAMIC_DISPATCH(project_row)
    (basis, static_cast<std::size_t>(a.rank), static_cast<std::size_t>(a.dim), in, out);
  });
}

void reconstruct(const Projection& a, Threads& threads) {
  each_row(a, a.rank, a.dim, threads, [&](const float* basis, const float* in, float* out) {
    HWY_DYNAMIC_DISPATCH(reconstruct_row)
    (basis, static_cast<std::size_t>(a.rank), static_cast<std::size_t>(a.dim), in, out);
  });
}

}  // namespace kvsim::kernels::cpu
#endif
