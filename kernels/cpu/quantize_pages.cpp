#include "kernels/quantize.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/quantize_pages.cpp"
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4)
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/cpu/key_tiles.h"
#include "kernels/cpu/lanes.inc"
#include "kernels/threads.h"
#include "sim/base/check.h"

// One head page of dim-major keys at a time, in two passes over what by then lies in L1: ranges of
// all channels (tokens), scales in vectors, then codes.

HWY_BEFORE_NAMESPACE();
namespace kvsim::kernels::cpu::HWY_NAMESPACE {

// low, high -> zero, scale (rounded to f16, also stored there) and 1 / scale, in place of low and
// high. n is a multiple of 16.
struct Ranges {
  float* low;   // becomes zero
  float* high;  // becomes 1 / scale, 0 for scale 0
};
HWY_INLINE void fit(const Ranges& r, std::size_t n, float top, std::byte* scales,
                    std::byte* zeros) {
  const Wide d;
  for (std::size_t i = 0; i < n; i += hn::Lanes(d)) {
    const auto low = hn::LoadU(d, r.low + i);
    const auto scale = hn::Div(hn::Sub(hn::LoadU(d, r.high + i), low), hn::Set(d, top));
    store<Element::f16>(d, scale, scales + 2 * i);
    store<Element::f16>(d, low, zeros + 2 * i);
    const auto stored = load<Element::f16>(d, scales + 2 * i);
    hn::StoreU(load<Element::f16>(d, zeros + 2 * i), d, r.low + i);
    const auto is_zero = hn::Eq(stored, hn::Zero(d));
    hn::StoreU(hn::IfThenZeroElse(is_zero, hn::Div(hn::Set(d, 1.0F), stored)), d, r.high + i);
  }
}

template <class D>
HWY_INLINE hn::Vec<hn::Rebind<std::int32_t, D>> code(D d, hn::Vec<D> x, hn::Vec<D> zero,
                                                     hn::Vec<D> inverse, hn::Vec<D> top) {
  const hn::Rebind<std::int32_t, D> di;
  const auto half = hn::Set(d, 0.5F);
  const auto v = hn::MulAdd(hn::Sub(x, zero), inverse, half);
  return hn::ConvertTo(di, hn::Min(hn::Max(v, half), top));
}

template <Element E>
void key_ranges(const std::byte* in, std::size_t k_dim, std::size_t tiles, const Ranges& r) {
  const Wide d;
  constexpr std::size_t kSize = E == Element::f32 ? 4 : 2;
  for (std::size_t j = 0; j < k_dim; ++j) {
    const std::byte* at = in + j * 16 * kSize;
    auto low = load<E>(d, at), high = low;
    for (std::size_t tile = 0; tile < tiles; ++tile, at += k_dim * 16 * kSize)
      for (std::size_t i = 0; i < 16; i += hn::Lanes(d)) {
        const auto x = load<E>(d, at + i * kSize);
        low = hn::Min(low, x), high = hn::Max(high, x);
      }
    r.low[j] = hn::GetLane(hn::MinOfLanes(d, low));
    r.high[j] = hn::GetLane(hn::MaxOfLanes(d, high));
  }
}

template <Element E, int Bits>
void key_codes(const std::byte* in, std::size_t k_dim, std::size_t tiles, const Ranges& r,
               std::byte* out) {
  const Wide d;
  constexpr std::size_t kSize = E == Element::f32 ? 4 : 2;
  constexpr std::size_t kTogether = 8 / Bits;
  const auto top = hn::Set(d, static_cast<float>((1 << Bits) - 1) + 0.5F);
  for (std::size_t tile = 0; tile < tiles; ++tile)
    for (std::size_t j = 0; j < k_dim; j += kTogether, out += 16)
      for (std::size_t i = 0; i < 16; i += hn::Lanes(d)) {
        const std::byte* at = in + ((tile * k_dim + j) * 16 + i) * kSize;
        auto bits = code(d, load<E>(d, at), hn::Set(d, r.low[j]), hn::Set(d, r.high[j]), top);
        if constexpr (Bits < 8) {
          const auto next = code(d, load<E>(d, at + 16 * kSize), hn::Set(d, r.low[j + 1]),
                                 hn::Set(d, r.high[j + 1]), top);
          bits = hn::Or(bits, hn::ShiftLeft<Bits % 8>(next));
        }
        if constexpr (Bits == 2) {
          const auto third = code(d, load<E>(d, at + 32 * kSize), hn::Set(d, r.low[j + 2]),
                                  hn::Set(d, r.high[j + 2]), top);
          const auto fourth = code(d, load<E>(d, at + 48 * kSize), hn::Set(d, r.low[j + 3]),
                                   hn::Set(d, r.high[j + 3]), top);
          bits = hn::Or(bits, hn::Or(hn::ShiftLeft<4>(third), hn::ShiftLeft<6>(fourth)));
        }
        store_bytes(d, bits, out + i);
      }
}

template <Element E>
void value_ranges(const std::byte* in, std::size_t v_dim, std::size_t tokens, const Ranges& r) {
  const Wide d;
  constexpr std::size_t kSize = E == Element::f32 ? 4 : 2;
  for (std::size_t t = 0; t < tokens; ++t) {
    const std::byte* at = in + t * v_dim * kSize;
    auto low = load<E>(d, at), high = low;
    for (std::size_t j = hn::Lanes(d); j < v_dim; j += hn::Lanes(d)) {
      const auto x = load<E>(d, at + j * kSize);
      low = hn::Min(low, x), high = hn::Max(high, x);
    }
    r.low[t] = hn::GetLane(hn::MinOfLanes(d, low));
    r.high[t] = hn::GetLane(hn::MaxOfLanes(d, high));
  }
}

template <Element E, int Bits, class D>
void value_codes(D d, const std::byte* in, std::size_t v_dim, std::size_t tokens, const Ranges& r,
                 std::byte* out) {
  constexpr std::size_t kSize = E == Element::f32 ? 4 : 2;
  const std::size_t plane = v_dim * Bits / 8;
  const auto top = hn::Set(d, static_cast<float>((1 << Bits) - 1) + 0.5F);
  for (std::size_t t = 0; t < tokens; ++t, in += v_dim * kSize, out += plane) {
    const auto zero = hn::Set(d, r.low[t]), inverse = hn::Set(d, r.high[t]);
    for (std::size_t j = 0; j < plane; j += hn::Lanes(d)) {
      const std::byte* at = in + j * kSize;
      auto bits = code(d, load<E>(d, at), zero, inverse, top);
      if constexpr (Bits < 8)
        bits = hn::Or(bits, hn::ShiftLeft<Bits % 8>(
                                code(d, load<E>(d, at + plane * kSize), zero, inverse, top)));
      if constexpr (Bits == 2) {
        const auto third = code(d, load<E>(d, at + 2 * plane * kSize), zero, inverse, top);
        const auto fourth = code(d, load<E>(d, at + 3 * plane * kSize), zero, inverse, top);
        bits = hn::Or(bits, hn::Or(hn::ShiftLeft<4>(third), hn::ShiftLeft<6>(fourth)));
      }
      store_bytes(d, bits, out + j);
    }
  }
}

template <Element E, int Bits>
void quantize_as(const KvFormat& f, const std::byte* keys, const std::byte* values,
                 std::size_t tokens, std::byte* codes, std::byte* out, const Ranges& r) {
  const auto k_dim = static_cast<std::size_t>(f.k_dim), v_dim = static_cast<std::size_t>(f.v_dim);
  const auto group = static_cast<std::size_t>(f.group_tokens);
  const auto page = static_cast<std::size_t>(f.page_tokens);
  constexpr std::size_t kSize = E == Element::f32 ? 4 : 2;
  constexpr float kTop = (1 << Bits) - 1;
  for (std::size_t first = 0; first < tokens; first += group) {
    std::byte* scales = out + f.key_scales_offset() + first / group * 4 * k_dim;
    const std::byte* in = keys + first * k_dim * kSize;
    key_ranges<E>(in, k_dim, group / 16, r);
    fit(r, k_dim, kTop, scales, scales + 2 * k_dim);
    key_codes<E, Bits>(in, k_dim, group / 16, r, codes + first * k_dim * Bits / 8);
  }
  if (f.values_in_keys) return;
  std::byte* scales = out + f.value_scales_offset();
  std::fill(r.low, r.low + page, 0.0F);
  std::fill(r.high, r.high + page, 0.0F);
  value_ranges<E>(values, v_dim, tokens, r);
  fit(r, page, kTop, scales, scales + 2 * page);
  if (v_dim * Bits / 8 % 16 == 0)
    value_codes<E, Bits>(Wide{}, values, v_dim, tokens, r, out + f.values_offset());
  else
    value_codes<E, Bits>(Narrow{}, values, v_dim, tokens, r, out + f.values_offset());
}

template <Element E>
void quantize_head(const KvFormat& f, const std::byte* keys, const std::byte* values,
                   std::size_t tokens, std::byte* codes, std::byte* out, const Ranges& r) {
  if (f.element == Element::i8) return quantize_as<E, 8>(f, keys, values, tokens, codes, out, r);
  if (f.element == Element::i4) return quantize_as<E, 4>(f, keys, values, tokens, codes, out, r);
  return quantize_as<E, 2>(f, keys, values, tokens, codes, out, r);
}

// keys: dim-major, slots from `tokens` on hold harmless numbers. codes: where dim-major codes go.
void quantize_any(Element from, const KvFormat& f, const std::byte* keys, const std::byte* values,
                  std::size_t tokens, std::byte* codes, std::byte* out, float* ranges) {
  const Ranges r{ranges, ranges + std::max(f.k_dim, f.page_tokens)};
  if (from == Element::f32)
    quantize_head<Element::f32>(f, keys, values, tokens, codes, out, r);
  else if (from == Element::f16)
    quantize_head<Element::f16>(f, keys, values, tokens, codes, out, r);
  else
    quantize_head<Element::bf16>(f, keys, values, tokens, codes, out, r);
}

template <Element E, int Bits, class D>
HWY_INLINE void put_planes(D d, const std::byte* at, const hn::Vec<D>* zero,
                           const hn::Vec<D>* scale, std::byte* out, std::size_t step) {
  const hn::Rebind<std::int32_t, D> di;
  auto bits = load_bytes(d, at);
  const auto mask = hn::Set(di, (1 << Bits) - 1);
  for (std::size_t n = 0; n < 8 / Bits; ++n) {
    const auto c = hn::ConvertTo(d, hn::And(bits, mask));
    store<E>(d, hn::MulAdd(scale[n], c, zero[n]), out + n * step);
    bits = hn::ShiftRight<Bits % 8>(bits);
  }
}

template <Element E, int Bits>
void dequantize_keys(const KvFormat& f, const std::byte* codes, const std::byte* in,
                     std::size_t tokens, std::byte* out) {
  const Wide d;
  constexpr std::size_t kSize = E == Element::f32 ? 4 : 2;
  constexpr std::size_t kTogether = 8 / Bits;
  const auto k_dim = static_cast<std::size_t>(f.k_dim);
  for (std::size_t tile = 0; tile * 16 < tokens; ++tile) {
    const std::byte* scales = in + f.key_scales_offset() +
                              tile * 16 / static_cast<std::size_t>(f.group_tokens) * 4 * k_dim;
    for (std::size_t j = 0; j < k_dim; j += kTogether) {
      hn::Vec<Wide> zero[kTogether], scale[kTogether];
      for (std::size_t n = 0; n < kTogether; ++n) {
        zero[n] = hn::Set(d, f16_at(scales, k_dim + j + n));
        scale[n] = hn::Set(d, f16_at(scales, j + n));
      }
      const std::size_t row = tile * k_dim + j;
      for (std::size_t i = 0; i < 16; i += hn::Lanes(d))
        put_planes<E, Bits>(d, codes + row / kTogether * 16 + i, zero, scale,
                            out + (row * 16 + i) * kSize, 16 * kSize);
    }
  }
}

template <Element E, int Bits, class D>
void dequantize_values(D d, const KvFormat& f, const std::byte* in, std::size_t tokens,
                       std::byte* out) {
  constexpr std::size_t kSize = E == Element::f32 ? 4 : 2;
  constexpr std::size_t kTogether = 8 / Bits;
  const auto v_dim = static_cast<std::size_t>(f.v_dim);
  const std::size_t plane = v_dim / kTogether;
  const std::byte* scales = in + f.value_scales_offset();
  for (std::size_t t = 0; t < tokens; ++t) {
    hn::Vec<D> zero[kTogether], scale[kTogether];
    for (std::size_t n = 0; n < kTogether; ++n) {
      zero[n] = hn::Set(d, f16_at(scales, static_cast<std::size_t>(f.page_tokens) + t));
      scale[n] = hn::Set(d, f16_at(scales, t));
    }
    for (std::size_t j = 0; j < plane; j += hn::Lanes(d))
      put_planes<E, Bits>(d, in + f.values_offset() + t * plane + j, zero, scale,
                          out + (t * v_dim + j) * kSize, plane * kSize);
  }
}

template <Element E, int Bits>
void dequantize_as(const KvFormat& f, const std::byte* codes, const std::byte* in,
                   std::size_t tokens, std::byte* keys, std::byte* values) {
  dequantize_keys<E, Bits>(f, codes, in, tokens, keys);
  if (f.values_in_keys) return;
  if (static_cast<std::size_t>(f.v_dim) * Bits / 8 % 16 == 0)
    dequantize_values<E, Bits>(Wide{}, f, in, tokens, values);
  else
    dequantize_values<E, Bits>(Narrow{}, f, in, tokens, values);
}

template <Element E>
void dequantize_head(const KvFormat& f, const std::byte* codes, const std::byte* in,
                     std::size_t tokens, std::byte* keys, std::byte* values) {
  if (f.element == Element::i8) return dequantize_as<E, 8>(f, codes, in, tokens, keys, values);
  if (f.element == Element::i4) return dequantize_as<E, 4>(f, codes, in, tokens, keys, values);
  return dequantize_as<E, 2>(f, codes, in, tokens, keys, values);
}

void dequantize_any(Element to, const KvFormat& f, const std::byte* codes, const std::byte* in,
                    std::size_t tokens, std::byte* keys, std::byte* values) {
  if (to == Element::f32)
    dequantize_head<Element::f32>(f, codes, in, tokens, keys, values);
  else if (to == Element::f16)
    dequantize_head<Element::f16>(f, codes, in, tokens, keys, values);
  else
    dequantize_head<Element::bf16>(f, codes, in, tokens, keys, values);
}

}  // namespace kvsim::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvsim::kernels::cpu {

HWY_EXPORT(quantize_any);
HWY_EXPORT(dequantize_any);

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

void quantize_one(const PageQuantization& a, std::size_t item, int head,
                  std::vector<std::byte>& scratch, std::vector<float>& ranges) {
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
  HWY_DYNAMIC_DISPATCH(quantize_any)
  (from.element, to, keys, in + from.values_offset(), tokens, codes, out, ranges.data());
  if (is_chunked) reorder_tiles(to.element, to.k_dim, tiles, KeyOrder::chunk_major, codes, out);
}

void dequantize_one(const PageQuantization& a, std::size_t item, int head,
                    std::vector<std::byte>& scratch) {
  const KvFormat &from = a.source.format, &to = a.format;
  const std::size_t tokens = u(a.tokens.empty() ? to.page_tokens : a.tokens[item]);
  const std::size_t size = u(bits_of(to.element)) / 8, tiles = u(to.page_tokens / kTileTokens);
  const std::byte* in = a.source.head_page(a.from_pages[item], head);
  std::byte* out =
      a.target.data() + u(a.to_pages[item]) * to.page_bytes() + u(head) * to.head_page_bytes();
  const std::size_t key_bytes = u(to.page_tokens) * u(to.k_dim) * size;
  const bool is_chunked = to.key_order == KeyOrder::chunk_major;
  const std::byte* codes = in;
  std::byte* keys = out;
  if (is_chunked) {
    scratch.resize(2 * key_bytes);
    reorder_tiles(from.element, to.k_dim, tiles, KeyOrder::dim_major, in, scratch.data());
    codes = scratch.data();
    keys = scratch.data() + key_bytes;
  }
  HWY_DYNAMIC_DISPATCH(dequantize_any)
  (to.element, from, codes, in, tokens, keys, out + to.values_offset());
  if (is_chunked) reorder_tiles(to.element, to.k_dim, tiles, KeyOrder::chunk_major, keys, out);
}

void check(const PageQuantization& a) {
  const KvFormat &from = a.source.format, &to = a.format;
  KVSIM_CHECK(from.kv_heads == to.kv_heads && from.k_dim == to.k_dim && from.v_dim == to.v_dim &&
                  from.page_tokens == to.page_tokens && from.key_order == to.key_order &&
                  from.values_in_keys == to.values_in_keys,
              "formats differ in more than the element");
  KVSIM_CHECK(is_quantised(from.element) != is_quantised(to.element), "one side holds codes");
  KVSIM_CHECK(a.from_pages.size() == a.to_pages.size(), "{} pages to {}", a.from_pages.size(),
              a.to_pages.size());
}

}  // namespace

void quantize_pages(const PageQuantization& a, Threads& threads) {
  check(a);
  const std::int64_t heads = a.format.kv_heads;
  threads.run([&](int thread) {
    std::vector<std::byte> scratch;
    std::vector<float> ranges(2 * u(std::max(a.format.k_dim, a.format.page_tokens)));
    const auto [first, end] = threads.part(std::ssize(a.from_pages) * heads, thread);
    for (std::int64_t i = first; i < end; ++i)
      quantize_one(a, u(i / heads), static_cast<int>(i % heads), scratch, ranges);
  });
}

void dequantize_pages(const PageQuantization& a, Threads& threads) {
  check(a);
  const std::int64_t heads = a.format.kv_heads;
  threads.run([&](int thread) {
    std::vector<std::byte> scratch;
    const auto [first, end] = threads.part(std::ssize(a.from_pages) * heads, thread);
    for (std::int64_t i = first; i < end; ++i)
      dequantize_one(a, u(i / heads), static_cast<int>(i % heads), scratch);
  });
}

}  // namespace kvsim::kernels::cpu
#endif
