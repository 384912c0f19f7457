// A pool whose chunks lie with the node that wrote them: closed forms of reads near and far, copies
// of what is read from afar, and what is left when a node is lost.
#include <gtest/gtest.h>

#include "tests/support/tier_fixture.h"

namespace kvsim {
namespace {

constexpr std::int64_t kIteration = 1'000'000;        // ns, whatever is in it
constexpr std::int64_t kNear = 4'000, kFar = 40'000;  // 4 chunks of 1000 bytes at 1 and 0.1 GB/s

EngineConfig small_engine() {
  EngineConfig e;
  e.block_tokens = 16;
  e.kv_blocks = 5;  // the next prompt takes the blocks of the one before
  e.max_batched_tokens = 4096;
  e.max_running = 16;
  e.async_scheduling = false;
  return e;
}

test::TierSetup pool() {
  test::TierSetup t{test::tier("pool", TierKind::remote, 1000)};
  t.far_bandwidth = 1e8;
  return t;
}

// One request every 10 ms, by turns at node 0 and node 1, each of 64 tokens to keep and 6 more.
std::vector<Request> requests(std::initializer_list<std::uint64_t> contents) {
  std::vector<Request> out;
  for (const std::uint64_t key : contents)
    out.push_back(
        test::request(static_cast<std::int64_t>(out.size()) * 10 * kIteration, 70, 1, {{key, 70}}));
  return out;
}

RunOutcome run(const test::TierSetup& tier, std::initializer_list<std::uint64_t> contents,
               std::vector<FaultPlan> faults = {}) {
  test::LinearCost cost(kIteration, 0, 0);
  World::Options options;
  options.tiers = test::tier_system({}, {tier}, 2, 16);
  options.faults = std::move(faults);
  return test::simulate(small_engine(), requests(contents), cost, std::move(options), 1, false, 2);
}

std::int64_t fetch(const RunOutcome& out, std::size_t request) {
  return out.requests[request].ttft_ns[static_cast<std::size_t>(Interval::fetch_remote)];
}

const LinkUse& link(const RunOutcome& out, std::size_t node, std::size_t which) {
  return out.links[node * 3 + which];  // in, out, far
}

// Content 11 is written by node 0, then read by node 1, by node 0, and by node 1 again.
constexpr std::initializer_list<std::uint64_t> kStory = {11, 22, 33, 11, 11, 44, 55, 11};

TEST(TierPool, ReadsFromOtherNodesPassTheNetwork) {
  const RunOutcome out = run(pool(), kStory);
  EXPECT_EQ(fetch(out, 3), kFar);
  EXPECT_EQ(fetch(out, 4), kNear);
  EXPECT_EQ(fetch(out, 7), kFar);
  for (const std::size_t far : {3U, 7U}) {
    EXPECT_EQ(out.requests[far].tier_tokens[0], 64);
    EXPECT_EQ(out.requests[far].far_tokens[0], 64);
  }
  EXPECT_EQ(out.requests[4].tier_tokens[0], 64);
  EXPECT_EQ(out.requests[4].far_tokens[0], 0);
  EXPECT_EQ(link(out, 0, 2).bytes, 0);
  EXPECT_EQ(link(out, 0, 0).bytes, 4'000);
  EXPECT_EQ(link(out, 1, 2).bytes, 8'000);
  EXPECT_EQ(out.tiers[0].far_read, 8);
  EXPECT_EQ(out.tiers[0].read, 12);
  // What is in the pool is not written again by who has read it.
  EXPECT_EQ(out.tiers[0].inserted, 12);  // 11, 33, 55
  EXPECT_EQ(out.tiers[1].inserted, 8);   // 22, 44
}

TEST(TierPool, TheSecondReadIsNearOnceTheReaderKeepsACopy) {
  test::TierSetup tier = pool();
  tier.config.replicate_after = 1;
  const RunOutcome out = run(tier, kStory);
  EXPECT_EQ(fetch(out, 3), kFar);
  EXPECT_EQ(fetch(out, 7), kNear);
  EXPECT_EQ(out.requests[7].far_tokens[0], 0);
  EXPECT_EQ(out.tiers[1].copied, 4);
  EXPECT_EQ(out.tiers[1].copied_bytes, 4'000);
  EXPECT_EQ(out.tiers[0].far_read, 4);
}

TEST(TierPool, CopiesAreMadeAfterSoManyReadsAndNoMoreThanAllowed) {
  test::TierSetup tier = pool();
  tier.config.replicate_after = 2;  // the second read from afar makes it
  const RunOutcome second = run(tier, kStory);
  EXPECT_EQ(fetch(second, 7), kFar);
  EXPECT_EQ(second.tiers[1].copied, 4);
  tier.config.replicate_after = 1;
  tier.config.most_copies = 1;
  EXPECT_EQ(run(tier, kStory).tiers[1].copied, 0);
}

// Either node has room for 10 chunks. Node 0 drops the tail of 11, which node 1 has, too; then node
// 1 drops the front of it, not its own, older 22, which would go by age.
TEST(TierPool, CopiesLeaveBeforeTheLastOfAChunk) {
  test::TierSetup tier = pool();
  tier.config.replicate_after = 1;
  tier.capacity = 10;
  const RunOutcome out = run(tier, {11, 22, 33, 11, 66, 44, 66, 22});
  EXPECT_EQ(out.tiers[1].copied, 4);
  EXPECT_EQ(out.tiers[1].dropped, 2);
  EXPECT_EQ(out.tiers[1].evicted, 2);
  EXPECT_EQ(out.requests[7].tier_tokens[0], 64);
  EXPECT_EQ(out.requests[7].far_tokens[0], 0);
}

FaultPlan store_lost(std::uint32_t node, std::int64_t at) {
  FaultPlan f;
  f.kind = FaultKind::tier;
  f.targets = {node};
  f.at = Time{Duration{at}};
  f.down = Duration{5 * kIteration};
  return f;
}

TEST(TierPool, ALostNodeTakesItsCopiesOnly) {
  test::TierSetup tier = pool();
  for (const std::int64_t after : {0, 1}) {
    tier.config.replicate_after = after;
    const RunOutcome out =
        run(tier, {11, 22, 33, 11, 55, 44, 11}, {store_lost(0, 51 * kIteration)});
    const RequestOutcome& r = out.requests[6];  // at node 0
    EXPECT_EQ(r.tier_tokens[0], after == 0 ? 0 : 64);
    EXPECT_EQ(r.far_tokens[0], after == 0 ? 0 : 64);
    EXPECT_EQ(r.miss_tokens[static_cast<std::size_t>(MissCause::lost_fault)], after == 0 ? 64 : 0);
    EXPECT_EQ(out.faults[0].chunks_lost, 12);
  }
}

// What a node learns late of others it knows at once of itself.
TEST(TierPool, TheDirectoryLagsForOthersOnly) {
  test::TierSetup tier = pool();
  tier.store.lag = Duration{25 * kIteration};
  const RunOutcome out = run(tier, {11, 22, 11, 11, 33, 55, 66, 11});
  EXPECT_EQ(out.requests[3].tier_tokens[0], 64);  // 29 ms after it was whole
  tier.store.lag = Duration{35 * kIteration};
  const RunOutcome late = run(tier, {11, 22, 33, 11, 11, 55, 66, 11});
  EXPECT_EQ(late.requests[3].tier_tokens[0], 0);
  EXPECT_EQ(late.requests[4].tier_tokens[0], 64);
  EXPECT_EQ(late.tiers[1].inserted, 12);  // node 1 wrote 11 again
  EXPECT_EQ(late.requests[7].far_tokens[0], 0);
}

}  // namespace
}  // namespace kvsim
