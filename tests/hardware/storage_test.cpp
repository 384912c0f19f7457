// Closed forms of drives.
#include "hardware/storage.h"

#include <gtest/gtest.h>

#include <cmath>

#include "hardware/flow_network.h"

namespace kvsim {
namespace {

StorageSpec drive() {
  StorageSpec s;
  s.read_bandwidth = Bandwidth{6e9};
  s.write_bandwidth = Bandwidth{3e9};
  s.read_rate = Rate{1e6};
  s.write_rate = Rate{1e5};
  s.read_latency = Duration{100'000};
  s.write_latency = Duration{20'000};
  s.queue_depth = 10;
  s.endurance = Bytes{7'000'000'000'000'000};
  return s;
}

TEST(Storage, BandwidthOrRequestsWhicheverIsDearer) {
  const StorageSpec s = drive();
  EXPECT_DOUBLE_EQ(1 / read_seconds(s, {}), 6e9);
  EXPECT_DOUBLE_EQ(1 / read_seconds(s, Bytes{4000}), 4e9);  // 1e6 /s of 4000
  EXPECT_DOUBLE_EQ(1 / read_seconds(s, Bytes{6000}), 6e9);  // the corner
  EXPECT_DOUBLE_EQ(1 / read_seconds(s, Bytes{1 << 20}), 6e9);
  EXPECT_DOUBLE_EQ(1 / write_seconds(s, Bytes{4000}), 4e8);
}

TEST(Storage, QueueDepthBoundsOneTransfer) {
  const StorageSpec s = drive();
  // Little: 10 requests of 4000 bytes, 100 us each.
  EXPECT_DOUBLE_EQ(read_cap(s, Bytes{4000}), 10 * 4000 / 100e-6);
  EXPECT_DOUBLE_EQ(write_cap(s, Bytes{4000}), 10 * 4000 / 20e-6);
  EXPECT_TRUE(std::isinf(read_cap(s, {})));
}

TEST(Storage, LifeFromRating) {
  StorageSpec s = drive();
  // One write of a 3.84 TB drive a day for five years is its rating of 7008 TB.
  s.endurance = Bytes{3'840'000'000'000LL * 1825};
  EXPECT_NEAR(life_years(s, Bandwidth{3.84e12 / 86400}), 1825 / 365.25, 1e-9);
  s.write_amplification = 2;
  EXPECT_NEAR(life_years(s, Bandwidth{3.84e12 / 86400}), 1825 / 365.25 / 2, 1e-9);
  EXPECT_TRUE(std::isinf(life_years(s, Bandwidth{0})));
  s.endurance = {};
  EXPECT_TRUE(std::isinf(life_years(s, Bandwidth{1e9})));
}

// k reads and m writes on one device of capacity 1: equal rates 1 / (k / read + m / write).
TEST(Storage, MixedTrafficInTheNetwork) {
  const StorageSpec s = drive();
  for (int reads = 0; reads < 4; ++reads)
    for (int writes = 1; writes < 4; ++writes) {
      FlowNetwork net;
      const LinkId time = net.add_link(1);
      std::vector<FlowId> flows;
      for (int i = 0; i < reads + writes; ++i) {
        const double weight = i < reads ? read_seconds(s, {}) : write_seconds(s, {});
        flows.push_back(
            net.start(kTimeZero, std::vector<FlowNetwork::Use>{{time, weight}}, 1000, {}, 0));
      }
      for (const FlowId f : flows) EXPECT_NEAR(net.rate(f), 1 / (reads / 6e9 + writes / 3e9), 1e-3);
    }
}

}  // namespace
}  // namespace kvsim
