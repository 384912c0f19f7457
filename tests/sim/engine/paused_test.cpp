// Preempted requests that keep their KV on the GPU until its blocks are needed: timelines by hand.
#include <gtest/gtest.h>

#include "tests/support/tier_fixture.h"

namespace kvsim {
namespace {

using Copies = EngineConfig::Copies;
constexpr std::int64_t kStep = 1'000'000;  // ns of an iteration, and of copying a block

EngineConfig engine(std::int64_t blocks, Copies copies) {
  EngineConfig e;
  e.block_tokens = 16;
  e.kv_blocks = blocks;
  e.max_batched_tokens = 4096;
  e.max_running = 16;
  e.async_scheduling = false;
  e.copies = copies;
  e.swap = copies != Copies::waited;
  e.gives_tails = !e.swap;
  e.host_blocks = e.swap ? 8 : 0;
  e.host_block_bytes = 1'000'000;
  return e;
}

RunOutcome run(const EngineConfig& e, std::vector<Request> requests) {
  test::LinearCost cost(kStep, 0, 0);
  World::Options options;
  if (e.swap) options.tiers = test::with_hosts({}, 1, 1e9);
  return test::simulate(e, std::move(requests), cost, std::move(options));
}

std::int64_t at(Time t) { return to_ns(t - Time{}); }
std::int64_t after(const RequestOutcome& r, Interval i) {
  return r.after_ns[static_cast<std::size_t>(i)];
}

// Both prompts fill a block, and from their 17th token on each has two, which is all; in iteration
// 18 both need a third.
std::vector<Request> pair(std::int64_t first_output) {
  return {test::request(0, 16, first_output), test::request(0, 16, 20)};
}

// Who runs waits for the place of what is on its way; who returns does so beside the iterations.
TEST(Paused, OnlyTheWayOutIsWaitedFor) {
  const RunOutcome out = run(engine(4, Copies::beside), pair(40));
  const RequestOutcome &a = out.requests[0], &b = out.requests[1];
  EXPECT_EQ(at(a.last_token), 42 * kStep);
  EXPECT_EQ(after(a, Interval::load_stall), 2 * kStep);
  // Its two blocks come from 42 to 44 ms, then three tokens.
  EXPECT_EQ(after(b, Interval::preempted), (44 - 17) * kStep);
  EXPECT_EQ(after(b, Interval::load_stall), 0);
  EXPECT_EQ(at(b.last_token), 47 * kStep);
  EXPECT_EQ(out.ranks[0].stall_ns, 2 * kStep);
  EXPECT_EQ(out.ranks[0].to_host_bytes, 2'000'000);
  EXPECT_EQ(b.swaps, 1U);
}

// The last block goes, its 16 tokens and the one that was sampled are computed in one iteration.
TEST(Paused, ATailIsComputedAgain) {
  const RunOutcome out = run(engine(4, Copies::waited), pair(30));
  const RequestOutcome &a = out.requests[0], &b = out.requests[1];
  EXPECT_EQ(at(a.last_token), 30 * kStep);
  EXPECT_EQ(at(b.last_token), 33 * kStep);
  EXPECT_EQ(b.recomputed_tokens, 16);
  EXPECT_EQ(out.ranks[0].prefill_tokens, 32 + 17);
}

// With a longer answer A needs a fourth block, and B's first goes too.
TEST(Paused, ATailGrowsWithTheNeed) {
  EngineConfig e = engine(4, Copies::waited);
  e.prefix_caching = false;
  const RunOutcome out = run(e, pair(40));
  EXPECT_EQ(at(out.requests[0].last_token), 40 * kStep);
  EXPECT_EQ(out.requests[1].recomputed_tokens, 32);
  EXPECT_EQ(at(out.requests[1].last_token), 43 * kStep);
}

// Of a tail only the block that is needed travels: one out, one back.
TEST(Paused, ATailIsSwapped) {
  EngineConfig e = engine(4, Copies::beside);
  e.gives_tails = true;
  const RunOutcome out = run(e, pair(30));
  EXPECT_EQ(at(out.requests[0].last_token), 31 * kStep);
  EXPECT_EQ(at(out.requests[1].last_token), (31 + 1 + 3) * kStep);
  EXPECT_EQ(out.ranks[0].to_host_bytes, 1'000'000);
  EXPECT_EQ(out.ranks[0].from_host_bytes, 1'000'000);
  EXPECT_EQ(out.requests[1].recomputed_tokens, 0);
}

// Of its last layers as many as make room for a block: two blocks of four layers, of which two go,
// out and back.
TEST(Paused, LayersAreSwapped) {
  EngineConfig e = engine(4, Copies::beside);
  e.prefix_caching = false;
  e.gives_tails = true;
  e.part_layers = 4;
  const RunOutcome out = run(e, pair(30));
  EXPECT_EQ(at(out.requests[0].last_token), 31 * kStep);
  EXPECT_EQ(at(out.requests[1].last_token), (31 + 1 + 3) * kStep);
  EXPECT_EQ(out.ranks[0].to_host_bytes, 2'000'000 * 2 / 4);
  EXPECT_EQ(out.ranks[0].from_host_bytes, 2'000'000 * 2 / 4);
  EXPECT_EQ(out.requests[1].recomputed_tokens, 0);
  EXPECT_EQ(out.requests[1].swaps, 1U);
  // One layer is all there is: the whole request goes.
  e.part_layers = 1;
  EXPECT_EQ(run(e, pair(30)).ranks[0].to_host_bytes, 2'000'000);
}

// Where host memory is full, layers cannot be given up alone.
TEST(Paused, LayersThatFindNoRoomTakeAllWithThem) {
  EngineConfig e = engine(4, Copies::beside);
  e.prefix_caching = false;
  e.gives_tails = true;
  e.part_layers = 4;
  e.host_blocks = 0;
  const RunOutcome out = run(e, pair(30));
  EXPECT_EQ(out.requests[1].recomputed_tokens, 32);
  EXPECT_EQ(out.ranks[0].to_host_bytes, 0);
}

// Two urgent requests of three tokens displace one after the other who runs alone; its two blocks
// stay, or leave while they run and come back after.
TEST(Paused, IdleBlocksDecideWhetherItStays) {
  for (const std::int64_t idle : {0, 7}) {
    EngineConfig e = engine(8, Copies::ahead);
    e.idle_blocks = idle;
    e.prefix_caching = false;
    e.max_running = 1;
    e.make_scheduler = test::make_scheduler("priority", {{"preempt", "true"}});
    std::vector<Request> all{test::request(0, 16, 40), test::request(5'500'000, 16, 3),
                             test::request(20'500'000, 16, 3)};
    all[0].priority = 1;
    const RunOutcome out = run(e, all);
    EXPECT_EQ(at(out.requests[1].last_token), 9 * kStep);
    EXPECT_EQ(at(out.requests[2].last_token), 24 * kStep);
    EXPECT_EQ(at(out.requests[0].last_token), (idle == 0 ? 46 : 50) * kStep);
    EXPECT_EQ(out.requests[0].preemptions, 2U);
    EXPECT_EQ(out.requests[0].swaps, idle == 0 ? 0U : 2U);
    EXPECT_EQ(out.ranks[0].stall_ns, 0);
  }
}

// The urgent request ends while the one it displaced is in host memory, but another still runs in
// its place: what is away comes back before its turn, when blocks are idle again.
TEST(Paused, WhatIsAwayComesBackBeforeItsTurn) {
  EngineConfig e = engine(12, Copies::ahead);
  e.idle_blocks = 7;
  e.prefix_caching = false;
  e.max_running = 1;
  e.make_scheduler = test::make_scheduler("priority", {{"preempt", "true"}});
  // A has two blocks when B with its four displaces it; C, of one, comes while B runs.
  std::vector<Request> all{test::request(0, 16, 40), test::request(5'500'000, 64, 3),
                           test::request(6'500'000, 16, 5)};
  all[0].priority = 2;
  all[2].priority = 1;
  const RunOutcome out = run(e, all);
  EXPECT_EQ(at(out.requests[1].last_token), 9 * kStep);
  EXPECT_EQ(at(out.requests[2].last_token), 14 * kStep);
  EXPECT_EQ(at(out.requests[0].last_token), 48 * kStep);  // as if no copy had been made
  EXPECT_EQ(out.requests[0].swaps, 1U);
  EXPECT_EQ(out.ranks[0].to_host_bytes, 2'000'000);
}

// At 4 ms A has four tokens and waits at the end of the first segment; B, two milliseconds younger,
// comes there at 6 ms, and both go on together. A third that is alone there goes on when nobody
// runs.
TEST(Paused, SegmentsAreEnteredTogether) {
  EngineConfig e = engine(20, Copies::waited);
  Tree params = Tree::map(), segments = Tree::list(), groups = Tree::list();
  segments.push(Tree::scalar("4"));
  for (const char* n : {"1", "2"}) groups.push(Tree::scalar(n));
  params.set("segments", segments);
  params.set("groups", groups);
  params.set("max_wait", Tree::scalar("0"));
  e.make_scheduler = [params](const Scheduler::Context& c) {
    return Registry::instance().make<Scheduler>("nested-wait", params, c);
  };
  const RunOutcome out = run(e, {test::request(0, 16, 8), test::request(2 * kStep, 16, 8),
                                 test::request(7 * kStep, 16, 6)});
  const RequestOutcome &a = out.requests[0], &b = out.requests[1], &c = out.requests[2];
  EXPECT_EQ(at(a.last_token), 10 * kStep);
  EXPECT_EQ(after(a, Interval::preempted), 2 * kStep);
  EXPECT_EQ(a.recomputed_tokens, 0);
  EXPECT_EQ(at(b.last_token), 10 * kStep);
  EXPECT_EQ(after(b, Interval::preempted), 0);
  EXPECT_EQ(at(c.last_token), 13 * kStep);
}

}  // namespace
}  // namespace kvsim
