#include "kernels/cpu/stage.h"

#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/stage.cpp"
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

// `count` numbers, a multiple of 16, that lie one after the other.
void Widen(Element element, const std::byte* from, std::size_t count, float* to) {
  const F d;
  using Half = hn::Rebind<hwy::float16_t, F>;
  using Brain = hn::Rebind<hwy::bfloat16_t, F>;
  using Code = hn::Rebind<std::uint8_t, F>;
  const hn::RebindToSigned<F> di;
  for (std::size_t i = 0; i < count; i += static_cast<std::size_t>(kLanes)) {
    const std::byte* at = from + i * static_cast<std::size_t>(bits_of(element)) / 8;
    V v = hn::Zero(d);
    if (element == Element::f32)
      v = hn::LoadU(d, reinterpret_cast<const float*>(at));
    else if (element == Element::f16)
      v = hn::PromoteTo(d, hn::LoadU(Half(), reinterpret_cast<const hwy::float16_t*>(at)));
    else if (element == Element::bf16)
      v = hn::PromoteTo(d, hn::LoadU(Brain(), reinterpret_cast<const hwy::bfloat16_t*>(at)));
    else
      v = hn::ConvertTo(
          d, hn::PromoteTo(di, hn::LoadU(Code(), reinterpret_cast<const std::uint8_t*>(at))));
    hn::StoreU(v, d, to + i);
  }
}

// out[16][columns] (rows `stride` apart) = transposed in[columns][16]; columns a multiple of 4.
void Transpose(const float* in, int columns, int stride, float* out) {
#if HWY_TARGET == HWY_SCALAR
  for (int c = 0; c < columns; ++c)
    for (int t = 0; t < kTileTokens; ++t) out[t * stride + c] = in[c * kTileTokens + t];
#else
  const F d;
  const hn::Repartition<double, F> pairs;
  alignas(64) float block[4 * kLanes];
  for (int c = 0; c < columns; c += 4)
    for (int t0 = 0; t0 < kTileTokens; t0 += kLanes) {
      const float* at = in + c * kTileTokens + t0;
      const V a = hn::LoadU(d, at), b = hn::LoadU(d, at + kTileTokens);
      const V e = hn::LoadU(d, at + 2 * kTileTokens), f = hn::LoadU(d, at + 3 * kTileTokens);
      const auto ab_low = hn::BitCast(pairs, hn::InterleaveLower(d, a, b));
      const auto ef_low = hn::BitCast(pairs, hn::InterleaveLower(d, e, f));
      const auto ab_high = hn::BitCast(pairs, hn::InterleaveUpper(d, a, b));
      const auto ef_high = hn::BitCast(pairs, hn::InterleaveUpper(d, e, f));
      // Vector j now holds token 4 b + j in its b-th 16 bytes.
      hn::Store(hn::BitCast(d, hn::InterleaveLower(pairs, ab_low, ef_low)), d, block);
      hn::Store(hn::BitCast(d, hn::InterleaveUpper(pairs, ab_low, ef_low)), d, block + kLanes);
      hn::Store(hn::BitCast(d, hn::InterleaveLower(pairs, ab_high, ef_high)), d,
                block + 2 * kLanes);
      hn::Store(hn::BitCast(d, hn::InterleaveUpper(pairs, ab_high, ef_high)), d,
                block + 3 * kLanes);
      for (int t = 0; t < kLanes; ++t)
        std::memcpy(out + (t0 + t) * stride + c, block + t % 4 * kLanes + t / 4 * 4,
                    4 * sizeof(float));
    }
#endif
}

}  // namespace kvsim::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvsim::kernels::cpu {

HWY_EXPORT(Widen);
HWY_EXPORT(Transpose);

namespace {

float half_at(const std::byte* base, int index) {
  std::uint16_t h = 0;
  std::memcpy(&h, base + static_cast<std::ptrdiff_t>(index) * 2, sizeof h);
  return from_f16(h);
}

// Code number `index` of a run of bytes, lowest bits first.
float code_at(const std::byte* bytes, int index, int bits) {
  const int bit = index * bits;
  return static_cast<float>((std::to_integer<unsigned>(bytes[bit / 8]) >> (bit % 8)) &
                            ((1U << bits) - 1U));
}

// Codes of dim-major tiles below 8 bits, which share bytes between dims.
void widen_shared_bytes(const KvFormat& f, const std::byte* tile, float* out) {
  const int bits = bits_of(f.element), together = 8 / bits;
  for (int dim = 0; dim < f.k_dim; ++dim)
    for (int t = 0; t < kTileTokens; ++t)
      out[dim * kTileTokens + t] =
          code_at(tile + dim / together * kTileTokens + t, dim % together, bits);
}

// Chunks [k_dim / w][16 tokens][w]: widened one after the other, then transposed.
void widen_chunks(const KvFormat& f, const std::byte* tile, float* out) {
  const int bits = bits_of(f.element), width = 128 / bits;
  for (int chunk = 0; chunk < f.k_dim / width; ++chunk)
    for (int t = 0; t < kTileTokens; ++t) {
      const std::byte* at = tile + (chunk * kTileTokens + t) * 16;
      float numbers[64];
      if (bits >= 16) {
        for (int i = 0; i < width; ++i) {
          if (bits == 32)
            std::memcpy(&numbers[i], at + i * 4, 4);
          else if (f.element == Element::f16)
            numbers[i] = half_at(at, i);
          else
            numbers[i] = from_bf16(
                static_cast<std::uint16_t>(std::to_integer<unsigned>(at[2 * i]) |
                                           (std::to_integer<unsigned>(at[2 * i + 1]) << 8)));
        }
      } else {
        for (int i = 0; i < width; ++i) numbers[i] = code_at(at, i, bits);
      }
      for (int i = 0; i < width; ++i) out[(chunk * width + i) * kTileTokens + t] = numbers[i];
    }
}

}  // namespace

void stage_keys(const KvFormat& f, const std::byte* head_page, int slot, float* out) {
  const auto numbers = static_cast<std::size_t>(f.k_dim) * kTileTokens;
  const auto bits = static_cast<std::size_t>(bits_of(f.element));
  const std::byte* tile =
      head_page + static_cast<std::size_t>(slot / kTileTokens) * numbers * bits / 8;
  if (f.key_order == KeyOrder::chunk_major)
    widen_chunks(f, tile, out);
  else if (bits < 8)
    widen_shared_bytes(f, tile, out);
  else
    HWY_DYNAMIC_DISPATCH(Widen)(f.element, tile, numbers, out);
  if (!is_quantised(f.element)) return;
  const std::byte* scales = head_page + f.key_scales_offset() +
                            static_cast<std::ptrdiff_t>(slot / f.group_tokens) * 4 * f.k_dim;
  for (int dim = 0; dim < f.k_dim; ++dim) {
    const float scale = half_at(scales, dim), zero = half_at(scales, f.k_dim + dim);
    for (int t = 0; t < kTileTokens; ++t) {
      float& x = out[dim * kTileTokens + t];
      x = zero + scale * x;
    }
  }
}

void stage_values(const KvFormat& f, const std::byte* head_page, int slot, float* out) {
  const int bits = bits_of(f.element);
  const std::size_t row = static_cast<std::size_t>(f.v_dim) * static_cast<std::size_t>(bits) / 8;
  const std::byte* rows = head_page + f.values_offset() + static_cast<std::size_t>(slot) * row;
  if (bits >= 8) {
    HWY_DYNAMIC_DISPATCH(Widen)
    (f.element, rows, static_cast<std::size_t>(f.v_dim) * kTileTokens, out);
  } else {
    const int plane = f.v_dim * bits / 8;
    for (int t = 0; t < kTileTokens; ++t)
      for (int dim = 0; dim < f.v_dim; ++dim)
        out[t * f.v_dim + dim] =
            code_at(rows + static_cast<std::size_t>(t) * row + dim % plane, dim / plane, bits);
  }
  if (!is_quantised(f.element)) return;
  const std::byte* scales = head_page + f.value_scales_offset();
  for (int t = 0; t < kTileTokens; ++t) {
    const float scale = half_at(scales, slot + t), zero = half_at(scales, f.page_tokens + slot + t);
    for (int dim = 0; dim < f.v_dim; ++dim) {
      float& x = out[t * f.v_dim + dim];
      x = zero + scale * x;
    }
  }
}

void stage_values_in_keys(const float* keys, int v_dim, float* out) {
  HWY_DYNAMIC_DISPATCH(Transpose)(keys, v_dim, v_dim, out);
}

}  // namespace kvsim::kernels::cpu
#endif
