// Requests that call tools: times by formula, what is left to others, and on random loads that
// every token and nanosecond is accounted for, the same on both paths.
#include <gtest/gtest.h>

#include "tests/support/node_pools.h"
#include "tests/support/tier_fixture.h"

namespace kvsim {
namespace {

constexpr std::int64_t kMs = 1'000'000;

MakePausePolicy pause_policy(const std::string& name, const Tree& params = Tree::map()) {
  return [=](const PausePolicy::Context& c) {
    return Registry::instance().make<PausePolicy>(name, params, c);
  };
}

EngineConfig engine(const std::string& policy, bool caches) {
  EngineConfig e;
  e.block_tokens = 16;
  e.kv_blocks = 8;
  e.max_batched_tokens = 4096;
  e.max_running = 16;
  e.async_scheduling = false;
  e.prefix_caching = caches;
  e.make_pause = pause_policy(policy);
  e.host_blocks = 8;
  e.host_block_bytes = 1'000'000;
  return e;
}

// An iteration takes 1 ms and 0.1 ms for each token, a block's copy 1 ms.
RunOutcome run(const EngineConfig& e, std::vector<Request> requests,
               std::vector<FaultPlan> faults = {}, int instances = 1) {
  test::LinearCost cost(kMs, kMs / 10, 0);
  World::Options options;
  options.tiers = test::with_hosts({}, static_cast<std::size_t>(instances), 1e9);
  options.faults = std::move(faults);
  return test::simulate(e, std::move(requests), cost, std::move(options), 1, false, instances);
}

// 16 tokens, five more, a tool that returns three, four more.
Request caller(std::int64_t pause_ms, std::int64_t arrival = 0) {
  Request r = test::request(arrival, 16, 9);
  r.calls = {{5, Duration{pause_ms * kMs}, 3}};
  return r;
}

std::int64_t at(Time t) { return to_ns(t - Time{}); }
std::int64_t after(const RequestOutcome& r, Interval i) {
  return r.after_ns[static_cast<std::size_t>(i)];
}

struct Form {
  const char* policy;
  bool caches;
  std::int64_t resume_100us;  // from the tool's return to its first token after it
};

// Prompt 2.6 ms, four decodes of 1.1: the call is made at 7 ms with KV of 20 tokens in two blocks.
// Then, of 24 tokens, those without KV take 1 ms + 0.1 ms each, and three more decodes follow.
TEST(Tools, OneRequestByFormula) {
  for (const Form& f :
       {Form{"keep", false, 14}, Form{"keep", true, 14}, Form{"discard", false, 34},
        Form{"discard", true, 18}, Form{"swap", false, 20 + 14}, Form{"swap", true, 10 + 14},
        // 100 ms of 20 tokens kept, 3 ms of them computed again, 4 ms of copies
        Form{"min-waste", false, 34}}) {
    const RunOutcome out = run(engine(f.policy, f.caches), {caller(100)});
    const RequestOutcome& r = out.requests[0];
    const std::int64_t resumed = f.resume_100us * kMs / 10;
    EXPECT_EQ(at(r.first_token), 26 * kMs / 10) << f.policy;
    EXPECT_EQ(at(r.last_token), 107 * kMs + resumed + 33 * kMs / 10) << f.policy << f.caches;
    EXPECT_EQ(after(r, Interval::tool), 100 * kMs);
    EXPECT_EQ(r.tool_calls, 1U);
    EXPECT_EQ(r.output_tokens, 9);
    const bool swaps = std::string_view(f.policy) == "swap";
    EXPECT_EQ(after(r, Interval::queue), swaps ? resumed - 14 * kMs / 10 : 0) << f.policy;
    EXPECT_EQ(out.ranks[0].to_host_bytes, swaps ? 2'000'000 : 0);
    EXPECT_EQ(out.ranks[0].from_host_bytes, swaps ? (f.caches ? 1 : 2) * 1'000'000 : 0);
    EXPECT_EQ(r.recomputed_tokens, resumed == 34 * kMs / 10 && !swaps ? 20
                                   : resumed == 18 * kMs / 10         ? 4
                                                                      : 0)
        << f.policy;
  }
}

// It returns while its KV still leaves: what has not left stays, and the copy is given up.
TEST(Tools, AReturnStopsTheCopy) {
  const RunOutcome out = run(engine("swap", false), {caller(1)});
  EXPECT_EQ(at(out.requests[0].last_token), (70 + 10 + 14 + 33) * kMs / 10);
  EXPECT_EQ(out.ranks[0].to_host_bytes, 1'000'000);
  EXPECT_EQ(out.ranks[0].from_host_bytes, 0);
}

// B needs six of eight blocks: beside two that are kept it fits, beside four it waits for a tool,
// and when nobody else could go on KV that is kept goes.
TEST(Tools, KeptKvGivesWay) {
  EngineConfig e = engine("keep", false);
  std::vector<Request> all{caller(100), caller(200), test::request(20 * kMs, 80, 10)};
  const RunOutcome out = run(e, all);
  EXPECT_EQ(out.ranks[0].tools_kept, 2);
  EXPECT_EQ(out.ranks[0].tools_reclaimed, 1);
  // At once, with the blocks of the second, which rested last.
  EXPECT_EQ(at(out.requests[2].scheduled), 20 * kMs);
  EXPECT_EQ(out.requests[0].recomputed_tokens, 0);
  EXPECT_EQ(out.requests[1].recomputed_tokens, 20);
  EXPECT_EQ(after(out.requests[1], Interval::tool), 200 * kMs);
}

TEST(Tools, SwappedKvLeavesItsRoomToOthers) {
  const std::vector<Request> all{caller(100), caller(200), test::request(20 * kMs, 80, 10)};
  const RunOutcome out = run(engine("swap", false), all);
  EXPECT_EQ(out.ranks[0].tools_swapped, 2);
  EXPECT_EQ(out.requests[2].outcome, Outcome::finished);
  for (const RequestOutcome& r : out.requests) EXPECT_EQ(r.recomputed_tokens, 0);
}

// Who was first stays first, or goes behind those that came meanwhile.
TEST(Tools, WhoReturnsWaitsLastOrByArrival) {
  for (const bool by_arrival : {false, true}) {
    EngineConfig e = engine("discard", false);
    e.max_running = 1;
    e.returns_by_arrival = by_arrival;
    const RunOutcome out =
        run(e, {caller(3), test::request(kMs, 16, 10), test::request(2 * kMs, 16, 10)});
    EXPECT_EQ(out.requests[0].last_token < out.requests[2].last_token, by_arrival);
  }
}

// The tool returns while its instance is down: the request goes on at the other, from its text.
TEST(Tools, AFaultTakesKvNotTheCall) {
  for (const char* policy : {"keep", "swap", "discard"}) {
    FaultPlan plan;
    plan.kind = FaultKind::instance;
    plan.targets = {0};
    plan.at = Time{Duration{50 * kMs}};
    const RunOutcome out = run(engine(policy, false), {caller(100)}, {plan}, 2);
    const RequestOutcome& r = out.requests[0];
    EXPECT_EQ(r.outcome, Outcome::finished);
    EXPECT_EQ(r.instance, 1U) << policy;
    EXPECT_EQ(r.recomputed_tokens, 20) << policy;
    EXPECT_EQ(at(r.last_token), (1070 + 34 + 33) * kMs / 10) << policy;
  }
}

TEST(Tools, WhatNeverFitsIsRejected) {
  EngineConfig e = engine("keep", false);
  Request r = caller(1);
  r.calls[0].returns = 8 * 16;
  EXPECT_EQ(run(e, {r}).requests[0].outcome, Outcome::rejected);
  e.max_model_len = 27;
  EXPECT_EQ(run(e, {caller(1)}).requests[0].outcome, Outcome::rejected);
}

// ---- random loads

struct Load {
  EngineConfig engine;
  std::vector<Request> requests;
  double bandwidth = 0;
  std::string name;  // of its order and pause policy

  [[nodiscard]] RunOutcome run(bool exact) const {
    EngineConfig e = engine;
    e.exact_steps = exact;
    test::LinearCost cost(100, 3, 1);
    World::Options options;
    options.tiers = test::with_hosts({}, 1, bandwidth, Duration{20});
    return test::simulate(e, requests, cost, std::move(options));
  }
};

void draw_calls(Request& r, Rng& rng) {
  std::int64_t left = r.output_tokens - 1;
  while (left > 0 && rng.below(3) != 0) {
    const auto n = 1 + static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(left)));
    r.calls.push_back(
        {n, Duration{static_cast<std::int64_t>(rng.below(rng.below(2) == 0 ? 300 : 20'000))},
         static_cast<std::int64_t>(rng.below(40))});
    left -= n;
  }
  // The answer has a name, though nobody asks for it, or it has none.
  if (rng.below(2) == 0)
    r.segments.push_back(
        {hash_combine(r.segments.back().key, static_cast<std::uint64_t>(to_ns(r.arrival - Time{}))),
         r.output_tokens + returned_tokens(r.calls)});
}

Load draw_load(std::uint64_t seed) {
  Rng rng(seed, "tools");
  const auto below = [&](std::uint64_t n) { return static_cast<std::int64_t>(rng.below(n)); };
  static const std::vector<std::string> kOrders{"fcfs", "srtf", "mlfq", "vtc", "lamps", "priority"};
  static const std::vector<std::string> kPauses{"keep", "discard", "swap", "min-waste"};
  Load l;
  EngineConfig& e = l.engine;
  e.block_tokens = std::int64_t{1} << rng.below(5);
  e.max_running = 1 + below(8);
  e.max_batched_tokens = e.max_running + below(64);
  e.async_scheduling = rng.below(2) == 0;
  e.prefix_caching = rng.below(3) != 0;
  e.full_sequence_admission = rng.below(2) == 0;
  e.watermark = rng.below(3) == 0 ? 0.05 : 0.0;
  e.returns_by_arrival = rng.below(2) == 0;
  e.back_end = Duration{below(3) * 13};
  e.batch.order = static_cast<BatchOrder>(rng.below(3));
  if (rng.below(3) == 0) e.batch.reserve = static_cast<BatchReserve>(rng.below(4));
  const std::string order = kOrders[rng.below(kOrders.size())];
  const std::string pause = kPauses[rng.below(kPauses.size())];
  l.name = order + " " + pause;
  e.make_scheduler = test::make_scheduler(order);
  if (rng.below(6) != 0) e.make_pause = pause_policy(pause);
  e.swap = rng.below(2) == 0;
  e.keeps_copies = e.swap && rng.below(2) == 0;
  e.host_blocks = below(200);
  e.host_block_bytes = 1 + below(4000);
  l.bandwidth = 1e8 * static_cast<double>(1 + rng.below(100));
  std::int64_t now = 0, longest = 0;
  for (std::uint64_t i = 0, n = 5 + rng.below(40); i < n; ++i) {
    now += static_cast<std::int64_t>(rng.exponential(1 + static_cast<double>(rng.below(4000))));
    Request r = test::request(now, 1 + below(rng.below(3) == 0 ? 120 : 30),
                              1 + below(rng.below(3) == 0 ? 150 : 20));
    if (seed % 2 == 0)
      r.segments[0].key = hash_combine(rng.below(4), static_cast<std::uint64_t>(r.prompt_tokens));
    draw_calls(r, rng);
    r.priority = static_cast<std::int32_t>(rng.below(3));
    longest = std::max(longest, r.prompt_tokens + r.output_tokens + returned_tokens(r.calls));
    l.requests.push_back(std::move(r));
  }
  e.kv_blocks = e.blocks_for(longest) * 11 / 10 + 12 + below(rng.below(2) == 0 ? 20 : 200);
  if (rng.below(3) == 0) {
    e.prefix_caching = true;
    e.pool.index = KvPoolConfig::Index::radix;
    e.pool.make_policy = test::make_policy({"leaf-lru", {}});
    e.publish_computed = true;
  }
  Rng paused(seed, "paused");
  if (e.swap) e.copies = static_cast<EngineConfig::Copies>(paused.below(3));
  e.idle_blocks = static_cast<std::int64_t>(paused.below(20));
  // Where pieces of prompts are computed apart and take blocks as they come, two might wait for
  // ever.
  const bool safe = e.batch.order == BatchOrder::running || e.batch.reserve != BatchReserve::none;
  if (safe && !e.keeps_copies && (!e.swap || e.copies != EngineConfig::Copies::waited))
    e.gives_tails = paused.below(3) == 0;
  return l;
}

TEST(Tools, NothingIsLostOnRandomLoads) {
  RankTotals sum;
  std::int64_t calls = 0, preemptions = 0;
  for (std::uint64_t seed = 0; seed < 1500; ++seed) {
    const Load l = draw_load(seed);
    const RunOutcome fast = l.run(false), exact = l.run(true);
    ASSERT_EQ(fast.digest, exact.digest) << "seed " << seed;
    std::int64_t computed = 0, moved = 0;
    for (const RankTotals& r : fast.ranks) {
      computed -= r.prefill_tokens + r.decode_tokens;
      sum.tools_kept += r.tools_kept;
      sum.tools_swapped += r.tools_swapped;
      sum.tools_discarded += r.tools_discarded;
      sum.tools_reclaimed += r.tools_reclaimed;
      moved += r.tools_kept + r.tools_swapped + r.tools_discarded;
      ASSERT_EQ(r.to_host_bytes, exact.ranks[0].to_host_bytes) << "seed " << seed;
    }
    for (std::size_t i = 0; i < l.requests.size(); ++i) {
      const Request& q = l.requests[i];
      const RequestOutcome& r = fast.requests[i];
      ASSERT_EQ(r.outcome, Outcome::finished) << "seed " << seed;
      ASSERT_EQ(r.after_ns, exact.requests[i].after_ns) << "seed " << seed << " request " << i;
      ASSERT_EQ(r.recomputed_tokens, exact.requests[i].recomputed_tokens);
      ASSERT_EQ(r.tool_calls, q.calls.size());
      std::int64_t pauses = 0;
      for (const ToolCall& c : q.calls) pauses += to_ns(c.pause);
      ASSERT_EQ(after(r, Interval::tool), pauses);
      // Each token but the last is computed once, found, or computed again.
      computed += q.prompt_tokens + q.output_tokens + returned_tokens(q.calls) - 1 - r.hit_tokens +
                  r.recomputed_tokens;
      calls += r.tool_calls;
      moved -= r.tool_calls;
      preemptions += r.preemptions;
    }
    // Who lost a part of a prompt may find more of it than that, computed by another.
    ASSERT_GE(computed, 0) << "seed " << seed;
    if (seed % 2 == 1) {
      ASSERT_EQ(computed, 0) << "seed " << seed;
    }
    ASSERT_EQ(moved, 0) << "seed " << seed;
  }
  EXPECT_GT(calls, 20'000);
  EXPECT_GT(sum.tools_kept, 2'000);
  EXPECT_GT(sum.tools_swapped, 2'000);
  EXPECT_GT(sum.tools_discarded, 2'000);
  EXPECT_GT(sum.tools_reclaimed, 100);
  EXPECT_GT(preemptions, 100);
}

}  // namespace
}  // namespace kvsim
