#include "kernels/kv_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "sim/base/diagnostics.h"

namespace kvsim::kernels {

namespace {

std::size_t aligned(std::size_t bytes) { return (bytes + 63) / 64 * 64; }
std::size_t bytes_of(Element e, std::size_t numbers) {
  return numbers * static_cast<std::size_t>(bits_of(e)) / 8;
}

// Where one number lies: the byte it begins in, and for codes below 8 bits the shift in it.
struct Spot {
  std::size_t byte = 0;
  int shift = 0;
};

Spot key_spot(const KvFormat& f, int slot, int dim) {
  const auto tile = static_cast<std::size_t>(slot / kTileTokens);
  const auto token = static_cast<std::size_t>(slot % kTileTokens);
  const auto bits = static_cast<std::size_t>(bits_of(f.element));
  const auto d = static_cast<std::size_t>(dim);
  const std::size_t base =
      tile * bytes_of(f.element, kTileTokens * static_cast<std::size_t>(f.k_dim));
  if (f.key_order == KeyOrder::chunk_major) {
    const std::size_t width = 128 / bits;  // numbers in 16 bytes
    const std::size_t bit = (d % width) * bits;
    return {base + (d / width * kTileTokens + token) * 16 + bit / 8, static_cast<int>(bit % 8)};
  }
  if (bits >= 8) return {base + (d * kTileTokens + token) * (bits / 8), 0};
  const std::size_t together = 8 / bits;
  return {base + d / together * kTileTokens + token, static_cast<int>(d % together * bits)};
}

Spot value_spot(const KvFormat& f, int slot, int dim) {
  const auto bits = static_cast<std::size_t>(bits_of(f.element));
  const auto width = static_cast<std::size_t>(f.v_dim);
  const auto d = static_cast<std::size_t>(dim);
  const std::size_t row = static_cast<std::size_t>(slot) * bytes_of(f.element, width);
  if (bits >= 8) return {row + d * (bits / 8), 0};
  const std::size_t plane =
      width * bits / 8;  // bytes of a row, and dims between neighbours in a byte
  return {row + d % plane, static_cast<int>(d / plane * bits)};
}

float load(Element e, const std::byte* at, int shift) {
  if (e == Element::f32) {
    float v = 0;
    std::memcpy(&v, at, sizeof v);
    return v;
  }
  if (e == Element::f16 || e == Element::bf16) {
    std::uint16_t v = 0;
    std::memcpy(&v, at, sizeof v);
    return e == Element::f16 ? from_f16(v) : from_bf16(v);
  }
  const unsigned mask = (1U << bits_of(e)) - 1U;
  return static_cast<float>((std::to_integer<unsigned>(*at) >> shift) & mask);
}

void store(Element e, std::byte* at, float value) {
  if (e == Element::f32) {
    std::memcpy(at, &value, sizeof value);
    return;
  }
  const std::uint16_t v = e == Element::f16 ? to_f16(value) : to_bf16(value);
  std::memcpy(at, &v, sizeof v);
}

void store_code(Element e, std::byte* at, int shift, unsigned code) {
  const unsigned mask = ((1U << bits_of(e)) - 1U) << shift;
  const unsigned old = std::to_integer<unsigned>(*at);
  *at = static_cast<std::byte>((old & ~mask) | (code << shift));
}

float f16_at(const std::byte* base, std::size_t index) {
  std::uint16_t h = 0;
  std::memcpy(&h, base + index * 2, sizeof h);
  return from_f16(h);
}
void put_f16(std::byte* base, std::size_t index, float value) {
  const std::uint16_t h = to_f16(value);
  std::memcpy(base + index * 2, &h, sizeof h);
}

// Index of a key's scale within the key scales; its zero is k_dim further.
std::size_t key_scale_index(const KvFormat& f, int slot, int dim) {
  return static_cast<std::size_t>(slot / f.group_tokens) * 2 * static_cast<std::size_t>(f.k_dim) +
         static_cast<std::size_t>(dim);
}

struct Affine {
  float scale = 0, zero = 0;
  [[nodiscard]] unsigned code(float x, int bits) const {
    if (scale == 0) return 0;
    const float top = static_cast<float>((1 << bits) - 1);
    return static_cast<unsigned>(std::clamp(std::round((x - zero) / scale), 0.0F, top));
  }
};

Affine fit(float low, float high, int bits) {
  const float zero = from_f16(to_f16(low));
  return {from_f16(to_f16((high - low) / static_cast<float>((1 << bits) - 1))), zero};
}

}  // namespace

std::size_t KvFormat::key_scales_offset() const {
  return aligned(
      bytes_of(element, static_cast<std::size_t>(page_tokens) * static_cast<std::size_t>(k_dim)));
}
std::size_t KvFormat::values_offset() const {
  if (!is_quantised(element)) return key_scales_offset();
  const auto groups = static_cast<std::size_t>(page_tokens / group_tokens);
  return key_scales_offset() + aligned(groups * 4 * static_cast<std::size_t>(k_dim));
}
std::size_t KvFormat::value_scales_offset() const {
  if (values_in_keys) return values_offset();
  return values_offset() + aligned(bytes_of(element, static_cast<std::size_t>(page_tokens) *
                                                         static_cast<std::size_t>(v_dim)));
}
std::size_t KvFormat::head_page_bytes() const {
  if (values_in_keys || !is_quantised(element)) return value_scales_offset();
  return value_scales_offset() + aligned(static_cast<std::size_t>(page_tokens) * 4);
}
double KvFormat::bytes_per_token() const {
  const double numbers = k_dim + (values_in_keys ? 0 : v_dim);
  double bytes = numbers * bits_of(element) / 8;
  if (is_quantised(element)) bytes += 4.0 * k_dim / group_tokens + (values_in_keys ? 0 : 4);
  return bytes * kv_heads;
}

void KvFormat::check() const {
  const auto dim_is_good = [](int dim) { return dim >= 16 && dim <= 1024 && dim % 16 == 0; };
  if (kv_heads < 1 || kv_heads > 1024) throw InputError("kv_heads must be between 1 and 1024");
  if (!dim_is_good(k_dim) || !dim_is_good(v_dim))
    throw InputError("k_dim and v_dim must be multiples of 16 up to 1024");
  if (key_order == KeyOrder::chunk_major && k_dim * bits_of(element) % 128 != 0)
    throw InputError("a row of k_dim numbers must fill whole chunks of 16 bytes when chunk-major",
                     "k_dim: a multiple of 32 for i4, of 64 for i2");
  if (values_in_keys && v_dim > k_dim) throw InputError("v_dim must not exceed k_dim");
  if (page_tokens < 16 || page_tokens > 1024 || page_tokens % kTileTokens != 0)
    throw InputError("page_tokens must be a multiple of 16 up to 1024");
  if (is_quantised(element) &&
      (group_tokens < 16 || group_tokens % kTileTokens != 0 || page_tokens % group_tokens != 0))
    throw InputError("group_tokens must be a multiple of 16 that divides page_tokens",
                     "a page of 64 tokens holds one group of 64");
}

float KvCache::key(std::int32_t page, int head, int slot, int dim) const {
  const std::byte* base = head_page(page, head);
  const Spot spot = key_spot(format, slot, dim);
  const float stored = load(format.element, base + spot.byte, spot.shift);
  if (!is_quantised(format.element)) return stored;
  const std::byte* scales = base + format.key_scales_offset();
  const std::size_t i = key_scale_index(format, slot, dim);
  return f16_at(scales, i + static_cast<std::size_t>(format.k_dim)) + f16_at(scales, i) * stored;
}

float KvCache::value(std::int32_t page, int head, int slot, int dim) const {
  if (format.values_in_keys) return key(page, head, slot, dim);
  const std::byte* base = head_page(page, head);
  const Spot spot = value_spot(format, slot, dim);
  const float stored = load(format.element, base + format.values_offset() + spot.byte, spot.shift);
  if (!is_quantised(format.element)) return stored;
  const std::byte* scales = base + format.value_scales_offset();
  const auto i = static_cast<std::size_t>(slot);
  return f16_at(scales, i + static_cast<std::size_t>(format.page_tokens)) +
         f16_at(scales, i) * stored;
}

void store_token(const KvFormat& f, std::byte* page, int head, int slot, std::span<const float> key,
                 std::span<const float> value) {
  std::byte* base = page + static_cast<std::size_t>(head) * f.head_page_bytes();
  for (int d = 0; d < f.k_dim; ++d)
    store(f.element, base + key_spot(f, slot, d).byte, key[static_cast<std::size_t>(d)]);
  if (f.values_in_keys) return;
  for (int d = 0; d < f.v_dim; ++d)
    store(f.element, base + f.values_offset() + value_spot(f, slot, d).byte,
          value[static_cast<std::size_t>(d)]);
}

namespace {

void quantize_keys(const KvFormat& f, std::byte* base, int tokens, std::span<const float> keys) {
  const int bits = bits_of(f.element);
  const auto at = [&](int slot, int dim) {
    return keys[static_cast<std::size_t>(slot) * static_cast<std::size_t>(f.k_dim) +
                static_cast<std::size_t>(dim)];
  };
  std::byte* scales = base + f.key_scales_offset();
  for (int first = 0; first < tokens; first += f.group_tokens) {
    const int end = std::min(tokens, first + f.group_tokens);
    for (int d = 0; d < f.k_dim; ++d) {
      float low = at(first, d), high = low;
      for (int t = first; t < end; ++t)
        low = std::min(low, at(t, d)), high = std::max(high, at(t, d));
      const Affine map = fit(low, high, bits);
      const std::size_t i = key_scale_index(f, first, d);
      put_f16(scales, i, map.scale);
      put_f16(scales, i + static_cast<std::size_t>(f.k_dim), map.zero);
      for (int t = first; t < end; ++t) {
        const Spot spot = key_spot(f, t, d);
        store_code(f.element, base + spot.byte, spot.shift, map.code(at(t, d), bits));
      }
    }
  }
}

void quantize_values(const KvFormat& f, std::byte* base, int tokens,
                     std::span<const float> values) {
  const int bits = bits_of(f.element);
  const auto width = static_cast<std::size_t>(f.v_dim);
  std::byte* scales = base + f.value_scales_offset();
  for (int t = 0; t < tokens; ++t) {
    const std::span<const float> row = values.subspan(static_cast<std::size_t>(t) * width, width);
    const auto [low, high] = std::minmax_element(row.begin(), row.end());
    const Affine map = fit(*low, *high, bits);
    put_f16(scales, static_cast<std::size_t>(t), map.scale);
    put_f16(scales, static_cast<std::size_t>(t + f.page_tokens), map.zero);
    for (int d = 0; d < f.v_dim; ++d) {
      const Spot spot = value_spot(f, t, d);
      store_code(f.element, base + f.values_offset() + spot.byte, spot.shift,
                 map.code(row[static_cast<std::size_t>(d)], bits));
    }
  }
}

}  // namespace

void quantize_page(const KvFormat& f, std::byte* page, int head, int tokens,
                   std::span<const float> keys, std::span<const float> values) {
  std::byte* base = page + static_cast<std::size_t>(head) * f.head_page_bytes();
  quantize_keys(f, base, tokens, keys);
  if (!f.values_in_keys) quantize_values(f, base, tokens, values);
}

}  // namespace kvsim::kernels
