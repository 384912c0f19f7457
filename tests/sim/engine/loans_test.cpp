// KV memory that instances lend each other: times by hand, and what must hold of every run.
#include "sim/engine/loans.h"

#include <gtest/gtest.h>

#include "tests/support/fleet_fixture.h"

namespace kvsim {
namespace {

constexpr std::int64_t kBase = 1000, kToken = 10, kContext = 2;

// Messages of one query: 2 layers, there and back; 5 bytes a layer over 1 byte a nanosecond.
test::Fleet fleet(std::size_t instances, std::int64_t blocks) {
  test::Fleet f;
  f.engine.block_tokens = 4;
  f.engine.kv_blocks = blocks;
  f.engine.prefix_caching = false;
  f.instances = instances;
  f.bandwidth = 1e9;
  f.token_bytes = 3;
  f.lending = test::FleetLending{};
  f.lending->layers = 2;
  f.lending->query_bytes = 2;
  f.lending->answer_bytes = 3;
  return f;
}

RunOutcome run(const test::Fleet& f, const std::vector<Request>& requests, bool exact = false) {
  test::LinearCost cost(kBase, kToken, kContext);
  return f.run(requests, cost, exact);
}

// 40 tokens of prompt and 8 of output in instances of 6 blocks of 4: 4 blocks of the prompt lie on
// the other one, which is idle.
TEST(Loans, ASequenceLongerThanAnInstance) {
  test::Fleet f = fleet(2, 6);
  f.lending->keep = 0;
  f.lending->chunk_blocks = 1;
  const RunOutcome o = run(f, {test::request(0, 40, 8)});
  ASSERT_EQ(o.requests[0].outcome, Outcome::finished);
  EXPECT_EQ(o.requests[0].preemptions, 0);
  // Computed at once, 16 of its tokens go out over 48 ns: hidden behind the arithmetic.
  const std::int64_t prompt = kBase + 40 * kToken;
  EXPECT_EQ(to_ns(o.requests[0].first_token), prompt);
  std::int64_t at = prompt, borrowed = 4;
  for (std::int64_t context = 41; context < 48; ++context) {
    // A block that is opened makes another one go, of 12 bytes: no time beside the iteration.
    borrowed = std::max<std::int64_t>(borrowed, (context + 3) / 4 - 6);
    const std::int64_t there = 4 * borrowed, here = context - there;
    const std::int64_t messages = 2 * (2 + 3);
    at += kBase + kToken + kContext * here +
          std::max<std::int64_t>(0, messages + kContext * there - kContext * (here - 1));
  }
  EXPECT_EQ(to_ns(o.requests[0].last_token), at);
  EXPECT_EQ(o.lending.peak_blocks, 6);
  EXPECT_EQ(o.lending.copied_bytes, (4 + 2) * 4 * 3);
  EXPECT_EQ(o.lending.message_bytes, 7 * 2 * (2 + 3));
  f.lending.reset();
  EXPECT_EQ(run(f, {test::request(0, 40, 8)}).requests[0].outcome, Outcome::rejected);
}

// What a creditor reads for others its next iteration lasts longer, if it is in one.
TEST(Loans, CreditorsArePaidForInTime) {
  test::Fleet f = fleet(2, 30);
  f.engine.async_scheduling = false;
  f.lending->keep = 0;
  f.lending->chunk_blocks = 1;
  // Round robin: the long one on instance 0, the short one on 1.
  const std::vector<Request> requests{test::request(0, 140, 20), test::request(0, 8, 40)};
  const RunOutcome o = run(f, requests);
  ASSERT_EQ(o.requests[0].outcome, Outcome::finished);
  EXPECT_GT(o.lending.served_ns, 0);
  std::int64_t alone = kBase + 8 * kToken;
  for (std::int64_t context = 9; context < 48; ++context)
    alone += kBase + kToken + kContext * context;
  const std::int64_t extra = to_ns(o.requests[1].last_token) - alone;
  EXPECT_GT(extra, 0);
  EXPECT_LE(extra, o.lending.served_ns);
  std::int64_t gpu = 0;
  for (const RankTotals& r : o.ranks) gpu += r.instance == 1 ? r.gpu_ns : 0;
  EXPECT_EQ(gpu, alone + extra);
}

TEST(Loans, WhatIsBeyondEveryMemoryIsRefused) {
  test::Fleet f = fleet(3, 10);  // 10 and twice 9
  const RunOutcome o = run(f, {test::request(0, 4 * 27, 4), test::request(0, 4 * 27, 5)});
  EXPECT_EQ(o.requests[0].outcome, Outcome::finished);
  EXPECT_EQ(o.requests[1].outcome, Outcome::rejected);
  EXPECT_STREQ(o.requests[1].reason,
               "needs more KV blocks than all instances together can give it");
}

// A long request fills an instance and others wait behind it: the greedy rule moves it out of their
// way, on-demand lends nothing to them.
TEST(Loans, GreedyMakesRoomForThoseWhoWait) {
  test::Fleet f = fleet(2, 100);
  f.router = "round-robin";
  f.lending->every = Duration{5000};
  std::vector<Request> requests{test::request(0, 4 * 95, 15), test::request(0, 4, 300)};
  for (int i = 0; i < 6; ++i)  // those on instance 0 do not fit beside the first
    requests.push_back(test::request(10 + i, i % 2 == 0 ? 60 : 4, 40));
  f.lending->rule = "on-demand";
  const RunOutcome waits = run(f, requests);
  f.lending->rule = "greedy";
  const RunOutcome moves = run(f, requests);
  EXPECT_EQ(waits.lending.loans, 0);
  EXPECT_GT(moves.lending.loans, 0);
  EXPECT_LT(to_ns(moves.requests[2].first_token), to_ns(waits.requests[2].first_token));
}

}  // namespace
}  // namespace kvsim
