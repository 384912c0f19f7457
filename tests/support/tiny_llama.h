#pragma once
// A small real transformer run by the kernels: checkpoint of llama2.c (legacy format:
// int32 header, then f32 arrays), a forward pass with a paged KV cache of f32. Llama: RMSNorm,
// rotary embedding of adjacent pairs, grouped-query attention, SwiGLU.
#include <array>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "kernels/attention.h"
#include "kernels/threads.h"
#include "kernels/transformer.h"

namespace kvsim::test {

struct LlamaShape {
  std::int32_t dim = 0, hidden = 0, layers = 0, heads = 0, kv_heads = 0, vocabulary = 0,
               context = 0;
};

// Arrays of one kind are all layers back to back, rows are outputs.
struct LlamaWeights {
  LlamaShape shape;
  std::vector<float> embedding, norm_attention, q, k, v, o, norm_ffn, gate, down, up, norm_last;

  explicit LlamaWeights(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    file.read(reinterpret_cast<char*>(&shape), sizeof shape);
    const auto take = [&](std::int64_t n) {
      std::vector<float> all(static_cast<std::size_t>(n));
      file.read(reinterpret_cast<char*>(all.data()), n * 4);
      return all;
    };
    const std::int64_t d = shape.dim, l = shape.layers;
    const std::int64_t kv = d / shape.heads * shape.kv_heads;
    embedding = take(d * shape.vocabulary);
    norm_attention = take(l * d);
    q = take(l * d * d), k = take(l * d * kv), v = take(l * d * kv), o = take(l * d * d);
    norm_ffn = take(l * d);
    gate = take(l * d * shape.hidden), down = take(l * d * shape.hidden);
    up = take(l * d * shape.hidden);
    norm_last = take(d);
    is_whole = static_cast<bool>(file);
  }
  bool is_whole = false;
};

// One sequence.
class TinyLlama {
 public:
  TinyLlama(const LlamaWeights& w, kernels::Threads& threads) : w_(w), threads_(threads) {
    const LlamaShape& s = w.shape;
    head_ = s.dim / s.heads;
    // Heads are padded with zeros to what a page can hold.
    format_ = {.element = kernels::Element::f32,
               .kv_heads = s.kv_heads,
               .k_dim = (head_ + 15) / 16 * 16,
               .v_dim = (head_ + 15) / 16 * 16};
    const std::int32_t pages = (s.context + format_.page_tokens - 1) / format_.page_tokens;
    page_list_.resize(size(pages));
    std::iota(page_list_.rbegin(), page_list_.rend(), 0);
    for (std::int32_t l = 0; l < s.layers; ++l)
      caches_.emplace_back(format_.page_bytes() * size(pages) / sizeof(Line));
  }

  // Logits [tokens][vocabulary]; the tokens follow those of earlier calls.
  std::vector<float> forward(std::span<const std::int32_t> tokens) {
    const LlamaShape& s = w_.shape;
    const auto n = static_cast<std::int32_t>(tokens.size());
    std::vector<float> x;
    for (const std::int32_t t : tokens)
      x.insert(x.end(), &w_.embedding[size(t * s.dim)], &w_.embedding[size(t * s.dim)] + s.dim);
    for (std::int32_t l = 0; l < s.layers; ++l) {
      add(x, attention(l, n, norm(x, layer(w_.norm_attention, l))));
      add(x, feed_forward(l, n, norm(x, layer(w_.norm_ffn, l))));
    }
    length_ += n;
    return linear(w_.embedding, n, norm(x, w_.norm_last), s.vocabulary);
  }
  void clear() { length_ = 0; }

 private:
  struct alignas(64) Line {
    std::array<std::byte, 64> bytes;
  };
  static std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }
  [[nodiscard]] std::span<const float> layer(const std::vector<float>& all, std::int32_t l) const {
    const std::size_t n = all.size() / size(w_.shape.layers);
    return std::span(all).subspan(size(l) * n, n);
  }
  static void add(std::vector<float>& x, const std::vector<float>& y) {
    for (std::size_t i = 0; i < x.size(); ++i) x[i] += y[i];
  }
  [[nodiscard]] std::vector<float> norm(const std::vector<float>& x,
                                        std::span<const float> weight) const {
    std::vector<float> out(x.size());
    const std::int32_t dim = w_.shape.dim;
    kernels::cpu::rms_norm(
        {static_cast<std::int32_t>(std::ssize(x) / dim), dim, 1e-5F, x, weight, out}, threads_);
    return out;
  }
  [[nodiscard]] std::vector<float> linear(std::span<const float> weight, std::int32_t rows,
                                          const std::vector<float>& x, std::int32_t out_dim) const {
    std::vector<float> out(size(rows) * size(out_dim));
    kernels::cpu::linear(
        {rows, static_cast<std::int32_t>(x.size()) / rows, out_dim, weight, {}, x, out}, threads_);
    return out;
  }

  std::vector<float> attention(std::int32_t l, std::int32_t n, const std::vector<float>& x) {
    const LlamaShape& s = w_.shape;
    std::vector<float> q = linear(layer(w_.q, l), n, x, s.dim);
    std::vector<float> k = linear(layer(w_.k, l), n, x, s.kv_heads * head_);
    const std::vector<float> v = linear(layer(w_.v, l), n, x, s.kv_heads * head_);
    std::vector<std::int32_t> positions(size(n));
    std::iota(positions.begin(), positions.end(), length_);
    const auto turn = [&](std::vector<float>& rows, std::int32_t heads) {
      kernels::cpu::rope({n, heads, head_, kernels::RopePairs::adjacent, 10000, positions, rows},
                         threads_);
    };
    turn(q, s.heads);
    turn(k, s.kv_heads);
    const std::span<std::byte> pages(reinterpret_cast<std::byte*>(caches_[size(l)].data()),
                                     caches_[size(l)].size() * sizeof(Line));
    for (std::int32_t t = 0; t < n; ++t) store(pages, t, k, v);
    std::vector<float> padded = pad(q), out(padded.size());
    attend(pages, n, padded, out);
    return linear(layer(w_.o, l), n, unpad(out), s.dim);
  }
  void store(std::span<std::byte> pages, std::int32_t t, const std::vector<float>& k,
             const std::vector<float>& v) const {
    const std::int32_t position = length_ + t, width = w_.shape.kv_heads * head_;
    std::byte* page = pages.data() +
                      size(page_list_[size(position / format_.page_tokens)]) * format_.page_bytes();
    for (std::int32_t h = 0; h < w_.shape.kv_heads; ++h) {
      std::vector<float> key(size(format_.k_dim)), value(size(format_.v_dim));
      std::copy_n(&k[size(t * width + h * head_)], head_, key.begin());
      std::copy_n(&v[size(t * width + h * head_)], head_, value.begin());
      kernels::store_token(format_, page, h, position % format_.page_tokens, key, value);
    }
  }
  // Every token is a sequence of its own over the same pages, one longer than the last.
  void attend(std::span<std::byte> pages, std::int32_t n, const std::vector<float>& q,
              std::vector<float>& out) const {
    std::vector<std::int32_t> lengths(size(n)), table;
    std::iota(lengths.begin(), lengths.end(), length_ + 1);
    for (std::int32_t t = 0; t < n; ++t)
      table.insert(table.end(), page_list_.begin(), page_list_.end());
    kernels::DecodeAttention a;
    a.cache = {format_, pages};
    a.table = {table, static_cast<std::int32_t>(page_list_.size()), lengths};
    a.q_heads = w_.shape.heads;
    a.scale = 1 / std::sqrt(static_cast<float>(head_));
    a.q = q;
    a.out = out;
    kernels::cpu::attend(a, threads_);
  }
  [[nodiscard]] std::vector<float> pad(const std::vector<float>& x) const {
    std::vector<float> out(x.size() / size(head_) * size(format_.k_dim));
    for (std::size_t i = 0; i < x.size(); ++i)
      out[i / size(head_) * size(format_.k_dim) + i % size(head_)] = x[i];
    return out;
  }
  [[nodiscard]] std::vector<float> unpad(const std::vector<float>& x) const {
    std::vector<float> out(x.size() / size(format_.v_dim) * size(head_));
    for (std::size_t i = 0; i < out.size(); ++i)
      out[i] = x[i / size(head_) * size(format_.v_dim) + i % size(head_)];
    return out;
  }
  [[nodiscard]] std::vector<float> feed_forward(std::int32_t l, std::int32_t n,
                                                const std::vector<float>& x) const {
    std::vector<float> gate = linear(layer(w_.gate, l), n, x, w_.shape.hidden);
    const std::vector<float> up = linear(layer(w_.up, l), n, x, w_.shape.hidden);
    kernels::cpu::silu_gate({gate, up, gate}, threads_);
    return linear(layer(w_.down, l), n, gate, w_.shape.dim);
  }

  const LlamaWeights& w_;
  kernels::Threads& threads_;
  std::int32_t head_ = 0, length_ = 0;
  kernels::KvFormat format_;
  std::vector<std::int32_t> page_list_;
  std::vector<std::vector<Line>> caches_;
};

}  // namespace kvsim::test
