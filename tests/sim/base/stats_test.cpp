// Percentiles as numpy's default defines them, and the other statistics of a sample.
#include "sim/base/stats.h"

#include <gtest/gtest.h>

#include "sim/base/random.h"

namespace kvsim {
namespace {

// numpy: rank q (n - 1), linear between neighbours. numpy.percentile([1, 2, 4, 8], [25, 50, 90])
// = 1.75, 3, 6.8.
TEST(Stats, PercentileIsNumpys) {
  const std::vector<double> v{1, 2, 4, 8};
  EXPECT_DOUBLE_EQ(percentile_sorted(v, 0.25), 1.75);
  EXPECT_DOUBLE_EQ(percentile_sorted(v, 0.5), 3);
  EXPECT_DOUBLE_EQ(percentile_sorted(v, 0.9), 6.8);
  EXPECT_DOUBLE_EQ(percentile_sorted(v, 0), 1);
  EXPECT_DOUBLE_EQ(percentile_sorted(v, 1), 8);
  EXPECT_DOUBLE_EQ(percentile_sorted(std::vector<double>{7}, 0.99), 7);
}

TEST(Stats, SummaryOfAKnownSample) {
  const Summary s = summarize({4, 8, 2, 2});
  EXPECT_EQ(s.count, 4U);
  EXPECT_DOUBLE_EQ(s.mean, 4);
  EXPECT_DOUBLE_EQ(s.std, std::sqrt(6.0));  // squares 0 + 16 + 4 + 4 over 4
  EXPECT_DOUBLE_EQ(s.p50, 3);
  EXPECT_DOUBLE_EQ(s.max, 8);
  EXPECT_EQ(summarize({}).count, 0U);
}

TEST(Stats, PercentilesRiseAndStayInside) {
  const Rng rng(2, "stats");
  for (std::uint64_t i = 0; i < 200; ++i) {
    Rng r = rng.at(i);
    std::vector<double> v(1 + static_cast<std::size_t>(r.below(50)));
    for (double& x : v) x = r.normal();
    const Summary s = summarize(v);
    EXPECT_TRUE(s.min <= s.p50 && s.p50 <= s.p90 && s.p90 <= s.p95 && s.p95 <= s.p99 &&
                s.p99 <= s.max);
    EXPECT_TRUE(s.min <= s.mean + 1e-12 && s.mean <= s.max + 1e-12);
  }
}

}  // namespace
}  // namespace kvsim
