// Restore planners: optimal against every cut, the published formulas and anchors.
#include "policies/restore/restore.h"

#include <gtest/gtest.h>

#include <cmath>

#include "sim/base/random.h"

namespace kvsim {
namespace {

// Prefill of p tokens after c: linear p + pairs (p c + p^2 / 2), in ns; projection linear.
class Quadratic final : public StepEstimator {
 public:
  Quadratic(double token, double pair, double projected, double fixed = 0)
      : token_(token), pair_(pair), projected_(projected), fixed_(fixed) {}
  [[nodiscard]] Duration prefill(std::int64_t from, std::int64_t to) const override {
    const auto c = static_cast<double>(from), p = static_cast<double>(to - from);
    return p > 0 ? from_ns_ceil(fixed_ + token_ * p + pair_ * (p * c + p * p / 2)) : Duration{0};
  }
  [[nodiscard]] Duration project(std::int64_t tokens) const override {
    return from_ns_ceil(projected_ * static_cast<double>(tokens));
  }
  [[nodiscard]] Duration decode(std::int64_t context) const override {
    return prefill(context, context + 1);
  }

 private:
  double token_, pair_, projected_, fixed_;
};

std::unique_ptr<RestorePlanner> planner(const char* name) {
  return Registry::instance().make<RestorePlanner>(name, Tree::map(), {});
}

void expect_whole(const RestoreQuestion& q, const RestorePlan& p) {
  EXPECT_EQ(p.recompute_tokens + p.hidden_tokens + p.load_tokens, q.stored_tokens);
  EXPECT_GE(std::min({p.recompute_tokens, p.hidden_tokens, p.load_tokens}), 0);
  EXPECT_GE(std::min(p.recompute_layers, p.hidden_layers), 0);
  EXPECT_LE(p.recompute_layers + p.hidden_layers, q.layers);
}

RestoreQuestion draw(Rng& rng, const StepEstimator& steps) {
  RestoreQuestion q;
  q.local_tokens = static_cast<std::int64_t>(rng.below(4)) * 512;
  q.stored_tokens = static_cast<std::int64_t>(rng.below(3000));
  q.tail_tokens = static_cast<std::int64_t>(rng.below(100));
  q.grain = static_cast<std::int64_t>(1 + rng.below(64));
  q.layers = static_cast<std::int64_t>(1 + rng.below(48));
  q.kv_bytes = Bytes{static_cast<std::int64_t>(rng.below(800)) * 1024};
  q.hidden_bytes = Bytes{static_cast<std::int64_t>(rng.below(3)) * q.kv_bytes.count() / 3};
  q.bandwidth = Bandwidth{std::exp2(28 + 8 * rng.uniform())};
  q.latency = Duration{static_cast<std::int64_t>(rng.below(100'000))};
  q.steps = &steps;
  return q;
}

double load_ns(const RestoreQuestion& q, double bytes) {
  return bytes > 0 ? static_cast<double>(to_ns(q.latency)) + bytes / q.bandwidth.value * 1e9 : 0;
}

// Every cut that the policy may choose, written out; in ns, without the tail.
double best_split(const RestoreQuestion& q) {
  double best = 1e300;
  for (std::int64_t m = 0;; m = std::min(m + q.grain, q.stored_tokens)) {
    const auto compute = to_ns(q.steps->prefill(q.local_tokens, q.local_tokens + m));
    const double load = load_ns(q, to_double((q.stored_tokens - m) * q.kv_bytes));
    best = std::min(best, std::max(static_cast<double>(compute), load));
    if (m == q.stored_tokens) return best;
  }
}

double best_partial(const RestoreQuestion& q) {
  double best = 1e300;
  for (std::int64_t l = 0;; l = std::min(l + q.grain, q.stored_tokens)) {
    const double bytes = to_double(l * q.hidden_bytes + (q.stored_tokens - l) * q.kv_bytes);
    const auto project = static_cast<double>(to_ns(q.steps->project(l)));
    best = std::min(
        best, std::max(load_ns(q, bytes), load_ns(q, to_double(l * q.hidden_bytes)) + project));
    if (l == q.stored_tokens) return best;
  }
}

double best_hidden(const RestoreQuestion& q) {
  double best = 1e300;
  const auto n = static_cast<double>(q.stored_tokens), layers = static_cast<double>(q.layers);
  const auto all = static_cast<double>(
      to_ns(q.steps->prefill(q.local_tokens, q.local_tokens + q.stored_tokens)));
  const auto project = static_cast<double>(to_ns(q.steps->project(q.stored_tokens)));
  for (std::int64_t h = 0; h <= q.layers; ++h)
    for (std::int64_t k = 0; h + k <= q.layers; ++k) {
      if (h > 0 && q.hidden_bytes == Bytes{0}) continue;
      const auto kv = static_cast<double>(k), hidden = static_cast<double>(h);
      const double bytes =
          n * (hidden * to_double(q.hidden_bytes) + kv * to_double(q.kv_bytes)) / layers;
      const double compute = (hidden * project + (layers - hidden - kv) * all) / layers;
      best = std::min(best, std::max(load_ns(q, bytes), compute));
    }
  return best;
}

TEST(Restore, CutsAreOptimal) {
  for (std::uint64_t seed = 0; seed < 400; ++seed) {
    Rng rng(seed, "restore");
    const Quadratic steps(20'000 * rng.uniform(), 10 * rng.uniform(), 4'000 * rng.uniform(),
                          1e6 * rng.uniform());
    const RestoreQuestion q = draw(rng, steps);
    const auto end = q.local_tokens + q.stored_tokens;
    const auto tail = static_cast<double>(to_ns(steps.prefill(end, end + q.tail_tokens)));
    const auto restored = [&](const char* name) {
      const RestorePlan p = planner(name)->plan(q);
      expect_whole(q, p);
      return static_cast<double>(to_ns(p.total)) - tail;
    };
    EXPECT_NEAR(restored("split"), best_split(q), 2) << seed;
    EXPECT_NEAR(restored("hidden"), best_hidden(q), 4) << seed;
    const double partial = q.hidden_bytes > Bytes{0} && q.hidden_bytes < q.kv_bytes
                               ? best_partial(q)
                               : load_ns(q, to_double(q.stored_tokens * q.kv_bytes));
    EXPECT_NEAR(restored("partial"), partial, 4) << seed;
    // Both streams at once are never slower than one of them.
    EXPECT_LE(restored("split"), restored("always"));
    EXPECT_LE(restored("split"), restored("never"));
    EXPECT_EQ(restored("break-even"), std::min(restored("always"), restored("never")));
  }
}

TEST(Restore, CutsLieOnTheGrain) {
  const Quadratic steps(10'000, 1, 1'000);
  RestoreQuestion q;
  q.stored_tokens = 1000;
  q.grain = 64;
  q.kv_bytes = Bytes{131072};
  q.bandwidth = Bandwidth{10e9};
  q.steps = &steps;
  const RestorePlan p = planner("split")->plan(q);
  EXPECT_EQ(p.recompute_tokens % 64, 0);
  EXPECT_GT(p.recompute_tokens, 0);
  EXPECT_GT(p.load_tokens, 0);
}

TEST(Restore, NothingStoredNothingToDo) {
  const Quadratic steps(10'000, 1, 1'000);
  RestoreQuestion q;
  q.tail_tokens = 10;
  q.kv_bytes = Bytes{1000};
  q.bandwidth = Bandwidth{1e9};
  q.latency = Duration{5000};
  q.steps = &steps;
  for (const std::string& name : Registry::instance().names("restore")) {
    const RestorePlan p = planner(name.c_str())->plan(q);
    expect_whole(q, p);
    EXPECT_EQ(p.total, steps.prefill(0, 10)) << name;
    EXPECT_EQ(p.bytes, Bytes{0}) << name;
  }
}

TEST(Restore, WithoutARouteEverythingIsComputed) {
  const Quadratic steps(10'000, 1, 1'000);
  RestoreQuestion q;
  q.stored_tokens = 100;
  q.layers = 4;
  q.kv_bytes = Bytes{1000};
  q.hidden_bytes = Bytes{500};
  q.steps = &steps;
  for (const char* name : {"break-even", "split", "hidden"})
    EXPECT_EQ(planner(name)->plan(q).total, steps.prefill(0, 100)) << name;
  EXPECT_EQ(planner("always")->plan(q).total, Duration::max());
}

// Claim C80: reuse pays above FLOPS 2 D s / (gqa (a p D + b D^2)) per second; LLaMA-3-70B, prefix
// 8192, 8 GPUs of 312 TFLOP/s: 5.9 GB/s, of 989: 18.6 GB/s.
TEST(Restore, BreakEvenIsMooncakesBound) {
  const double d = 8192, p = 8192, a = 4, b = 22, gqa = 8, layers = 80;
  for (const auto& [flops, gb] : {std::pair{312e12, 5.9}, std::pair{989e12, 18.6}}) {
    const double rate = 8 * flops;
    // a p D per token and layer is twice the pairs: p^2 = 2 (p^2 / 2).
    const Quadratic steps(layers * b * d * d / rate * 1e9, layers * 2 * a * d / rate * 1e9, 0);
    const double border = rate * 2 * d * 2 / (gqa * (a * p * d + b * d * d));
    EXPECT_NEAR(border / 1e9, gb, 0.06);
    RestoreQuestion q;
    q.stored_tokens = 8192;
    q.kv_bytes = Bytes{static_cast<std::int64_t>(layers * 2 * d * 2 / gqa)};
    q.steps = &steps;
    q.bandwidth = Bandwidth{border * 1.001};
    EXPECT_EQ(planner("break-even")->plan(q).load_tokens, 8192);
    q.bandwidth = Bandwidth{border * 0.999};
    EXPECT_EQ(planner("break-even")->plan(q).load_tokens, 0);
  }
}

// Claims D.11: Llama-2-7B, 8K tokens, 25 GB/s: KV 0.17 s, hidden states half of it, projection
// about 0.09 s, all again 0.5 to 0.7 s: about 2 and 6 times.
TEST(Restore, HiddenReachesHCachesFigures) {
  const double rate = 1.95e14;  // 62 % of 312 TFLOP/s
  const double d = 4096, layers = 32, n = 8192;
  const Quadratic steps(2 * 6.7e9 / rate * 1e9, layers * 4 * d / rate * 1e9,
                        4 * d * d * layers / rate * 1e9);
  RestoreQuestion q;
  q.stored_tokens = 8192;
  q.layers = 32;
  q.kv_bytes = Bytes{524288};
  q.hidden_bytes = Bytes{262144};
  q.bandwidth = Bandwidth{25e9};
  q.steps = &steps;
  const RestorePlan all = planner("always")->plan(q), none = planner("never")->plan(q);
  const RestorePlan mixed = planner("hidden")->plan(q);
  EXPECT_NEAR(to_seconds(all.total), 0.17, 0.005);
  EXPECT_NEAR(to_seconds(steps.project(static_cast<std::int64_t>(n))), 0.09, 0.001);
  EXPECT_GT(to_seconds(none.total), 0.5);
  EXPECT_LT(to_seconds(none.total), 0.7);
  EXPECT_NEAR(to_seconds(all.total) / to_seconds(mixed.total), 1.93, 0.1);
  EXPECT_NEAR(to_seconds(none.total) / to_seconds(mixed.total), 6.5, 1.0);
  EXPECT_GE(mixed.hidden_layers, 28);  // nearly balanced as it is
}

}  // namespace
}  // namespace kvsim
