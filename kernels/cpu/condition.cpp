#include "kernels/condition.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/condition.cpp"
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4)
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <bit>
#include <cmath>

#include "kernels/cpu/lanes.inc"
#include "kernels/threads.h"
#include "sim/base/check.h"

HWY_BEFORE_NAMESPACE();
namespace kvsim::kernels::cpu::HWY_NAMESPACE {

// One butterfly stage: pairs `half` apart become sum and difference.
HWY_INLINE void stage(float* x, std::size_t n, std::size_t half) {
  const Wide d;
  const std::size_t step = half < hn::Lanes(d) ? 1 : hn::Lanes(d);
  for (std::size_t first = 0; first < n; first += 2 * half)
    for (std::size_t i = first; i < first + half; i += step) {
      if (step == 1) {
        const float a = x[i], b = x[i + half];
        x[i] = a + b, x[i + half] = a - b;
        continue;
      }
      const auto a = hn::LoadU(d, x + i), b = hn::LoadU(d, x + i + half);
      hn::StoreU(hn::Add(a, b), d, x + i);
      hn::StoreU(hn::Sub(a, b), d, x + i + half);
    }
}

#if HWY_TARGET == HWY_SCALAR
HWY_INLINE void first_stages(float* x, std::size_t n, float factor) {
  for (std::size_t i = 0; i < n; ++i) x[i] *= factor;
}
#else
// All stages within a vector, and the factor: a lane takes its partner plus or minus itself.
HWY_INLINE void first_stages(float* x, std::size_t n, float factor) {
  const Wide d;
  const hn::Rebind<std::int32_t, Wide> di;
  const std::size_t lanes = hn::Lanes(d);
  for (std::size_t i = 0; i < n; i += lanes) {
    auto v = hn::Mul(hn::LoadU(d, x + i), hn::Set(d, factor));
    for (std::size_t half = 1; half < lanes; half *= 2) {
      const auto bit = hn::Set(di, static_cast<std::int32_t>(half));
      const auto lane = hn::Iota(di, 0);
      const auto partner = hn::TableLookupLanes(v, hn::IndicesFromVec(d, hn::Xor(lane, bit)));
      const auto is_upper = hn::RebindMask(d, hn::TestBit(lane, bit));
      v = hn::Add(partner, hn::IfThenElse(is_upper, hn::Neg(v), v));
    }
    hn::StoreU(v, d, x + i);
  }
}
#endif

void rotate_row(float* x, std::size_t n, std::size_t block) {
  const float factor = 1 / std::sqrt(static_cast<float>(block));
  const std::size_t lanes = hn::Lanes(Wide());
  std::size_t half = 1;
  if (block >= lanes) {
    first_stages(x, n, factor);
    half = lanes;
  } else {
    for (std::size_t i = 0; i < n; ++i) x[i] *= factor;
  }
  // Blocks one by one, so that each stays in L1.
  for (std::size_t first = 0; first < n; first += block)
    for (std::size_t h = half; h < block; h *= 2) stage(x + first, block, h);
}

void scale_row(float* x, const float* factors, std::size_t n) {
  const Wide d;
  std::size_t i = 0;
  for (; i + hn::Lanes(d) <= n; i += hn::Lanes(d))
    hn::StoreU(hn::Mul(hn::LoadU(d, x + i), hn::LoadU(d, factors + i)), d, x + i);
  for (; i < n; ++i) x[i] *= factors[i];
}

}  // namespace kvsim::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvsim::kernels::cpu {

HWY_EXPORT(rotate_row);
HWY_EXPORT(scale_row);

void rotate(const Rotation& a, Threads& threads) {
  KVSIM_CHECK(
      a.block > 0 && std::has_single_bit(static_cast<unsigned>(a.block)) && a.dims % a.block == 0,
      "block of {} in rows of {}", a.block, a.dims);
  const auto dims = static_cast<std::size_t>(a.dims);
  threads.run([&](int thread) {
    const auto [first, end] = threads.part(a.rows, thread);
    for (auto r = static_cast<std::size_t>(first); r < static_cast<std::size_t>(end); ++r)
      HWY_DYNAMIC_DISPATCH(rotate_row)
    (a.matrix.data() + r * dims, dims, static_cast<std::size_t>(a.block));
  });
}

void scale_channels(const ChannelScaling& a, Threads& threads) {
  const auto dims = static_cast<std::size_t>(a.dims);
  threads.run([&](int thread) {
    const auto [first, end] = threads.part(a.rows, thread);
    for (auto r = static_cast<std::size_t>(first); r < static_cast<std::size_t>(end); ++r)
      HWY_DYNAMIC_DISPATCH(scale_row)(a.matrix.data() + r * dims, a.factors.data(), dims);
  });
}

}  // namespace kvsim::kernels::cpu
#endif
