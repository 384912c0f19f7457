// Each measure against a naive twin in double on small tensors, and what the whole cache gives.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "policies/token/compose.h"
#include "sim/quality/measure.h"
#include "tests/support/token_sequence.h"

namespace kvsim::quality {
namespace {

const token::KvShape kShape{2, 4, 2, 16, 16, 16, 16};
constexpr std::int32_t kPrompt = 40, kSteps = 6, kTop = 5;

const std::vector<Measure> kProxies{
    Measure::out_err, Measure::mass,         Measure::recall,        Measure::needle_survival,
    Measure::attn_kl, Measure::rel_mse_keys, Measure::rel_mse_values};

Sequence small_sequence() {
  const test::TokenSequence t(kShape, kPrompt, kSteps);
  Sequence s;
  s.shape = kShape;
  s.scale = 0.25F;
  s.prompt = kPrompt;
  s.steps = kSteps;
  s.keys = t.keys, s.values = t.values, s.queries = t.queries;
  s.needles = {{7, 2}, {21, 4}};
  return s;
}

token::TokenPolicies policies_of(const std::string& name, const std::string& section = "",
                                 const std::string& key = "", const std::string& value = "") {
  Diagnostics d;
  Reader r(d);
  Tree item = Tree::map();
  item.set("policy", Tree::scalar(name));
  if (!section.empty()) {
    Tree inner = Tree::map();
    inner.set(key, Tree::scalar(value));
    item.set(section, inner);
  }
  token::TokenPolicies p = token::read_token_policies(item, r);
  EXPECT_TRUE(d.empty());
  return p;
}

// What a KV head held at a step, copied while the cache attended.
struct Seen {
  std::vector<std::int32_t> positions;
  std::vector<float> keys, values, counts;
  std::vector<std::uint8_t> read;
};

class MeasureTest : public testing::Test {
 protected:
  kernels::Threads threads_{1};
  Compute compute_{threads_};
  Sequence s_ = small_sequence();
  FullAttention full_ = full_attention(s_, kTop, compute_);

  PolicyOnTensors measure(const token::TokenPolicies& p) {
    return measure_on(s_, full_, p, kProxies, 1, compute_);
  }
  // seen[step][layer * kv_heads + head]
  std::vector<std::vector<Seen>> watch(const token::TokenPolicies& p,
                                       std::vector<std::vector<float>>& outputs) {
    std::vector<std::vector<Seen>> seen(kSteps, std::vector<Seen>(4));
    std::int32_t step = 0;
    token::TokenCache::Options o = s_.options(1);
    o.observe = [&](std::int32_t layer, std::int32_t head, const token::HeadView& v) {
      Seen& one = seen[static_cast<std::size_t>(step)][static_cast<std::size_t>(layer * 2 + head)];
      one.positions.assign(v.positions.begin(), v.positions.end());
      one.keys.assign(v.keys.begin(), v.keys.end());
      one.values.assign(v.values.begin(), v.values.end());
      one.counts.assign(v.counts.begin(), v.counts.end());
      one.read.assign(v.read.begin(), v.read.end());
    };
    token::TokenCache cache(p, o, threads_);
    cache.begin(kPrompt);
    for (std::int32_t l = 0; l < 2; ++l) cache.prompt(l, s_.prompt_tensors(l));
    cache.seal();
    for (; step < kSteps; ++step)
      for (std::int32_t l = 0; l < 2; ++l) {
        std::vector<float> out(4 * 16);
        cache.attend(l, s_.step_tensors(l, step), out);
        outputs.push_back(out);
      }
    return seen;
  }
  [[nodiscard]] double dot(std::int32_t l, std::int32_t t, std::int32_t q_head,
                           const float* key) const {
    double sum = 0;
    for (std::size_t d = 0; d < 16; ++d)
      sum += double{s_.queries[static_cast<std::size_t>(l)]
                              [static_cast<std::size_t>(t * 4 + q_head) * 16 + d]} *
             double{key[d]};
    return sum * 0.25;
  }
  [[nodiscard]] const float* key_at(std::int32_t l, std::int32_t t, std::int32_t head) const {
    return &s_.keys[static_cast<std::size_t>(l)][static_cast<std::size_t>(t * 2 + head) * 16];
  }
  [[nodiscard]] const float* value_at(std::int32_t l, std::int32_t t, std::int32_t head) const {
    return &s_.values[static_cast<std::size_t>(l)][static_cast<std::size_t>(t * 2 + head) * 16];
  }
  static std::vector<double> softmax(std::vector<double> x) {
    const double most = *std::max_element(x.begin(), x.end());
    double sum = 0;
    for (double& v : x) sum += v = std::exp(v - most);
    for (double& v : x) v /= sum;
    return x;
  }
  void expect_twin(const token::TokenPolicies&);
};

void MeasureTest::expect_twin(const token::TokenPolicies& p) {
  PolicyOnTensors got = measure(p);
  std::vector<std::vector<float>> outputs;
  const auto seen = watch(p, outputs);
  for (std::int32_t step = 0; step < kSteps; ++step)
    for (std::int32_t l = 0; l < 2; ++l)
      for (std::int32_t q = 0; q < 4; ++q) {
        const Seen& v =
            seen[static_cast<std::size_t>(step)][static_cast<std::size_t>(l * 2 + q / 2)];
        const std::int32_t t = kPrompt + step;
        std::vector<double> logits;
        for (std::int32_t i = 0; i <= t; ++i) logits.push_back(dot(l, t, q, key_at(l, i, q / 2)));
        const std::vector<double> full = softmax(logits);
        std::vector<double> own;
        for (std::size_t i = 0; i < v.positions.size(); ++i)
          own.push_back(v.read[i] != 0
                            ? dot(l, t, q, &v.keys[i * 16]) + std::log(double{v.counts[i]})
                            : -1e300);
        own = softmax(own);
        double mass = 0, kl = 0, lost = 0, length = 0, found = 0;
        std::vector<std::int32_t> order(full.size());
        std::iota(order.begin(), order.end(), 0);
        std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
          return full[static_cast<std::size_t>(a)] > full[static_cast<std::size_t>(b)];
        });
        for (std::size_t i = 0; i < v.positions.size(); ++i) {
          const double f = full[static_cast<std::size_t>(v.positions[i])];
          if (v.read[i] == 0) continue;
          mass += f;
          if (own[i] > 0) kl += own[i] * std::log(own[i] / f);
          found +=
              std::find(order.begin(), order.begin() + kTop, v.positions[i]) != order.begin() + kTop
                  ? 1
                  : 0;
        }
        for (std::size_t d = 0; d < 16; ++d) {
          double o = 0;
          for (std::int32_t i = 0; i <= t; ++i)
            o += full[static_cast<std::size_t>(i)] * double{value_at(l, i, q / 2)[d]};
          const double have = double{outputs[static_cast<std::size_t>(step * 2 + l)]
                                            [static_cast<std::size_t>(q) * 16 + d]};
          lost += (o - have) * (o - have);
          length += o * o;
        }
        EXPECT_NEAR(got.grids.at(Measure::mass).at(l, q, step), mass, 1e-5);
        EXPECT_NEAR(got.grids.at(Measure::attn_kl).at(l, q, step), kl, 1e-4 * (1 + kl));
        EXPECT_NEAR(got.grids.at(Measure::recall).at(l, q, step), found / kTop, 1e-6);
        EXPECT_NEAR(got.grids.at(Measure::out_err).at(l, q, step), std::sqrt(lost / length), 1e-4);
      }
  for (std::int32_t step = 0; step < kSteps; ++step)
    for (std::int32_t l = 0; l < 2; ++l)
      for (std::int32_t h = 0; h < 2; ++h) {
        const Seen& v = seen[static_cast<std::size_t>(step)][static_cast<std::size_t>(l * 2 + h)];
        double lost = 0, all = 0;
        for (std::size_t i = 0; i < v.positions.size(); ++i)
          for (std::size_t d = 0; d < 16; ++d) {
            const double was = double{key_at(l, v.positions[i], h)[d]};
            lost += (was - double{v.keys[i * 16 + d]}) * (was - double{v.keys[i * 16 + d]});
            all += was * was;
          }
        EXPECT_NEAR(got.grids.at(Measure::rel_mse_keys).at(l, h, step), lost / all,
                    1e-6 + 1e-4 * lost / all);
        const float needle = got.grids.at(Measure::needle_survival).at(l, h, step);
        if (step != 2 && step != 4) {
          EXPECT_TRUE(std::isnan(needle));
          continue;
        }
        double survives = 0;
        for (std::size_t i = 0; i < v.positions.size(); ++i)
          if (v.positions[i] == (step == 2 ? 7 : 21) && v.read[i] != 0) survives = 1;
        EXPECT_EQ(double{needle}, survives);
      }
}

TEST_F(MeasureTest, TheWholeCacheIsExact) {
  PolicyOnTensors full = measure({});
  for (const Measure m : kProxies)
    for (const float v : full.grids.at(m).values) {
      if (std::isnan(v)) continue;  // no needle is asked for
      if (small_is_bad(m))
        EXPECT_NEAR(v, 1, 1e-5) << name_of(m);
      else
        EXPECT_NEAR(v, 0, 2e-5) << name_of(m);
    }
  EXPECT_EQ(full.kept_tokens, kPrompt + kSteps);
  EXPECT_EQ(full.kv_bytes, kShape.token_bytes() * (kPrompt + kSteps));
}

TEST_F(MeasureTest, SelectionIsItsNaiveTwin) {
  expect_twin(policies_of("h2o", "budget", "size", "16"));
}
TEST_F(MeasureTest, RetrievalIsItsNaiveTwin) {
  token::TokenPolicies p = policies_of("quest", "budget", "size", "16");
  p.retrieve->dense_layers = 0;
  expect_twin(p);
}
TEST_F(MeasureTest, QuantisationIsItsNaiveTwin) {
  expect_twin(policies_of("kivi", "quantize", "residual", "4"));
}
TEST_F(MeasureTest, MergingIsItsNaiveTwin) {
  expect_twin(policies_of("zeromerge", "budget", "size", "16"));
}

TEST(Summary, MeansAndTailsAreOverWhatIsDefined) {
  Grid g{1, 2, 50, {}};
  for (int i = 0; i < 100; ++i) g.values.push_back(static_cast<float>(i));
  Grid none = g;
  std::fill(none.values.begin(), none.values.end(), std::nanf(""));
  std::vector<Value> out;
  summarize(Measure::out_err, {&g, &none}, {true, true, true}, out);
  const auto find = [&](const std::string& statistic, int layer, int head, int step) {
    for (const Value& v : out)
      if (v.statistic == statistic && v.layer == layer && v.head == head && v.step == step)
        return v.value;
    ADD_FAILURE() << statistic;
    return -1.0;
  };
  EXPECT_DOUBLE_EQ(find("mean", -1, -1, -1), 49.5);
  EXPECT_NEAR(find("p99", -1, -1, -1), 98.01, 1e-4);
  EXPECT_DOUBLE_EQ(find("mean", 0, 1, -1), 74.5);
  EXPECT_DOUBLE_EQ(find("mean", -1, -1, 3), 28);
  out.clear();
  summarize(Measure::mass, {&g}, {false, false, false}, out);
  ASSERT_EQ(out.size(), 2U);
  EXPECT_EQ(out[1].statistic, "p1") << "of a share, the small end is the bad one";
  EXPECT_NEAR(out[1].value, 0.99, 1e-4);
}

}  // namespace
}  // namespace kvsim::quality
