#include "sim/quality/sequence.h"

#include <algorithm>

namespace kvsim::quality {

namespace {
std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }
std::span<const float> rows(const std::vector<float>& all, std::int64_t width, std::int64_t from,
                            std::int64_t count) {
  return std::span(all).subspan(size(from * width), size(count * width));
}
}  // namespace

token::PromptTensors Sequence::prompt_tensors(std::int64_t layer) const {
  const std::size_t l = size(layer);
  return {rows(keys[l], shape.kv_heads * shape.k_dim, 0, prompt),
          rows(values[l], shape.kv_heads * shape.v_dim, 0, prompt),
          rows(queries[l], shape.q_heads * shape.k_dim, 0, prompt)};
}

token::StepTensors Sequence::step_tensors(std::int64_t layer, std::int32_t step) const {
  const std::size_t l = size(layer);
  return {rows(keys[l], shape.kv_heads * shape.k_dim, prompt + step, 1),
          rows(values[l], shape.kv_heads * shape.v_dim, prompt + step, 1),
          rows(queries[l], shape.q_heads * shape.k_dim, prompt + step, 1),
          {}};
}

token::TokenCache::Options Sequence::options(std::uint64_t seed) const {
  token::TokenCache::Options o;
  o.shape = shape;
  o.scale = scale;
  o.rope = rope;
  o.seed = seed;
  return o;
}

FullAttention full_attention(const Sequence& s, std::int32_t top, const Compute& compute) {
  FullAttention full;
  full.columns = s.tokens();
  full.top = std::min(top, full.columns);
  for (std::int64_t l = 0; l < s.shape.layers; ++l) {
    const PagedSequence pages(s.shape.kv_heads, s.shape.k_dim, s.shape.v_dim, s.keys[size(l)],
                              s.values[size(l)]);
    const auto q = rows(s.queries[size(l)], s.shape.q_heads * s.shape.k_dim, s.prompt, s.steps);
    full.outputs.push_back(pages.attend(q, s.shape.q_heads, s.scale, compute));
    full.weights.push_back(pages.weights(q, s.shape.q_heads, s.scale, compute));
    std::vector<std::int32_t> best(size(s.steps * s.shape.q_heads) * size(full.top));
    kernels::TopK k;
    k.rows = s.steps * static_cast<std::int32_t>(s.shape.q_heads);
    k.columns = full.columns;
    k.k = full.top;
    k.in = full.weights.back();
    k.out = best;
    kernels::cpu::top_k(k, compute.threads());
    full.best.push_back(std::move(best));
  }
  return full;
}

}  // namespace kvsim::quality
