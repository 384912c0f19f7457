#include "kernels/quantize.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/quantize_pages.cpp"
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4)
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/cpu/key_tiles.h"
#include "kernels/cpu/lanes.inc"
#include "kernels/threads.h"

// One head page of dim-major keys at a time, in two passes over what by then lies in a cache:
// ranges of all channels (tokens), scales in vectors, then codes.

#ifndef KVSIM_QUANTIZE_HEAD_PAGE
#define KVSIM_QUANTIZE_HEAD_PAGE
namespace kvsim::kernels::cpu {
// Fetches the head page that comes next while this one is read twice, for its ranges and for its
// codes. In eight parts side by side: the processor's own prefetchers follow one stream per 4 KiB.
class Ahead {
 public:
  Ahead(const std::byte* at, std::size_t bytes)
      : at_(at), part_(bytes / kParts / kLine * kLine), left_(bytes <= kMost ? part_ : 0) {}
  // So many more bytes of this head page were read.
  void advance(std::size_t bytes) {
    for (read_ += bytes; read_ >= 2 * kParts * kLine; read_ -= 2 * kParts * kLine) {
      if (left_ == 0) continue;
      for (std::size_t i = 0; i < kParts; ++i) hwy::Prefetch(at_ + i * part_);
      at_ += kLine, left_ -= kLine;
    }
  }

 private:
  static constexpr std::size_t kParts = 8, kLine = 64, kMost = 256 * 1024;  // stays in a cache
  const std::byte* at_;
  std::size_t part_, left_, read_ = 0;
};

struct HeadPage {
  const std::byte* keys;    // dim-major, slots from `tokens` on hold harmless numbers
  const std::byte* values;  // in the source
  Ahead& ahead;             // fetches what is read after this head page
  std::size_t tokens;
  std::byte* codes;  // of the keys, dim-major
  std::byte* out;    // head page of the target
  bool is_streamed;  // codes go past the cache, to memory
};
}  // namespace kvsim::kernels::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace kvsim::kernels::cpu::HWY_NAMESPACE {

// low, high -> zero, scale (rounded to f16, also stored there) and 1 / scale, in place of low and
// high. n is a multiple of 16.
struct Ranges {
  float* low;   // becomes zero
  float* high;  // becomes 1 / scale, 0 for scale 0
};
// Rounds to f16, stores that and returns it: without a look at memory, whose page may have to be
// found first.
HWY_INLINE hn::Vec<Wide> store_rounded(hn::Vec<Wide> v, std::byte* at) {
  const Wide d;
#if KVSIM_HAS_F16
  const hn::Rebind<hwy::float16_t, Wide> df16;
  const auto half = hn::DemoteTo(df16, v);
  hn::StoreU(half, df16, reinterpret_cast<hwy::float16_t*>(at));
  return hn::PromoteTo(d, half);
#else
  store<Element::f16>(d, v, at);
  return load<Element::f16>(d, at);
#endif
}
// Whether no code can leave its bits: each zero is the range's lower end itself and each scale is
// nothing or a normal number, so no number lies below its zero and none more than top * 2^-11 steps
// above the largest code.
HWY_INLINE bool fit(const Ranges& r, std::size_t n, float top, std::byte* scales,
                    std::byte* zeros) {
  const Wide d;
  auto is_exact = hn::Eq(hn::Zero(d), hn::Zero(d));
  for (std::size_t i = 0; i < n; i += hn::Lanes(d)) {
    const auto low = hn::LoadU(d, r.low + i);
    const auto scale = hn::Div(hn::Sub(hn::LoadU(d, r.high + i), low), hn::Set(d, top));
    const auto stored = store_rounded(scale, scales + 2 * i);
    const auto zero = store_rounded(low, zeros + 2 * i);
    const auto is_zero = hn::Eq(stored, hn::Zero(d));
    // From the smallest normal number of f16 to the largest.
    const auto is_normal =
        hn::And(hn::Ge(stored, hn::Set(d, 0x1p-14F)), hn::Le(stored, hn::Set(d, 65504.0F)));
    is_exact = hn::And(is_exact, hn::And(hn::Eq(zero, low), hn::Or(is_zero, is_normal)));
    hn::StoreU(zero, d, r.low + i);
    hn::StoreU(hn::IfThenZeroElse(is_zero, hn::Div(hn::Set(d, 1.0F), stored)), d, r.high + i);
  }
  return hn::AllTrue(d, is_exact);
}

// 2^23: a small number added to it is rounded to an integer, which its lowest bits then hold. Ties
// go to even codes.
constexpr float kToInteger = 8388608.0F;

// One byte of codes: plane n comes from number from.number(i, n).
template <Element E, int Bits, class From>
HWY_INLINE void single_code(std::size_t i, const std::byte* in, const From& from, std::byte* out) {
  const hn::CappedTag<float, 1> d;
  constexpr float kTop = (1 << Bits) - 1;
  unsigned byte = 0;
  for (std::size_t n = 0; n < 8 / Bits; ++n) {
    const float x = hn::GetLane(load<E>(d, in + from.number(i, n) * (E == Element::f32 ? 4 : 2)));
    const float v = (x - from.zero(i, n)) * from.inverse(i, n) + kToInteger - kToInteger;
    const float code = std::min(std::max(v, 0.0F), kTop);
    byte |= static_cast<unsigned>(static_cast<int>(code)) << (n * Bits);
  }
  out[i] = static_cast<std::byte>(byte);
}

// Smallest and largest of `rows` rows of 16 numbers, `step` bytes apart.
template <Element E>
HWY_INLINE void range_of_rows(const std::byte* at, std::size_t rows, std::size_t step, float& least,
                              float& most) {
  const Wide d;
  constexpr std::size_t kSize = E == Element::f32 ? 4 : 2;
  auto low = load<E>(d, at), high = low;
  for (std::size_t row = 0; row < rows; ++row, at += step)
    for (std::size_t i = 0; i < 16; i += hn::Lanes(d)) {
      const auto x = load<E>(d, at + i * kSize);
      low = hn::Min(low, x), high = hn::Max(high, x);
    }
  least = hn::GetLane(hn::MinOfLanes(d, low));
  most = hn::GetLane(hn::MaxOfLanes(d, high));
}

#if KVSIM_HAS_F16
// Of 16-bit numbers, as integers: among signed ones the largest is the largest number if that is
// positive; else the largest number is the one nearest to zero, the smallest integer. Among
// unsigned ones the largest is the most negative number if there is one; else the smallest number
// is the smallest integer.
using Words = hn::Repartition<std::int16_t, Wide>;
using VWords = hn::Vec<Words>;
constexpr std::size_t kRangesPerVector = hn::MaxLanes(Words()) / 16;
constexpr std::size_t kVectors = 16 / kRangesPerVector;
struct LeastWord {
  HWY_INLINE VWords operator()(VWords x, VWords y) const { return hn::Min(x, y); }
};
struct MostWord {
  HWY_INLINE VWords operator()(VWords x, VWords y) const { return hn::Max(x, y); }
};
struct MostUnsignedWord {
  HWY_INLINE VWords operator()(VWords x, VWords y) const {
    const hn::RebindToUnsigned<Words> d;
    return hn::BitCast(Words(), hn::Max(hn::BitCast(d, x), hn::BitCast(d, y)));
  }
};

template <class Op, class D>
HWY_INLINE void combine_halves(D d, VWords* in, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    const auto x = hn::BitCast(d, in[2 * i]), y = hn::BitCast(d, in[2 * i + 1]);
    in[i] = Op()(hn::BitCast(Words(), hn::InterleaveLower(d, x, y)),
                 hn::BitCast(Words(), hn::InterleaveUpper(d, x, y)));
  }
}
// Op over the 16 lanes of each range of in[0] .. in[kVectors - 1], which it uses up. Two ranges a
// vector: those of the lower halves in the result's first eight lanes, of the upper ones from lane
// 16 on; one: in the order of the vectors.
template <class Op>
HWY_INLINE VWords across(VWords* in) {
  combine_halves<Op>(Words(), in, kVectors / 2);
  combine_halves<Op>(hn::Repartition<std::int32_t, Words>(), in, kVectors / 4);
  combine_halves<Op>(hn::Repartition<std::int64_t, Words>(), in, kVectors / 8);
  if constexpr (kRangesPerVector == 2) {
    const hn::Repartition<std::int64_t, Words> d;
    return Op()(in[0], hn::BitCast(Words(), hn::SwapAdjacentBlocks(hn::BitCast(d, in[0]))));
  } else {
    return Op()(hn::ConcatLowerLower(Words(), in[1], in[0]),
                hn::ConcatUpperUpper(Words(), in[1], in[0]));
  }
}

// A row of 16 numbers, or two: from `first` and from `second`.
HWY_INLINE VWords rows_from(const std::byte* first, [[maybe_unused]] const std::byte* second) {
#if HWY_TARGET == HWY_AVX3
  const hn::Half<Words> half;
  return hn::Combine(Words(), hn::LoadU(half, reinterpret_cast<const std::int16_t*>(second)),
                     hn::LoadU(half, reinterpret_cast<const std::int16_t*>(first)));
#else
  return hn::LoadU(Words(), reinterpret_cast<const std::int16_t*>(first));
#endif
}

// f32 of the 16 results of across(), in the order of the ranges.
template <Element E>
HWY_INLINE void store_ranges(VWords v, float* out) {
  alignas(64) std::int16_t words[hn::MaxLanes(Words())];
  hn::Store(v, Words(), words);
#if HWY_TARGET == HWY_AVX3
  const hn::FixedTag<std::int16_t, 8> d;
  const auto even = hn::Load(d, words), odd = hn::Load(d, words + 16);
  hn::Store(hn::InterleaveLower(d, even, odd), d, words);
  hn::Store(hn::InterleaveUpper(d, even, odd), d, words + 8);
#endif
  const Wide wide;
  for (std::size_t i = 0; i < 16; i += hn::Lanes(wide))
    hn::StoreU(load<E>(wide, reinterpret_cast<const std::byte*>(words + i)), wide, out + i);
}

// find_all_ranges() for ranges first .. first + 15; the last of `count` stands in for those behind.
template <Element E>
HWY_INLINE void find_ranges(const std::byte* at, std::size_t stride, std::size_t rows,
                            std::size_t step, std::size_t first, std::size_t count, const Ranges& r,
                            Ahead& ahead) {
  const Words d;
  VWords least[kVectors], most[kVectors], most_unsigned[kVectors];
  for (std::size_t i = 0; i < kVectors; ++i) {
    const auto start = [&](std::size_t n) {
      return at + std::min(first + i * kRangesPerVector + n, count - 1) * stride;
    };
    const std::byte *one = start(0), *other = start(kRangesPerVector - 1);
    auto x = rows_from(one, other);
    auto low = x, high = x, above = x;
    for (std::size_t k = 1; k < rows; ++k) {
      one += step, other += step;
      x = rows_from(one, other);
      low = LeastWord()(low, x), high = MostWord()(high, x), above = MostUnsignedWord()(above, x);
    }
    least[i] = low, most[i] = high, most_unsigned[i] = above;
    ahead.advance(rows * kRangesPerVector * 32);
  }
  const auto low = across<LeastWord>(least), high = across<MostWord>(most);
  const auto above = across<MostUnsignedWord>(most_unsigned);
  store_ranges<E>(hn::IfThenElse(hn::Lt(above, hn::Zero(d)), above, low), r.low + first);
  store_ranges<E>(hn::IfThenElse(hn::Lt(high, hn::Zero(d)), low, high), r.high + first);
}
#endif

// Ranges 0 .. count - 1 of r, which has room for a multiple of 16: range i is of `rows` rows of 16
// numbers, `step` bytes apart, from at + i * stride on.
template <Element E>
HWY_INLINE void find_all_ranges(const std::byte* at, std::size_t stride, std::size_t rows,
                                std::size_t step, std::size_t count, const Ranges& r,
                                Ahead& ahead) {
#if KVSIM_HAS_F16
  if constexpr (E != Element::f32) {
    for (std::size_t i = 0; i < count; i += 16)
      find_ranges<E>(at, stride, rows, step, i, count, r, ahead);
    return;
  }
#endif
  for (std::size_t i = 0; i < count; ++i) {
    range_of_rows<E>(at + i * stride, rows, step, r.low[i], r.high[i]);
    ahead.advance(rows * (E == Element::f32 ? 64 : 32));
  }
}

template <Element E>
void key_ranges(const std::byte* in, std::size_t k_dim, std::size_t tiles, const Ranges& r,
                Ahead& ahead) {
  constexpr std::size_t kRow = E == Element::f32 ? 64 : 32;
  find_all_ranges<E>(in, kRow, tiles, k_dim * kRow, k_dim, r, ahead);
}

#if HWY_TARGET != HWY_SCALAR
// A byte of codes in the lowest bits of each lane, for bytes i and on: plane n of byte i comes from
// number from.number(i, n).
template <Element E, int Bits, bool kClamped, class From>
HWY_INLINE hn::Vec<hn::RebindToUnsigned<Wide>> bytes_of_codes(std::size_t i, const std::byte* in,
                                                              const From& from) {
  const Wide d;
  const hn::RebindToUnsigned<Wide> du32;
  constexpr float kTop = (1 << Bits) - 1;
  const auto plane = [&](std::size_t n) HWY_ATTR {
    const auto x = load<E>(d, in + from.number(i, n) * (E == Element::f32 ? 4 : 2));
    const auto above = hn::Sub(x, hn::Set(d, from.zero(i, n)));
    auto code = hn::MulAdd(above, hn::Set(d, from.inverse(i, n)), hn::Set(d, kToInteger));
    if constexpr (kClamped)
      code = hn::Min(hn::Max(code, hn::Set(d, kToInteger)), hn::Set(d, kToInteger + kTop));
    return hn::BitCast(du32, code);
  };
  if constexpr (Bits == 8) return plane(0);
  if constexpr (Bits == 4) return hn::Or(plane(0), hn::ShiftLeft<4>(plane(1)));
  const auto lower = hn::Or(plane(0), hn::ShiftLeft<2>(plane(1)));
  return hn::Or3(lower, hn::ShiftLeft<4>(plane(2)), hn::ShiftLeft<6>(plane(3)));
}

// Bytes that are stored together: 16 at least where vectors have them, so that they can be
// streamed.
constexpr std::size_t kStored = hn::MaxLanes(Wide()) == 16 ? 16 : 2 * hn::MaxLanes(Wide());

template <Element E, int Bits, bool kClamped, class From>
HWY_INLINE void store_codes(std::size_t at, const std::byte* in, const From& from, bool is_streamed,
                            std::byte* out) {
  const hn::Rebind<std::uint8_t, Wide> du8;
  const auto codes = [&](std::size_t i) HWY_ATTR {
    return hn::TruncateTo(du8, bytes_of_codes<E, Bits, kClamped>(i, in, from));
  };
  auto* to = reinterpret_cast<std::uint8_t*>(out + at);
  if constexpr (kStored == hn::MaxLanes(Wide())) {
    is_streamed ? hn::Stream(codes(at), du8, to) : hn::StoreU(codes(at), du8, to);
  } else {
    const hn::Twice<decltype(du8)> twice;
    const auto both = hn::Combine(twice, codes(at + hn::Lanes(Wide())), codes(at));
    if (hn::MaxLanes(twice) >= 16 && is_streamed)  // parts of a vector cannot be streamed
      hn::Stream(both, twice, to);
    else
      hn::StoreU(both, twice, to);
  }
}
#endif

// Where the codes of byte i come from: keys share a byte with the next channels of their token,
// values with those a plane further.
template <std::size_t kTogether>
struct FromKeys {
  const Ranges& r;
  [[nodiscard]] std::size_t channel(std::size_t i, std::size_t n) const {
    return i / 16 * kTogether + n;
  }
  [[nodiscard]] std::size_t number(std::size_t i, std::size_t n) const {
    return channel(i, n) * 16 + i % 16;
  }
  [[nodiscard]] float zero(std::size_t i, std::size_t n) const { return r.low[channel(i, n)]; }
  [[nodiscard]] float inverse(std::size_t i, std::size_t n) const { return r.high[channel(i, n)]; }
};
struct FromValues {
  std::size_t plane;
  float zeros, inverses;
  [[nodiscard]] std::size_t number(std::size_t i, std::size_t n) const { return n * plane + i; }
  [[nodiscard]] float zero(std::size_t, std::size_t) const { return zeros; }
  [[nodiscard]] float inverse(std::size_t, std::size_t) const { return inverses; }
};

// Rows of `bytes` from `at` on may be stored past the cache, 16 bytes at a time.
[[maybe_unused]] inline bool is_aligned(const std::byte* at, std::size_t bytes) {
  return (reinterpret_cast<std::uintptr_t>(at) | bytes) % 16 == 0;
}

template <Element E, int Bits, bool kClamped>
void key_codes(const std::byte* in, std::size_t k_dim, std::size_t tiles, const Ranges& r,
               [[maybe_unused]] Ahead& ahead, [[maybe_unused]] bool is_streamed, std::byte* out) {
  constexpr std::size_t kSize = E == Element::f32 ? 4 : 2;
  constexpr std::size_t kTogether = 8 / Bits;
  const std::size_t bytes = k_dim / kTogether * 16;
  for (std::size_t tile = 0; tile < tiles; ++tile, out += bytes) {
    const FromKeys<kTogether> from{r};
#if HWY_TARGET == HWY_SCALAR
    for (std::size_t i = 0; i < bytes; ++i) single_code<E, Bits>(i, in, from, out);
#else
    const bool past_cache = is_streamed && is_aligned(out, bytes);
    for (std::size_t i = 0; i < bytes; ahead.advance(256 * kSize))
      for (const std::size_t end = i + 256 / kTogether; i < end; i += kStored)
        store_codes<E, Bits, kClamped>(i, in, from, past_cache, out);
#endif
    in += k_dim * 16 * kSize;
  }
}

template <Element E>
void value_ranges(const std::byte* in, std::size_t v_dim, std::size_t tokens, const Ranges& r,
                  Ahead& ahead) {
  constexpr std::size_t kRow = E == Element::f32 ? 64 : 32;
  find_all_ranges<E>(in, v_dim / 16 * kRow, v_dim / 16, kRow, tokens, r, ahead);
}

template <Element E, int Bits, bool kClamped>
void value_codes(const std::byte* in, std::size_t v_dim, std::size_t tokens, const Ranges& r,
                 Ahead& ahead, [[maybe_unused]] bool is_streamed, std::byte* out) {
  const std::size_t plane = v_dim * Bits / 8;
  const std::size_t row = v_dim * (E == Element::f32 ? 4 : 2);
  for (std::size_t t = 0; t < tokens; ++t, in += row, out += plane) {
    const FromValues from{plane, r.low[t], r.high[t]};
    ahead.advance(row);
    std::size_t i = 0;
#if HWY_TARGET != HWY_SCALAR
    const bool past_cache = is_streamed && is_aligned(out, plane);
    for (; i + kStored <= plane; i += kStored)
      store_codes<E, Bits, kClamped>(i, in, from, past_cache, out);
#endif
    for (; i < plane; ++i) single_code<E, Bits>(i, in, from, out);
  }
}

template <Element E, int Bits>
void quantize_as(const KvFormat& f, const HeadPage& p, const Ranges& r) {
  const auto k_dim = static_cast<std::size_t>(f.k_dim), v_dim = static_cast<std::size_t>(f.v_dim);
  const auto group = static_cast<std::size_t>(f.group_tokens);
  const auto page = static_cast<std::size_t>(f.page_tokens);
  constexpr std::size_t kSize = E == Element::f32 ? 4 : 2;
  constexpr float kTop = (1 << Bits) - 1;
  // Ranges of f32 overlook NaN, so f32 has its codes clamped always.
  constexpr bool kMayBeExact = E != Element::f32 && KVSIM_HAS_F16;
  for (std::size_t first = 0; first < p.tokens; first += group) {
    std::byte* scales = p.out + f.key_scales_offset() + first / group * 4 * k_dim;
    const std::size_t at = first * k_dim * kSize;
    key_ranges<E>(p.keys + at, k_dim, group / 16, r, p.ahead);
    const bool is_exact = fit(r, k_dim, kTop, scales, scales + 2 * k_dim);
    const auto codes =
        is_exact && kMayBeExact ? key_codes<E, Bits, !kMayBeExact> : key_codes<E, Bits, true>;
    codes(p.keys + at, k_dim, group / 16, r, p.ahead, p.is_streamed,
          p.codes + first * k_dim * Bits / 8);
  }
  if (f.values_in_keys) return;
  std::byte* scales = p.out + f.value_scales_offset();
  std::fill(r.low, r.low + page, 0.0F);
  std::fill(r.high, r.high + page, 0.0F);
  value_ranges<E>(p.values, v_dim, p.tokens, r, p.ahead);
  const bool is_exact = fit(r, page, kTop, scales, scales + 2 * page);
  const auto codes =
      is_exact && kMayBeExact ? value_codes<E, Bits, !kMayBeExact> : value_codes<E, Bits, true>;
  codes(p.values, v_dim, p.tokens, r, p.ahead, p.is_streamed, p.out + f.values_offset());
}

template <Element E>
void quantize_head(const KvFormat& f, const HeadPage& p, const Ranges& r) {
  if (f.element == Element::i8) return quantize_as<E, 8>(f, p, r);
  if (f.element == Element::i4) return quantize_as<E, 4>(f, p, r);
  return quantize_as<E, 2>(f, p, r);
}

void quantize_any(Element from, const KvFormat& f, const HeadPage& p, float* ranges) {
  const auto most = static_cast<std::size_t>(std::max(f.k_dim, f.page_tokens));
  const Ranges r{ranges, ranges + most};
  if (from == Element::f32)
    quantize_head<Element::f32>(f, p, r);
  else if (from == Element::f16)
    quantize_head<Element::f16>(f, p, r);
  else
    quantize_head<Element::bf16>(f, p, r);
}

}  // namespace kvsim::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvsim::kernels::cpu {

HWY_EXPORT(quantize_any);

namespace {

std::size_t u(std::int64_t n) { return static_cast<std::size_t>(n); }

// Slots from `tokens` on, in dim-major keys: a copy of their group's first token where the group
// has one, so that they do not widen its range; else zero.
void patch_unused(const KvFormat& f, std::size_t size, std::size_t group, std::size_t tokens,
                  std::byte* keys) {
  const auto k_dim = u(f.k_dim);
  for (std::size_t slot = tokens; slot < u(f.page_tokens); ++slot)
    for (std::size_t d = 0; d < k_dim; ++d) {
      const auto at = [&](std::size_t s) {
        return keys + ((s / 16 * k_dim + d) * 16 + s % 16) * size;
      };
      const std::size_t first = slot / group * group;
      if (first < tokens)
        std::memcpy(at(slot), at(first), size);
      else
        std::memset(at(slot), 0, size);
    }
}

void quantize_one(const PageQuantization& a, std::size_t item, int head, const std::byte* next,
                  bool is_streamed, std::vector<std::byte>& scratch, std::vector<float>& ranges) {
  const KvFormat &from = a.source.format, &to = a.format;
  const std::size_t tokens = u(a.tokens.empty() ? to.page_tokens : a.tokens[item]);
  const std::size_t size = u(bits_of(from.element)) / 8, tiles = u(to.page_tokens / kTileTokens);
  const std::byte* in = a.source.head_page(a.from_pages[item], head);
  std::byte* out =
      a.target.data() + u(a.to_pages[item]) * to.page_bytes() + u(head) * to.head_page_bytes();
  const std::size_t key_bytes = u(to.page_tokens) * u(to.k_dim) * size;
  const bool is_chunked = to.key_order == KeyOrder::chunk_major;
  const bool is_partial = tokens < u(to.page_tokens);
  scratch.resize(2 * key_bytes);
  const std::byte* keys = in;
  if (is_chunked || is_partial) {
    if (is_chunked)
      reorder_tiles(from.element, to.k_dim, tiles, KeyOrder::dim_major, in, scratch.data());
    else
      std::memcpy(scratch.data(), in, key_bytes);
    patch_unused(to, size, u(to.group_tokens), tokens, scratch.data());
    keys = scratch.data();
  }
  std::byte* codes = is_chunked ? scratch.data() + key_bytes : out;
  Ahead ahead(next, from.head_page_bytes());
  const HeadPage page{keys, in + from.values_offset(), ahead, tokens, codes,
                      out,  is_streamed && !is_chunked};
  HWY_DYNAMIC_DISPATCH(quantize_any)(from.element, to, page, ranges.data());
  if (is_chunked) reorder_tiles(to.element, to.k_dim, tiles, KeyOrder::chunk_major, codes, out);
}

}  // namespace

void quantize_pages(const PageQuantization& a, Threads& threads) {
  a.check();
  const std::int64_t heads = a.format.kv_heads;
  const bool is_streamed = a.from_pages.size() * a.source.format.page_bytes() >= kStreamedBytes;
  threads.run([&](int thread) {
    std::vector<std::byte> scratch;
    std::vector<float> ranges(3 * u(std::max(a.format.k_dim, a.format.page_tokens)));
    const auto [first, end] = threads.part(std::ssize(a.from_pages) * heads, thread);
    const auto source = [&](std::int64_t i) {
      return a.source.head_page(a.from_pages[u(i / heads)], static_cast<int>(i % heads));
    };
    for (std::int64_t i = first; i < end; ++i)
      quantize_one(a, u(i / heads), static_cast<int>(i % heads), source(std::min(i + 1, end - 1)),
                   is_streamed, scratch, ranges);
    hwy::FlushStream();
  });
}

}  // namespace kvsim::kernels::cpu
#endif
