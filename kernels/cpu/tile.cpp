// Scores, softmax and weighted sums of a group of tokens for every instruction set. Registers hold
// a block of R rows by C vectors; every number of the cache is converted once per block and serves
// R rows.
#include "kernels/cpu/tile.h"

#include <algorithm>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/tile.cpp"
// Below AVX2 only the baseline: results matter there, rates do not. Scalable vectors cannot stand
// in arrays.
#define HWY_DISABLED_TARGETS \
  (HWY_SSE4 | HWY_SSSE3 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#include <hwy/foreach_target.h>
// After foreach_target.h, as it sets the target.
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace kvsim::kernels::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using F = hn::CappedTag<float, 16>;
using V = hn::Vec<F>;
constexpr int kLanes = static_cast<int>(hn::MaxLanes(F()));
// Vectors of a register block: 4 x 4 sums fill half of 32 registers, 4 x 2 half of 16.
constexpr int kColumns = kLanes == 16 ? 4 : 2;
constexpr int kRows = 4;

// Loads of cached numbers as floats.
struct LoadF32 {
  using T = float;
  static HWY_INLINE V at(const T* p) { return hn::LoadU(F(), p); }
};
struct LoadF16 {
  using T = hwy::float16_t;
  static HWY_INLINE V at(const T* p) {
    return hn::PromoteTo(F(), hn::LoadU(hn::Rebind<T, F>(), p));
  }
};
struct LoadBf16 {
  using T = hwy::bfloat16_t;
  static HWY_INLINE V at(const T* p) {
    return hn::PromoteTo(F(), hn::LoadU(hn::Rebind<T, F>(), p));
  }
};

// ---- scores

// One register block: R rows by C vectors of tokens; column c begins at column[c] and its next dim
// lies kTileTokens numbers further.
template <class Load, int R, int C>
HWY_INLINE void ScoreBlock(const typename Load::T* const* column, int k_dim, const float* q,
                           float* const* out, Prefetcher& prefetcher) {
  const F d;
  V sum[R][C];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) sum[r][c] = hn::Zero(d);
  for (int k = 0; k < k_dim; ++k) {
    prefetcher.step();
    V key[C];
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) key[c] = Load::at(column[c] + k * 16);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const V query = hn::Set(d, q[r * k_dim + k]);
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) sum[r][c] = hn::MulAdd(query, key[c], sum[r][c]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) hn::StoreU(sum[r][c], d, out[c] + r * kGroupTokens);
}

template <class Load, int R>
void ScoreRows(const KeyTiles& keys, const float* q, float* scores, Prefetcher& prefetcher) {
  constexpr int kPerTile = 16 / kLanes;
  for (int v = 0; v < kGroupTokens / kLanes; v += kColumns) {
    const typename Load::T* column[kColumns];
    float* out[kColumns];
    for (int c = 0; c < kColumns; ++c) {
      const auto tile = static_cast<std::size_t>((v + c) / kPerTile);
      column[c] =
          reinterpret_cast<const typename Load::T*>(keys.tile[tile]) + (v + c) % kPerTile * kLanes;
      out[c] = scores + (v + c) * kLanes;
    }
    ScoreBlock<Load, R, kColumns>(column, keys.k_dim, q, out, prefetcher);
  }
}

template <class Load>
void ScoreAll(const KeyTiles& keys, const float* q, int rows, float* scores,
              Prefetcher& prefetcher) {
  const int blocks = (rows + kRows - 1) / kRows;
  prefetcher.start(blocks * (kGroupTokens / kLanes / kColumns) * keys.k_dim);
  for (int b = 0; b < blocks; ++b) {
    const int first = rows * b / blocks, count = rows * (b + 1) / blocks - first;
    const float* from = q + first * keys.k_dim;
    float* to = scores + first * kGroupTokens;
    if (count == 4) ScoreRows<Load, 4>(keys, from, to, prefetcher);
    if (count == 3) ScoreRows<Load, 3>(keys, from, to, prefetcher);
    if (count == 2) ScoreRows<Load, 2>(keys, from, to, prefetcher);
    if (count == 1) ScoreRows<Load, 1>(keys, from, to, prefetcher);
  }
}

void Score(const KeyTiles& keys, const float* q, int rows, float* scores, Prefetcher& prefetcher) {
  if (keys.element == Element::f16) return ScoreAll<LoadF16>(keys, q, rows, scores, prefetcher);
  if (keys.element == Element::bf16) return ScoreAll<LoadBf16>(keys, q, rows, scores, prefetcher);
  ScoreAll<LoadF32>(keys, q, rows, scores, prefetcher);
}

// ---- softmax

// 2^x for x <= kFar, relative error 2e-7; 0 below 2^-126.
HWY_INLINE V Exp2(V x) {
  const F d;
  const hn::RebindToSigned<F> di;
  const V least = hn::Set(d, -126.0F);
  const auto whole = hn::NearestInt(hn::Max(x, least));
  const V f = hn::Sub(hn::Max(x, least), hn::ConvertTo(d, whole));
  // ln(2)^k / k!: the first term left out is 1.2e-7 at |f| = 1/2.
  V p = hn::Set(d, 1.5403530e-4F);
  p = hn::MulAdd(p, f, hn::Set(d, 1.3333558e-3F));
  p = hn::MulAdd(p, f, hn::Set(d, 9.6181291e-3F));
  p = hn::MulAdd(p, f, hn::Set(d, 5.5504109e-2F));
  p = hn::MulAdd(p, f, hn::Set(d, 2.4022651e-1F));
  p = hn::MulAdd(p, f, hn::Set(d, 6.9314718e-1F));
  p = hn::MulAdd(p, f, hn::Set(d, 1.0F));
  const V scaled = hn::BitCast(d, hn::Add(hn::BitCast(di, p), hn::ShiftLeft<23>(whole)));
  return hn::IfThenElseZero(hn::Gt(x, least), scaled);
}

// How far a score may lie above the reference: weights up to 2^8.
constexpr float kFar = 8;

// Moves the reference to the largest of the new scores.
HWY_NOINLINE void MoveReference(V high, Running& run) {
  const F d;
  const float most = hn::GetLane(hn::MaxOfLanes(d, high));
  run.factor = hn::GetLane(Exp2(hn::Set(d, run.reference - most)));
  run.reference = most;
  for (float& s : run.sums) s *= run.factor;
}

void Weigh(float* scores, int rows, const std::uint64_t* visible, int visible_step,
           Running* running) {
  const F d;
  constexpr float kLeast = -std::numeric_limits<float>::infinity();
  for (int r = 0; r < rows; ++r) {
    float* s = scores + r * kGroupTokens;
    const std::uint64_t seen = visible[r * visible_step];
    if (~seen != 0)
      for (int t = 0; t < kGroupTokens; ++t)
        if ((seen >> t & 1U) == 0) s[t] = kLeast;
    V high = hn::Load(d, s);
    for (int t = kLanes; t < kGroupTokens; t += kLanes) high = hn::Max(high, hn::Load(d, s + t));
    Running& run = running[r];
    run.factor = 1;
    // Before the first token the limit is -infinity, and so are scores of hidden tokens.
    if (!hn::AllFalse(d, hn::Gt(high, hn::Set(d, run.reference + kFar)))) MoveReference(high, run);
    const V reference = hn::Set(d, run.reference == kLeast ? 0.0F : run.reference);
    for (int lane = 0; lane < 16; lane += kLanes) {
      V sum = hn::Load(d, run.sums.data() + lane);
      for (int t = lane; t < kGroupTokens; t += 16) {
        const V weight = Exp2(hn::Sub(hn::Load(d, s + t), reference));
        hn::Store(weight, d, s + t);
        sum = hn::Add(sum, weight);
      }
      hn::Store(sum, d, run.sums.data() + lane);
    }
  }
}

// ---- weighted sums of values

template <class Load, int R, int C>
HWY_INLINE void AccumulateBlock(const ValueTiles& values, int column, const float* weights,
                                const Running* running, float* out, Prefetcher& prefetcher) {
  const F d;
  V sum[R][C];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c)
      sum[r][c] = hn::Mul(hn::Set(d, running[r].factor),
                          hn::LoadU(d, out + r * values.v_dim + column + c * kLanes));
  for (int i = 0; i < values.tiles; ++i) {
    const auto tile = static_cast<std::size_t>(i);
    const auto* rows = reinterpret_cast<const typename Load::T*>(values.tile[tile]) + column;
    const float* weight = weights + i * 16;
    for (int t = values.first[tile]; t < values.last[tile]; ++t) {
      prefetcher.step();
      V value[C];
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) value[c] = Load::at(rows + t * values.v_dim + c * kLanes);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const V w = hn::Set(d, weight[r * kGroupTokens + t]);
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) sum[r][c] = hn::MulAdd(w, value[c], sum[r][c]);
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c)
      hn::StoreU(sum[r][c], d, out + r * values.v_dim + column + c * kLanes);
}

template <class Load, int R>
void AccumulateRows(const ValueTiles& values, const float* weights, const Running* running,
                    float* out, Prefetcher& prefetcher) {
  int column = 0;
  for (; column + kColumns * kLanes <= values.v_dim; column += kColumns * kLanes)
    AccumulateBlock<Load, R, kColumns>(values, column, weights, running, out, prefetcher);
  for (; column < values.v_dim; column += kLanes)
    AccumulateBlock<Load, R, 1>(values, column, weights, running, out, prefetcher);
}

template <class Load>
void AccumulateAll(const ValueTiles& values, const float* weights, int rows, const Running* running,
                   float* out, Prefetcher& prefetcher) {
  const int blocks = (rows + kRows - 1) / kRows;
  const int per_row =
      values.v_dim / (kColumns * kLanes) + values.v_dim % (kColumns * kLanes) / kLanes;
  prefetcher.start(blocks * per_row * (kGroupTokens / kGroupTiles * values.tiles));
  for (int b = 0; b < blocks; ++b) {
    const int first = rows * b / blocks, count = rows * (b + 1) / blocks - first;
    const float* w = weights + first * kGroupTokens;
    float* to = out + first * values.v_dim;
    const Running* run = running + first;
    if (count == 4) AccumulateRows<Load, 4>(values, w, run, to, prefetcher);
    if (count == 3) AccumulateRows<Load, 3>(values, w, run, to, prefetcher);
    if (count == 2) AccumulateRows<Load, 2>(values, w, run, to, prefetcher);
    if (count == 1) AccumulateRows<Load, 1>(values, w, run, to, prefetcher);
  }
}

void Accumulate(const ValueTiles& values, const float* weights, int rows, const Running* running,
                float* out, Prefetcher& prefetcher) {
  if (values.element == Element::f16)
    return AccumulateAll<LoadF16>(values, weights, rows, running, out, prefetcher);
  if (values.element == Element::bf16)
    return AccumulateAll<LoadBf16>(values, weights, rows, running, out, prefetcher);
  AccumulateAll<LoadF32>(values, weights, rows, running, out, prefetcher);
}

}  // namespace kvsim::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvsim::kernels::cpu {

HWY_EXPORT(Score);
HWY_EXPORT(Weigh);
HWY_EXPORT(Accumulate);

void score(const KeyTiles& keys, const float* q, int rows, float* scores, Prefetcher& prefetcher) {
  HWY_DYNAMIC_DISPATCH(Score)(keys, q, rows, scores, prefetcher);
}
void weigh(float* scores, int rows, const std::uint64_t* visible, int visible_step,
           Running* running) {
  HWY_DYNAMIC_DISPATCH(Weigh)(scores, rows, visible, visible_step, running);
}
void accumulate(const ValueTiles& values, const float* weights, int rows, const Running* running,
                float* out, Prefetcher& prefetcher) {
  HWY_DYNAMIC_DISPATCH(Accumulate)(values, weights, rows, running, out, prefetcher);
}

}  // namespace kvsim::kernels::cpu
#endif
