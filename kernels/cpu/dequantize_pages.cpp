#include "kernels/quantize.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/dequantize_pages.cpp"
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4)
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <type_traits>
#include <vector>

#include "kernels/cpu/key_tiles.h"
#include "kernels/cpu/lanes.inc"
#include "kernels/threads.h"

#ifndef KVSIM_DEQUANTIZE_HEAD_PAGE
#define KVSIM_DEQUANTIZE_HEAD_PAGE
namespace kvsim::kernels::cpu {
struct HeadCodes {
  const std::byte* codes;  // of the keys, dim-major
  const std::byte* in;     // head page of the source
  const std::byte* next;   // the one after it, to be fetched
  std::size_t tokens;
  std::byte *keys, *values;  // in the target; keys dim-major
  float* scales;             // room for those of a group of keys, of all values
  bool is_streamed;          // numbers go past the cache, to memory
};
}  // namespace kvsim::kernels::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace kvsim::kernels::cpu::HWY_NAMESPACE {

// Past the cache where the element has a vector store for it: `at` is then aligned to the vector,
// which has 16 bytes or more.
template <Element E, class D>
HWY_INLINE void put(D d, hn::Vec<D> v, bool is_streamed, std::byte* at) {
  if constexpr (E == Element::f32) {
    if (is_streamed) return hn::Stream(v, d, reinterpret_cast<float*>(at));
  }
#if KVSIM_HAS_F16
  if constexpr (E == Element::f16) {
    const hn::Rebind<std::uint16_t, D> du16;
    const hn::Rebind<hwy::float16_t, D> df16;
    if (is_streamed)
      return hn::Stream(hn::BitCast(du16, hn::DemoteTo(df16, v)), du16,
                        reinterpret_cast<std::uint16_t*>(at));
  }
#endif
  store<E>(d, v, at);
}

template <Element E, int Bits, class D>
HWY_INLINE void put_planes(D d, const std::byte* at, const hn::Vec<D>* zero,
                           const hn::Vec<D>* scale, bool is_streamed, std::byte* out,
                           std::size_t step) {
  const hn::Rebind<std::int32_t, D> di;
  auto bits = load_bytes(d, at);
  const auto mask = hn::Set(di, (1 << Bits) - 1);
  for (std::size_t n = 0; n < 8 / Bits; ++n) {
    const auto c = hn::ConvertTo(d, hn::And(bits, mask));
    put<E>(d, hn::MulAdd(scale[n], c, zero[n]), is_streamed, out + n * step);
    bits = hn::ShiftRight<Bits % 8>(bits);
  }
}

// n, a multiple of 16, scales and zeros.
HWY_INLINE void widen(const std::byte* scales, std::size_t n, float* out) {
  const Wide d;
  for (std::size_t i = 0; i < n; i += hn::Lanes(d))
    hn::StoreU(load<Element::f16>(d, scales + 2 * i), d, out + i);
}

template <Element E, int Bits>
void dequantize_keys(const KvFormat& f, const HeadCodes& p) {
  const Wide d;
  constexpr std::size_t kSize = E == Element::f32 ? 4 : 2;
  constexpr std::size_t kTogether = 8 / Bits;
  const auto k_dim = static_cast<std::size_t>(f.k_dim);
  const std::size_t group_tiles = static_cast<std::size_t>(f.group_tokens) / 16;
  for (std::size_t tile = 0; tile * 16 < p.tokens; ++tile) {
    if (tile % group_tiles == 0)
      widen(p.in + f.key_scales_offset() + tile / group_tiles * 4 * k_dim, 2 * k_dim, p.scales);
    for (std::size_t j = 0; j < k_dim; j += kTogether) {
      hn::Vec<Wide> zero[kTogether], scale[kTogether];
      for (std::size_t n = 0; n < kTogether; ++n) {
        zero[n] = hn::Set(d, p.scales[k_dim + j + n]);
        scale[n] = hn::Set(d, p.scales[j + n]);
      }
      const std::size_t row = tile * k_dim + j;
      const std::size_t at = row / kTogether * 16;
      hwy::Prefetch(p.next + at);
      for (std::size_t i = 0; i < 16; i += hn::Lanes(d))
        put_planes<E, Bits>(d, p.codes + at + i, zero, scale, p.is_streamed,
                            p.keys + (row * 16 + i) * kSize, 16 * kSize);
    }
  }
}

template <Element E, int Bits, class D>
void dequantize_values(D d, const KvFormat& f, const HeadCodes& p) {
  constexpr std::size_t kSize = E == Element::f32 ? 4 : 2;
  constexpr std::size_t kTogether = 8 / Bits;
  const auto v_dim = static_cast<std::size_t>(f.v_dim);
  const std::size_t plane = v_dim / kTogether;
  const bool is_streamed = p.is_streamed && std::is_same_v<D, Wide>;
  const auto page = static_cast<std::size_t>(f.page_tokens);
  widen(p.in + f.value_scales_offset(), 2 * page, p.scales);
  for (std::size_t t = 0; t < p.tokens; ++t) {
    hn::Vec<D> zero[kTogether], scale[kTogether];
    for (std::size_t n = 0; n < kTogether; ++n) {
      zero[n] = hn::Set(d, p.scales[page + t]);
      scale[n] = hn::Set(d, p.scales[t]);
    }
    for (std::size_t j = 0; j < plane; j += hn::Lanes(d)) {
      const std::size_t at = f.values_offset() + t * plane + j;
      hwy::Prefetch(p.next + at);
      put_planes<E, Bits>(d, p.in + at, zero, scale, is_streamed,
                          p.values + (t * v_dim + j) * kSize, plane * kSize);
    }
  }
}

template <Element E, int Bits>
void dequantize_as(const KvFormat& f, const HeadCodes& p) {
  dequantize_keys<E, Bits>(f, p);
  if (f.values_in_keys) return;
  if (static_cast<std::size_t>(f.v_dim) * Bits / 8 % 16 == 0)
    dequantize_values<E, Bits>(Wide{}, f, p);
  else
    dequantize_values<E, Bits>(Narrow{}, f, p);
}

template <Element E>
void dequantize_head(const KvFormat& f, const HeadCodes& p) {
  if (f.element == Element::i8) return dequantize_as<E, 8>(f, p);
  if (f.element == Element::i4) return dequantize_as<E, 4>(f, p);
  return dequantize_as<E, 2>(f, p);
}

void dequantize_any(Element to, const KvFormat& f, const HeadCodes& p) {
  if (to == Element::f32)
    dequantize_head<Element::f32>(f, p);
  else if (to == Element::f16)
    dequantize_head<Element::f16>(f, p);
  else
    dequantize_head<Element::bf16>(f, p);
}

}  // namespace kvsim::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvsim::kernels::cpu {

HWY_EXPORT(dequantize_any);

namespace {

std::size_t u(std::int64_t n) { return static_cast<std::size_t>(n); }

void dequantize_one(const PageQuantization& a, std::size_t item, int head, const std::byte* next,
                    bool is_streamed, std::vector<std::byte>& scratch, std::vector<float>& scales) {
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
  const HeadCodes page{codes,         in,
                       next,          tokens,
                       keys,          out + to.values_offset(),
                       scales.data(), is_streamed && !is_chunked};
  HWY_DYNAMIC_DISPATCH(dequantize_any)(to.element, from, page);
  if (is_chunked) reorder_tiles(to.element, to.k_dim, tiles, KeyOrder::chunk_major, keys, out);
}

}  // namespace

void dequantize_pages(const PageQuantization& a, Threads& threads) {
  a.check();
  const std::int64_t heads = a.format.kv_heads;
  const bool is_streamed = a.from_pages.size() * a.format.page_bytes() >= kStreamedBytes;
  threads.run([&](int thread) {
    std::vector<std::byte> scratch;
    std::vector<float> scales(2 * u(std::max(a.format.k_dim, a.format.page_tokens)));
    const auto [first, end] = threads.part(std::ssize(a.from_pages) * heads, thread);
    const auto source = [&](std::int64_t i) {
      return a.source.head_page(a.from_pages[u(i / heads)], static_cast<int>(i % heads));
    };
    for (std::int64_t i = first; i < end; ++i)
      dequantize_one(a, u(i / heads), static_cast<int>(i % heads), source(std::min(i + 1, end - 1)),
                     is_streamed, scratch, scales);
    hwy::FlushStream();
  });
}

}  // namespace kvsim::kernels::cpu
#endif
