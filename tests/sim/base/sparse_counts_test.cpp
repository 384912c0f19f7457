#include "sim/base/sparse_counts.h"

#include <gtest/gtest.h>

#include <vector>

#include "sim/base/random.h"

namespace kvsim {
namespace {

using Counts = SparseCounts<16, 3>;

void expect_equal(const Counts& counts, const Counts::All& naive) {
  ASSERT_EQ(counts.all(), naive);
  std::int64_t sum = 0;
  std::size_t k = 0;
  for (const std::int64_t n : counts) {
    ASSERT_EQ(n, naive[k]);
    ASSERT_EQ(counts[k], naive[k]);
    sum += n;
    ++k;
  }
  ASSERT_EQ(k, naive.size());
  ASSERT_EQ(counts.sum(), sum);
}

TEST(SparseCounts, EqualsAnArrayUnderRandomChanges) {
  Rng rng(7, "counts");
  for (int round = 0; round < 200; ++round) {
    Counts counts;
    Counts::All naive{};
    const std::uint64_t kinds = 1 + rng.below(16);
    for (int i = 0; i < 30; ++i) {
      const auto k = static_cast<std::size_t>(rng.below(kinds));
      const auto n = static_cast<std::int64_t>(rng.below(4)) - 1;
      switch (rng.below(4)) {
        case 0:
          counts[k] = naive[k] = n;
          break;
        case 1:
          counts[k] += n;
          naive[k] += n;
          break;
        case 2:
          counts[k] -= n;
          naive[k] -= n;
          break;
        default: {
          const Counts copy = counts;
          Counts moved = std::move(counts);
          EXPECT_EQ(copy, moved);
          counts = moved;
        }
      }
      expect_equal(counts, naive);
    }
  }
}

TEST(SparseCounts, TakesMemoryOnlyForMoreThanAFewKinds) {
  Counts counts;
  for (std::size_t k = 0; k < 16; ++k) counts[k] += 0;
  counts[3] = 1;
  Counts same;
  same[5] = 2;
  same[3] = 1;
  same[5] = 0;
  EXPECT_EQ(counts, same);
  EXPECT_LE(sizeof(Counts), 40U);
}

}  // namespace
}  // namespace kvsim
