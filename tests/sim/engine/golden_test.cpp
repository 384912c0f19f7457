// The engine's own cases (engine-semantics section 14), with their arithmetic.
#include <gtest/gtest.h>

#include "tests/support/engine_fixture.h"

namespace kvsim {
namespace {

using test::request;

EngineConfig small_engine() {
  EngineConfig e;
  e.block_tokens = 16;
  e.kv_blocks = 100;
  e.max_batched_tokens = 64;
  e.max_running = 8;
  e.async_scheduling = false;
  return e;
}

World::Options recording() {
  World::Options o;
  o.record_iterations = true;
  return o;
}

// 1. Pool of 8 blocks of 4. A: prompt 12, 4 outputs; then B with the same prompt: hits 8 (at most
// 11 tokens, so 2 blocks).
TEST(Golden, SamePromptHitsAllButItsLastBlock) {
  EngineConfig e = small_engine();
  e.block_tokens = 4;
  e.kv_blocks = 8;
  test::LinearCost cost(100, 0, 0);
  const std::vector<Segment> prompt{{1, 4}, {2, 4}, {3, 4}};
  const auto out =
      test::simulate(e, {request(0, 12, 4, prompt), request(10'000, 12, 4, prompt)}, cost);
  EXPECT_EQ(out.requests[0].hit_tokens, 0);
  EXPECT_EQ(out.requests[1].hit_tokens, 8);
  EXPECT_EQ(out.requests[1].miss_tokens[static_cast<std::size_t>(MissCause::last_block)], 4);
}

// 2. N = 32 fully cached, block 16: hit 16, compute 16. N = 33: hit 32, compute 1.
TEST(Golden, FullyCachedPrompts) {
  test::LinearCost cost(100, 0, 0);
  const auto computed = [&](std::int64_t n) {
    const std::vector<Segment> prompt{{7, 16}, {8, 16}, {9, n - 32 > 0 ? n - 32 : 1}};
    std::vector<Segment> used(prompt.begin(), prompt.begin() + (n > 32 ? 3 : 2));
    const auto out =
        test::simulate(small_engine(), {request(0, n, 2, used), request(10'000, n, 2, used)}, cost);
    return std::pair(out.requests[1].hit_tokens, n - out.requests[1].hit_tokens);
  };
  EXPECT_EQ(computed(32), std::pair(std::int64_t{16}, std::int64_t{16}));
  EXPECT_EQ(computed(33), std::pair(std::int64_t{32}, std::int64_t{1}));
}

// 4. Two decodes, no free block, the first needs one: FCFS preempts the second, which goes to the
// head of the queue; phase 2 does not run in that step. Blocks of 4, pool of 4: A and B hold two
// blocks each (prompt 7; the token after 8 needs a third).
TEST(Golden, TheLastOfRunningIsPreempted) {
  EngineConfig e = small_engine();
  e.block_tokens = 4;
  e.kv_blocks = 4;
  e.prefix_caching = false;
  test::LinearCost cost(100, 0, 0);
  const auto out =
      test::simulate(e, {request(0, 7, 6), request(0, 7, 6), request(0, 3, 1)}, cost, recording());
  EXPECT_EQ(out.requests[0].preemptions, 0U);
  EXPECT_EQ(out.requests[1].preemptions, 1U);
  EXPECT_EQ(out.requests[2].preemptions, 0U);
  std::size_t step = 0;
  while (step < out.iterations.size() && out.iterations[step].preemptions == 0) ++step;
  ASSERT_LT(step, out.iterations.size());
  EXPECT_EQ(out.iterations[step].decodes, 1);         // A alone
  EXPECT_EQ(out.iterations[step].prefill_tokens, 0);  // nobody is admitted in that step
  // B stood before C again, so C, who arrived third, never overtook it.
  EXPECT_LT(out.requests[1].first_token, out.requests[2].first_token);
  EXPECT_LE(out.requests[1].last_token, out.requests[2].first_token + Duration{600});
}

// 5. Budget 8, three decodes, a waiting prompt of 20: chunks of 5; the first token comes with the
// fourth.
TEST(Golden, ChunksFillTheBudget) {
  EngineConfig e = small_engine();
  e.max_batched_tokens = 8;
  test::LinearCost cost(100, 0, 0);
  std::vector<Request> requests;
  for (int i = 0; i < 3; ++i) requests.push_back(request(0, 2, 50));
  requests.push_back(request(150, 20, 3));
  const auto out = test::simulate(e, requests, cost, recording());
  std::vector<std::int64_t> chunks;
  for (const IterationRecord& it : out.iterations)
    if (it.prefill_tokens > 0 && it.decodes == 3) chunks.push_back(it.prefill_tokens);
  EXPECT_EQ(chunks, (std::vector<std::int64_t>{5, 5, 5, 5}));
  EXPECT_EQ(to_ns(out.requests[3].first_token),
            600);  // steps end at 100, 200, ...; chunks run in 200..600
}

// 6. Waiting head too large, second small: the second is not admitted.
TEST(Golden, HeadOfLineBlocks) {
  EngineConfig e = small_engine();
  e.block_tokens = 4;
  e.kv_blocks = 8;
  e.prefix_caching = false;
  test::LinearCost cost(100, 0, 0);
  const auto out =
      test::simulate(e, {request(0, 16, 8), request(50, 24, 2), request(60, 4, 2)}, cost);
  EXPECT_GE(out.requests[1].scheduled, out.requests[0].last_token);
  EXPECT_GE(out.requests[2].scheduled, out.requests[1].scheduled);
  EXPECT_GT(out.requests[1].ttft_ns[static_cast<std::size_t>(Interval::blocked_memory)], 0);
}

// Async scheduling: an arrival during iteration k joins iteration k+2, because k+1 was decided when
// k started.
TEST(Golden, AsyncSchedulingDecidesOneIterationAhead) {
  EngineConfig e = small_engine();
  test::LinearCost cost(100, 0, 0);
  const std::vector<Request> requests{request(0, 4, 50), request(350, 4, 2)};
  const auto sync = test::simulate(e, requests, cost);
  e.async_scheduling = true;
  const auto async = test::simulate(e, requests, cost);
  EXPECT_EQ(to_ns(sync.requests[1].first_token), 500);   // joins [400, 500)
  EXPECT_EQ(to_ns(async.requests[1].first_token), 600);  // [400, 500) was decided at 300
  EXPECT_EQ(to_ns(async.requests[1].scheduled), 400);
}

// Generated tokens are cached like prompt tokens: a second turn hits prompt and answer.
TEST(Golden, GeneratedTokensAreCached) {
  EngineConfig e = small_engine();
  e.block_tokens = 4;
  test::LinearCost cost(100, 0, 0);
  const std::vector<Segment> history{{1, 8}, {2, 9}};  // prompt 8, answer 9
  std::vector<Segment> second = history;
  second.push_back({3, 7});
  const auto out =
      test::simulate(e, {request(0, 8, 9, history), request(100'000, 24, 2, second)}, cost);
  // The last answer token's KV was never computed: 16 tokens, four blocks.
  EXPECT_EQ(out.requests[1].hit_tokens, 16);
}

TEST(Golden, RejectsWhatCanNeverFit) {
  EngineConfig e = small_engine();
  e.kv_blocks = 4;
  test::LinearCost cost(100, 0, 0);
  const auto out = test::simulate(e, {request(0, 60, 10), request(0, 10, 10)}, cost);
  EXPECT_EQ(out.requests[0].outcome, Outcome::rejected);
  EXPECT_STREQ(out.requests[0].reason, "needs more KV blocks than the instance has");
  EXPECT_EQ(out.requests[1].outcome, Outcome::finished);
}

TEST(Golden, ResetForgetsWhenNothingIsHeld) {
  EngineConfig e = small_engine();
  test::LinearCost cost(100, 0, 0);
  const std::vector<Segment> prompt{{7, 16}, {8, 16}, {9, 1}};
  World::Options o;
  o.resets = {Time{Duration{50}}, Time{Duration{5'000}}};  // the first finds the request inside
  const auto out = test::simulate(
      e, {request(0, 33, 2, prompt), request(1'000, 33, 2, prompt), request(9'000, 33, 2, prompt)},
      cost, std::move(o));
  EXPECT_EQ(out.requests[1].hit_tokens, 32);
  EXPECT_EQ(out.requests[2].hit_tokens, 0);
  EXPECT_EQ(out.requests[2].miss_tokens[static_cast<std::size_t>(MissCause::reset)], 32);
}

TEST(Golden, LockStepRanksWaitForTheSlowest) {
  EngineConfig e = small_engine();
  test::LinearCost cost(100, 10, 0);
  // Two ranks: one computes 40 prompt tokens, the other 4; both steps last as long as the longer
  // one.
  const std::vector<Request> requests{request(0, 40, 2), request(0, 4, 2)};
  const auto apart = test::simulate(e, requests, cost, {}, 2, false);
  const auto together = test::simulate(e, requests, cost, {}, 2, true);
  EXPECT_EQ(to_ns(apart.requests[1].first_token), 140);
  EXPECT_EQ(to_ns(together.requests[1].first_token), 500);
}

}  // namespace
}  // namespace kvsim
