#pragma once
// Rows of codes, one a byte, to and from the packed form of Codec (kernels/quantize.h). Eight codes
// at a time in a 64-bit word.
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/quantize.h"

namespace kvsim::kernels::cpu {

static_assert(std::endian::native == std::endian::little, "bytes of a word in order");

// Folds the codes of eight bytes together, `bits` (2, 3, 4) each, and spreads them again.
constexpr std::uint64_t fold(std::uint64_t x, int bits) {
  const auto mask = [&](int n) { return (std::uint64_t{1} << (n * bits)) - 1; };
  x = (x | x >> (8 - bits)) & (mask(2) * 0x0001000100010001ULL);
  x = (x | x >> (16 - 2 * bits)) & (mask(4) * 0x0000000100000001ULL);
  return (x | x >> (32 - 4 * bits)) & mask(8);
}
constexpr std::uint64_t spread(std::uint64_t x, int bits) {
  const auto mask = [&](int n) { return (std::uint64_t{1} << (n * bits)) - 1; };
  x = (x | x << (32 - 4 * bits)) & (mask(4) * 0x0000000100000001ULL);
  x = (x | x << (16 - 2 * bits)) & (mask(2) * 0x0001000100010001ULL);
  return (x | x << (8 - bits)) & (mask(1) * 0x0101010101010101ULL);
}

// codes: a multiple of 40 bytes from n up, zero from n on, so that whole words can be read.
inline void pack_row(CodeWidth width, const std::uint8_t* codes, std::size_t n, std::size_t bytes,
                     std::byte* out) {
  if (width == CodeWidth::bits8) {
    std::memcpy(out, codes, n);
    return;
  }
  if (width == CodeWidth::ternary) {
    for (std::size_t i = 0; i < bytes; ++i, codes += 5)
      out[i] = static_cast<std::byte>(codes[0] + 3 * codes[1] + 9 * codes[2] + 27 * codes[3] +
                                      81 * codes[4]);
    return;
  }
  const int bits = width == CodeWidth::bits4 ? 4 : width == CodeWidth::bits3 ? 3 : 2;
  const auto step = static_cast<std::size_t>(bits);
  for (std::size_t at = 0; at < bytes; at += step, codes += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, codes, 8);
    word = fold(word, bits);
    std::memcpy(out + at, &word, at + step <= bytes ? step : bytes - at);
  }
}

// The five codes of every byte below 243; above they mean nothing and give 0.
inline constexpr auto kTernary = [] {
  std::array<std::array<std::uint8_t, 5>, 256> all{};
  for (unsigned b = 0; b < 243; ++b)
    for (unsigned i = 0, rest = b; i < 5; ++i, rest /= 3)
      all[b][i] = static_cast<std::uint8_t>(rest % 3);
  return all;
}();

// codes: room for n rounded up to a multiple of 40.
inline void unpack_row(CodeWidth width, const std::byte* in, std::size_t bytes, std::size_t n,
                       std::uint8_t* codes) {
  if (width == CodeWidth::bits8) {
    std::memcpy(codes, in, n);
    return;
  }
  if (width == CodeWidth::ternary) {
    for (std::size_t i = 0; i < bytes; ++i, codes += 5)
      std::memcpy(codes, kTernary[std::to_integer<std::size_t>(in[i])].data(), 5);
    return;
  }
  const int bits = width == CodeWidth::bits4 ? 4 : width == CodeWidth::bits3 ? 3 : 2;
  const auto step = static_cast<std::size_t>(bits);
  for (std::size_t at = 0; at < bytes; at += step, codes += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, in + at, at + step <= bytes ? step : bytes - at);
    word = spread(word, bits);
    std::memcpy(codes, &word, 8);
  }
}

}  // namespace kvsim::kernels::cpu
