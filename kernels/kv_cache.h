#pragma once
// Where every number of a paged KV cache lies. One cache holds one layer.
//
// A page holds `page_tokens` tokens of all kv heads, one after the other; of one head ("head
// page"):
//   keys      page_tokens / 16 tiles of [k_dim][16 tokens] (dim_major) or
//             [k_dim / w][16 tokens][w], w = elements in 16 bytes (chunk_major)
//   key scales    quantised only: for each group of `group_tokens` tokens f16 scale[k_dim], then
//   f16
//             zero[k_dim] (per channel, KIVI arXiv:2402.02750)
//   values    [page_tokens][v_dim], token-major (absent when values are the keys' first v_dim: MLA)
//   value scales  quantised only: f16 scale[page_tokens], then f16 zero[page_tokens] (per token)
// Each of the four parts, and each head page, begins at a multiple of 64 bytes.
//
// Codes of 4 and 2 bits: n = 8 / bits of them share a byte, lowest first. Keys, dim_major: dims
// n*j .. n*j+n-1 of one token share byte [j][token]. Keys, chunk_major: consecutive dims of a
// token. Values: dims j, j + v_dim/n, j + 2 v_dim/n ... of a token share byte j (so that unpacking
// a vector of bytes gives vectors of neighbouring dims).
//
// Unused tokens of a sequence's last page may hold anything, NaN included.
#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/element.h"

namespace kvsim::kernels {

inline constexpr int kTileTokens = 16;

enum class KeyOrder : std::uint8_t { dim_major, chunk_major };
constexpr auto enum_names(KeyOrder) {
  return std::array{std::pair{KeyOrder::dim_major, "dim-major"},
                    std::pair{KeyOrder::chunk_major, "chunk-major"}};
}

struct KvFormat {
  Element element = Element::f16;
  int kv_heads = 8;
  int k_dim = 128;        // multiple of 16 (chunk_major: of w), <= 1024
  int v_dim = 128;        // multiple of 16, <= k_dim when values_in_keys
  int page_tokens = 16;   // multiple of 16 (chunk_major: of w), <= 1024
  int group_tokens = 64;  // quantised: multiple of 16 that divides page_tokens
  KeyOrder key_order = KeyOrder::dim_major;
  bool values_in_keys =
      false;  // MLA: the value of a token is the first v_dim numbers of its latent

  // Bytes from the start of a head page.
  [[nodiscard]] std::size_t key_scales_offset() const;
  [[nodiscard]] std::size_t values_offset() const;
  [[nodiscard]] std::size_t value_scales_offset() const;
  [[nodiscard]] std::size_t head_page_bytes() const;
  [[nodiscard]] std::size_t page_bytes() const {
    return head_page_bytes() * static_cast<std::size_t>(kv_heads);
  }
  // Bytes that attention must read per token and layer, scales included, padding not.
  [[nodiscard]] double bytes_per_token() const;
  // Throws InputError when a bound above is broken.
  void check() const;
};

// A view; does not own.
struct KvCache {
  KvFormat format;
  std::span<const std::byte> pages;  // a whole number of pages, 64-byte aligned

  [[nodiscard]] const std::byte* head_page(std::int32_t page, int head) const {
    return pages.data() + static_cast<std::size_t>(page) * format.page_bytes() +
           static_cast<std::size_t>(head) * format.head_page_bytes();
  }
  // Of the token at `slot` of the page; slow, exact: for references and tests.
  [[nodiscard]] float key(std::int32_t page, int head, int slot, int dim) const;
  [[nodiscard]] float value(std::int32_t page, int head, int slot, int dim) const;
};

// Which pages a batch of sequences reads: sequence s has tokens 0 .. lengths[s] - 1, token t lies
// in page pages[s * max_pages + t / page_tokens]. Lengths may be 0.
struct BlockTable {
  std::span<const std::int32_t> pages;
  std::int32_t max_pages = 0;
  std::span<const std::int32_t> lengths;
  [[nodiscard]] std::int32_t page_of(std::size_t sequence, std::int32_t index) const {
    return pages[sequence * static_cast<std::size_t>(max_pages) + static_cast<std::size_t>(index)];
  }
};

// Writes f32 keys and values of one token into a page of unquantised format, rounding to nearest.
// For quantised formats: whole pages at once, by quantize_page().
void store_token(const KvFormat&, std::byte* page, int head, int slot, std::span<const float> key,
                 std::span<const float> value);
// keys [page_tokens][k_dim], values [page_tokens][v_dim] of one head; `tokens` of them are valid.
// scale = (max - min) / (2^bits - 1) over the group, both kept in f16; code = round((x - zero) /
// scale) with the stored scale and zero, half away from zero, clamped; a group of equal numbers has
// scale 0.
void quantize_page(const KvFormat&, std::byte* page, int head, int tokens,
                   std::span<const float> keys, std::span<const float> values);

}  // namespace kvsim::kernels
