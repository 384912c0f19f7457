#pragma once
// The cache of a model as token policies see it: so many layers of KV heads of one size, and how
// the queries meet them. Layers without KV are not counted.
#include <cstdint>

namespace kvsim::token {

struct KvShape {
  std::int64_t layers = 1, q_heads = 1, kv_heads = 1, k_dim = 64, v_dim = 64;
  std::int64_t element_bits = 16;  // of an exact number
  std::int64_t block_tokens = 16;
  [[nodiscard]] std::int64_t group() const {
    return q_heads / kv_heads;
  }  // query heads of a KV head
  [[nodiscard]] std::int64_t heads() const { return layers * kv_heads; }
  // Of one token of one KV head, exact.
  [[nodiscard]] double head_token_bytes() const {
    return static_cast<double>((k_dim + v_dim) * element_bits) / 8;
  }
  [[nodiscard]] double token_bytes() const {
    return head_token_bytes() * static_cast<double>(heads());
  }
};

// What a prompt's token is, for policies that spare some kinds.
enum class TokenClass : std::uint8_t { plain, separator, image };

}  // namespace kvsim::token
