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

TEST(DurationHistogram, GapsAreDurations) {
  Rng rng(5, "gaps");
  DurationHistogram one_by_one, at_once;
  for (int round = 0; round < 300; ++round) {
    const Time begin{Duration{static_cast<std::int64_t>(rng.below(1'000'000))}};
    const auto weight = static_cast<std::int64_t>(rng.below(4));
    const std::int64_t typical = std::int64_t{1} << rng.below(34);
    std::vector<Time> ends;
    Time at = begin;
    for (std::uint64_t i = rng.below(40); i > 0; --i) {
      const Duration gap{typical + static_cast<std::int64_t>(rng.below(1 + rng.below(3) * 5000))};
      at += rng.below(20) == 0 ? Duration{0} : gap;
      one_by_one.add(to_ns(at - (ends.empty() ? begin : ends.back())), weight);
      ends.push_back(at);
    }
    at_once.add_gaps(begin, ends, weight);
  }
  EXPECT_EQ(at_once.count(), one_by_one.count());
  EXPECT_EQ(at_once.mean_ns(), one_by_one.mean_ns());
  EXPECT_EQ(at_once.std_ns(), one_by_one.std_ns());
  for (const double q : {0.0, 0.1, 0.5, 0.9, 1.0})
    EXPECT_EQ(at_once.quantile_ns(q), one_by_one.quantile_ns(q));
}

TEST(KvUse, ARunIsItsIterations) {
  Rng rng(6, "use");
  KvUse one_by_one, at_once;
  for (int round = 0; round < 100; ++round) {
    KvOccupancy a{static_cast<std::int64_t>(rng.below(1000)),
                  static_cast<std::int64_t>(rng.below(9000)),
                  static_cast<std::int64_t>(rng.below(5))};
    KvOccupancy b = a;
    const auto filled = static_cast<std::int64_t>(rng.below(30));
    const Time begin{Duration{static_cast<std::int64_t>(rng.below(1'000'000))}};
    std::vector<Time> ends;
    std::vector<std::int64_t> opened;
    Time at = begin;
    for (std::uint64_t i = rng.below(20); i > 0; --i) {
      const Duration gap{static_cast<std::int64_t>(rng.below(50'000'000))};
      opened.push_back(static_cast<std::int64_t>(rng.below(4)));
      one_by_one.add(a, to_ns(gap));
      a.used_blocks += opened.back();
      a.unfilled_tokens += opened.back() * 16 - filled;
      ends.push_back(at += gap);
    }
    at_once.add(b, begin, ends, opened, 16, filled);
    EXPECT_EQ(a.used_blocks, b.used_blocks);
    EXPECT_EQ(a.unfilled_tokens, b.unfilled_tokens);
  }
  EXPECT_EQ(at_once.used_blocks(), one_by_one.used_blocks());
  EXPECT_EQ(at_once.unfilled_tokens(), one_by_one.unfilled_tokens());
  EXPECT_EQ(at_once.stranded_blocks(), one_by_one.stranded_blocks());
  EXPECT_EQ(at_once.peak_unfilled_tokens(), one_by_one.peak_unfilled_tokens());
  EXPECT_EQ(at_once.peak_stranded_blocks(), one_by_one.peak_stranded_blocks());
}

TEST(DurationHistogram, RefusesNegativeDurations) {
  DurationHistogram h;
  EXPECT_DEATH(h.add(-1, 1), "duration -1 ns");
}

}  // namespace
}  // namespace kvsim
