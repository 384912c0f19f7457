#include "sim/cache/replay.h"

#include <gtest/gtest.h>

namespace kvsim {
namespace {

BlockStream stream_of(const std::vector<std::vector<ObjectId>>& requests, ObjectId objects) {
  BlockStream s;
  for (ObjectId id = 0; id < objects; ++id) s.objects.add(id, kNoObject);
  for (const auto& r : requests) {
    s.access.insert(s.access.end(), r.begin(), r.end());
    s.begin.push_back(s.access.size());
    s.request.push_back({});
  }
  return s;
}

std::uint64_t hits(const BlockStream& s, const char* policy, std::int64_t capacity,
                   const char* key = nullptr, const char* value = nullptr) {
  Tree params = Tree::map();
  if (key != nullptr) params.set(key, Tree::scalar(value));
  Replay replay(s);
  replay.start(policy, params, capacity);
  const ReplayCounts counts = replay.run();
  EXPECT_EQ(counts.accesses, s.access.size());
  EXPECT_EQ(counts.hits + counts.misses(), counts.accesses);
  return counts.hits;
}

// Worked by hand: 0 1 2 | 0 3 | 0 1 with room for three.
TEST(Replay, CountsByHand) {
  const BlockStream s = stream_of({{0, 1, 2}, {0, 3}, {0, 1}}, 4);
  EXPECT_EQ(hits(s, "fifo", 3), 1U);    // 3 takes the place of 0, and 0 that of 1
  EXPECT_EQ(hits(s, "lru", 3), 2U);     // 3 takes 1's place: 0 and 0 hit
  EXPECT_EQ(hits(s, "belady", 3), 3U);  // 3 takes 2's place
  EXPECT_EQ(hits(s, "belady", 2, "bypass", "true"), 3U);
  EXPECT_EQ(hits(s, "belady", 1, "bypass", "true"), 2U);  // 0 stays
  EXPECT_EQ(hits(s, "lru", 100), 3U);
}

TEST(Replay, StartsEmptyEachTime) {
  const BlockStream s = stream_of({{0, 1, 2, 0, 1, 2}}, 3);
  Replay replay(s);
  for (int round = 0; round < 3; ++round) {
    replay.start("lru", Tree::map(), 3);
    EXPECT_EQ(replay.run().misses(), 3U);
  }
}

// Four segments of one in a cache of five: the fifth object is surplus in the lowest segment, and
// the hit on 4 pushes both of the lowest out or up. Every object still counts once.
TEST(Replay, AHitMayPushOut) {
  const BlockStream s = stream_of({{0, 1, 2, 3, 4, 4, 4, 0}}, 5);
  Replay replay(s);
  replay.start("slru", Tree::map(), 5);
  EXPECT_EQ(replay.run().hits, 2U);  // 0 was in the lowest segment, and went
}

}  // namespace
}  // namespace kvsim
