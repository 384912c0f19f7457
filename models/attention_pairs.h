#pragma once
// Closed forms for who attends to whom when `tokens` new tokens follow `history` tokens of the same
// sequence. Token p (from 0) of a sequence attends to itself and to earlier tokens: all p + 1 of
// them (full), the last `window` (sliding), or those of its own chunk (chunked). Valid up to 2^31
// tokens (the square stays below 2^63).
#include <algorithm>
#include <cstdint>

#include "models/model.h"

namespace kvsim {

// Sum over p in [0, n) of the tokens that token p attends to.
constexpr std::int64_t causal_pairs_from_start(AttentionKind kind, std::int64_t window,
                                               std::int64_t n) {
  const auto triangle = [](std::int64_t k) { return k * (k + 1) / 2; };
  if (!attends(kind)) return 0;
  if (kind == AttentionKind::sliding)
    return n <= window ? triangle(n) : triangle(window) + (n - window) * window;
  if (kind == AttentionKind::chunked) return n / window * triangle(window) + triangle(n % window);
  return triangle(n);
}

// Query-key pairs of a prefill piece. For full attention: tokens * (history + (tokens + 1) / 2).
constexpr std::int64_t causal_pairs(AttentionKind kind, std::int64_t window, std::int64_t history,
                                    std::int64_t tokens) {
  return causal_pairs_from_start(kind, window, history + tokens) -
         causal_pairs_from_start(kind, window, history);
}

// Distinct KV tokens that the piece reads, its own included.
constexpr std::int64_t prefill_kv_tokens(AttentionKind kind, std::int64_t window,
                                         std::int64_t history, std::int64_t tokens) {
  if (!attends(kind)) return 0;
  if (kind == AttentionKind::sliding) return std::min(history, window - 1) + tokens;
  if (kind == AttentionKind::chunked) return history % window + tokens;
  return history + tokens;
}

// KV tokens of a sequence of n tokens that later tokens can still reach (what a bounded cache keeps
// at most).
constexpr std::int64_t kept_kv_tokens(AttentionKind kind, std::int64_t window, std::int64_t n) {
  if (!attends(kind)) return 0;
  if (kind == AttentionKind::sliding || kind == AttentionKind::chunked) return std::min(n, window);
  return n;
}

}  // namespace kvsim
