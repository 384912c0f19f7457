#pragma once
// Numbers as stored in a KV cache, and their conversions to float. All conversions here are exact
// or round to nearest even; they are the definition that SIMD and shader twins must match bit for
// bit.
#include <array>
#include <bit>
#include <cstdint>
#include <utility>

namespace kvsim::kernels {

// i8, i4 and i2 are unsigned codes of an asymmetric quantiser: value = zero + scale * code.
enum class Element : std::uint8_t { f32, f16, bf16, i8, i4, i2 };
constexpr auto enum_names(Element) {
  return std::array{std::pair{Element::f32, "f32"},   std::pair{Element::f16, "f16"},
                    std::pair{Element::bf16, "bf16"}, std::pair{Element::i8, "i8"},
                    std::pair{Element::i4, "i4"},     std::pair{Element::i2, "i2"}};
}
constexpr int bits_of(Element e) {
  switch (e) {
    case Element::f32:
      return 32;
    case Element::f16:
    case Element::bf16:
      return 16;
    case Element::i8:
      return 8;
    case Element::i4:
      return 4;
    case Element::i2:
      return 2;
  }
  return 0;
}
constexpr bool is_quantised(Element e) { return bits_of(e) < 16; }

// IEEE 754 binary16. Subnormals, infinities and NaN are kept.
constexpr float from_f16(std::uint16_t h) {
  const std::uint32_t sign = std::uint32_t{h & 0x8000U} << 16;
  const std::uint32_t magnitude = h & 0x7fffU;
  if (magnitude >= 0x7c00U)
    return std::bit_cast<float>(sign | 0x7f800000U | ((magnitude & 0x3ffU) << 13));
  // Moves the fraction into place, then corrects the exponent's bias by a multiplication, which
  // also normalises subnormals.
  const float scaled = std::bit_cast<float>(magnitude << 13) * 0x1p112F;
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(scaled) | sign);
}
constexpr std::uint16_t to_f16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000U);
  const std::uint32_t magnitude = bits & 0x7fffffffU;
  if (magnitude > 0x7f800000U) return static_cast<std::uint16_t>(sign | 0x7e00U);
  if (magnitude >= 0x477ff000U) return static_cast<std::uint16_t>(sign | 0x7c00U);  // >= 65520
  if (magnitude < 0x38800000U) {  // below 2^-14: subnormal; adding 0.5 lets the FPU round
    const float shifted = std::bit_cast<float>(magnitude) + 0.5F;
    return static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(shifted) - 0x3f000000U));
  }
  const std::uint32_t odd = (magnitude >> 13) & 1U;
  return static_cast<std::uint16_t>(sign | ((magnitude - 0x38000000U + 0xfffU + odd) >> 13));
}
constexpr float from_bf16(std::uint16_t b) { return std::bit_cast<float>(std::uint32_t{b} << 16); }
constexpr std::uint16_t to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffffU) > 0x7f800000U) return static_cast<std::uint16_t>((bits >> 16) | 0x40U);
  return static_cast<std::uint16_t>((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16);
}

}  // namespace kvsim::kernels
