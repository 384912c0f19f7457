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

// Outputs 5, 2 and 9 behind prompts of 10 when memory is full: 14 + 11 + 18 tokens in 45 places,
// and three more are asked for. Who has 2 is retracted, and goes behind a newcomer.
TEST(SglangGolden, WhoHasProducedLeastIsRetractedToTheEndOfTheQueue) {
  const RunOutcome out = run(sglang(45), {test::request(0, 10, 30), test::request(450, 10, 30),
                                          test::request(850, 10, 30), test::request(1050, 5, 3)});
  EXPECT_EQ(out.requests[0].preemptions, 0U);
  EXPECT_EQ(out.requests[1].preemptions, 0U);
  EXPECT_GE(out.requests[2].preemptions, 1U);
  const auto retracted = std::find_if(out.iterations.begin(), out.iterations.end(),
                                      [](const IterationRecord& i) { return i.preemptions > 0; });
  ASSERT_NE(retracted, out.iterations.end());
  EXPECT_EQ(to_ns(retracted->start), 1100);
  EXPECT_EQ(to_ns(out.requests[3].scheduled), 1200);
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

// Prompts and decodes are never in one iteration, and prompts come first.
TEST(SglangGolden, AnIterationHasPromptsOrDecodes) {
  std::vector<Request> requests;
  for (int i = 0; i < 30; ++i) requests.push_back(test::request(150 * i, 10 + i, 12));
  const RunOutcome out = run(sglang(400), requests);
  for (const IterationRecord& i : out.iterations) {
    EXPECT_TRUE(i.decodes == 0 || i.prompts == 0);
    EXPECT_TRUE(i.decodes == 0 || i.waiting == 0 || i.free_blocks < 60);
  }
}

// The new-token ratio: a running request with 100 tokens to go counts with 70 of them, the newcomer
// with all of its 10 + 100, a page, and one place must be left: 101 + 70 + 110 + 2 places.
TEST(SglangGolden, NewTokenRatioDecidesWhoIsAdmitted) {
  for (const auto& [blocks, together] : {std::pair{283, true}, std::pair{281, false}}) {
    EngineConfig e = sglang(blocks);
    e.batch.reserve = BatchReserve::estimate;
    const RunOutcome out = run(e, {test::request(0, 100, 101), test::request(50, 10, 100)});
    EXPECT_EQ(to_ns(out.requests[1].scheduled) == 200, together) << blocks;
  }
}

}  // namespace
}  // namespace kvsim
