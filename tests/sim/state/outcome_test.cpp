// The duration histogram against the sorted sample itself.
#include "sim/state/outcome.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "sim/base/random.h"
#include "sim/base/stats.h"

namespace kvsim {
namespace {

constexpr double kResolution = 1.0 / 1024;

struct Sample {
  DurationHistogram histogram;
  std::vector<double> sorted;
  void add(std::int64_t ns, std::int64_t weight = 1) {
    histogram.add(ns, weight);
    for (std::int64_t i = 0; i < weight; ++i) sorted.push_back(static_cast<double>(ns));
  }
  void compare() {
    std::sort(sorted.begin(), sorted.end());
    const Summary s = summarize(sorted);
    EXPECT_EQ(histogram.count(), static_cast<std::int64_t>(s.count));
    EXPECT_NEAR(histogram.mean_ns(), s.mean, 1e-9 * s.mean);
    EXPECT_EQ(static_cast<double>(histogram.min_ns()), s.min);
    EXPECT_EQ(static_cast<double>(histogram.max_ns()), s.max);
    EXPECT_NEAR(histogram.std_ns(), s.std, kResolution * s.mean + 1e-9);
    for (const double q : {0.0, 0.001, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0}) {
      const double exact = percentile_sorted(sorted, q);
      EXPECT_NEAR(histogram.quantile_ns(q), exact, kResolution * exact + 1e-9) << "q " << q;
    }
  }
};

TEST(DurationHistogram, EmptyIsZero) {
  const DurationHistogram h;
  EXPECT_EQ(h.count(), 0);
  EXPECT_EQ(h.mean_ns(), 0);
  EXPECT_EQ(h.std_ns(), 0);
  EXPECT_EQ(h.quantile_ns(0.5), 0);
}

TEST(DurationHistogram, SmallDurationsAreExact) {
  Sample s;
  for (std::int64_t ns = 0; ns < 2048; ++ns) s.add(ns, 1 + ns % 3);
  std::sort(s.sorted.begin(), s.sorted.end());
  for (const double q : {0.0, 0.123, 0.5, 0.999, 1.0})
    EXPECT_DOUBLE_EQ(s.histogram.quantile_ns(q), percentile_sorted(s.sorted, q)) << q;
}

TEST(DurationHistogram, FollowsSortedSamplesOfManyShapes) {
  Rng rng(7, "histogram");
  Sample exponential, lognormal, uniform, two_values, heavy;
  for (int i = 0; i < 20'000; ++i) {
    exponential.add(static_cast<std::int64_t>(rng.exponential(20e6)),
                    static_cast<std::int64_t>(1 + rng.below(4)));
    lognormal.add(static_cast<std::int64_t>(rng.lognormal(16, 2)));
    uniform.add(static_cast<std::int64_t>(rng.below(1'000'000)));
    two_values.add(rng.below(2) == 0 ? 5'000'001 : 80'000'003);
    heavy.add(static_cast<std::int64_t>(rng.weibull(1e6, 0.4)) % (1LL << 50));
  }
  for (Sample* s : {&exponential, &lognormal, &uniform, &two_values, &heavy}) s->compare();
}

TEST(DurationHistogram, OneValueAndExtremes) {
  DurationHistogram h;
  h.add(123'456'789, 1'000'000'000);
  EXPECT_EQ(h.quantile_ns(0.5), 123'456'789);
  EXPECT_EQ(h.mean_ns(), 123'456'789);
  EXPECT_EQ(h.std_ns(), 0);
  const std::int64_t top = std::numeric_limits<std::int64_t>::max();
  h.add(top, 3);
  EXPECT_EQ(h.max_ns(), top);
  EXPECT_EQ(h.quantile_ns(1), static_cast<double>(top));
  h.add(5, 0);  // no weight, no trace
  EXPECT_EQ(h.min_ns(), 123'456'789);
}

TEST(DurationHistogram, MergeIsAddingAll) {
  Rng rng(9, "merge");
  DurationHistogram both, left, right, none;
  for (int i = 0; i < 5000; ++i) {
    const auto ns = static_cast<std::int64_t>(rng.exponential(3e7));
    both.add(ns, 2);
    (i % 2 == 0 ? left : right).add(ns, 2);
  }
  none.merge(left);
  none.merge(right);
  none.merge(DurationHistogram{});
  EXPECT_EQ(none.count(), both.count());
  EXPECT_EQ(none.mean_ns(), both.mean_ns());
  EXPECT_EQ(none.std_ns(), both.std_ns());
  for (const double q : {0.0, 0.3, 0.99, 1.0}) EXPECT_EQ(none.quantile_ns(q), both.quantile_ns(q));
}

TEST(DurationHistogram, RefusesNegativeDurations) {
  DurationHistogram h;
  EXPECT_DEATH(h.add(-1, 1), "duration -1 ns");
}

}  // namespace
}  // namespace kvsim
