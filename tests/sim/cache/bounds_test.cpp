// The optimum against exhaustive search over every content a cache could have had.
#include "sim/cache/bounds.h"

#include <gtest/gtest.h>

#include <bit>
#include <map>

#include "tests/sim/cache/random_stream.h"

namespace kvsim {
namespace {

using test::random_trie_stream;
using test::stream_of;

// Most hits over all choices of what to keep; a state is the set of resident blocks.
std::uint64_t best_by_search(const BlockStream& s, std::int64_t capacity, bool prefix) {
  std::map<std::uint32_t, std::uint64_t> best{{0, 0}};
  for (std::size_t r = 0; r < s.requests(); ++r) {
    std::uint32_t path = 0;
    for (std::size_t i = s.begin[r]; i < s.begin[r + 1]; ++i) path |= 1U << s.access[i];
    std::map<std::uint32_t, std::uint64_t> after;
    for (const auto& [held, hits] : best) {
      std::uint64_t now = 0;
      if (prefix)
        for (std::size_t i = s.begin[r]; i < s.begin[r + 1]; ++i, ++now)
          if ((held >> s.access[i] & 1U) == 0) break;
      if (!prefix) now = static_cast<std::uint64_t>(std::popcount(held & path));
      const std::uint32_t may_keep = held | path;
      for (std::uint32_t kept = may_keep;; kept = (kept - 1) & may_keep) {
        if (std::popcount(kept) <= capacity) {
          std::uint64_t& value = after[kept];
          value = std::max(value, hits + now);
        }
        if (kept == 0) break;
      }
    }
    best = std::move(after);
  }
  std::uint64_t most = 0;
  for (const auto& [held, hits] : best) most = std::max(most, hits);
  return most;
}

TEST(Bounds, PrefixOptimumIsThatOfExhaustiveSearch) {
  std::uint64_t hits = 0;
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    Rng rng(seed, "trie");
    const BlockStream s = random_trie_stream(rng, 14, 4, 9);
    for (std::int64_t capacity = 0; capacity <= 5; ++capacity) {
      const PrefixHits o = prefix_optimum(s, capacity);
      ASSERT_EQ(o.total, best_by_search(s, capacity, true)) << seed << " " << capacity;
      // Counting every resident block of a request gains nothing: the lemma of the header.
      ASSERT_EQ(o.total, best_by_search(s, capacity, false)) << seed << " " << capacity;
      hits += o.total;
    }
  }
  EXPECT_GT(hits, 1000U);
}

TEST(Bounds, FlatOptimumIsThatOfExhaustiveSearch) {
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    Rng rng(seed, "flat");
    std::vector<std::vector<std::uint64_t>> requests(20);
    for (auto& r : requests) r = {rng.below(7)};
    const BlockStream s = stream_of(requests);
    for (std::int64_t capacity = 0; capacity <= 4; ++capacity)
      ASSERT_EQ(flat_optimum(s, capacity), best_by_search(s, capacity, true)) << seed;
  }
}

// Between the blocks of one request a cache that works one by one has no more room than between
// requests, so it cannot have more hits.
TEST(Bounds, MoreRoomNeverHurtsAndEndsAtTheCeiling) {
  Rng rng(7, "bounds");
  const BlockStream s = random_trie_stream(rng, 400, 8, 300);
  const PrefixHits ceiling = prefix_ceiling(s);
  std::uint64_t before = 0;
  const auto all = static_cast<std::int64_t>(s.objects.size());
  for (std::int64_t c = 0; c <= all; ++c) {
    const PrefixHits o = prefix_optimum(s, c);
    EXPECT_GE(o.total, before);
    EXPECT_LE(flat_optimum(s, c), o.total);
    for (std::size_t r = 0; r < s.requests(); ++r) EXPECT_LE(o.hits[r], ceiling.hits[r]);
    before = o.total;
  }
  EXPECT_EQ(before, ceiling.total);
  EXPECT_EQ(prefix_optimum(s, 0).total, 0U);
}

// Requests ab, cd, ab, ae in a cache of two blocks that held c, d at the third request.
TEST(Bounds, ClassesOfMissesAddUp) {
  const BlockStream s = stream_of({{1, 2}, {3, 4}, {1, 2}, {1, 5}});
  const MissClasses m =
      classify_misses(s, {{0, 0, 0, 1}, 1}, prefix_optimum(s, 2), prefix_ceiling(s));
  EXPECT_EQ(m.hits, 1U);
  EXPECT_EQ(m.compulsory, 5U);  // 1 2 3 4 5
  EXPECT_EQ(m.capacity, 0U);
  EXPECT_EQ(m.policy, 2U);  // the optimum keeps 1 and 2 throughout
  EXPECT_EQ(m.bound, 3U);
  EXPECT_EQ(m.accesses(), 8U);
  EXPECT_DOUBLE_EQ(m.attained(), 1.0 / 3);
}

TEST(Bounds, RefusesIdsThatDoNotNamePrefixes) {
  EXPECT_THROW(prefix_optimum(stream_of({{1, 2}, {2, 1}}), 2), InputError);
  EXPECT_THROW(prefix_optimum(stream_of({{1, 2, 1}}), 2), InputError);
  EXPECT_NO_THROW(prefix_optimum(stream_of({{1, 2}, {3}, {1}}), 2));
}

}  // namespace
}  // namespace kvsim
