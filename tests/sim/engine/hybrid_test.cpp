// Hybrid memory: what sequences hold, and from where they can be taken up again. Blocks of 16
// tokens.
#include "sim/engine/hybrid.h"

#include <gtest/gtest.h>

#include "sim/engine/snapshots.h"
#include "tests/support/node_pools.h"
#include "tests/support/tier_fixture.h"

namespace kvsim {
namespace {

EngineConfig engine(const HybridMemory& hybrid) {
  EngineConfig e;
  e.hybrid = hybrid;
  e.kv_blocks = 1000;
  e.max_batched_tokens = 4096;
  e.pool.seed = 3;
  return e;
}

void keep_snapshots(EngineConfig& e, std::int64_t slots, std::int64_t align, std::int64_t every,
                    bool cuts) {
  e.snapshots = {slots, align, every, true, cuts};
  e.make_snapshot_policy = test::make_policy({"lru", {}});
}

RunOutcome run(const EngineConfig& e, std::vector<Request> requests, World::Options options = {}) {
  test::LinearCost cost(100, 3, 1);
  return test::simulate(e, std::move(requests), cost, std::move(options));
}

std::int64_t missed(const RequestOutcome& r, MissCause cause) {
  return r.miss_tokens[static_cast<std::size_t>(cause)];
}

TEST(Hybrid, UnitsOfASequence) {
  const HybridMemory h{true, 1, 5, 65, 3};
  EXPECT_EQ(h.units(0), 0);
  EXPECT_EQ(h.units(1), 1 + 5 + 3);
  EXPECT_EQ(h.units(65), 65 + 5 * 65 + 3);
  EXPECT_EQ(h.units(1000), 1000 + 5 * 65 + 3);  // beyond the window only full layers grow
}

// One sequence of 640 tokens, window of 5 blocks: at its longest 40 + 3 * 5 + 2 blocks.
TEST(Hybrid, ASequenceHoldsNoMoreThanItsWindows) {
  const RunOutcome out = run(engine({true, 1, 3, 5, 2}), {test::request(0, 320, 321)});
  EXPECT_EQ(out.ranks[0].peak_blocks, 640 / 16 + 3 * 5 + 2);
}

// States only: room for four sequences, whatever their length.
TEST(Hybrid, CapacityInSequences) {
  EngineConfig e = engine({true, 0, 0, 0, 1});
  e.kv_blocks = 4;
  std::vector<Request> requests;
  for (int i = 0; i < 12; ++i) requests.push_back(test::request(0, 100 + 50 * i, 40));
  const RunOutcome out = run(e, requests);
  EXPECT_EQ(out.ranks[0].peak_blocks, 4);
  EXPECT_EQ(out.ranks[0].preemptions, 0);
  for (const RequestOutcome& r : out.requests) EXPECT_EQ(r.outcome, Outcome::finished);
}

// The same prompt of 1000 tokens twice. Without snapshots nothing is found although all is there.
TEST(Hybrid, NoSnapshotNoHit) {
  const std::vector<Request> twice{test::request(0, 1000, 2, {{9, 1000}}),
                                   test::request(1'000'000, 1000, 2, {{9, 1000}})};
  const RunOutcome out = run(engine({true, 1, 0, 0, 4}), twice);
  EXPECT_EQ(out.requests[1].hit_tokens, 0);
  EXPECT_EQ(missed(out.requests[1], MissCause::no_snapshot), 992);
  EXPECT_EQ(missed(out.requests[1], MissCause::last_block), 8);
}

// With them, the second goes on from the last multiple of 64 before the last token, 960.
TEST(Hybrid, HitsEndAtSnapshots) {
  const std::vector<Request> twice{test::request(0, 1000, 2, {{9, 1000}}),
                                   test::request(1'000'000, 1000, 2, {{9, 1000}})};
  for (const bool cuts : {false, true}) {
    EngineConfig e = engine({true, 1, 0, 0, 4});
    keep_snapshots(e, 10, 64, 0, cuts);
    const RunOutcome out = run(e, twice);
    EXPECT_EQ(out.requests[1].hit_tokens, 960);
    EXPECT_EQ(missed(out.requests[1], MissCause::no_snapshot), 32);
    EXPECT_EQ(out.ranks[0].snapshots.used, 1);
    // A state exists only where an iteration ends: one more for each prompt.
    EXPECT_EQ(out.ranks[0].iterations, cuts ? 5 : 4);
  }
}

// Without layers that keep every token, snapshots alone decide.
TEST(Hybrid, StatesAloneAreEnough) {
  EngineConfig e = engine({true, 0, 0, 0, 1});
  keep_snapshots(e, 10, 256, 0, true);
  const RunOutcome out = run(e, {test::request(0, 1000, 2, {{9, 1000}}),
                                 test::request(1'000'000, 1200, 2, {{9, 1000}, {10, 200}})});
  EXPECT_EQ(out.requests[1].hit_tokens, 768);
}

// Three prompts share 512 tokens and part there. The second finds no snapshot, and leaves one for
// the third.
TEST(Hybrid, WhereAKnownPrefixEndsASnapshotIsLeft) {
  EngineConfig e = engine({true, 1, 0, 0, 4});
  keep_snapshots(e, 10, 64, 0, true);
  std::vector<Request> three;
  for (std::uint64_t i = 0; i < 3; ++i)
    three.push_back(test::request(static_cast<std::int64_t>(i) * 1'000'000, 1000, 2,
                                  {{9, 512}, {100 + i, 488}}));
  const RunOutcome out = run(e, three);
  EXPECT_EQ(out.requests[1].hit_tokens, 0);
  EXPECT_EQ(missed(out.requests[1], MissCause::no_snapshot), 512);
  EXPECT_EQ(out.requests[2].hit_tokens, 512);
}

// One every 128 tokens serves the second at once.
TEST(Hybrid, RegularSnapshots) {
  EngineConfig e = engine({true, 1, 0, 0, 4});
  keep_snapshots(e, 100, 64, 128, true);
  const RunOutcome out = run(e, {test::request(0, 1000, 2, {{9, 512}, {10, 488}}),
                                 test::request(1'000'000, 1000, 2, {{9, 512}, {11, 488}})});
  EXPECT_EQ(out.requests[1].hit_tokens, 512);
  // 128, 256, ..., 896, and 960; the other one 640, 768, 896, 960.
  EXPECT_EQ(out.ranks[0].snapshots.saved, 8 + 4);
}

// A second turn goes on behind the first one's output: 300 + 99 tokens, of which 384 have a
// snapshot.
TEST(Hybrid, OutputsLeaveOne) {
  EngineConfig e = engine({true, 1, 0, 0, 4});
  keep_snapshots(e, 10, 64, 0, true);
  const RunOutcome out =
      run(e, {test::request(0, 300, 100, {{9, 300}, {10, 100}}),
              test::request(1'000'000, 500, 2, {{9, 300}, {10, 100}, {11, 100}})});
  EXPECT_EQ(out.requests[1].hit_tokens, 384);
}

// Preempted sequences take their states along: nothing is computed again.
TEST(Hybrid, SwappingCarriesStates) {
  EngineConfig e = engine({true, 1, 2, 3, 4});
  e.kv_blocks = 40;
  e.prefix_caching = false;
  e.swap = true;
  e.host_blocks = 1000;
  e.host_block_bytes = 1000;
  std::vector<Request> requests;
  for (int i = 0; i < 4; ++i) requests.push_back(test::request(i, 30, 150));
  World::Options options;
  options.tiers = test::with_hosts({}, 1, 1e9, Duration{0});
  const RunOutcome out = run(e, requests, std::move(options));
  ASSERT_GT(out.ranks[0].swaps_out, 0);
  EXPECT_EQ(out.ranks[0].swaps_in, out.ranks[0].swaps_out);
  EXPECT_EQ(out.ranks[0].from_host_bytes, out.ranks[0].to_host_bytes);
  // At least a block, its windows and the states each time.
  EXPECT_GE(out.ranks[0].to_host_bytes, out.ranks[0].swaps_out * 1000 * (1 + 2 + 4));
  for (const RequestOutcome& r : out.requests) EXPECT_EQ(r.recomputed_tokens, 0);
}

TEST(SnapshotStore, FindsTheLongest) {
  Snapshots s(3, test::make_policy({"lru", {}}), 1);
  const std::vector<ContentChunk> a{{1, 10}, {2, 30}}, b{{1, 10}, {3, 40}};
  const KvPool::Owner nobody;
  s.save(a, 5, nobody, Time{});
  s.save(a, 20, nobody, Time{});
  EXPECT_EQ(s.find(a, 30), 20);
  EXPECT_EQ(s.find(a, 19), 5);
  EXPECT_EQ(s.find(a, 4), 0);
  EXPECT_EQ(s.find(b, 40), 5);  // they part after the tenth block
  s.save(b, 10, nobody, Time{});
  EXPECT_EQ(s.find(a, 15), 10);
  s.use(a, 5, nobody, Time{});
  s.save(b, 40, nobody, Time{});  // the least recent, a's at 20, leaves
  EXPECT_EQ(s.find(a, 30), 10);
  EXPECT_EQ(s.evicted(), 1);
  s.check();
  s.clear();
  EXPECT_EQ(s.find(b, 40), 0);
  s.check();
}

}  // namespace
}  // namespace kvsim
