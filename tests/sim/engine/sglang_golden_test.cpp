// SGLang's rules on cases small enough to follow by hand (engine-semantics section 14).
#include <gtest/gtest.h>

#include "tests/support/engine_fixture.h"
#include "tests/support/node_pools.h"

namespace kvsim {
namespace {

// Iterations of 100 ns, one after the other.
EngineConfig sglang(std::int64_t blocks) {
  EngineConfig e;
  e.block_tokens = 1;
  e.kv_blocks = blocks;
  e.max_running = 16;
  e.max_batched_tokens = 64;
  e.async_scheduling = false;
  e.publish_computed = true;
  e.publish_preempted = false;
  e.pool.index = KvPoolConfig::Index::radix;
  e.pool.make_policy = test::make_policy({"leaf-lru", {}});
  e.batch.order = BatchOrder::prompts;
  e.batch.victim = BatchVictim::fewest_outputs;
  e.batch.displaced_last = true;
  return e;
}

RunOutcome run(const EngineConfig& e, std::vector<Request> requests) {
  test::LinearCost cost(100, 0, 0);
  World::Options options;
  options.record_iterations = true;
  return test::simulate(e, std::move(requests), cost, std::move(options));
}

// Outputs 9, 5 and 2 behind prompts of 10 when memory is full: 18 + 14 + 11 tokens in 45 places,
// and three more are asked for, so who has 2 is retracted, and goes behind a newcomer. The others
// end together at 1500, in 21 + 17 places beside the 7 of the newcomer: nobody else has to go. Then
// the retracted one computes its 12 tokens, which samples its third, and decodes the fourth.
TEST(SglangGolden, WhoHasProducedLeastIsRetractedToTheEndOfTheQueue) {
  const RunOutcome out = run(sglang(45), {test::request(0, 10, 12), test::request(450, 10, 8),
                                          test::request(850, 10, 4), test::request(1050, 5, 3)});
  EXPECT_EQ(out.requests[0].preemptions, 0U);
  EXPECT_EQ(out.requests[1].preemptions, 0U);
  EXPECT_EQ(out.requests[2].preemptions, 1U);
  EXPECT_EQ(out.requests[3].preemptions, 0U);
  const auto retracted = std::find_if(out.iterations.begin(), out.iterations.end(),
                                      [](const IterationRecord& i) { return i.preemptions > 0; });
  ASSERT_NE(retracted, out.iterations.end());
  EXPECT_EQ(to_ns(retracted->start), 1100);
  EXPECT_EQ(to_ns(out.requests[3].scheduled), 1200);
  EXPECT_EQ(to_ns(out.requests[0].last_token), 1500);
  EXPECT_EQ(to_ns(out.requests[1].last_token), 1500);
  EXPECT_EQ(to_ns(out.requests[2].last_token), 1700);
}

// A prompt and then another that shares 7 of its 10 tokens: 7 are found with pages of one token, 4
// with pages of four.
TEST(SglangGolden, PrefixesAreSharedByPages) {
  for (const auto& [page, hits] : {std::pair{1, 7}, std::pair{4, 4}}) {
    EngineConfig e = sglang(64);
    e.block_tokens = page;
    const RunOutcome out = run(e, {test::request(0, 10, 2, {{11, 7}, {12, 3}}),
                                   test::request(1000, 10, 2, {{11, 7}, {13, 3}})});
    EXPECT_EQ(out.requests[1].hit_tokens, hits);
  }
}

// The head of the queue is too large, who stands behind it is not admitted before it.
TEST(SglangGolden, NobodyOvertakesTheHead) {
  const RunOutcome out = run(
      sglang(40), {test::request(0, 20, 10), test::request(10, 25, 2), test::request(20, 2, 2)});
  EXPECT_EQ(out.requests[0].preemptions, 0U);
  EXPECT_EQ(to_ns(out.requests[1].scheduled), to_ns(out.requests[0].last_token));
  EXPECT_EQ(out.requests[2].scheduled, out.requests[1].scheduled);
}

// Prompts and decodes are never in one iteration, and prompts come first: while there are decodes,
// who came before the iteration waits only for a slot or for memory. (A record's `waiting` would
// not do, it has those who came during the iteration too.) The head of the queue may need 39 + 11
// places, and what is free at the end of the iteration is less than that and what was due.
TEST(SglangGolden, AnIterationHasPromptsOrDecodes) {
  std::vector<Request> requests;
  for (int i = 0; i < 30; ++i) requests.push_back(test::request(150 * i, 10 + i, 12));
  const RunOutcome out = run(sglang(400), requests);
  std::int64_t waits = 0;
  for (const IterationRecord& i : out.iterations) {
    EXPECT_TRUE(i.decodes == 0 || i.prompts == 0);
    const bool waited = std::any_of(
        out.requests.begin(), out.requests.end(),
        [&](const RequestOutcome& r) { return r.arrival <= i.start && r.scheduled > i.start; });
    EXPECT_TRUE(i.decodes == 0 || !waited || i.running == 16 || i.free_blocks < 60)
        << to_ns(i.start);
    waits += waited && i.decodes > 0 ? 1 : 0;
  }
  EXPECT_GT(waits, 0);  // memory did become short
}

// The new-token ratio (section 9, step 4): a running request with 100 tokens to go counts with 70
// of them, the newcomer with all of its 10 + 100 and a page, and that must be less than what is
// free: 100 + 70 + 111 < places. The newcomer comes while the second piece of the other prompt (64
// + 36) is computed, so the first look at it is at 200, when one of the 101 tokens is there.
TEST(SglangGolden, NewTokenRatioDecidesWhoIsAdmitted) {
  for (const auto& [blocks, together] : {std::pair{282, true}, std::pair{281, false}}) {
    EngineConfig e = sglang(blocks);
    e.batch.reserve = BatchReserve::estimate;
    const RunOutcome out = run(e, {test::request(0, 100, 101), test::request(150, 10, 100)});
    EXPECT_EQ(to_ns(out.requests[1].scheduled) == 200, together) << blocks;
  }
}

// Step 3: who did not fit beside the last piece of a prompt, whose 101 tokens to come count in full
// (64 + 36 + 1 + 101 + 111 < places fails), is not looked at again until somebody has left, though
// the ratio would let it in at 200.
TEST(SglangGolden, AFullBatchStaysFullUntilSomebodyLeaves) {
  EngineConfig e = sglang(283);
  e.batch.reserve = BatchReserve::estimate;
  const RunOutcome out = run(e, {test::request(0, 100, 101), test::request(50, 10, 100)});
  EXPECT_EQ(out.requests[1].scheduled, out.requests[0].last_token);
}

// Step 4: what the batch takes that is being built is charged in full. 64 + 36 + 1 + 101 + 111 <
// places beside the last piece of a prompt; 100 + 1 + 50 + 151 < places beside a prompt that came
// with it, of two with 100 tokens and 50 to come.
TEST(SglangGolden, PromptsOfTheSameBatchAreChargedInFull) {
  for (const auto& [blocks, together] : {std::pair{314, true}, std::pair{313, false}}) {
    EngineConfig e = sglang(blocks);
    e.batch.reserve = BatchReserve::estimate;
    const RunOutcome out = run(e, {test::request(0, 100, 101), test::request(50, 10, 100)});
    EXPECT_EQ(to_ns(out.requests[1].scheduled) == 100, together) << blocks;
  }
  for (const auto& [blocks, together] : {std::pair{303, true}, std::pair{302, false}}) {
    EngineConfig e = sglang(blocks);
    e.max_batched_tokens = 1000;
    e.batch.reserve = BatchReserve::estimate;
    const RunOutcome out = run(e, {test::request(0, 100, 50), test::request(0, 100, 50)});
    EXPECT_EQ(to_ns(out.requests[1].scheduled) == 0, together) << blocks;
  }
}

}  // namespace
}  // namespace kvsim
