// Every family against the plainest possible implementation in double, on small tensors.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "kernels/low_rank.h"
#include "policies/token/system.h"
#include "tests/support/token_sequence.h"

namespace kvsim::token {
namespace {

constexpr std::int32_t kPrompt = 48, kSteps = 12;
const KvShape kShape{2, 4, 2, 16, 16, 16, 16};
constexpr std::size_t kDim = 16, kHeads = 2, kGroup = 2;

using Row = std::vector<double>;

class TokenTwin : public testing::Test {
 protected:
  kernels::Threads threads_{1};
  test::TokenSequence s_{kShape, kPrompt, kSteps, 5};

  [[nodiscard]] TokenCache::Options options() const {
    TokenCache::Options o;
    o.shape = kShape;
    return o;
  }
  [[nodiscard]] double key(std::size_t l, std::size_t h, std::size_t t, std::size_t d) const {
    return double{s_.keys[l][(t * kHeads + h) * kDim + d]};
  }
  [[nodiscard]] double value(std::size_t l, std::size_t h, std::size_t t, std::size_t d) const {
    return double{s_.values[l][(t * kHeads + h) * kDim + d]};
  }
  // Attention of token `at`'s query head `q` of KV head h over the tokens in `seen`.
  [[nodiscard]] Row attention(std::size_t l, std::size_t h, std::size_t q, std::size_t at,
                              const std::vector<std::size_t>& seen) const {
    Row w;
    for (const std::size_t t : seen) {
      double x = 0;
      for (std::size_t d = 0; d < kDim; ++d)
        x += double{s_.queries[l][(at * kHeads * kGroup + h * kGroup + q) * kDim + d]} *
             key(l, h, t, d);
      w.push_back(x / 4);
    }
    const double most = *std::max_element(w.begin(), w.end());
    double sum = 0;
    for (double& x : w) sum += x = std::exp(x - most);
    for (double& x : w) x /= sum;
    return w;
  }
  static std::vector<std::size_t> first_tokens(std::size_t n) {
    std::vector<std::size_t> all(n);
    std::iota(all.begin(), all.end(), std::size_t{0});
    return all;
  }
  static std::set<std::size_t> positions(const HeadView& v) {
    return {v.positions.begin(), v.positions.end()};
  }
  static const TokenPolicies& system(const char* name) { return find_token_system(name)->policies; }
};

// F1, while decoding: sums of attention, the least of the older tokens leaves (H2O).
TEST_F(TokenTwin, HeavyHitters) {
  TokenPolicies p = system("h2o");
  p.budget->size = {16, 0};
  TokenCache cache(p, options(), threads_);
  s_.seal(cache);
  struct State {
    std::vector<std::size_t> kept;
    std::map<std::size_t, double> sum;
  };
  State states[2][kHeads];
  const auto evict = [](State& s) {
    while (s.kept.size() > 16) {
      auto victim = s.kept.begin();
      for (auto t = s.kept.begin(); t != s.kept.end() - 8; ++t)
        if (s.sum[*t] < s.sum[*victim]) victim = t;
      s.kept.erase(victim);
    }
  };
  const auto observe = [&](State& s, std::size_t l, std::size_t h, std::size_t at) {
    for (std::size_t q = 0; q < kGroup; ++q) {
      const Row w = attention(l, h, q, at, s.kept);
      for (std::size_t i = 0; i < w.size(); ++i) s.sum[s.kept[i]] += w[i] / kGroup;
    }
  };
  for (std::size_t l = 0; l < 2; ++l)
    for (std::size_t h = 0; h < kHeads; ++h) {
      State& s = states[l][h];
      for (std::size_t t = 0; t < kPrompt; ++t) {
        s.kept.push_back(t);
        observe(s, l, h, t);
      }
      evict(s);
    }
  for (std::int32_t i = -1; i < kSteps; ++i) {
    if (i >= 0) s_.decode(cache, i, nullptr);
    for (std::size_t l = 0; l < 2; ++l)
      for (std::size_t h = 0; h < kHeads; ++h) {
        State& s = states[l][h];
        if (i >= 0) {
          s.kept.push_back(static_cast<std::size_t>(kPrompt + i));
          observe(s, l, h, s.kept.back());
          evict(s);
        }
        EXPECT_EQ(positions(cache.view(static_cast<std::int32_t>(l), static_cast<std::int32_t>(h))),
                  std::set<std::size_t>(s.kept.begin(), s.kept.end()))
            << "step " << i;
      }
  }
}

// F1, once: the last queries' attention to the tokens before them, the largest of five neighbours
// (SnapKV).
TEST_F(TokenTwin, WindowVotes) {
  TokenPolicies p = system("snapkv");
  p.budget->size = {20, 0};
  p.select->recent = 8;
  p.select->score.params = parameters({{"window", "8"}, {"pool_width", "5"}, {"pool", "max"}});
  TokenCache cache(p, options(), threads_);
  s_.seal(cache);
  for (std::size_t l = 0; l < 2; ++l)
    for (std::size_t h = 0; h < kHeads; ++h) {
      Row votes(kPrompt, 0.0), pooled(kPrompt, 0.0);
      for (std::size_t at = kPrompt - 8; at < kPrompt; ++at)
        for (std::size_t q = 0; q < kGroup; ++q) {
          const Row w = attention(l, h, q, at, first_tokens(at + 1));
          for (std::size_t t = 0; t < kPrompt - 8; ++t) votes[t] += w[t];
        }
      for (std::size_t t = 0; t < kPrompt; ++t)
        for (std::size_t n = t < 2 ? 0 : t - 2; n <= std::min<std::size_t>(t + 2, kPrompt - 1); ++n)
          pooled[t] = std::max(pooled[t], votes[n]);
      std::vector<std::size_t> order = first_tokens(kPrompt - 8);
      std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
        return pooled[a] > pooled[b] * (1 + 1e-6);
      });
      order.resize(12);
      for (std::size_t t = kPrompt - 8; t < kPrompt; ++t) order.push_back(t);
      EXPECT_EQ(positions(cache.view(static_cast<std::int32_t>(l), static_cast<std::int32_t>(h))),
                std::set<std::size_t>(order.begin(), order.end()));
    }
}

// F2: pages by the bound of their extremes (Quest).
TEST_F(TokenTwin, PagesByTheirBound) {
  TokenPolicies p = system("quest");
  p.retrieve->dense_layers = 0;
  p.retrieve->index.params = parameters({{"unit", "4"}});
  p.retrieve->least_units = 0;
  p.budget->size = {17, 0};  // four pages and the newest token
  TokenCache cache(p, options(), threads_);
  s_.seal(cache);
  s_.decode(cache, 0, nullptr);
  for (std::size_t l = 0; l < 2; ++l)
    for (std::size_t h = 0; h < kHeads; ++h) {
      const HeadView v = cache.view(static_cast<std::int32_t>(l), static_cast<std::int32_t>(h));
      std::vector<std::pair<double, std::size_t>> pages;
      for (std::size_t page = 0; page < kPrompt / 4; ++page) {
        double bound = 0;
        for (std::size_t q = 0; q < kGroup; ++q)
          for (std::size_t d = 0; d < kDim; ++d) {
            const double x =
                double{s_.queries[l][(kPrompt * kHeads * kGroup + h * kGroup + q) * kDim + d]};
            double least = 1e9, most = -1e9;
            for (std::size_t t = page * 4; t < page * 4 + 4; ++t) {
              least = std::min(least, key(l, h, t, d));
              most = std::max(most, key(l, h, t, d));
            }
            bound += std::max(x * least, x * most);
          }
        pages.emplace_back(-bound, page);
      }
      std::sort(pages.begin(), pages.end());
      std::vector<std::uint8_t> expected(kPrompt + 1, 0);
      expected.back() = 1;
      for (std::size_t i = 0; i < 4; ++i)
        for (std::size_t t = 0; t < 4; ++t) expected[pages[i].second * 4 + t] = 1;
      EXPECT_EQ(std::vector<std::uint8_t>(v.read.begin(), v.read.end()), expected);
    }
}

// F4: what leaves goes to the kept token of most similar key, weighted by exp(cosine) (D2O).
TEST_F(TokenTwin, MergesIntoTheMostSimilar) {
  TokenPolicies p = system("d2o");
  p.budget = BudgetSpec{};
  p.budget->size = {12, 0};
  p.select->score = {"key-norm", Tree::map()};
  p.select->trigger = Trigger::prefill;
  p.select->recent_share = Ratio{0};
  p.merge->moving_gate = false;
  p.merge->gate = -1;
  TokenCache cache(p, options(), threads_);
  s_.seal(cache);
  const auto norm = [&](std::size_t l, std::size_t h, std::size_t t) {
    double sum = 0;
    for (std::size_t d = 0; d < kDim; ++d) sum += key(l, h, t, d) * key(l, h, t, d);
    return std::sqrt(sum);
  };
  for (std::size_t l = 0; l < 2; ++l)
    for (std::size_t h = 0; h < kHeads; ++h) {
      std::vector<std::size_t> kept = first_tokens(kPrompt);
      std::sort(kept.begin(), kept.end(),
                [&](std::size_t a, std::size_t b) { return norm(l, h, a) < norm(l, h, b); });
      kept.resize(12);
      std::sort(kept.begin(), kept.end());
      std::vector<Row> sums(12, Row(kDim, 0.0));
      Row weights(12, 0.0);
      for (std::size_t t = 0; t < kPrompt; ++t) {
        std::size_t best = 0;
        double most = -2;
        for (std::size_t i = 0; i < 12; ++i) {
          double cosine = 0;
          for (std::size_t d = 0; d < kDim; ++d) cosine += key(l, h, t, d) * key(l, h, kept[i], d);
          cosine /= norm(l, h, t) * norm(l, h, kept[i]);
          if (kept[i] == t) cosine = 2;  // stays where it is
          if (cosine > most) most = cosine, best = i;
        }
        const double w = std::exp(std::min(1.0, most));
        weights[best] += w;
        for (std::size_t d = 0; d < kDim; ++d) sums[best][d] += w * value(l, h, t, d);
      }
      const HeadView v = cache.view(static_cast<std::int32_t>(l), static_cast<std::int32_t>(h));
      ASSERT_EQ(v.positions.size(), 12U);
      for (std::size_t i = 0; i < 12; ++i) {
        EXPECT_EQ(static_cast<std::size_t>(v.positions[i]), kept[i]);
        for (std::size_t d = 0; d < kDim; ++d)
          EXPECT_NEAR(double{v.values[i * kDim + d]}, sums[i][d] / weights[i], 1e-4);
      }
    }
}

// F4: runs of tokens share the mean of their slot, which counts for all of them.
TEST_F(TokenTwin, RunsShareTheirMean) {
  TokenPolicies p = system("loma");
  p.merge->ratio = 4;
  TokenCache cache(p, options(), threads_);
  s_.run(cache);
  const HeadView v = cache.view(1, 1);
  ASSERT_EQ(v.positions.size(), (kPrompt + kSteps) / 4U);
  for (std::size_t i = 0; i < v.positions.size(); ++i) {
    EXPECT_EQ(v.counts[i], 4);
    for (std::size_t d = 0; d < kDim; ++d) {
      double mean = 0;
      for (std::size_t t = i * 4; t < i * 4 + 4; ++t) mean += key(1, 1, t, d) / 4;
      EXPECT_NEAR(double{v.keys[i * kDim + d]}, mean, 1e-5);
    }
  }
}

// F4: a slot of m tokens adds log m to its logit; the mean of what left is one such slot.
TEST_F(TokenTwin, WhatLeftStandsAsOneCountedToken) {
  TokenPolicies p = system("razorattention");
  p.budget->by.params =
      parameters({{"retrieval", "0 %"}, {"sinks", "2"}, {"recent", "8"}, {"compensate", "true"}});
  p.select->sinks = 2;
  TokenCache cache(p, options(), threads_);
  s_.seal(cache);
  std::vector<float> out;
  s_.decode(cache, 0, &out);
  // The step read what the prompt left: 0, 1, 40 .. 47, itself, and the mean of 2 .. 39.
  std::vector<std::size_t> seen{0, 1};
  for (std::size_t t = 40; t <= kPrompt; ++t) seen.push_back(t);
  for (std::size_t q = 0; q < kGroup; ++q) {
    const auto dot = [&](const Row& k) {
      double x = 0;
      for (std::size_t d = 0; d < kDim; ++d)
        x += double{s_.queries[0][(kPrompt * kHeads * kGroup + q) * kDim + d]} * k[d];
      return std::exp(x / 4);
    };
    Row mean_key(kDim, 0.0), mean_value(kDim, 0.0), sum(kDim, 0.0);
    double weight = 0;
    const auto add = [&](double w, const Row& v) {
      weight += w;
      for (std::size_t d = 0; d < kDim; ++d) sum[d] += w * v[d];
    };
    for (std::size_t t = 2; t < 40; ++t)
      for (std::size_t d = 0; d < kDim; ++d) {
        mean_key[d] += key(0, 0, t, d) / 38;
        mean_value[d] += value(0, 0, t, d) / 38;
      }
    for (const std::size_t t : seen) {
      Row k, v;
      for (std::size_t d = 0; d < kDim; ++d) {
        k.push_back(key(0, 0, t, d));
        v.push_back(value(0, 0, t, d));
      }
      add(dot(k), v);
    }
    add(38 * dot(mean_key), mean_value);
    for (std::size_t d = 0; d < kDim; ++d)
      EXPECT_NEAR(double{out[q * kDim + d]}, sum[d] / weight, 1e-4);
  }
}

// F5: keys per channel over 16 tokens, values per token over 16 numbers, 4 levels (KIVI).
TEST_F(TokenTwin, CodesByChannelAndByToken) {
  TokenPolicies p = system("kivi");
  p.quantize->key_group = p.quantize->value_group = 16;
  p.quantize->residual = 8;
  TokenCache cache(p, options(), threads_);
  s_.seal(cache);
  // 48 tokens, 8 exact at least: two groups of 16.
  const auto code = [](const Row& group, std::size_t i) {
    const auto [least, most] = std::minmax_element(group.begin(), group.end());
    const double scale = (*most - *least) / 3;
    return scale == 0 ? *least : *least + scale * std::floor((group[i] - *least) / scale + 0.5);
  };
  std::size_t off = 0;
  for (std::size_t l = 0; l < 2; ++l)
    for (std::size_t h = 0; h < kHeads; ++h) {
      const HeadView v = cache.view(static_cast<std::int32_t>(l), static_cast<std::int32_t>(h));
      for (std::size_t t = 0; t < kPrompt; ++t)
        for (std::size_t d = 0; d < kDim; ++d) {
          double k = key(l, h, t, d), x = value(l, h, t, d);
          if (t < 32) {
            Row channel, row;
            for (std::size_t i = 0; i < 16; ++i) {
              channel.push_back(key(l, h, t / 16 * 16 + i, d));
              row.push_back(value(l, h, t, i));
            }
            k = code(channel, t % 16);
            x = code(row, d);
          }
          // Scales and zeros are f16; near a tie that decides.
          off += std::abs(double{v.keys[t * kDim + d]} - k) > 2e-2 ? 1 : 0;
          off += std::abs(double{v.values[t * kDim + d]} - x) > 2e-2 ? 1 : 0;
        }
    }
  EXPECT_LE(off, 6U);
}

// F6: no projection of that rank loses less than the discarded singular values (Eckart and Young).
TEST_F(TokenTwin, LowRankIsOptimal) {
  TokenPolicies p = system("eigen-attention");
  p.low_rank->key_share = p.low_rank->value_share = Ratio{0.5};
  TokenCache cache(p, options(), threads_);
  s_.seal(cache);
  const HeadView v = cache.view(0, 0);
  std::vector<float> rows;
  for (std::size_t t = 0; t < kPrompt; ++t)
    for (std::size_t d = 0; d < kDim; ++d) rows.push_back(static_cast<float>(key(0, 0, t, d)));
  const auto basis = kernels::fit_basis(rows, kPrompt, kDim, kDim, kDim);
  double discarded = 0, lost = 0;
  for (std::size_t r = 8; r < kDim; ++r)
    for (std::size_t t = 0; t < kPrompt; ++t) {
      double along = 0;
      for (std::size_t d = 0; d < kDim; ++d)
        along += double{rows[t * kDim + d]} * double{basis[r * kDim + d]};
      discarded += along * along;
    }
  for (std::size_t i = 0; i < rows.size(); ++i)
    lost += (double{rows[i]} - double{v.keys[i]}) * (double{rows[i]} - double{v.keys[i]});
  EXPECT_NEAR(lost, discarded, 1e-4 * discarded);
}

double key_error(const TokenCache& cache, const test::TokenSequence& s) {
  double lost = 0, all = 0;
  for (std::int32_t l = 0; l < 2; ++l)
    for (std::size_t h = 0; h < kHeads; ++h) {
      const HeadView v = cache.view(l, static_cast<std::int32_t>(h));
      for (std::size_t t = 0; t < kPrompt; ++t)
        for (std::size_t d = 0; d < kDim; ++d) {
          const double x = double{s.keys[static_cast<std::size_t>(l)][(t * kHeads + h) * kDim + d]};
          lost += (x - double{v.keys[t * kDim + d]}) * (x - double{v.keys[t * kDim + d]});
          all += x * x;
        }
    }
  return lost / all;
}

// What the papers agree on, for keys with a few large channels at 2 bits: per channel loses less
// than per token; outliers kept apart and a low-rank copy of the error lose less than neither.
TEST_F(TokenTwin, OrderOfTheCodecs) {
  const auto error = [&](auto change) {
    TokenPolicies p;
    p.quantize.emplace();
    p.quantize->bits = 2;
    p.quantize->key_group = p.quantize->value_group = 16;
    change(*p.quantize);
    TokenCache cache(p, options(), threads_);
    s_.seal(cache);
    return key_error(cache, s_);
  };
  const double by_channel = error([](QuantizeSpec&) {});
  const double by_token = error([](QuantizeSpec& q) { q.key_axis = Axis::token; });
  const double apart = error([](QuantizeSpec& q) {
    q.key_axis = Axis::token;
    q.outliers = Ratio{0.125};
  });
  const double gear = error([](QuantizeSpec& q) { q.error_rank = 4; });
  EXPECT_LT(by_channel, by_token);
  EXPECT_LT(apart, by_token);
  EXPECT_LT(gear, by_channel);
}

// QJL: the error of a logit falls as 1 / m, and it has no bias.
TEST_F(TokenTwin, SignsEstimateLogits) {
  const auto error = [&](std::int64_t m) {
    TokenPolicies p = system("qjl");
    p.quantize->residual = 0;
    p.quantize->outlier_channels = 0;
    p.quantize->projections = m;
    TokenCache cache(p, options(), threads_);
    s_.seal(cache);
    return key_error(cache, s_);
  };
  const double narrow = error(64), wide = error(1024);
  EXPECT_NEAR(narrow / wide, 16, 6);
}

// Rotary positions come off before codes and go on again; a re-indexed cache turns keys and query
// alike, so that with nothing dropped nothing changes.
TEST_F(TokenTwin, RotationsCancel) {
  TokenCache::Options o = options();
  o.rope = RopeShape{};
  TokenPolicies p = system("streaming-llm");
  p.budget->size = {100, 0};
  std::vector<float> turned, plain;
  TokenCache a(p, o, threads_);
  s_.run(a, &turned);
  TokenCache b(TokenPolicies{}, options(), threads_);
  s_.run(b, &plain);
  ASSERT_EQ(turned.size(), plain.size());
  for (std::size_t i = 0; i < plain.size(); ++i) EXPECT_NEAR(turned[i], plain[i], 1e-4);
  TokenPolicies q = system("kvquant-3");
  q.quantize->bits = 8;
  q.quantize->key_code = q.quantize->value_code = Code::uniform;
  q.quantize->key_group = 16;
  TokenCache c(q, o, threads_);
  s_.seal(c);
  EXPECT_LT(key_error(c, s_), 1e-4);
}

}  // namespace
}  // namespace kvsim::token
