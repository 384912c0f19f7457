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

// One head page of dim-major keys at a time, in two passes over what by then lies in L1: ranges of
// all channels (tokens), scales in vectors, then codes.

#ifndef KVSIM_QUANTIZE_HEAD_PAGE
#define KVSIM_QUANTIZE_HEAD_PAGE
namespace kvsim::kernels::cpu {
struct HeadPage {
  const std::byte* keys;    // dim-major, slots from `tokens` on hold harmless numbers
  const std::byte* values;  // in the source
  const std::byte* next;    // what is read after this head page, to be fetched
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
HWY_INLINE void fit(const Ranges& r, std::size_t n, float top, std::byte* scales,
                    std::byte* zeros) {
  const Wide d;
  for (std::size_t i = 0; i < n; i += hn::Lanes(d)) {
    const auto low = hn::LoadU(d, r.low + i);
    const auto scale = hn::Div(hn::Sub(hn::LoadU(d, r.high + i), low), hn::Set(d, top));
    const auto stored = store_rounded(scale, scales + 2 * i);
    hn::StoreU(store_rounded(low, zeros + 2 * i), d, r.low + i);
    const auto is_zero = hn::Eq(stored, hn::Zero(d));
    hn::StoreU(hn::IfThenZeroElse(is_zero, hn::Div(hn::Set(d, 1.0F), stored)), d, r.high + i);
  }
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

// Every line of what the pass after this one reads: the passes are too short for the hardware's
// prefetcher to find their streams.
HWY_INLINE void prefetch(const std::byte* at, std::size_t bytes) {
  for (std::size_t line = 0; line < bytes; line += 64) hwy::Prefetch(at + line);
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
using Words = hn::FixedTag<std::int16_t, 16>;
using VWords = hn::Vec<Words>;
struct LeastWord {
  HWY_INLINE VWords operator()(VWords x, VWords y) const { return hn::Min(x, y); }
};
struct MostWord {
  HWY_INLINE VWords operator()(VWords x, VWords y) const { return hn::Max(x, y); }
};
struct MostUnsignedWord {
  HWY_INLINE VWords operator()(VWords x, VWords y) const {
    const hn::FixedTag<std::uint16_t, 16> d;
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
// Lane i of the result: Op over all lanes of in[i]. Uses in[16] up.
template <class Op>
HWY_INLINE VWords across(VWords* in) {
  combine_halves<Op>(Words(), in, 8);
  combine_halves<Op>(hn::FixedTag<std::int32_t, 8>(), in, 4);
  combine_halves<Op>(hn::FixedTag<std::int64_t, 4>(), in, 2);
  return Op()(hn::ConcatLowerLower(Words(), in[1], in[0]),
              hn::ConcatUpperUpper(Words(), in[1], in[0]));
}

// find_all_ranges() for ranges first .. first + 15; the last of `count` stands in for those behind.
template <Element E>
HWY_INLINE void find_ranges(const std::byte* at, std::size_t stride, std::size_t rows,
                            std::size_t step, std::size_t first, std::size_t count,
                            const Ranges& r) {
  const Words d;
  VWords least[16], most[16], most_unsigned[16];
  for (std::size_t i = 0; i < 16; ++i) {
    const std::byte* row = at + std::min(first + i, count - 1) * stride;
    auto x = hn::LoadU(d, reinterpret_cast<const std::int16_t*>(row));
    auto low = x, high = x, above = x;
    for (std::size_t k = 1; k < rows; ++k) {
      row += step;
      x = hn::LoadU(d, reinterpret_cast<const std::int16_t*>(row));
      low = LeastWord()(low, x), high = MostWord()(high, x), above = MostUnsignedWord()(above, x);
    }
    least[i] = low, most[i] = high, most_unsigned[i] = above;
  }
  const auto low = across<LeastWord>(least), high = across<MostWord>(most);
  const auto above = across<MostUnsignedWord>(most_unsigned);
  alignas(32) std::int16_t lows[16], highs[16];
  hn::Store(hn::IfThenElse(hn::Lt(above, hn::Zero(d)), above, low), d, lows);
  hn::Store(hn::IfThenElse(hn::Lt(high, hn::Zero(d)), low, high), d, highs);
  const Wide wide;
  for (std::size_t i = 0; i < 16; i += hn::Lanes(wide)) {
    hn::StoreU(load<E>(wide, reinterpret_cast<const std::byte*>(lows + i)), wide,
               r.low + first + i);
    hn::StoreU(load<E>(wide, reinterpret_cast<const std::byte*>(highs + i)), wide,
               r.high + first + i);
  }
}
#endif

// Ranges 0 .. count - 1 of r, which has room for a multiple of 16: range i is of `rows` rows of 16
// numbers, `step` bytes apart, from at + i * stride on.
template <Element E>
HWY_INLINE void find_all_ranges(const std::byte* at, std::size_t stride, std::size_t rows,
                                std::size_t step, std::size_t count, const Ranges& r) {
#if KVSIM_HAS_F16
  if constexpr (E != Element::f32) {
    for (std::size_t i = 0; i < count; i += 16) find_ranges<E>(at, stride, rows, step, i, count, r);
    return;
  }
#endif
  for (std::size_t i = 0; i < count; ++i)
    range_of_rows<E>(at + i * stride, rows, step, r.low[i], r.high[i]);
}

template <Element E>
void key_ranges(const std::byte* in, std::size_t k_dim, std::size_t tiles, const Ranges& r) {
  constexpr std::size_t kRow = E == Element::f32 ? 64 : 32;
  find_all_ranges<E>(in, kRow, tiles, k_dim * kRow, k_dim, r);
}

#if HWY_TARGET != HWY_SCALAR
// The code in the lower 16 bits of each lane; below zero a negative number stands there.
template <Element E, class From>
HWY_INLINE hn::Vec<hn::Repartition<std::int16_t, Wide>> steps(std::size_t i, std::size_t n,
                                                              const std::byte* in,
                                                              const From& from) {
  const Wide d;
  const auto x = load<E>(d, in + from.number(i, n) * (E == Element::f32 ? 4 : 2));
  const auto above = hn::Sub(x, hn::Set(d, from.zero(i, n)));
  return hn::BitCast(hn::Repartition<std::int16_t, Wide>(),
                     hn::MulAdd(above, hn::Set(d, from.inverse(i, n)), hn::Set(d, kToInteger)));
}

// Bytes of codes from two neighbouring vectors of bytes: plane n of byte i comes from number
// from(i, n). Codes are clamped as 16-bit integers, twice as many at a time as floats.
template <Element E, int Bits, class From>
HWY_INLINE void pair_of_codes(std::size_t at, const std::byte* in, const From& from,
                              bool is_streamed, std::byte* out) {
  const hn::Repartition<std::int16_t, Wide> di16;
  const hn::Rebind<std::uint8_t, decltype(di16)> du8;
  const std::size_t lanes = hn::Lanes(Wide());
  auto bytes = hn::Zero(di16);
  for (std::size_t n = 8 / Bits; n-- > 0;) {
    const auto both =
        hn::ConcatEven(di16, steps<E>(at + lanes, n, in, from), steps<E>(at, n, in, from));
    const auto top = hn::Set(di16, static_cast<std::int16_t>((1 << Bits) - 1));
    const auto clamped = hn::Min(hn::Max(both, hn::Zero(di16)), top);
    bytes = hn::Or(hn::ShiftLeft<Bits % 8>(bytes), clamped);
  }
  auto* codes = reinterpret_cast<std::uint8_t*>(out + at);
  if (hn::MaxLanes(du8) >= 16 && is_streamed)  // parts of a vector cannot be streamed
    hn::Stream(hn::DemoteTo(du8, bytes), du8, codes);
  else
    hn::StoreU(hn::DemoteTo(du8, bytes), du8, codes);
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

// Rows of `bytes` from `at` on may be stored past the cache, 32 bytes at a time.
[[maybe_unused]] inline bool is_aligned(const std::byte* at, std::size_t bytes) {
  return (reinterpret_cast<std::uintptr_t>(at) | bytes) % 32 == 0;
}

template <Element E, int Bits>
void key_codes(const std::byte* in, std::size_t k_dim, std::size_t tiles, const Ranges& r,
               const std::byte* ahead, [[maybe_unused]] bool is_streamed, std::byte* out) {
  constexpr std::size_t kSize = E == Element::f32 ? 4 : 2;
  constexpr std::size_t kTogether = 8 / Bits;
  const std::size_t bytes = k_dim / kTogether * 16;
  for (std::size_t tile = 0; tile < tiles; ++tile, out += bytes) {
    const FromKeys<kTogether> from{r};
#if HWY_TARGET == HWY_SCALAR
    for (std::size_t i = 0; i < bytes; ++i) single_code<E, Bits>(i, in, from, out);
#else
    constexpr std::size_t kRead = kTogether * kSize;  // per byte of codes
    const bool past_cache = is_streamed && is_aligned(out, bytes);
    for (std::size_t i = 0; i < bytes; i += 2 * hn::Lanes(Wide())) {
      prefetch(ahead + i * kRead, 2 * hn::Lanes(Wide()) * kRead);
      pair_of_codes<E, Bits>(i, in, from, past_cache, out);
    }
#endif
    in += k_dim * 16 * kSize, ahead += k_dim * 16 * kSize;
  }
}

template <Element E>
void value_ranges(const std::byte* in, std::size_t v_dim, std::size_t tokens, const Ranges& r) {
  constexpr std::size_t kRow = E == Element::f32 ? 64 : 32;
  find_all_ranges<E>(in, v_dim / 16 * kRow, v_dim / 16, kRow, tokens, r);
}

template <Element E, int Bits>
void value_codes(const std::byte* in, std::size_t v_dim, std::size_t tokens, const Ranges& r,
                 const std::byte* ahead, [[maybe_unused]] bool is_streamed, std::byte* out) {
  const std::size_t plane = v_dim * Bits / 8;
  const std::size_t row = v_dim * (E == Element::f32 ? 4 : 2);
  for (std::size_t t = 0; t < tokens; ++t, in += row, ahead += row, out += plane) {
    const FromValues from{plane, r.low[t], r.high[t]};
    prefetch(ahead, row);
    std::size_t i = 0;
#if HWY_TARGET != HWY_SCALAR
    const bool past_cache = is_streamed && is_aligned(out, plane);
    for (; i + 2 * hn::Lanes(Wide()) <= plane; i += 2 * hn::Lanes(Wide()))
      pair_of_codes<E, Bits>(i, in, from, past_cache, out);
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
  const std::byte* ahead = f.values_in_keys ? p.next : p.values;
  for (std::size_t first = 0; first < p.tokens; first += group) {
    std::byte* scales = p.out + f.key_scales_offset() + first / group * 4 * k_dim;
    const std::size_t at = first * k_dim * kSize;
    key_ranges<E>(p.keys + at, k_dim, group / 16, r);
    fit(r, k_dim, kTop, scales, scales + 2 * k_dim);
    key_codes<E, Bits>(p.keys + at, k_dim, group / 16, r, ahead + at, p.is_streamed,
                       p.codes + first * k_dim * Bits / 8);
  }
  if (f.values_in_keys) return;
  std::byte* scales = p.out + f.value_scales_offset();
  std::fill(r.low, r.low + page, 0.0F);
  std::fill(r.high, r.high + page, 0.0F);
  value_ranges<E>(p.values, v_dim, p.tokens, r);
  fit(r, page, kTop, scales, scales + 2 * page);
  value_codes<E, Bits>(p.values, v_dim, p.tokens, r, p.next, p.is_streamed,
                       p.out + f.values_offset());
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
  const HeadPage page{keys, in + from.values_offset(), next, tokens, codes,
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
