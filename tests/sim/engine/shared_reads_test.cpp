// Prefixes that decodes share: sums by hand, and by a naive twin that compares block by block.
#include <gtest/gtest.h>

#include <map>

#include "tests/support/engine_fixture.h"
#include "tests/support/node_pools.h"

namespace kvsim {
namespace {

// Four answers to one question of 64 tokens behind two common ones of 32 each, all at once: blocks
// of 16, the 4 blocks of the question's first 64 tokens are shared by all that decode together.
TEST(SharedReads, SamplesOfOnePrompt) {
  for (const bool radix : {false, true}) {
    EngineConfig e;
    e.kv_blocks = 200;
    e.async_scheduling = false;
    e.shared_prefix_attention = true;
    if (radix) {
      e.pool.index = KvPoolConfig::Index::radix;
      e.pool.make_policy = test::make_policy({"lru", {}});
    }
    std::vector<Request> requests;
    for (std::uint64_t i = 0; i < 4; ++i)
      requests.push_back(test::request(0, 80, 11, {{7, 64}, {100 + i, 16}}));
    test::LinearCost cost(1000, 1, 1);
    const RunOutcome run = test::simulate(e, requests, cost);
    // One prefill iteration, then ten of four decodes.
    EXPECT_EQ(run.ranks[0].shared.shared_tokens, 10 * 4 * 64) << radix;
    EXPECT_EQ(run.ranks[0].shared.read_tokens, 10 * 64) << radix;
    std::int64_t ns = 1000 + (80 + 3 * 16) + 3 * 64;
    for (std::int64_t i = 1; i <= 10; ++i) ns += 1000 + 4 + 4 * (80 + i) - 3 * 64;
    EXPECT_EQ(to_ns(run.requests[3].last_token - Time{}), ns) << radix;
  }
}

// Two levels: pairs share 32 tokens of their own behind 32 tokens of all four.
TEST(SharedReads, EveryLevelOfTheTreeCounts) {
  EngineConfig e;
  e.kv_blocks = 200;
  e.async_scheduling = false;
  e.shared_prefix_attention = true;
  std::vector<Request> requests;
  for (std::uint64_t i = 0; i < 4; ++i)
    requests.push_back(test::request(0, 80, 2, {{7, 32}, {20 + i / 2, 32}, {100 + i, 16}}));
  test::LinearCost cost(1000, 1, 1);
  const RunOutcome run = test::simulate(e, requests, cost);
  EXPECT_EQ(run.ranks[0].shared.shared_tokens, 4 * 32 + 4 * 32);
  EXPECT_EQ(run.ranks[0].shared.read_tokens, 32 + 2 * 32);
}

// Random holds in a pool: runs give every block once, and equal runs for equal blocks only.
TEST(SharedReads, RunsOfHoldsByTwin) {
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    Rng rng(seed, "shared-runs");
    EngineConfig e;
    e.kv_blocks = 4000;
    if (seed % 2 == 1) {
      e.pool.index = KvPoolConfig::Index::radix;
      e.pool.make_policy = test::make_policy({"lru", {}});
    }
    const auto pool = make_pool(e, 1);
    struct Held {
      std::vector<ContentChunk> content;
      KvPool::Hold hold;
    };
    std::vector<Held> all(2 + rng.below(12));
    for (Held& h : all) {
      std::uint64_t key = 3;
      std::int64_t end = 0;
      for (std::size_t i = 0; i < 1 + rng.below(5); ++i) {
        key = hash_combine(key, rng.below(2));
        end += 1 + static_cast<std::int64_t>(key % 7);
        h.content.push_back({key, end});
      }
      const KvPool::Hit hit = pool->look_up(h.content, end);
      pool->take_hit(h.hold, h.content);
      pool->take(h.hold, end - hit.blocks);
      pool->publish(h.hold, h.content, end);
    }
    // Blocks by content, and how many hold each: nothing was computed twice, so equal content is
    // one block.
    std::map<std::pair<std::uint64_t, std::int64_t>, std::int64_t> holders;
    for (const Held& h : all) {
      std::int64_t begin = 0;
      for (const ContentChunk& c : h.content)
        for (; begin < c.end; ++begin) ++holders[{c.key, c.end - begin}];
    }
    std::vector<KvPool::Piece> runs;
    std::map<std::uint32_t, std::int64_t> users, blocks;
    for (const Held& h : all) {
      runs.clear();
      pool->runs(h.hold, runs);
      std::int64_t sum = 0;
      for (const KvPool::Piece& p : runs) {
        ++users[p.run];
        blocks[p.run] = p.blocks;
        sum += p.blocks;
      }
      EXPECT_EQ(sum, h.hold.hashed);
    }
    std::int64_t held = 0, read = 0, held_twin = 0, read_twin = 0;
    for (const auto& [run, n] : users)
      if (n > 1) held += n * blocks[run], read += blocks[run];
    for (const auto& [block, n] : holders)
      if (n > 1) held_twin += n, ++read_twin;
    EXPECT_EQ(held, held_twin) << "seed " << seed;
    EXPECT_EQ(read, read_twin) << "seed " << seed;
    for (Held& h : all) pool->release(h.hold);
  }
}

}  // namespace
}  // namespace kvsim
