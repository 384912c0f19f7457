// Preempted requests that wait in host memory: timelines by hand, room, faults.
#include <gtest/gtest.h>

#include "tests/support/tier_fixture.h"

namespace kvsim {
namespace {

constexpr std::int64_t kStep = 1'000'000;  // ns of an iteration, and of copying a block

EngineConfig tight_engine(std::int64_t host_blocks) {
  EngineConfig e;
  e.block_tokens = 16;
  e.kv_blocks = 4;
  e.max_batched_tokens = 4096;
  e.max_running = 16;
  e.async_scheduling = false;
  e.swap = host_blocks > 0;
  e.host_blocks = host_blocks;
  e.host_block_bytes = 1'000'000;
  return e;
}

RunOutcome run(const EngineConfig& engine, std::vector<Request> requests, int instances = 1,
               std::vector<FaultPlan> faults = {}) {
  test::LinearCost cost(kStep, 0, 0);
  World::Options options;
  options.record_transfers = true;
  options.faults = std::move(faults);
  if (engine.swap) options.tiers = test::with_hosts({}, static_cast<std::size_t>(instances), 1e9);
  return test::simulate(engine, std::move(requests), cost, std::move(options), 1, false, instances);
}

std::int64_t after(const RequestOutcome& r, Interval i) {
  return r.after_ns[static_cast<std::size_t>(i)];
}

std::int64_t at(Time t) { return to_ns(t - Time{}); }

// Both prompts fill a block. From their 17th token on each has two, which is all; in iteration 18
// both need a third, and B, the last, leaves with its two.
std::vector<Request> pair(std::int64_t first_output) {
  return {test::request(0, 16, first_output), test::request(0, 16, 20)};
}

TEST(Swap, TheIterationWaitsForTheCopies) {
  const RunOutcome out = run(tight_engine(2), pair(40));
  const RequestOutcome &a = out.requests[0], &b = out.requests[1];
  // A: 40 iterations, of which number 18 waits 2 for B's blocks to leave.
  EXPECT_EQ(at(a.last_token), 42 * kStep);
  EXPECT_EQ(after(a, Interval::load_stall), 2 * kStep);
  EXPECT_EQ(after(a, Interval::decode), 39 * kStep);
  // B had 17 tokens at 17 ms; at 42 ms it comes back, in an iteration that waits for its blocks.
  EXPECT_EQ(after(b, Interval::preempted), (42 - 17) * kStep);
  EXPECT_EQ(after(b, Interval::load_stall), 2 * kStep);
  EXPECT_EQ(after(b, Interval::decode), (16 + 3) * kStep);
  EXPECT_EQ(at(b.last_token), 47 * kStep);
  EXPECT_EQ(b.preemptions, 1U);
  EXPECT_EQ(b.swaps, 1U);
  EXPECT_EQ(b.recomputed_tokens, 0);
  const RankTotals& r = out.ranks[0];
  EXPECT_EQ(r.swaps_out, 1);
  EXPECT_EQ(r.swaps_in, 1);
  EXPECT_EQ(r.to_host_bytes, 2'000'000);
  EXPECT_EQ(r.from_host_bytes, 2'000'000);
  EXPECT_EQ(r.peak_host_blocks, 2);
  EXPECT_EQ(r.stall_ns, 4 * kStep);
  ASSERT_EQ(out.transfers.size(), 2U);
  EXPECT_EQ(at(out.transfers[0].start), 17 * kStep);
  EXPECT_EQ(at(out.transfers[0].end), 19 * kStep);
  EXPECT_EQ(at(out.transfers[1].start), 42 * kStep);
  EXPECT_EQ(out.links[0].bytes, 2'000'000);
}

// Two blocks take X = 2 ms, an iteration Y = 1 ms; in four layers T = max(X/4 + Y, X + Y/4).
TEST(Swap, LayersWaitForTheirOwnCopies) {
  EngineConfig e = tight_engine(2);
  e.copy_layers = 4;
  const RunOutcome out = run(e, pair(40));
  EXPECT_EQ(at(out.requests[0].last_token), 40 * kStep + 5 * kStep / 4);
  EXPECT_EQ(after(out.requests[1], Interval::load_stall), 5 * kStep / 4);
  EXPECT_EQ(out.ranks[0].stall_ns, 10 * kStep / 4);
  EXPECT_EQ(out.ranks[0].to_host_bytes, 2'000'000);
}

// A needs only a third block and takes B's last; B's first is still cached when it returns.
TEST(Swap, WhatIsStillCachedNeedNotComeBack) {
  const RunOutcome out = run(tight_engine(2), pair(30));
  EXPECT_EQ(out.ranks[0].to_host_bytes, 2'000'000);
  EXPECT_EQ(out.ranks[0].from_host_bytes, 1'000'000);
  EXPECT_EQ(at(out.requests[0].last_token), 32 * kStep);
  EXPECT_EQ(at(out.requests[1].last_token), (32 + 1 + 3) * kStep);
}

TEST(Swap, SameTokensAsRecomputing) {
  const RunOutcome swap = run(tight_engine(2), pair(40)), again = run(tight_engine(0), pair(40));
  EXPECT_EQ(again.requests[1].recomputed_tokens, 32);
  EXPECT_EQ(swap.ranks[0].decode_tokens + swap.ranks[0].prefill_tokens + 32,
            again.ranks[0].decode_tokens + again.ranks[0].prefill_tokens);
  for (std::size_t i = 0; i < 2; ++i)
    EXPECT_EQ(swap.requests[i].output_tokens, again.requests[i].output_tokens);
}

TEST(Swap, WithoutRoomItIsComputedAgain) {
  const RunOutcome out = run(tight_engine(1), pair(40));
  EXPECT_EQ(out.requests[1].preemptions, 1U);
  EXPECT_EQ(out.requests[1].swaps, 0U);
  EXPECT_EQ(out.requests[1].recomputed_tokens, 32);
  EXPECT_EQ(out.ranks[0].to_host_bytes, 0);
  EXPECT_EQ(out.digest, run(tight_engine(1), pair(40)).digest);
}

// C waits since 1 ms and would fit beside A, but B was swapped out and comes first.
TEST(Swap, SwappedComeBeforeWaiting) {
  std::vector<Request> requests = pair(40);
  requests.push_back(test::request(17 * kStep + 1, 10, 5));
  const RunOutcome out = run(tight_engine(2), requests);
  EXPECT_EQ(at(out.requests[1].last_token), 47 * kStep);
  EXPECT_EQ(at(out.requests[2].scheduled), 42 * kStep);
}

// A prompt that is half computed keeps its half.
TEST(Swap, APromptGoesOnWhereItWas) {
  EngineConfig e = tight_engine(8);
  e.kv_blocks = 6;
  e.max_batched_tokens = 17;
  e.full_sequence_admission = false;
  // B gets 16 tokens of its prompt an iteration beside A's decode.
  const RunOutcome out = run(e, {test::request(0, 16, 70), test::request(1, 80, 3)});
  const RequestOutcome& b = out.requests[1];
  EXPECT_GT(b.swaps, 0U);
  EXPECT_EQ(b.recomputed_tokens, 0);
  EXPECT_EQ(out.ranks[0].prefill_tokens, 16 + 80);
}

TEST(Swap, AFaultLosesWhatWasSwappedOut) {
  FaultPlan fault;
  fault.targets = {0};
  fault.at = Time{Duration{25 * kStep + 1}};
  fault.down = Duration{1000 * kStep};
  std::vector<Request> requests{test::request(0, 16, 40), test::request(0, 16, 1),
                                test::request(0, 16, 20)};
  const RunOutcome out = run(tight_engine(2), requests, 2, {fault});
  EXPECT_EQ(out.requests[2].swaps, 1U);
  EXPECT_EQ(out.requests[2].instance, 1U);
  EXPECT_EQ(out.requests[2].recomputed_tokens, 32);
  for (const RequestOutcome& r : out.requests) EXPECT_EQ(r.outcome, Outcome::finished);
}

// In the middle of a copy: the iteration ends without it, what it moved is lost.
TEST(Swap, AFaultCutsACopy) {
  FaultPlan fault;
  fault.targets = {0};
  fault.at = Time{Duration{18 * kStep}};
  fault.down = Duration{1000 * kStep};
  std::vector<Request> requests{test::request(0, 16, 40), test::request(0, 16, 1),
                                test::request(0, 16, 20)};
  const RunOutcome out = run(tight_engine(2), requests, 2, {fault});
  EXPECT_EQ(out.faults[0].transfers_failed, 1);
  EXPECT_EQ(out.ranks[0].to_host_bytes, 1'000'000);
  for (const RequestOutcome& r : out.requests) EXPECT_EQ(r.outcome, Outcome::finished);
}

// A link that is down holds copies up until it is back; detours are for tiers, of which there are
// none.
FaultPlan cut_link(Duration down) {
  FaultPlan fault;
  fault.kind = FaultKind::link;
  fault.targets = {0};
  fault.at = Time{Duration{18 * kStep}};
  fault.down = down;
  fault.detours = {{{}}, {{}}};
  return fault;
}
const std::vector<Request> kTight{test::request(0, 16, 40), test::request(0, 16, 1),
                                  test::request(0, 16, 20)};

TEST(Swap, CopiesWaitForALinkThatComesBack) {
  const RunOutcome out = run(tight_engine(2), kTight, 2, {cut_link(Duration{100 * kStep})});
  for (const RequestOutcome& r : out.requests) EXPECT_EQ(r.outcome, Outcome::finished);
  EXPECT_GT(out.ranks[0].stall_ns, 70 * kStep);  // copies alone take four steps
}

TEST(Swap, ALinkThatNeverComesBackEndsTheRun) {
  EXPECT_THROW(run(tight_engine(2), kTight, 2, {cut_link(Duration{0})}), InputError);
}

// Two urgent requests displace one after the other who runs alone. At 6 ms it has 21 tokens in two
// blocks; when it has come back its full block stays in host memory, so that at 21 ms only the
// other one is copied.
TEST(Swap, CopiesThatStayAreNotMadeAgain) {
  for (const bool keeps : {false, true}) {
    EngineConfig e = tight_engine(8);
    e.prefix_caching = false;
    e.max_running = 1;
    e.keeps_copies = keeps;
    e.make_scheduler = test::make_scheduler("priority", {{"preempt", "true"}});
    std::vector<Request> all{test::request(0, 16, 40), test::request(5'500'000, 16, 3),
                             test::request(20'500'000, 16, 3)};
    all[0].priority = 1;
    const RunOutcome out = run(e, all);
    EXPECT_EQ(at(out.requests[1].last_token), 11 * kStep);
    EXPECT_EQ(at(out.requests[2].last_token), (keeps ? 25 : 26) * kStep);
    EXPECT_EQ(at(out.requests[0].last_token), (keeps ? 53 : 54) * kStep);
    EXPECT_EQ(out.requests[0].swaps, 2U);
    EXPECT_EQ(out.ranks[0].to_host_bytes, keeps ? 3'000'000 : 4'000'000);
    EXPECT_EQ(out.ranks[0].from_host_bytes, 4'000'000);
  }
}

}  // namespace
}  // namespace kvsim
