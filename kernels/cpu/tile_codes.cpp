#include "kernels/cpu/tile_codes.h"

#include <algorithm>
#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/tile_codes.cpp"
#define HWY_WANT_AVX3_DL  // for its 16-bit dot product
#define HWY_DISABLED_TARGETS \
  (HWY_SSE4 | HWY_SSSE3 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#include <hwy/foreach_target.h>
// After foreach_target.h, as it sets the target.
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace kvsim::kernels::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using F = hn::CappedTag<float, 16>;
using I = hn::RebindToSigned<F>;
using V = hn::Vec<F>;
using VI = hn::Vec<I>;
using Bytes8 = hn::Rebind<std::uint8_t, F>;
using Short = hn::Rebind<std::int16_t, F>;
using Half = hn::Rebind<hwy::float16_t, F>;
constexpr int kLanes = static_cast<int>(hn::MaxLanes(F()));
constexpr int kColumns = kLanes == 16 ? 4 : 2;
constexpr int kRows = 4;

// sum + a.low * b.low + a.high * b.high, where a lane holds two signed 16-bit numbers.
HWY_INLINE VI PairDot(VI a, VI b, VI sum) {
#if HWY_TARGET == HWY_AVX3_DL
  // As assembler: Highway 1.0.3 enables AVX-VNNI for this target where it means AVX512-VNNI.
  asm("vpdpwssd %2, %1, %0" : "+v"(sum.raw) : "v"(a.raw), "v"(b.raw));
  return sum;
#elif HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2
  const hn::Repartition<std::int16_t, I> pairs;
  VI unused = hn::Zero(I());
  return hn::ReorderWidenMulAccumulate(I(), hn::BitCast(pairs, a), hn::BitCast(pairs, b), sum,
                                       unused);
#else
  const auto low = [](VI x) HWY_ATTR { return hn::ShiftRight<16>(hn::ShiftLeft<16>(x)); };
  const VI high = hn::Mul(hn::ShiftRight<16>(a), hn::ShiftRight<16>(b));
  return hn::Add(hn::Add(sum, hn::Mul(low(a), low(b))), high);
#endif
}

HWY_INLINE VI Codes(const std::uint8_t* at) { return hn::PromoteTo(I(), hn::LoadU(Bytes8(), at)); }
HWY_INLINE V Halves(const std::byte* base, int index) {
  return hn::PromoteTo(F(),
                       hn::LoadU(Half(), reinterpret_cast<const hwy::float16_t*>(base) + index));
}

#if HWY_TARGET == HWY_AVX3_DL
// One permutation of bytes in place of two widening loads, a shift and an or. As assembler for the
// same reason as above.
constexpr bool kPermutes = true;
constexpr std::uint64_t kEvenBytes = 0x5555555555555555;
// index: where the even bytes of the result come from, in 64 bytes or twice 64; odd ones are zero.
HWY_INLINE VI Spread(__m512i x, VI index) {
  VI out;
  asm("vpermb %1, %2, %0%{%3%}%{z%}" : "=v"(out.raw) : "v"(x), "v"(index.raw), "Yk"(kEvenBytes));
  return out;
}
HWY_INLINE VI Spread(__m512i x, __m512i y, VI index) {
  asm("vpermi2b %2, %1, %0%{%3%}%{z%}" : "+v"(index.raw) : "v"(x), "v"(y), "Yk"(kEvenBytes));
  return index;
}
HWY_INLINE __m512i Load32(const std::uint8_t* at) {
  return _mm512_castsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
}
HWY_INLINE __m512i Load64(const std::uint8_t* at) { return _mm512_loadu_si512(at); }
// Lane i: the numbers i and i + apart, in the even bytes.
HWY_INLINE VI PairsApart(int apart) {
  const VI i = hn::Iota(I(), 0);
  return hn::Add(hn::Or(i, hn::ShiftLeft<16>(i)), hn::Set(I(), apart << 16));
}
HWY_INLINE VI UpperCodes(VI both, VI) { return VI{_mm512_srli_epi16(both.raw, 4)}; }
#else
constexpr bool kPermutes = false;
HWY_INLINE VI UpperCodes(VI both, VI mask) { return hn::And(hn::ShiftRight<4>(both), mask); }
#endif

// Numbers of B bits. Keys: `key` unpacks step `s` of a tile, kPairs vectors of pairs of dims (a
// lane per token), in the order of PairOrder. Values: `values` unpacks 16-bit pairs (tokens t and
// t + 1) of C vectors of bytes into kPlanes vectors each, for other dims.
template <int B>
struct Code {
  static constexpr int kPairs = B == 2 || (B == 4 && kPermutes) ? 2 : 1;
  // Whether the two pairs of a step hold the even and the odd of four dims.
  static constexpr bool kEvenFirst = B == 4 && kPermutes;
  static constexpr int kPlanes = 8 / B;
  static constexpr int kMask = ((1 << B) - 1) * 0x10001;

  static HWY_INLINE void key(const std::uint8_t* tile, int s, VI* out) {
    const VI mask = hn::Set(I(), kMask);
#if HWY_TARGET == HWY_AVX3_DL
    if constexpr (B >= 4) {
      out[0] = Spread(Load32(tile + s * 32), PairsApart(16));
      if constexpr (B == 4) split(out[0], out);
      return;
    }
#endif
    if constexpr (B == 8) {
      out[0] = hn::Or(Codes(tile + s * 32), hn::ShiftLeft<16>(Codes(tile + s * 32 + 16)));
    } else {
      const VI x = Codes(tile + s * 16);
      out[0] = hn::And(hn::Or(x, hn::ShiftLeft<16 - B>(x)), mask);
      if constexpr (B == 2) {
        const VI y = hn::ShiftRight<4>(x);
        out[1] = hn::And(hn::Or(y, hn::ShiftLeft<16 - B>(y)), mask);
      }
    }
  }

  template <int C>
  static HWY_INLINE void values(const std::uint8_t* at, int row_bytes, VI* out) {
#if HWY_TARGET == HWY_AVX3_DL
    if constexpr (B == 8 && C == 4) {
      const __m512i x = Load64(at), y = Load64(at + row_bytes);
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c)
        out[c] = Spread(x, y, hn::Add(PairsApart(64), hn::Set(I(), c * 16 * 0x10001)));
      return;
    }
    if constexpr (B == 4 && C == 2) {
      const __m512i x = _mm512_inserti64x4(
          Load32(at), _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at + row_bytes)), 1);
#pragma GCC unroll 2
      for (int c = 0; c < C; ++c)
        split(Spread(x, hn::Add(PairsApart(32), hn::Set(I(), c * 16 * 0x10001))), out + c * 2);
      return;
    }
#endif
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c)
      split(hn::Or(Codes(at + c * kLanes), hn::ShiftLeft<16>(Codes(at + row_bytes + c * kLanes))),
            out + c * kPlanes);
  }

 private:
  // The codes of a byte in each half of a lane.
  static HWY_INLINE void split(VI both, VI* out) {
    const VI mask = hn::Set(I(), kMask);
    if constexpr (B == 8) {
      out[0] = both;
    } else if constexpr (B == 4) {
      out[1] = UpperCodes(both, mask);
      out[0] = hn::And(both, mask);
    } else {
      out[0] = hn::And(both, mask);
      out[1] = hn::And(hn::ShiftRight<2>(both), mask);
      out[2] = hn::And(hn::ShiftRight<4>(both), mask);
      out[3] = hn::And(hn::ShiftRight<6>(both), mask);
    }
  }
};

// Sixteen bits of every lane, in the order in which Code<B>::key takes dims.
template <int B>
HWY_INLINE void StoreQueries(VI x, std::int16_t* to) {
#if HWY_TARGET == HWY_AVX3_DL
  if constexpr (Code<B>::kEvenFirst) {
    alignas(64) static constexpr std::int16_t kFrom[32] = {0,  4,  2,  6,  8,  12, 10, 14,
                                                           16, 20, 18, 22, 24, 28, 26, 30};
    const __m512i numbers = _mm512_permutexvar_epi16(_mm512_load_si512(kFrom), x.raw);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_castsi512_si256(numbers));
    return;
  }
#endif
  hn::StoreU(hn::DemoteTo(Short(), x), Short(), to);
}

// f(first row, number of rows as a constant) for `rows` rows in blocks of up to kRows.
template <class Function>
HWY_INLINE void InRowBlocks(int rows, const Function& f) {
  const int blocks = (rows + kRows - 1) / kRows;
  for (int b = 0; b < blocks; ++b) {
    const int row = rows * b / blocks, count = rows * (b + 1) / blocks - row;
    if (count == 4) f(row, std::integral_constant<int, 4>());
    if (count == 3) f(row, std::integral_constant<int, 3>());
    if (count == 2) f(row, std::integral_constant<int, 2>());
    if (count == 1) f(row, std::integral_constant<int, 1>());
  }
}

// ---- scores

// The largest step that a rounded query may have, by which the largest product counts `largest`.
template <int R>
HWY_INLINE float FindSteps(const float* q, int k_dim, int row, float largest,
                           CodeScratch& scratch) {
  const F d;
  V high[R];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) high[r] = hn::Zero(d);
  for (int k = 0; k < k_dim; k += kLanes) {
    const V scale = hn::LoadU(d, scratch.scales.data() + k);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r)
      high[r] = hn::Max(high[r], hn::Abs(hn::Mul(hn::LoadU(d, q + (row + r) * k_dim + k), scale)));
  }
  float coarsest = 0;
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
    const float most = hn::GetLane(hn::MaxOfLanes(d, high[r]));
    const float step = most > 0 ? most / largest : 1.0F;
    scratch.step[static_cast<std::size_t>(row + r)] = step;
    coarsest = std::max(coarsest, most > 0 ? step : 0.0F);
  }
  return coarsest;
}

// One piece of 16 bits; its error is made up for at the middle code.
template <int B, int R>
HWY_INLINE void RoundQueries(const float* q, int k_dim, int row, CodeScratch& scratch) {
  const F d;
  V inverse[R], zeros[R], exact[R];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
    inverse[r] = hn::Set(d, 1 / scratch.step[static_cast<std::size_t>(row + r)]);
    zeros[r] = exact[r] = hn::Zero(d);
  }
  for (int k = 0; k < k_dim; k += kLanes) {
    const V scale = hn::LoadU(d, scratch.scales.data() + k);
    const V zero = hn::LoadU(d, scratch.zeros.data() + k);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      const V number = hn::LoadU(d, q + (row + r) * k_dim + k);
      const V steps = hn::Mul(hn::Mul(number, scale), inverse[r]);
      const VI whole = hn::NearestInt(steps);
      StoreQueries<B>(whole, scratch.query.data() + (row + r) * k_dim + k);
      zeros[r] = hn::MulAdd(number, zero, zeros[r]);
      exact[r] = hn::Add(exact[r], hn::Sub(steps, hn::ConvertTo(d, whole)));
    }
  }
  constexpr float kMiddle = static_cast<float>((1 << B) - 1) / 2;
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
    const auto at = static_cast<std::size_t>(row + r);
    const V error = hn::Mul(exact[r], hn::Set(d, scratch.step[at] * kMiddle));
    scratch.bias[at] = hn::GetLane(hn::SumOfLanes(d, hn::Add(zeros[r], error)));
  }
}

// Two pieces of 16 bits.
constexpr float kFiner = 64000;
template <int B>
void SplitQuery(const float* query, int k_dim, int row, CodeScratch& scratch) {
  const F d;
  const auto at = static_cast<std::size_t>(row);
  const float step = scratch.step[at];
  const V inverse = hn::Set(d, 1 / step), steps = hn::Set(d, step);
  // Half a step, and what its own rounding may add, in 16 bits.
  const V finer = hn::Set(d, kFiner / step);
  V bias = hn::Zero(d);
  for (int k = 0; k < k_dim; k += kLanes) {
    const V number = hn::LoadU(d, query + k);
    const V x = hn::Mul(number, hn::LoadU(d, scratch.scales.data() + k));
    const VI whole = hn::NearestInt(hn::Mul(x, inverse));
    StoreQueries<B>(whole, scratch.query.data() + row * k_dim + k);
    const V rest = hn::NegMulAdd(hn::ConvertTo(d, whole), steps, x);
    StoreQueries<B>(hn::NearestInt(hn::Mul(rest, finer)),
                    scratch.query_rest.data() + row * k_dim + k);
    bias = hn::MulAdd(number, hn::LoadU(d, scratch.zeros.data() + k), bias);
  }
  scratch.bias[at] = hn::GetLane(hn::SumOfLanes(d, bias));
  scratch.step_rest[at] = step / kFiner;
}

// The rows' queries for keys with these scales: 16-bit numbers, steps, and what to add to a score.
// True when rounding to 16 bits would move some score by more than the bound allows: then in two
// pieces.
template <int B>
bool PrepareQueries(const std::byte* scales, int k_dim, const float* q, CodeScratch& scratch) {
  const F d;
  for (int k = 0; k < k_dim; k += kLanes) {
    hn::StoreU(Halves(scales, k), d, &scratch.scales[static_cast<std::size_t>(k)]);
    hn::StoreU(Halves(scales, k_dim + k), d, &scratch.zeros[static_cast<std::size_t>(k)]);
  }
  // Sums of k_dim products of 16 by up to 8 bits stay below 2^31.
  const float largest = std::min(32767.0F, 2147483392.0F / 255.0F / static_cast<float>(k_dim));
  float coarsest = 0;
  InRowBlocks(scratch.rows, [&](int row, auto rows) HWY_ATTR {
    coarsest =
        std::max(coarsest, FindSteps<decltype(rows)::value>(q, k_dim, row, largest, scratch));
  });
  // Rounding errors are uniform, codes about normal over their range. In log2 units.
  const float spread =
      0.29F * 0.21F * static_cast<float>((1 << B) - 1) * std::sqrt(static_cast<float>(k_dim));
  constexpr float kAllowed = 1.2e-4F;
  if (coarsest * spread > kAllowed) {
    for (int r = 0; r < scratch.rows; ++r) SplitQuery<B>(q + r * k_dim, k_dim, r, scratch);
    return true;
  }
  InRowBlocks(scratch.rows, [&](int row, auto rows) HWY_ATTR {
    RoundQueries<B, decltype(rows)::value>(q, k_dim, row, scratch);
  });
  return false;
}

// R rows by C vectors of tokens; adds to the scores when `is_rest`.
template <int B, int R, int C>
HWY_INLINE void DotBlock(const std::uint8_t* const* column, int k_dim, int row, bool is_rest,
                         float* const* out, const CodeScratch& scratch, Prefetcher& prefetcher) {
  const F d;
  const I di;
  const std::int16_t* query =
      (is_rest ? scratch.query_rest.data() : scratch.query.data()) + row * k_dim;
  VI sum[R][C];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) sum[r][c] = hn::Zero(di);
  constexpr int kPairs = Code<B>::kPairs;
  for (int s = 0; s < k_dim / 2 / kPairs; ++s) {
    prefetcher.step();
    VI key[C][kPairs];
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) Code<B>::key(column[c], s, key[c]);
#pragma GCC unroll 2
    for (int p = 0; p < kPairs; ++p)
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        std::int32_t pair = 0;
        __builtin_memcpy(&pair, query + r * k_dim + (s * kPairs + p) * 2, sizeof pair);
        const VI q = hn::Set(di, pair);
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) sum[r][c] = PairDot(key[c][p], q, sum[r][c]);
      }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    const auto at = static_cast<std::size_t>(row + r);
    const V step = hn::Set(d, is_rest ? scratch.step_rest[at] : scratch.step[at]);
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) {
      float* to = out[c] + r * kGroupTokens;
      const V before = is_rest ? hn::LoadU(d, to) : hn::Set(d, scratch.bias[at]);
      hn::StoreU(hn::MulAdd(hn::ConvertTo(d, sum[r][c]), step, before), d, to);
    }
  }
}

template <int B, int R>
void DotRows(const CodeTiles& tiles, int first_tile, int end_tile, int row, bool is_rest,
             float* scores, const CodeScratch& scratch, Prefetcher& prefetcher) {
  constexpr int kPerTile = 16 / kLanes;
  for (int v = first_tile * kPerTile; v < end_tile * kPerTile;) {
    const std::uint8_t* column[kColumns];
    float* out[kColumns];
    const int count = std::min(kColumns, end_tile * kPerTile - v);
    for (int c = 0; c < count; ++c) {
      const auto tile = static_cast<std::size_t>((v + c) / kPerTile);
      column[c] =
          reinterpret_cast<const std::uint8_t*>(tiles.keys[tile]) + (v + c) % kPerTile * kLanes;
      out[c] = scores + row * kGroupTokens + (v + c) * kLanes;
    }
    if (count == kColumns) {
      DotBlock<B, R, kColumns>(column, tiles.k_dim, row, is_rest, out, scratch, prefetcher);
      v += kColumns;
    } else {
      DotBlock<B, R, 1>(column, tiles.k_dim, row, is_rest, out, scratch, prefetcher);
      ++v;
    }
  }
}

template <int B>
void ScoreAll(const CodeTiles& tiles, const float* q, float* scores, CodeScratch& scratch,
              Prefetcher& prefetcher) {
  const int blocks = (scratch.rows + kRows - 1) / kRows;
  prefetcher.start(blocks * (16 / kLanes) * kGroupTiles / kColumns *
                   (tiles.k_dim / 2 / Code<B>::kPairs));
  for (int first = 0, end = 0; first < tiles.tiles; first = end) {
    const std::byte* scales = tiles.key_scales[static_cast<std::size_t>(first)];
    while (end < tiles.tiles && tiles.key_scales[static_cast<std::size_t>(end)] == scales) ++end;
    const bool is_coarse = PrepareQueries<B>(scales, tiles.k_dim, q, scratch);
    for (const bool is_rest : {false, true}) {
      if (is_rest && !is_coarse) break;
      InRowBlocks(scratch.rows, [&](int row, auto rows) HWY_ATTR {
        DotRows<B, decltype(rows)::value>(tiles, first, end, row, is_rest, scores, scratch,
                                          prefetcher);
      });
    }
  }
}

void ScoreCodes(const CodeTiles& tiles, const float* q, float* scores, CodeScratch& scratch,
                Prefetcher& prefetcher) {
  const int bits = bits_of(tiles.element);
  if (bits == 8) ScoreAll<8>(tiles, q, scores, scratch, prefetcher);
  if (bits == 4) ScoreAll<4>(tiles, q, scores, scratch, prefetcher);
  if (bits == 2) ScoreAll<2>(tiles, q, scores, scratch, prefetcher);
}

// ---- weighted sums of values

// Weights times the values' scales as 16-bit numbers; the zeros and what rounding leaves at the
// middle code go into zero_sum.
template <int R>
HWY_INLINE void RoundWeights(const float* weights, const float* scale, const float* zero,
                             float middle, int row, const Running* running, CodeScratch& scratch) {
  const F d;
  V high[R], inverse[R], zeros[R], error[R];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) high[r] = zeros[r] = error[r] = hn::Zero(d);
  for (int t = 0; t < kGroupTokens; t += kLanes)
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r)
      high[r] = hn::Max(high[r], hn::Mul(hn::Load(d, weights + (row + r) * kGroupTokens + t),
                                         hn::Load(d, scale + t)));
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
    const float most = hn::GetLane(hn::MaxOfLanes(d, high[r]));
    const float step = most > 0 ? most / 32767 : 1.0F;
    scratch.weight_step[static_cast<std::size_t>(row + r)] = step;
    inverse[r] = hn::Set(d, 1 / step);
  }
  for (int t = 0; t < kGroupTokens; t += kLanes)
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      const int at = (row + r) * kGroupTokens + t;
      const V p = hn::Load(d, weights + at);
      const V steps = hn::Mul(hn::Mul(p, hn::Load(d, scale + t)), inverse[r]);
      const VI whole = hn::NearestInt(steps);
      hn::StoreU(hn::DemoteTo(Short(), whole), Short(), scratch.weights.data() + at);
      zeros[r] = hn::MulAdd(p, hn::Load(d, zero + t), zeros[r]);
      error[r] = hn::Add(error[r], hn::Sub(steps, hn::ConvertTo(d, whole)));
    }
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
    const auto at = static_cast<std::size_t>(row + r);
    const V missed = hn::Mul(error[r], hn::Set(d, scratch.weight_step[at] * middle));
    scratch.zero_sum[at] = scratch.zero_sum[at] * running[at].factor +
                           hn::GetLane(hn::SumOfLanes(d, hn::Add(zeros[r], missed)));
  }
}

void PrepareWeights(const CodeTiles& tiles, const float* weights, const Running* running,
                    CodeScratch& scratch) {
  const F d;
  alignas(64) float scale[kGroupTokens] = {}, zero[kGroupTokens] = {};
  for (int t = 0; t < tiles.tiles * kTileTokens; t += kLanes) {
    const std::byte* at = tiles.value_scales[static_cast<std::size_t>(t / kTileTokens)];
    hn::Store(Halves(at, t % kTileTokens), d, scale + t);
    hn::Store(Halves(at + tiles.value_zeros, t % kTileTokens), d, zero + t);
  }
  if (~tiles.visible != 0)
    for (int t = 0; t < kGroupTokens; ++t)
      if ((tiles.visible >> t & 1U) == 0) scale[t] = zero[t] = 0;  // may be unwritten
  const float middle = static_cast<float>((1 << bits_of(tiles.element)) - 1) / 2;
  InRowBlocks(scratch.rows, [&](int row, auto rows) HWY_ATTR {
    RoundWeights<decltype(rows)::value>(weights, scale, zero, middle, row, running, scratch);
  });
}

// R rows by C vectors of bytes, from byte `byte` of the values' rows on.
template <int B, int R, int C>
HWY_INLINE void SumBlock(const CodeTiles& tiles, int byte, int row, const Running* running,
                         float* out, const CodeScratch& scratch, Prefetcher& prefetcher) {
  const F d;
  const I di;
  constexpr int kPlanes = Code<B>::kPlanes;
  const int row_bytes = tiles.v_dim / kPlanes;
  VI sum[R][C * kPlanes];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int c = 0; c < C * kPlanes; ++c) sum[r][c] = hn::Zero(di);
  for (int i = 0; i < tiles.tiles; ++i) {
    const auto tile = static_cast<std::size_t>(i);
    const auto* codes = reinterpret_cast<const std::uint8_t*>(tiles.values[tile]) + byte;
    const std::int16_t* weights = scratch.weights.data() + row * kGroupTokens + i * kTileTokens;
    for (int t = tiles.first[tile] / 2 * 2; t < tiles.last[tile]; t += 2) {
      prefetcher.step();
      VI value[C * kPlanes];
      Code<B>::template values<C>(codes + t * row_bytes, row_bytes, value);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        std::int32_t pair = 0;
        __builtin_memcpy(&pair, weights + r * kGroupTokens + t, sizeof pair);
        const VI w = hn::Set(di, pair);
#pragma GCC unroll 8
        for (int c = 0; c < C * kPlanes; ++c) sum[r][c] = PairDot(value[c], w, sum[r][c]);
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    const V step = hn::Set(d, scratch.weight_step[static_cast<std::size_t>(row + r)]);
    const V factor = hn::Set(d, running[row + r].factor);
#pragma GCC unroll 8
    for (int c = 0; c < C * kPlanes; ++c) {
      float* to =
          out + (row + r) * tiles.v_dim + byte + c / kPlanes * kLanes + c % kPlanes * row_bytes;
      hn::StoreU(hn::MulAdd(hn::ConvertTo(d, sum[r][c]), step, hn::Mul(hn::LoadU(d, to), factor)),
                 d, to);
    }
  }
}

template <int B>
void SumAll(const CodeTiles& tiles, const Running* running, float* out, const CodeScratch& scratch,
            Prefetcher& prefetcher) {
  constexpr int kWide = std::max(1, kColumns / Code<B>::kPlanes);
  const int row_bytes = tiles.v_dim / Code<B>::kPlanes;
  const int blocks = (scratch.rows + kRows - 1) / kRows;
  prefetcher.start(blocks * (row_bytes / (kWide * kLanes)) * (kTileTokens / 2) * tiles.tiles);
  InRowBlocks(scratch.rows, [&](int row, auto rows) HWY_ATTR {
    constexpr int kCount = decltype(rows)::value;
    int byte = 0;
    for (; byte + kWide * kLanes <= row_bytes; byte += kWide * kLanes)
      SumBlock<B, kCount, kWide>(tiles, byte, row, running, out, scratch, prefetcher);
    for (; byte < row_bytes; byte += kLanes)
      SumBlock<B, kCount, 1>(tiles, byte, row, running, out, scratch, prefetcher);
  });
}

void AccumulateCodes(const CodeTiles& tiles, const float* weights, const Running* running,
                     float* out, CodeScratch& scratch, Prefetcher& prefetcher) {
  PrepareWeights(tiles, weights, running, scratch);
  const int bits = bits_of(tiles.element);
  if (bits == 8) SumAll<8>(tiles, running, out, scratch, prefetcher);
  if (bits == 4) SumAll<4>(tiles, running, out, scratch, prefetcher);
  if (bits == 2) SumAll<2>(tiles, running, out, scratch, prefetcher);
}

}  // namespace kvsim::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvsim::kernels::cpu {

HWY_EXPORT(ScoreCodes);
HWY_EXPORT(AccumulateCodes);

bool reads_codes_in_place(const KvFormat& f) {
  // A row of values fills whole vectors of 16 bytes.
  return is_quantised(f.element) && f.key_order == KeyOrder::dim_major && !f.values_in_keys &&
         f.v_dim * bits_of(f.element) / 8 % 16 == 0;
}

void CodeScratch::open(int row_count, int k_dim) {
  rows = row_count;
  const auto n = static_cast<std::size_t>(rows), k = static_cast<std::size_t>(k_dim);
  scales.resize(k), zeros.resize(k);
  query.resize(n * k), query_rest.resize(n * k);
  step.resize(n), step_rest.resize(n), bias.resize(n), weight_step.resize(n);
  weights.resize(n * kGroupTokens);
  zero_sum.assign(n, 0.0F);
}

void score_codes(const CodeTiles& tiles, const float* q, float* scores, CodeScratch& scratch,
                 Prefetcher& prefetcher) {
  HWY_DYNAMIC_DISPATCH(ScoreCodes)(tiles, q, scores, scratch, prefetcher);
}
void accumulate_codes(const CodeTiles& tiles, const float* weights, const Running* running,
                      float* out, CodeScratch& scratch, Prefetcher& prefetcher) {
  HWY_DYNAMIC_DISPATCH(AccumulateCodes)(tiles, weights, running, out, scratch, prefetcher);
}

}  // namespace kvsim::kernels::cpu
#endif
