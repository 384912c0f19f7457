// LRU miss ratios: exact against a naive list and against replay, sampled against exact.
#include "sim/cache/stack_distance.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <list>

#include "sim/cache/replay.h"
#include "tests/sim/cache/random_stream.h"
#include "tests/traces/trace_fixture.h"

namespace kvsim {
namespace {

MissRatioCurve curve_of(const BlockStream& s, LruCurve::Sampling sampling = {}) {
  LruCurve lru(sampling);
  for (const ObjectId id : s.access) lru.access(s.objects.key[id]);
  return lru.curve();
}

// Keys 1 .. n with probability proportional to 1 / rank^a, by inversion of the cumulative sum.
std::vector<std::uint64_t> zipf_keys(std::size_t accesses, std::size_t n, double a) {
  std::vector<double> sums;
  for (std::size_t k = 1; k <= n; ++k)
    sums.push_back((sums.empty() ? 0 : sums.back()) + std::pow(static_cast<double>(k), -a));
  Rng rng(5, "zipf");
  std::vector<std::uint64_t> keys;
  for (std::size_t i = 0; i < accesses; ++i) {
    const auto at = std::lower_bound(sums.begin(), sums.end(), rng.uniform() * sums.back());
    keys.push_back(static_cast<std::uint64_t>(at - sums.begin()) + 1);
  }
  return keys;
}

TEST(StackDistance, IsThePlaceInAListByRecencyAndForgets) {
  Rng rng(3, "stack");
  StackDistance stack;
  std::list<std::uint64_t> list;
  std::uint64_t fresh = 1000;
  for (int i = 0; i < 20'000; ++i) {
    const bool is_new = list.empty() || rng.below(3) == 0;
    const std::uint64_t key =
        is_new ? fresh++
               : *std::next(list.begin(), static_cast<std::ptrdiff_t>(rng.below(list.size())));
    const auto at = std::find(list.begin(), list.end(), key);
    const std::size_t expected =
        at == list.end() ? 0 : 1 + static_cast<std::size_t>(std::distance(list.begin(), at));
    if (at != list.end()) list.erase(at);
    list.push_front(key);
    ASSERT_EQ(stack.touch(key), expected);
    if (list.size() > 60) {
      auto victim = std::next(list.begin(), static_cast<std::ptrdiff_t>(rng.below(60)));
      stack.forget(*victim);
      list.erase(victim);
    }
    ASSERT_EQ(stack.distinct(), list.size());
  }
}

TEST(MissRatioCurve, EqualsLruReplayAtEveryCapacity) {
  Rng rng(11, "mrc");
  const BlockStream s = test::random_trie_stream(rng, 600, 7, 250);
  const MissRatioCurve curve = curve_of(s);
  EXPECT_EQ(curve.accesses, s.access.size());
  EXPECT_EQ(curve.distinct, s.objects.size());
  EXPECT_TRUE(curve.exact);
  EXPECT_EQ(curve.miss_ratio(0), 1.0);
  Replay replay(s);
  for (std::int64_t c = 1; c <= static_cast<std::int64_t>(s.objects.size()) + 1; ++c) {
    replay.start("lru", Tree::map(), c);
    ASSERT_DOUBLE_EQ(curve.miss_ratio(static_cast<std::uint64_t>(c)), replay.run().miss_ratio());
  }
}

TEST(MissRatioCurve, OfNothing) {
  const MissRatioCurve curve = LruCurve().curve();
  EXPECT_EQ(curve.accesses, 0U);
  EXPECT_EQ(curve.miss_ratio(0), 0.0);
  EXPECT_EQ(curve.miss_ratio(5), 0.0);
}

// Over capacities evenly spread from 1 % of the objects to all of them, as the paper measures it.
double mean_error(const MissRatioCurve& a, const MissRatioCurve& b, std::uint64_t most) {
  double sum = 0;
  int n = 0;
  for (std::uint64_t c = most / 100; c <= most; c += most / 100, ++n)
    sum += std::abs(a.miss_ratio(c) - b.miss_ratio(c));
  return sum / n;
}

// The SHARDS paper reports mean absolute errors of about 0.01 at rates of 0.01 and below; the bound
// of 0.02 leaves room for one draw of the sample.
TEST(MissRatioCurve, SampledIsCloseOnZipf) {
  const std::vector<std::uint64_t> keys = zipf_keys(2'000'000, 200'000, 0.9);
  LruCurve exact, rate({0.01, 0}), size({1, 4096});
  for (const std::uint64_t k : keys) exact.access(k), rate.access(k), size.access(k);
  const MissRatioCurve truth = exact.curve(), by_rate = rate.curve(), by_size = size.curve();
  EXPECT_FALSE(by_rate.exact);
  EXPECT_NEAR(static_cast<double>(by_rate.distinct), static_cast<double>(truth.distinct),
              0.1 * static_cast<double>(truth.distinct));
  EXPECT_LT(mean_error(truth, by_rate, truth.distinct), 0.02);
  EXPECT_LT(mean_error(truth, by_size, truth.distinct), 0.02);
  EXPECT_LT(by_size.rate, 0.04);  // 4096 of about 180,000
}

// With room for every object nothing is left out.
TEST(MissRatioCurve, FixedSizeThatNeverFillsIsExact) {
  const std::vector<std::uint64_t> keys = zipf_keys(20'000, 400, 0.6);
  LruCurve exact, size({1, 1000});
  for (const std::uint64_t k : keys) exact.access(k), size.access(k);
  for (std::uint64_t c = 0; c < 450; ++c)
    ASSERT_DOUBLE_EQ(size.curve().miss_ratio(c), exact.curve().miss_ratio(c));
}

// An unbounded LRU cache misses each distinct block once (../shared/traces/README.md).
TEST(MissRatioCurve, OfTheConversationTraceEndsAtItsDistinctBlocks) {
  KVSIM_SHARED_FILE(path, "traces/mooncake_conversation.jsonl.gz");
  const auto source = test::open_trace("mooncake", path);
  const MissRatioCurve c = curve_of(load_stream(*source));
  EXPECT_EQ(c.accesses, 288'500U);
  EXPECT_EQ(c.distinct, 182'790U);
  EXPECT_EQ(c.hits.back(), 105'710.0);
}

}  // namespace
}  // namespace kvsim
