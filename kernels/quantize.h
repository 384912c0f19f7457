#pragma once
// Codecs of keys and values: of pages (the format of kv_cache.h, that attention reads) and of plain
// matrices [tokens][dims] of f32 (any grain, width and codebook; for studies of quality).
//
// Numbers must be finite and within +-65504: scales and zeros are kept in f16.
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "kernels/kv_cache.h"

namespace kvsim::kernels {

enum class CodeWidth : std::uint8_t { bits8, bits4, bits3, bits2, ternary };
constexpr auto enum_names(CodeWidth) {
  return std::array{std::pair{CodeWidth::bits8, "8"}, std::pair{CodeWidth::bits4, "4"},
                    std::pair{CodeWidth::bits3, "3"}, std::pair{CodeWidth::bits2, "2"},
                    std::pair{CodeWidth::ternary, "ternary"}};
}

// Which numbers share a scale: neighbours in a token's row (per token, VALUES in KIVI
// arXiv:2402.02750) or neighbours in a channel's column (per channel, KEYS in KIVI).
enum class Grain : std::uint8_t { token, channel };
constexpr auto enum_names(Grain) {
  return std::array{std::pair{Grain::token, "token"}, std::pair{Grain::channel, "channel"}};
}

// With L = levels(), group minimum m and maximum M:
//   asymmetric  zero = f16(m), scale = f16((M - m) / (L - 1)), value = zero + scale * code
//   symmetric   scale = f16(max(-m, M) / half), half = (L - 1) / 2 rounded down, zero = -half *
//               scale (not stored), codes 0 .. 2 half
// code = (x - zero) / scale rounded half up and clamped; scale 0 gives code 0 (asymmetric) or half.
// A codebook (KVQuant's nuq, arXiv:2401.18079) replaces `code` by its entry: value = zero + scale *
// codebook[code], scale over the span of the codebook's own range; code = the nearest entry, of two
// equally near the lower.
//
// Codes lie token after token, each row from a byte of its own, lowest bits first: 8, 4 and 2 bits
// plainly; 8 codes of 3 bits in 3 bytes; 5 ternary codes in a byte (c0 + 3 c1 + 9 c2 + ...), which
// is 1.6 bits a number ("1.5-bit" formats: log2(3) = 1.58 at best).
// Error of a dequantised number: at most scale / 2 plus the f16 rounding of zero and of (L - 1)
// scale.
struct Codec {
  CodeWidth width = CodeWidth::bits4;
  Grain grain = Grain::token;
  std::int32_t group = 0;  // numbers that share a scale; 0 = the whole row or column
  bool symmetric = false;
  std::int32_t tokens = 0, dims = 0;
  std::span<const float> codebook;  // ascending, levels() entries, at most 16; empty = uniform

  [[nodiscard]] int levels() const;                   // 256, 16, 8, 4, 3
  [[nodiscard]] std::int32_t groups_per_row() const;  // grain token; grain channel: dims
  [[nodiscard]] std::size_t row_bytes() const;
  [[nodiscard]] std::size_t code_bytes() const {
    return row_bytes() * static_cast<std::size_t>(tokens);
  }
  // Groups: grain token [token][group of the row], grain channel [group of tokens][dim].
  [[nodiscard]] std::size_t groups() const;
  [[nodiscard]] std::size_t group_of(std::int32_t token, std::int32_t dim) const;
  // Bits that a number takes, padding of rows and scales included.
  [[nodiscard]] double effective_bits() const;
  // Throws InputError.
  void check() const;
};

struct Quantized {
  std::span<std::byte> codes;       // code_bytes()
  std::span<std::uint16_t> scales;  // f16, groups()
  std::span<std::uint16_t> zeros;   // f16, groups(); empty when symmetric
};
struct ConstQuantized {
  std::span<const std::byte> codes;
  std::span<const std::uint16_t> scales, zeros;
};

// Whole pages between an unquantised format and one that differs only in its element (and
// group_tokens). Page i of the batch: source page from_pages[i] -> target page to_pages[i];
// tokens[i] of it are valid (empty: all); codes of the others are unspecified. What
// kernels::quantize_page (kv_cache.h) defines, here for pages in any unquantised element.
struct PageQuantization {
  KvCache source;
  KvFormat format;              // of the target
  std::span<std::byte> target;  // whole pages, 64-byte aligned
  std::span<const std::int32_t> from_pages, to_pages, tokens;

  void check() const;  // a bug when the formats differ in more, or the lists in length
};

namespace reference {
void quantize(const Codec&, std::span<const float> in, const Quantized& out);
void dequantize(const Codec&, const ConstQuantized& in, std::span<float> out);
void quantize_pages(const PageQuantization&);
void dequantize_pages(const PageQuantization&);  // source quantised, target f32, f16 or bf16
}  // namespace reference

class Threads;
namespace cpu {
void quantize(const Codec&, std::span<const float> in, const Quantized& out, Threads&);
void dequantize(const Codec&, const ConstQuantized& in, std::span<float> out, Threads&);
void quantize_pages(const PageQuantization&, Threads&);
void dequantize_pages(const PageQuantization&, Threads&);
}  // namespace cpu

}  // namespace kvsim::kernels
