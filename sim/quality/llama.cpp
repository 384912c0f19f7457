#include "sim/quality/llama.h"

#include <cmath>
#include <numeric>

#include "sim/base/check.h"

namespace kvsim::quality {

namespace {

std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

void add(std::vector<float>& x, const std::vector<float>& y) {
  for (std::size_t i = 0; i < x.size(); ++i) x[i] += y[i];
}

std::vector<float> linear(std::span<const float> weight, std::int64_t rows,
                          const std::vector<float>& x, std::int64_t out_dim, const Compute& c) {
  std::vector<float> out(size(rows * out_dim));
  kernels::Linear a;
  a.rows = static_cast<std::int32_t>(rows);
  a.in_dim = static_cast<std::int32_t>(std::ssize(x) / rows);
  a.out_dim = static_cast<std::int32_t>(out_dim);
  a.weight_f32 = weight;
  a.x = x;
  a.out = out;
  c.run(a);
  return out;
}

}  // namespace

std::vector<float> Llama::run(std::span<const std::int32_t> ids, std::int32_t first, const Mix& mix,
                              const Compute& compute) const {
  const LlamaShape& s = w_.shape;
  const std::int64_t n = std::ssize(ids);
  std::vector<float> x;
  for (const std::int32_t id : ids) {
    KVSIM_CHECK(id >= 0 && id < s.vocabulary, "token {} of {}", id, s.vocabulary);
    x.insert(x.end(), w_.embedding.begin() + id * s.dim, w_.embedding.begin() + (id + 1) * s.dim);
  }
  std::vector<std::int32_t> positions(size(n));
  std::iota(positions.begin(), positions.end(), first);
  const auto norm = [&](const std::vector<float>& weight) {
    std::vector<float> out(x.size());
    compute.run(kernels::RmsNorm{static_cast<std::int32_t>(n), static_cast<std::int32_t>(s.dim),
                                 s.epsilon, x, weight, out});
    return out;
  };
  const auto turn = [&](std::vector<float>& rows, std::int64_t heads) {
    compute.run(kernels::Rope{static_cast<std::int32_t>(n), static_cast<std::int32_t>(heads),
                              static_cast<std::int32_t>(s.head_dim), s.pairs, s.theta, positions,
                              rows});
  };
  for (std::size_t l = 0; l < w_.layers.size(); ++l) {
    const LlamaLayer& w = w_.layers[l];
    const std::vector<float> in = norm(w.norm_attention);
    std::vector<float> q = linear(w.q, n, in, s.heads * s.head_dim, compute);
    std::vector<float> k = linear(w.k, n, in, s.kv_heads * s.head_dim, compute);
    std::vector<float> v = linear(w.v, n, in, s.kv_heads * s.head_dim, compute);
    turn(q, s.heads);
    turn(k, s.kv_heads);
    add(x, linear(w.o, n, mix(l, std::move(q), std::move(k), std::move(v)), s.dim, compute));
    const std::vector<float> inner = norm(w.norm_ffn);
    std::vector<float> gate = linear(w.gate, n, inner, s.hidden, compute);
    const std::vector<float> up = linear(w.up, n, inner, s.hidden, compute);
    compute.run(kernels::SiluGate{gate, up, gate});
    add(x, linear(w.down, n, gate, s.dim, compute));
  }
  return linear(w_.output.empty() ? w_.embedding : w_.output, n, norm(w_.norm_last), s.vocabulary,
                compute);
}

Llama::Pass Llama::forward(std::span<const std::int32_t> ids, const Compute& compute) const {
  const LlamaShape& s = w_.shape;
  Pass pass;
  const auto scale = static_cast<float>(1 / std::sqrt(static_cast<double>(s.head_dim)));
  pass.logits = run(
      ids, 0,
      [&](std::size_t, std::vector<float> q, std::vector<float> k, std::vector<float> v) {
        const PagedSequence pages(s.kv_heads, s.head_dim, s.head_dim, k, v);
        std::vector<float> out = pages.attend(q, s.heads, scale, compute);
        pass.queries.push_back(std::move(q));
        pass.keys.push_back(std::move(k));
        pass.values.push_back(std::move(v));
        return out;
      },
      compute);
  return pass;
}

std::vector<float> Llama::next(std::int32_t id, std::int32_t position, const Attend& attend,
                               const Compute& compute) const {
  const std::vector<std::int32_t> one{id};
  return run(
      one, position,
      [&](std::size_t l, std::vector<float> q, std::vector<float> k, std::vector<float> v) {
        std::vector<float> out(size(w_.shape.heads * w_.shape.head_dim));
        attend(static_cast<std::int32_t>(l), {k, v, q, {}}, out);
        return out;
      },
      compute);
}

}  // namespace kvsim::quality
