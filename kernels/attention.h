#pragma once
// Attention over a paged KV cache. All arguments are views that must outlive the call; q, out and
// the arithmetic are f32 (references: double). Query head h reads kv head h / (q_heads / kv_heads):
// MHA, GQA, MQA by the two counts; MLA (absorbed, arXiv:2405.04434) is kv_heads = 1, k_dim = latent
// + rope, v_dim = latent, values_in_keys.
//
//   out[s][h] = sum_t softmax_t(scale * q[s][h] . key[t]) * value[t]
//
// over the visible tokens t of the sequence; no visible token gives zeros.
#include <cstdint>
#include <span>

#include "kernels/kv_cache.h"

namespace kvsim::kernels {

// Tokens that a query at position p (0-based) sees: t <= p, and, when window > 0, t > p - window or
// t < sinks (StreamingLLM, arXiv:2309.17453).
struct Visibility {
  std::int32_t window = 0;  // 0 = all
  std::int32_t sinks = 0;   // used only with a window
};

// Sequences first .. first + count - 1 share their first `tokens` tokens: same pages, a multiple of
// the page size, at most the shortest length. Twins read them once for all of the group (Hydragen,
// arXiv:2402.05099; ChunkAttention arXiv:2402.15220). Groups are disjoint and ascending. Not with a
// window.
struct SharedPrefix {
  std::int32_t first = 0, count = 0, tokens = 0;
};

// One query token per sequence, at position length - 1 (its own KV is in the cache).
struct DecodeAttention {
  KvCache cache;
  BlockTable table;
  int q_heads = 0;
  float scale = 1;
  Visibility visible;
  std::span<const SharedPrefix> shared;
  std::span<const float> q;  // [sequence][q_heads][k_dim]
  std::span<float> out;      // [sequence][q_heads][v_dim]
};

// Several query tokens per sequence, the last ones of its length: sequence s has queries
// starts[s] .. starts[s + 1] - 1 of q, for positions length - count .. length - 1. Chunked prefill
// is a count below the length.
struct PrefillAttention {
  KvCache cache;
  BlockTable table;
  int q_heads = 0;
  float scale = 1;
  Visibility visible;
  std::span<const std::int32_t> starts;  // [sequences + 1], ascending from 0
  // Block-sparse mask (MInference arXiv:2407.02490 and others): empty = dense. Query block b of 64
  // queries of q (counted over the whole batch, blocks do not straddle sequences: sequence s begins
  // a new block) sees KV block j of 64 positions only when bit j of row b is set; the causal rule
  // holds besides.
  std::span<const std::uint64_t> mask;  // [query blocks][mask_words]
  std::int32_t mask_words = 0;
  std::span<const float> q;  // [queries][q_heads][k_dim]
  std::span<float> out;      // [queries][q_heads][v_dim]
};

namespace reference {
void attend(const DecodeAttention&);
void attend(const PrefillAttention&);
}  // namespace reference

class Threads;
namespace cpu {
void attend(const DecodeAttention&, Threads&);
void attend(const PrefillAttention&, Threads&);
}  // namespace cpu

}  // namespace kvsim::kernels
