#include "kernels/timing.h"

#include <gtest/gtest.h>

#include <cmath>
#include <thread>

#include "kernels/arena.h"
#include "kernels/bandwidth.h"
#include "kernels/probe_loops.h"
#include "kernels/threads.h"

namespace kvsim::kernels {
namespace {

TEST(Timing, QuantilesAreNearestRanks) {
  std::vector<double> v{5, 1, 4, 2, 3};
  EXPECT_EQ(quantile(v, 0.5), 3);
  EXPECT_EQ(quantile(v, 0.05), 1);
  EXPECT_EQ(quantile(v, 0.95), 5);
  EXPECT_EQ(quantile(v, 0.4), 2);
}

TEST(Timing, NoCallGivesNoNumber) {
  const Timing t = summarise({}, 7);
  EXPECT_TRUE(std::isnan(t.median));
  EXPECT_EQ(t.calls, 0);
  EXPECT_EQ(t.rejected, 7);
}

TEST(Timing, ACallThatSleepsHadNoFullCore) {
  EXPECT_LT(time_once(1, [] { std::this_thread::sleep_for(std::chrono::milliseconds(3)); }), 0);
}

TEST(Timing, EndsWithItsBudgetWhenNoCallCounts) {
  std::int64_t calls = 0;
  const Timing t = time_calls({.budget = 0.02}, [&](std::int64_t i) {
    EXPECT_EQ(i, calls++);
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
  });
  EXPECT_EQ(t.calls, 0);
  EXPECT_EQ(t.rejected, calls - 2);  // the warm-up does not count
  EXPECT_GT(t.rejected, 0);
}

TEST(Arena, IsZeroAlignedAndWritable) {
  for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, std::size_t{5} << 20}) {
    Arena arena(bytes);
    ASSERT_EQ(arena.bytes().size(), bytes);
    for (std::byte& b : arena.bytes()) {
      ASSERT_EQ(b, std::byte{0});
      b = std::byte{1};
    }
    Arena other = std::move(arena);
    EXPECT_EQ(other.bytes().size(), bytes);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(other.bytes().data()) % 64, 0U);
  }
}

TEST(Bandwidth, LoopsTouchEveryByte) {
  Arena from(8192), to(8192);
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < 1024; ++i) {
    from.as<std::uint64_t>(0, 1024)[i] = i * i;
    sum += i * i;
  }
  EXPECT_EQ(cpu::read_streams(from.bytes().data(), 8192), sum);
  for (const auto copy : {cpu::copy_non_temporal, cpu::copy_plain}) {
    std::fill(to.bytes().begin(), to.bytes().end(), std::byte{0xff});
    copy(from.bytes().data(), to.bytes().data(), 8192);
    for (std::size_t i = 0; i < 8192; ++i) ASSERT_EQ(to.bytes()[i], from.bytes()[i]);
  }
}

SweepPoint point(std::size_t mib, double rate) { return {mib << 20, {rate, rate, {}}}; }

TEST(Bandwidth, LevelsAreFoundInASweep) {
  const std::vector<SweepPoint> points{point(1, 100), point(2, 90),  point(4, 35),  point(8, 30),
                                       point(16, 29), point(32, 25), point(64, 15), point(128, 14)};
  const MemoryLevels levels = levels_of(points, std::size_t{2} << 20);
  EXPECT_EQ(levels.l2, 90);
  EXPECT_EQ(levels.llc, 30);
  EXPECT_EQ(levels.dram, 14);
  EXPECT_EQ(levels.llc_bytes, 32 << 20);
}

TEST(Bandwidth, ASweepWithoutALastLevelCacheHasNone) {
  const MemoryLevels levels =
      levels_of({point(1, 100), point(4, 16), point(8, 15), point(16, 14)}, std::size_t{1} << 20);
  EXPECT_EQ(levels.llc, 0);
  EXPECT_EQ(levels.dram, 14);
}

// Small sizes: that the probes run and give numbers or say that no call was quiet.
TEST(Bandwidth, ProbesRun) {
  Threads threads(2);
  const ProbeRules rules{.bytes = std::size_t{1} << 20, .calls = 3, .budget = 0.05};
  for (const Rate& rate : {probe_read(threads, rules), probe_copy(threads, rules).memcpy,
                           probe_copy(threads, rules).non_temporal,
                           probe_copy(threads, rules).plain, probe_fma(threads, rules)})
    EXPECT_TRUE(rate.timing.calls == 0 || rate.median > 0);
  EXPECT_EQ(probe_sweep(threads, std::size_t{1} << 20, 0.005).size(), 6U);
}

}  // namespace
}  // namespace kvsim::kernels
