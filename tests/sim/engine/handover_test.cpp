// Prompts computed in one place and decoded in another: times by formula, bytes conserved.
#include <gtest/gtest.h>

#include "tests/support/fleet_fixture.h"

namespace kvsim {
namespace {

test::Fleet pair(std::int64_t layers = 1) {
  test::Fleet f;
  f.engine.block_tokens = 4;
  f.engine.kv_blocks = 100;
  f.engine.async_scheduling = false;
  f.instances = 1;
  f.decode = 1;
  f.bandwidth = 1e9;  // a byte a nanosecond
  f.token_bytes = 50;
  f.layers = layers;
  return f;
}

// An iteration takes 1000 ns and 10 for each token. The prompt of 20: 1200 ns, then 20 x 50 bytes
// in 1000 ns, then nine more tokens of 1010 ns each.
TEST(Handover, TakesThePromptTheTransferAndTheRest) {
  test::LinearCost cost(1000, 10, 0);
  const RunOutcome out = pair().run({test::request(0, 20, 10)}, cost);
  const RequestOutcome& r = out.requests.at(0);
  EXPECT_EQ(to_ns(r.first_token), 1200);
  EXPECT_EQ(to_ns(r.last_token), 1200 + 1000 + 9 * 1010);
  EXPECT_EQ(r.after_ns[static_cast<std::size_t>(Interval::handover)], 1000);
  EXPECT_EQ(r.first_instance, 0U);
  EXPECT_EQ(r.instance, 1U);
  EXPECT_EQ(r.handovers, 1U);
  EXPECT_EQ(out.peer_bytes, 1000);
  EXPECT_EQ(out.ranks.at(0).decode_tokens, 0);
  EXPECT_EQ(out.ranks.at(1).prefill_tokens, 1);  // the first token, whose KV nobody had computed
}

// Four layers: three quarters of the prompt's 1200 ns carry KV while the rest computes, so that the
// last layer is all that is left.
TEST(Handover, LayerByLayerLeavesTheLastLayer) {
  test::LinearCost cost(1000, 10, 0);
  const RunOutcome out = pair(4).run({test::request(0, 20, 10)}, cost);
  EXPECT_EQ(out.requests.at(0).after_ns[static_cast<std::size_t>(Interval::handover)],
            std::max(1000 / 4, 1000 - 1200 * 3 / 4));
}

// What is cached where it is decoded is not sent again.
TEST(Handover, LeavesOutWhatIsCachedThere) {
  test::LinearCost cost(1000, 10, 0);
  const std::vector<Segment> same{{77, 20}};
  const RunOutcome out =
      pair().run({test::request(0, 20, 10, same), test::request(100'000, 20, 10, same)}, cost);
  EXPECT_EQ(out.peer_bytes, 1000 + 0);  // 5 blocks of 4 are there
  EXPECT_EQ(out.requests.at(1).after_ns[static_cast<std::size_t>(Interval::handover)], 0);
}

TEST(Handover, ShortPromptsStayWhereTheyAreDecoded) {
  test::LinearCost cost(1000, 10, 0);
  test::Fleet f = pair();
  f.local_prefill = 16;
  const RunOutcome out = f.run({test::request(0, 16, 5), test::request(0, 17, 5)}, cost);
  EXPECT_EQ(out.requests.at(0).handovers, 0U);
  EXPECT_EQ(out.requests.at(0).instance, 1U);
  EXPECT_EQ(out.requests.at(1).handovers, 1U);
}

// One instance is full, the other empty: a request moves with its KV, nothing is computed again.
TEST(Handover, MigrationMovesLiveRequests) {
  test::LinearCost cost(1000, 10, 0);
  test::Fleet f;
  f.engine.block_tokens = 4;
  f.engine.kv_blocks = 8000;
  f.bandwidth = 1e9;
  f.token_bytes = 50;
  f.router = "llumnix";
  f.params = {{"every", "1 ms"}, {"from_below", "11000"}, {"to_above", "12000"}};
  // Both instances get three; those of the second end early.
  std::vector<Request> requests;
  for (int i = 0; i < 6; ++i) requests.push_back(test::request(i, 100, i % 2 == 0 ? 5000 : 20));
  const RunOutcome out = f.run(requests, cost);
  EXPECT_EQ(out.handovers, 1);  // then two and one are even enough
  for (const RequestOutcome& r : out.requests) {
    EXPECT_EQ(r.outcome, Outcome::finished);
    EXPECT_EQ(r.recomputed_tokens, 0);
  }
  EXPECT_GT(out.peer_bytes, 100 * 50);
}

// A prefix that one instance has is copied to another, where only the rest is computed.
TEST(Handover, ConductorCopiesHotPrefixes) {
  test::LinearCost cost(1000, 100, 0);
  test::Fleet f;
  f.engine.block_tokens = 4;
  f.engine.kv_blocks = 1000;
  f.bandwidth = 1e10;
  f.token_bytes = 50;
  f.router = "mooncake-conductor";
  std::vector<Request> requests{test::request(0, 404, 400, {{5, 400}, {6, 4}})};
  for (std::uint64_t i = 0; i < 6; ++i)
    requests.push_back(
        test::request(100'000 + static_cast<std::int64_t>(i), 404, 400, {{5, 400}, {100 + i, 4}}));
  const RunOutcome out = f.run(requests, cost);
  EXPECT_GE(out.copies, 1);
  std::int64_t copied = 0;
  for (const RequestOutcome& r : out.requests) copied += r.peer_tokens;
  EXPECT_EQ(copied, 400 * out.copies);
  EXPECT_EQ(out.peer_bytes, copied * 50);
}

}  // namespace
}  // namespace kvsim
