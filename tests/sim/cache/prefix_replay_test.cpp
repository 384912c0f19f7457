// A prefix cache in a list against the replay, and what holds for every policy there is.
#include "sim/cache/prefix_replay.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <list>

#include "tests/sim/cache/random_stream.h"

namespace kvsim {
namespace {

// The naive twin: least recently used by a list, newest first.
PrefixHits lru_by_list(const BlockStream& s, std::size_t capacity, bool tail_first) {
  std::list<ObjectId> list;
  PrefixHits out;
  for (std::size_t r = 0; r < s.requests(); ++r) {
    std::vector<ObjectId> path(s.access.begin() + static_cast<std::ptrdiff_t>(s.begin[r]),
                               s.access.begin() + static_cast<std::ptrdiff_t>(s.begin[r + 1]));
    const auto holds = [&](ObjectId id) {
      return std::find(list.begin(), list.end(), id) != list.end();
    };
    std::uint32_t run = 0;
    while (run < path.size() && holds(path[run])) ++run;
    out.hits.push_back(run);
    out.total += run;
    path.resize(std::min(path.size(), capacity));
    if (tail_first) std::reverse(path.begin(), path.end());
    for (const ObjectId id : path) list.remove(id);
    while (list.size() + path.size() > capacity) list.pop_back();
    for (const ObjectId id : path) list.push_front(id);
  }
  return out;
}

TEST(PrefixReplay, LruIsThatOfAList) {
  Rng rng(4, "replay");
  const BlockStream s = test::random_trie_stream(rng, 700, 7, 200);
  for (const bool tail_first : {false, true}) {
    PrefixReplay replay(s, {tail_first, 0});
    // Below the longest request what is pinned decides too; the list does not model that.
    for (const std::int64_t c : {7, 8, 15, 40, 120, 300}) {
      replay.start("lru", Tree::map(), c);
      EXPECT_EQ(replay.run().hits, lru_by_list(s, static_cast<std::size_t>(c), tail_first).hits)
          << c << " " << tail_first;
    }
  }
}

// A request of three blocks in a cache of two keeps its head; nothing evicts what is in use.
TEST(PrefixReplay, ALargeRequestKeepsItsHead) {
  const BlockStream s = test::stream_of({{1, 2, 3}, {1, 2, 3}, {1, 4}});
  for (const bool tail_first : {false, true}) {
    PrefixReplay replay(s, {tail_first, 0});
    replay.start("lru", Tree::map(), 2);
    EXPECT_EQ(replay.run().hits, (std::vector<std::uint32_t>{0, 2, 1}));
  }
}

// Request 3 waits while 1 and 2 are served, so that its blocks are kept.
TEST(PrefixReplay, TheQueueIsKnownAhead) {
  const BlockStream s = test::stream_of({{1}, {2}, {3}, {1}});
  PrefixReplay blind(s), sees(s, {false, 3});
  blind.start("look-ahead", Tree::map(), 2);
  EXPECT_EQ(blind.run().total, 0U);
  sees.start("look-ahead", Tree::map(), 2);
  EXPECT_EQ(sees.run().total, 1U);
}

TEST(PrefixReplay, EveryPolicyStaysBelowTheBoundAndCountsAddUp) {
  Rng rng(9, "all");
  const BlockStream s = test::random_trie_stream(rng, 900, 8, 400);
  const PrefixHits ceiling = prefix_ceiling(s);
  for (const bool tail_first : {false, true}) {
    PrefixReplay replay(s, {tail_first, 5});
    for (const std::int64_t c : {1, 2, 9, 50, 200, 1000}) {
      const PrefixHits best = prefix_optimum(s, c);
      for (const std::string& policy : Registry::instance().names(EvictionPolicy::kKind)) {
        replay.start(policy, Tree::map(), c);
        const PrefixHits hits = replay.run();
        EXPECT_LE(hits.total, best.total) << policy << " " << c;
        const MissClasses m = classify_misses(s, hits, best, ceiling);
        EXPECT_EQ(m.accesses(), s.access.size());
        EXPECT_EQ(m.bound, m.hits - m.beyond + m.policy);
        replay.start(policy, Tree::map(), c);
        EXPECT_EQ(replay.run().hits, hits.hits) << policy << ": a second run differs";
      }
    }
  }
}

// With room for everything no policy that keeps what it can misses more than once.
TEST(PrefixReplay, WithRoomForAllOnlyFirstUsesMiss) {
  Rng rng(10, "room");
  const BlockStream s = test::random_trie_stream(rng, 300, 6, 100);
  PrefixReplay replay(s);
  for (const std::string& policy : Registry::instance().names(EvictionPolicy::kKind)) {
    if (!policy.starts_with("leaf-") && policy != "lru" && policy != "pgdsf" && policy != "ttl")
      continue;
    replay.start(policy, Tree::map(), 1000);
    EXPECT_EQ(replay.run().total, prefix_ceiling(s).total) << policy;
  }
}

}  // namespace
}  // namespace kvsim
