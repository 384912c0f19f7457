#pragma once
// A sequence of attention tensors for token policies: keys with a common direction for sinks,
// clusters, a few large channels and neighbours that resemble each other; queries that look at
// sinks, at the newest tokens and at a cluster.
#include <cmath>
#include <vector>

#include "kernels/threads.h"
#include "policies/token/cache.h"
#include "policies/token/compose.h"
#include "sim/base/random.h"

namespace kvsim::test {

struct TokenSequence {
  token::KvShape shape;
  std::int32_t prompt = 0, steps = 0;
  // Per layer, tokens first: prompt and steps.
  std::vector<std::vector<float>> keys, values, queries;
  std::vector<token::TokenClass> classes;

  TokenSequence(token::KvShape s, std::int32_t n, std::int32_t more, std::uint64_t seed = 1)
      : shape(s), prompt(n), steps(more) {
    Rng rng(seed, "token-sequence");
    for (std::int64_t l = 0; l < s.layers; ++l) {
      keys.push_back(rows(rng, s.kv_heads, s.k_dim, true));
      values.push_back(rows(rng, s.kv_heads, s.v_dim, false));
      queries.push_back(rows(rng, s.q_heads, s.k_dim, true));
    }
    for (std::int32_t t = 0; t < n; ++t)
      classes.push_back(t % 10 == 9   ? token::TokenClass::separator
                        : t % 10 == 5 ? token::TokenClass::plain
                                      : token::TokenClass::image);
  }

  [[nodiscard]] token::StepTensors step(std::int64_t layer, std::int32_t i) const {
    const auto l = static_cast<std::size_t>(layer);
    return {token_of(keys[l], shape.kv_heads * shape.k_dim, prompt + i),
            token_of(values[l], shape.kv_heads * shape.v_dim, prompt + i),
            token_of(queries[l], shape.q_heads * shape.k_dim, prompt + i),
            {}};
  }
  // Runs a pipeline over it; `out` gets the outputs of all steps: [step][layer][q_heads][v_dim].
  void run(token::TokenCache& cache, std::vector<float>* out = nullptr) const {
    seal(cache);
    for (std::int32_t i = 0; i < steps; ++i) decode(cache, i, out);
  }
  void seal(token::TokenCache& cache) const {
    cache.begin(prompt, classes);
    for (std::int64_t l = 0; l < shape.layers; ++l) {
      const auto at = static_cast<std::size_t>(l), n = static_cast<std::size_t>(prompt);
      cache.prompt(static_cast<std::int32_t>(l),
                   {std::span(keys[at]).first(n * width(shape.kv_heads, shape.k_dim)),
                    std::span(values[at]).first(n * width(shape.kv_heads, shape.v_dim)),
                    std::span(queries[at]).first(n * width(shape.q_heads, shape.k_dim))});
    }
    cache.seal();
  }
  void decode(token::TokenCache& cache, std::int32_t i, std::vector<float>* out) const {
    std::vector<float> one(width(shape.q_heads, shape.v_dim));
    for (std::int64_t l = 0; l < shape.layers; ++l) {
      cache.attend(static_cast<std::int32_t>(l), step(l, i), one);
      if (out != nullptr) out->insert(out->end(), one.begin(), one.end());
    }
  }

 private:
  static std::size_t width(std::int64_t heads, std::int64_t dim) {
    return static_cast<std::size_t>(heads * dim);
  }
  static std::span<const float> token_of(const std::vector<float>& all, std::int64_t row,
                                         std::int32_t token) {
    return std::span(all).subspan(static_cast<std::size_t>(row) * static_cast<std::size_t>(token),
                                  static_cast<std::size_t>(row));
  }
  std::vector<float> rows(Rng& rng, std::int64_t heads, std::int64_t dim, bool structured) const {
    std::vector<float> out;
    const std::int32_t n = prompt + steps;
    std::vector<double> centres(static_cast<std::size_t>(8 * dim));
    for (double& c : centres) c = rng.normal();
    for (std::int32_t t = 0; t < n; ++t)
      for (std::int64_t h = 0; h < heads; ++h)
        for (std::int64_t d = 0; d < dim; ++d) {
          const auto cluster = static_cast<std::size_t>(t / 4 % 8);
          double x = rng.normal();
          if (structured) {
            x = 0.5 * x +
                centres[cluster * static_cast<std::size_t>(dim) + static_cast<std::size_t>(d)];
            if (d < 2) x = 4 + 0.3 * x;   // large channels, of one sign
            if (t < 2 && d == 2) x += 4;  // sinks
          }
          out.push_back(static_cast<float>(x));
        }
    return out;
  }
};

}  // namespace kvsim::test
