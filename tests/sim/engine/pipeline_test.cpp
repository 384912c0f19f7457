// Batches in flight through pipeline stages: closed forms of throughput and bubbles, and the twin
// without a pipeline.
#include <gtest/gtest.h>

#include <array>

#include "tests/support/random_requests.h"

namespace kvsim {
namespace {

// Iterations of requests with long contexts take `long_ns`, others `short_ns`, whatever is in them.
class TwoPrices final : public CostModel {
 public:
  TwoPrices(std::int64_t long_ns, std::int64_t short_ns) : long_(long_ns), short_(short_ns) {}
  Duration mixed_step(const StepShape& s) override {
    if (s.prefills.empty()) return decode_line(s).at(s);
    return Duration{s.prefill_tokens() > kLong ? long_ : short_};
  }
  DecodeLine decode_line(const StepShape& s) override {
    DecodeLine l;
    l.base = (s.decode_context_max > kLong ? long_ : short_) << DecodeLine::kShift;
    return l;
  }
  std::vector<Part> explain(const StepShape&) override { return {}; }

 private:
  static constexpr std::int64_t kLong = 100;
  std::int64_t long_, short_;
};

EngineConfig pipeline(std::int64_t stages, std::int64_t batches, std::int64_t budget) {
  EngineConfig e;
  e.kv_blocks = 10'000;
  e.max_batched_tokens = budget;
  e.async_scheduling = false;
  e.pipeline_stages = stages;
  e.pipeline_batches = batches;
  return e;
}

PipelineTotals totals(const RunOutcome& o) { return o.ranks.front().pipeline; }
std::int64_t bubble(const RunOutcome& o) {
  return totals(o).stages * totals(o).span_ns - totals(o).work_ns;
}

// P batches of one length T, each of one request with N tokens: nobody waits, and all but the
// filling and draining of the stages, (P - 1) T / P at either end, is work.
TEST(Pipeline, EqualBatchesFollowWithoutABubble) {
  constexpr std::int64_t kT = 4000, kOutput = 50;
  for (const std::int64_t stages : {2, 4}) {
    TwoPrices cost(kT, kT);
    std::vector<Request> requests;
    for (std::int64_t i = 0; i < stages; ++i) requests.push_back(test::request(0, 16, kOutput));
    const RunOutcome o = test::simulate(pipeline(stages, stages, 16), requests, cost);
    for (std::int64_t i = 0; i < stages; ++i)
      EXPECT_EQ(to_ns(o.requests[static_cast<std::size_t>(i)].last_token - Time{}),
                kOutput * kT + i * kT / stages);
    EXPECT_EQ(totals(o).span_ns, kOutput * kT + (stages - 1) * kT / stages);
    EXPECT_EQ(bubble(o), (stages - 1) * kT);
    // One at a time: all stages but one are idle, and it takes P times as long.
    const RunOutcome one = test::simulate(pipeline(stages, 1, 16), requests, cost);
    EXPECT_EQ(bubble(one), (stages - 1) * totals(one).span_ns / stages * stages);
    EXPECT_EQ(totals(one).work_ns, totals(one).span_ns);
  }
}

// Two stages, a long batch l + l and a short one s + s in turns: the short one waits for the long
// one at either stage, so that a round takes 2 l, of which each stage works l + s (Sarathi-Serve,
// figure 8).
TEST(Pipeline, UnequalBatchesLeaveABubble) {
  constexpr std::int64_t kL = 3000, kS = 1000, kOutput = 40;
  TwoPrices cost(2 * kL, 2 * kS);
  const RunOutcome o = test::simulate(
      pipeline(2, 2, 200), {test::request(0, 200, kOutput), test::request(0, 16, kOutput)}, cost);
  EXPECT_EQ(totals(o).span_ns, 2 * kL * kOutput + kS);
  EXPECT_EQ(bubble(o), 2 * kOutput * (kL - kS) + 2 * kS);
  // What the short batches wait is no time of their own iterations.
  const RequestOutcome& quick = o.requests[1];
  EXPECT_EQ(quick.after_ns[static_cast<std::size_t>(Interval::decode)], (kOutput - 1) * 2 * kS);
  EXPECT_EQ(quick.after_ns[static_cast<std::size_t>(Interval::decode_wait)],
            (kOutput - 1) * (2 * kL - 2 * kS));
}

struct RandomRun {
  EngineConfig engine;
  std::vector<Request> requests;
  [[nodiscard]] RunOutcome run() const {
    test::LinearCost cost(100, 3, 1);
    return test::simulate(engine, requests, cost);
  }
};

RandomRun random_run(std::uint64_t seed) {
  static constexpr std::array kOrders{BatchOrder::running, BatchOrder::decodes,
                                      BatchOrder::prompts};
  Rng rng(seed, "pipeline");
  RandomRun s;
  EngineConfig& e = s.engine;
  e.async_scheduling = false;
  e.block_tokens = std::int64_t{1} << rng.below(5);
  e.max_running = 1 + static_cast<std::int64_t>(rng.below(12));
  e.max_batched_tokens = e.max_running + static_cast<std::int64_t>(rng.below(64));
  e.prefix_caching = rng.below(4) != 0;
  e.publish_computed = rng.below(2) == 0;
  e.full_sequence_admission = rng.below(2) == 0;
  if (rng.below(3) == 0) e.make_scheduler = test::make_scheduler("priority", {{"preempt", "true"}});
  if (rng.below(6) == 0) e.request_timeout = Duration{20'000};
  e.batch.order = kOrders[rng.below(kOrders.size())];
  if (rng.below(3) == 0) e.batch.reserve = BatchReserve::prompt;
  if (rng.below(3) == 0) e.batch.victim = BatchVictim::fewest_outputs;
  e.watermark = rng.below(3) == 0 ? 0.05 : 0.0;
  e.overhead = Duration{static_cast<std::int64_t>(rng.below(50))};
  e.schedule_time = Duration{static_cast<std::int64_t>(rng.below(200))};
  e.back_end = Duration{static_cast<std::int64_t>(rng.below(3) * 13)};
  e.shared_prefix_attention = rng.below(3) == 0;
  std::int64_t at = 0, longest = 0;
  const std::size_t n = 5 + rng.below(60);
  for (std::size_t i = 0; i < n; ++i) {
    at += static_cast<std::int64_t>(rng.exponential(1 + static_cast<double>(rng.below(4000))));
    s.requests.push_back(test::draw_request(rng, at));
    s.requests.back().priority = static_cast<std::int32_t>(rng.below(3));
    longest = std::max(longest, s.requests.back().prompt_tokens + s.requests.back().output_tokens);
  }
  e.kv_blocks = e.blocks_for(longest) + 2 + static_cast<std::int64_t>(rng.below(20));
  return s;
}

void expect_same(const RunOutcome& a, const RunOutcome& b, std::uint64_t seed) {
  ASSERT_EQ(a.digest, b.digest) << "seed " << seed;
  ASSERT_EQ(a.itl.count(), b.itl.count()) << "seed " << seed;
  ASSERT_EQ(a.itl.mean_ns(), b.itl.mean_ns()) << "seed " << seed;
  ASSERT_EQ(a.itl.max_ns(), b.itl.max_ns()) << "seed " << seed;
  for (std::size_t i = 0; i < a.requests.size(); ++i) {
    ASSERT_EQ(a.requests[i].ttft_ns, b.requests[i].ttft_ns) << "seed " << seed << " request " << i;
    ASSERT_EQ(a.requests[i].after_ns, b.requests[i].after_ns)
        << "seed " << seed << " request " << i;
    ASSERT_EQ(a.requests[i].miss_tokens, b.requests[i].miss_tokens)
        << "seed " << seed << " request " << i;
  }
}

// One batch in one stage is an iteration like any other.
TEST(Pipeline, OneStageIsTheEngineWithoutOne) {
  std::int64_t preemptions = 0;
  for (std::uint64_t seed = 0; seed < 1200; ++seed) {
    RandomRun run = random_run(seed);
    const RunOutcome plain = run.run();
    run.engine.pipeline_batches = 1;
    expect_same(plain, run.run(), seed);
    if (HasFatalFailure()) return;
    for (const RequestOutcome& r : plain.requests) preemptions += r.preemptions;
  }
  EXPECT_GT(preemptions, 100);
}

// Whatever is in flight: invariants hold, everybody ends, stages never work more than there is
// time, and the fast and the exact plan agree.
TEST(Pipeline, RandomRunsConserveWorkAndAgreeOnBothPaths) {
  std::int64_t preemptions = 0, timeouts = 0, bubbles = 0;
  for (std::uint64_t seed = 0; seed < 1200; ++seed) {
    RandomRun run = random_run(seed);
    run.engine.pipeline_stages = 1 + static_cast<std::int64_t>(seed % 5);
    run.engine.pipeline_batches = 1 + static_cast<std::int64_t>(seed / 5 % 6);
    const RunOutcome fast = run.run();
    run.engine.exact_steps = true;
    expect_same(fast, run.run(), seed);
    if (HasFatalFailure()) return;
    ASSERT_EQ(fast.requests.size(), run.requests.size()) << "seed " << seed;
    ASSERT_GE(bubble(fast), 0) << "seed " << seed;
    bubbles += bubble(fast);
    for (const RequestOutcome& r : fast.requests) {
      preemptions += r.preemptions;
      timeouts += r.outcome == Outcome::timed_out ? 1 : 0;
    }
  }
  EXPECT_GT(preemptions, 100);
  EXPECT_GT(timeouts, 0);
  EXPECT_GT(bubbles, 0);
}

}  // namespace
}  // namespace kvsim
