// The generator first: does it show what it claims? Then the orderings that papers agree on.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/sim/quality/quality_fixture.h"

namespace kvsim::quality {
namespace {

std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

struct Made {
  kernels::Threads threads{2};
  Compute compute{threads};
  Sequence s;
  FullAttention full;
  explicit Made(const std::string& source) {
    const Question q = question_of("{source: " + source + ", prompt: 512, steps: 24}");
    s = Registry::instance()
            .make<Source>(q.spec.source.name, q.spec.source.params,
                          {"", 1, q.spec.prompt, q.spec.steps, 1, std::nullopt})
            ->sequence(0, compute);
    full = full_attention(s, 1, compute);
  }
  // Of a layer: attention on tokens [from, to) counted back from the query, or from the start.
  [[nodiscard]] double mass(std::int64_t layer, std::int32_t from, std::int32_t to,
                            bool back) const {
    double sum = 0;
    for (std::int32_t i = 0; i < s.steps; ++i)
      for (std::int64_t h = 0; h < s.shape.q_heads; ++h)
        for (std::int32_t t = from; t < to; ++t) {
          const std::int32_t at = back ? s.prompt + i - t : t;
          sum += double{full.weights[size(
              layer)][(size(i) * size(s.shape.q_heads) + size(h)) * size(full.columns) + size(at)]};
        }
    return sum / static_cast<double>(s.steps * s.shape.q_heads);
  }
};

TEST(Synthetic, SinksTakeTheirShareBeyondTheFirstLayers) {
  for (const double share : {0.3, 0.6}) {
    const Made m(
        "{kind: synthetic, kv_heads: 4, q_heads: 8, retrieval_heads: 0 %, needles: 0, lazy_layers: "
        "0 %, sink_mass: " +
        std::to_string(share) + "}");
    EXPECT_LT(m.mass(0, 0, 4, false), 0.1) << "sinkless";
    for (const std::int64_t layer : {1, 2, 3})
      EXPECT_NEAR(m.mass(layer, 0, 4, false), share, 0.12) << layer;
  }
}

TEST(Synthetic, NearTokensDrawMoreThanFarOnes) {
  const Made m("{kind: synthetic, sinks: 0, needles: 0}");
  for (std::int64_t l = 0; l < 4; ++l)
    EXPECT_GT(m.mass(l, 1, 9, true), 2 * m.mass(l, 200, 208, true)) << l;
}

TEST(Synthetic, KeysHaveOutlierChannelsAndValuesHaveNone) {
  const Made m("{kind: synthetic, outlier_channels: 3, outlier_scale: 20}");
  for (const auto& [rows, expected] : {std::pair(&m.s.keys[1], 3), std::pair(&m.s.values[1], 0)}) {
    int large = 0;
    for (std::size_t d = 0; d < 64; ++d) {
      double most = 0;
      for (std::size_t t = 4; t < size(m.s.tokens()); ++t)
        most = std::max(most, std::abs(double{(*rows)[t * 2 * 64 + d]}));
      large += most > 10 ? 1 : 0;
    }
    EXPECT_EQ(large, expected);
  }
}

TEST(Synthetic, NeedlesAreSeenWhenTheyAreAskedFor) {
  const Made m(
      "{kind: synthetic, kv_heads: 4, q_heads: 8, retrieval_heads: 50 %, lazy_layers: 0 %, "
      "needle_mass: 60 %, needles: 6}");
  ASSERT_EQ(m.s.needles.size(), 6U);
  double sum = 0, count = 0;
  for (const Needle& n : m.s.needles)
    for (std::int64_t l = 0; l < 4; ++l)
      for (std::int64_t h = 0; h < 8; ++h) {
        if (m.s.seeks[size(l * 4 + h / 2)] == 0) continue;
        sum += double{m.full.weights[size(l)][(size(n.step) * 8 + size(h)) * size(m.full.columns) +
                                              size(n.position)]};
        ++count;
      }
  ASSERT_GT(count, 0);
  EXPECT_NEAR(sum / count, 0.6, 0.15);
}

TEST(Synthetic, RotationIsAnOption) {
  for (const char* rope : {"true", "false"}) {
    const Made m(std::string("{kind: synthetic, rope: ") + rope + "}");
    EXPECT_EQ(m.s.rope.has_value(), std::string(rope) == "true");
  }
}

// arXiv:2309.17453, 2306.14048, 2402.02750 agree on these.
TEST(Synthetic, OrderingsOfThePapersComeOut) {
  const QualityResult selected = measure_quality(
      question_of("{prompt: 512, steps: 24, budgets: [20 %], policies: [recent-only, random, h2o, "
                  "{label: sinks and recent, pipeline: [{select: {trigger: step, sinks: 4, budget: "
                  "64}}]}]}"),
      {.threads = 2});
  const auto error = [&](const char* policy) {
    return value_of(point_of(selected, policy, 0.2), Measure::out_err);
  };
  EXPECT_LT(error("sinks and recent"), error("recent-only"));
  EXPECT_LT(error("h2o"), error("random"));
  const QualityResult coded = measure_quality(
      question_of(
          "{prompt: 512, steps: 8, policies: [{label: channel, pipeline: [{quantize: {bits: "
          "2, key_axis: channel}}]}, {label: token, pipeline: [{quantize: {bits: 2, "
          "key_axis: token}}]}]}"),
      {.threads = 2});
  EXPECT_LT(value_of(point_of(coded, "channel"), Measure::out_err),
            value_of(point_of(coded, "token"), Measure::out_err));
}

}  // namespace
}  // namespace kvsim::quality
