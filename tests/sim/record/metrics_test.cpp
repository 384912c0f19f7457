// Metrics of runs small enough to work out by hand.
#include "sim/record/metrics.h"

#include <gtest/gtest.h>

#include <cmath>

namespace kvsim {
namespace {

using std::chrono::milliseconds;

Time at_ms(std::int64_t ms) { return kTimeZero + milliseconds(ms); }

RequestOutcome finished(std::int64_t arrival, std::int64_t scheduled, std::int64_t first,
                        std::int64_t last, std::int64_t prompt, std::int64_t output,
                        std::int64_t hit = 0) {
  RequestOutcome r;
  r.arrival = at_ms(arrival);
  r.scheduled = at_ms(scheduled);
  r.first_token = at_ms(first);
  r.last_token = at_ms(last);
  r.prompt_tokens = r.queried_tokens = prompt;
  r.output_tokens = output;
  r.hit_tokens = hit;
  return r;
}

double value(const std::vector<Metric>& all, const std::string& name,
             const std::string& statistic = "value", const std::string& scope = "run") {
  double found = std::nan("");
  int n = 0;
  for (const Metric& m : all)
    if (m.name == name && m.statistic == statistic && m.scope == scope) found = m.value, ++n;
  EXPECT_LE(n, 1) << name;
  return found;
}

// A: ttft 100, tpot (500 - 200) / 3 = 100, e2el 400. B: ttft 300, one token. C: rejected. First
// arrival 100 ms, last token 1100 ms: one second.
RunOutcome two_and_a_rejection() {
  RunOutcome run;
  run.requests = {finished(100, 150, 200, 500, 1000, 4, 480),
                  finished(800, 900, 1100, 1100, 200, 1)};
  RequestOutcome rejected;
  rejected.outcome = Outcome::rejected;
  rejected.arrival = at_ms(600);
  rejected.prompt_tokens = 50;
  run.requests.push_back(rejected);
  run.injected = 3;
  run.end = at_ms(2000);
  run.itl.add(100'000'000, 3);
  return run;
}

TEST(Metrics, ByHand) {
  const auto m =
      compute_metrics(two_and_a_rejection(), {milliseconds(200), milliseconds(100), std::nullopt});
  EXPECT_DOUBLE_EQ(value(m, "duration"), 1.0);
  EXPECT_EQ(value(m, "completed"), 2);
  EXPECT_EQ(value(m, "failed"), 1);
  EXPECT_EQ(value(m, "injected"), 3);
  EXPECT_EQ(value(m, "total_input_tokens"), 1200);
  EXPECT_EQ(value(m, "total_output_tokens"), 5);
  EXPECT_DOUBLE_EQ(value(m, "request_throughput"), 2);
  EXPECT_DOUBLE_EQ(value(m, "output_throughput"), 5);
  EXPECT_DOUBLE_EQ(value(m, "total_token_throughput"), 1205);
  EXPECT_DOUBLE_EQ(value(m, "ttft_ms", "mean"), 200);
  EXPECT_DOUBLE_EQ(value(m, "ttft_ms", "p90"), 280);  // numpy: 100 + 0.9 (300 - 100)
  EXPECT_DOUBLE_EQ(value(m, "ttft_ms", "std"), 100);
  EXPECT_EQ(value(m, "tpot_ms", "count"), 1);  // one token has no TPOT
  EXPECT_DOUBLE_EQ(value(m, "tpot_ms", "median"), 100);
  EXPECT_DOUBLE_EQ(value(m, "itl_ms", "mean"), 100);
  EXPECT_EQ(value(m, "itl_ms", "count"), 3);
  EXPECT_DOUBLE_EQ(value(m, "e2el_ms", "max"), 400);
  EXPECT_DOUBLE_EQ(value(m, "queue_ms", "mean"), 75);
  EXPECT_DOUBLE_EQ(value(m, "normalized_latency_ms", "mean"), 200);  // 400 / 4 and 300 / 1
  EXPECT_DOUBLE_EQ(value(m, "output_token_throughput_per_user", "mean"), 10);
  EXPECT_DOUBLE_EQ(value(m, "request_goodput"),
                   1);  // A keeps both limits, to the nanosecond; B's TTFT is too long
  EXPECT_DOUBLE_EQ(value(m, "slo_attainment"), 1.0 / 3);
  EXPECT_DOUBLE_EQ(value(m, "slo_attainment_tpot"), 2.0 / 3);
  EXPECT_TRUE(std::isnan(value(m, "slo_attainment_e2e")));
  EXPECT_DOUBLE_EQ(value(m, "prefix_hit_rate"), 0.4);
  EXPECT_DOUBLE_EQ(value(m, "cached_prompt_ratio"), 480.0 / 1250);
}

TEST(Metrics, LimitsHoldToTheNanosecondAndDoNotOverflow) {
  RequestOutcome r = finished(0, 0, 10, 40, 5, 4);
  EXPECT_TRUE(meets(r, {milliseconds(10), milliseconds(10), milliseconds(40)}));
  r.last_token += Duration{1};
  EXPECT_FALSE(meets(r, {{}, milliseconds(10), {}}));
  EXPECT_FALSE(meets(r, {{}, {}, milliseconds(40)}));
  EXPECT_TRUE(meets(r, {{}, Duration::max(), {}}));
  r.outcome = Outcome::timed_out;
  EXPECT_FALSE(meets(r, {}));
}

TEST(Metrics, RanksAddUp) {
  RunOutcome run;
  run.end = at_ms(1000);
  RankTotals a;
  a.blocks = 100, a.iterations = 10, a.busy_ns = 500'000'000, a.peak_blocks = 50,
  a.prefill_tokens = 90;
  a.queried_tokens = 100, a.hit_tokens = 25;
  RankTotals b = a;
  b.rank = 1;
  b.busy_ns = 0, b.peak_blocks = 0;
  RankTotals c = a;
  c.instance = 7;
  run.ranks = {a, b, c};
  const auto m = compute_metrics(run, {});
  EXPECT_DOUBLE_EQ(value(m, "busy_share", "value", "instance:0"), 0.25);
  EXPECT_DOUBLE_EQ(value(m, "busy_share", "value", "instance:7"), 0.5);
  EXPECT_DOUBLE_EQ(value(m, "busy_share"), 1.0 / 3);
  EXPECT_DOUBLE_EQ(value(m, "peak_kv_usage", "value", "instance:0"), 0.25);
  EXPECT_DOUBLE_EQ(value(m, "prefix_hit_rate", "value", "instance:7"), 0.25);
  EXPECT_DOUBLE_EQ(value(m, "iteration_mean_ms", "value", "instance:7"), 50);
  EXPECT_DOUBLE_EQ(value(m, "tokens_per_iteration"), 9);
  EXPECT_EQ(value(m, "iterations"), 30);
}

TEST(Metrics, EmptyRunHasNoRatios) {
  const auto m = compute_metrics({}, {milliseconds(1), {}, {}});
  for (const Metric& row : m) EXPECT_EQ(row.value, 0) << row.name << " " << row.statistic;
  EXPECT_TRUE(std::isnan(value(m, "prefix_hit_rate")));
  EXPECT_TRUE(std::isnan(value(m, "request_throughput")));
  EXPECT_TRUE(std::isnan(value(m, "ttft_ms", "mean")));
}

}  // namespace
}  // namespace kvsim
