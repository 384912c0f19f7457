// Cost and energy against sums done by hand.
#include "sim/run/economics.h"

#include <gtest/gtest.h>

#include <cmath>

#include "sim/run/simulate.h"

namespace kvsim {
namespace {

constexpr double kYear = 365.25 * 86400;

BuiltRun built(const std::vector<std::string>& sets) {
  Diagnostics d;
  std::vector<std::string> all{"workload.limit=60"};
  all.insert(all.end(), sets.begin(), sets.end());
  BuiltRun run = build_run(
      load_scenario(std::string(KVSIM_SOURCE_DIR) + "/scenarios/quickstart.yaml", all, d), true, d);
  d.throw_if_any();
  return run;
}

double value(const std::vector<Metric>& all, const std::string& name) {
  for (const Metric& m : all)
    if (m.scope == "run" && m.name == name && m.statistic == "value") return m.value;
  return NAN;
}

// Two GPUs of 3 USD/h, 100 W idle and 700 W busy, for 1,000 s; one rank works 250 s, the other
// never. Energy: 2 x 100 x 1000 J, 600 x 250 J more, the machine 0.5 x 700 x 2 x 1000 J; twice
// that.
TEST(Economics, OfGpusByHand) {
  Bill bill;
  bill.gpus = 2;
  bill.gpu_price = 6;
  bill.gpu_idle_watts = 100;
  bill.gpu_busy_watts = 700;
  bill.host_watts = 700;
  bill.pue = 2;
  bill.electricity = 0.1;
  RunOutcome run;
  run.ranks.resize(2);
  run.ranks[0].busy_ns = 250'000'000'000;
  const std::vector<Metric> before{{"run", "duration", "value", 1000, "s"},
                                   {"run", "total_output_tokens", "value", 500'000, "tokens"},
                                   {"run", "total_input_tokens", "value", 1'500'000, "tokens"}};
  const auto m = economics_metrics(bill, run, before);
  const double joules = 200'000 + 150'000 + 700'000, kwh = 2 * joules / 3.6e6;
  EXPECT_DOUBLE_EQ(value(m, "energy"), kwh);
  EXPECT_DOUBLE_EQ(value(m, "idle_energy"), 2 * 100 * 1750 / 3.6e6);
  EXPECT_DOUBLE_EQ(value(m, "power"), 2 * joules / 1000);
  EXPECT_DOUBLE_EQ(value(m, "price_electricity_per_hour"), 0.1 * kwh * 3.6);
  const double price = 6 + 0.1 * kwh * 3.6;
  EXPECT_DOUBLE_EQ(value(m, "price_per_hour"), price);
  EXPECT_DOUBLE_EQ(value(m, "cost"), price / 3.6);
  EXPECT_DOUBLE_EQ(value(m, "cost_per_million_output_tokens"), price / 3.6 / 0.5);
  EXPECT_DOUBLE_EQ(value(m, "cost_per_million_tokens"), price / 3.6 / 2);
  EXPECT_DOUBLE_EQ(value(m, "energy_per_million_tokens"), kwh / 2);
  EXPECT_DOUBLE_EQ(value(m, "energy_per_million_output_tokens"), kwh / 0.5);
  // At rest it would draw 2 (200 + 700) W, and cost no less than its rent and that.
  EXPECT_DOUBLE_EQ(bill.idle_watts(), 1800);
  EXPECT_DOUBLE_EQ(bill.least_price(), 6 + 0.18);
}

// A store of drives for 0.2 USD/h that are meant to serve five years and last two: 0.2 x 3/2 more.
// It reads 10^9 bytes at 2 nJ and draws 4 W at rest.
TEST(Economics, OfDrivesByHand) {
  Bill bill;
  Bill::Store store;
  store.ssd_price = 0.2;
  store.idle_watts = 4;
  store.busy_joules_read = 2e-9;
  store.busy_joules_write = 5e-9;
  store.service_years = 5;
  bill.stores = {store};
  RunOutcome run;
  run.tiers.resize(1);
  run.tiers[0].drive_life_years = 2;
  run.tiers[0].read_bytes = 1'000'000'000;
  run.tiers[0].written_bytes = 2'000'000'000;
  std::vector<Metric> m =
      economics_metrics(bill, run, std::vector<Metric>{{"run", "duration", "value", 3600, "s"}});
  EXPECT_DOUBLE_EQ(value(m, "price_ssd_per_hour"), 0.2);
  EXPECT_DOUBLE_EQ(value(m, "price_replacement_per_hour"), 0.3);
  EXPECT_DOUBLE_EQ(value(m, "cost"), 0.5);
  EXPECT_DOUBLE_EQ(value(m, "energy"), (4 * 3600 + 2 + 10) / 3.6e6);
  run.tiers[0].drive_life_years = 7;  // outlives its service
  m = economics_metrics(bill, run, std::vector<Metric>{{"run", "duration", "value", 3600, "s"}});
  EXPECT_DOUBLE_EQ(value(m, "price_replacement_per_hour"), 0);
}

TEST(Economics, BillFollowsCatalogueAndScenario) {
  const BuiltRun two = built({"deployment.replicas=2"});
  const Bill bill = bill_of(two);
  EXPECT_EQ(bill.gpus, 2);
  EXPECT_DOUBLE_EQ(bill.gpu_price, 2 * two.device.price.value);
  EXPECT_DOUBLE_EQ(bill.host_watts, 2 * 0.45 * two.device.busy_power.value);
  EXPECT_DOUBLE_EQ(bill_of(built({"economics.gpu_price=1.5 USD/h"})).gpu_price, 3);
  // A node of eight is paid for whole; nine instances need a second.
  const std::vector<std::string> node{"deployment.hardware=dgx-h100", "economics.billing=node"};
  EXPECT_EQ(bill_of(built({node[0], node[1], "deployment.replicas=3"})).gpus, 8);
  EXPECT_EQ(bill_of(built({node[0], node[1], "deployment.replicas=9"})).gpus, 16);
}

TEST(Economics, TiersAreRentedByCapacity) {
  const std::string tiers =
      "cache.tiers=[{name: gpu}, {name: cpu, scope: node, capacity: 64 GiB}, "
      "{name: ssd, scope: node, capacity: 1 TiB}]";
  const BuiltRun run =
      built({"deployment.hardware=dgx-h100", tiers, "economics.dram_price=0.01 USD/GiB/h"});
  const Bill bill = bill_of(run);
  ASSERT_EQ(bill.stores.size(), 2U);
  EXPECT_NEAR(bill.stores[0].dram_price, 0.64, 0.64 * 1e-3);  // whole chunks
  const StorageSpec& drive = run.storage.at("nvme-gen4");
  EXPECT_NEAR(bill.stores[1].ssd_price, drive.price.value * 0x1p40 / to_double(drive.capacity),
              1e-5);
  EXPECT_NEAR(bill.stores[1].service_years, to_seconds(drive.service_life) / kYear, 1e-9);
  const BuiltRun priced =
      built({"deployment.hardware=dgx-h100", tiers, "economics.ssd_price=0.0002 USD/GiB/h"});
  EXPECT_NEAR(bill_of(priced).stores[1].ssd_price, 0.0002 * 1024, 1e-5);
}

TEST(Economics, ARunHasThem) {
  BuiltRun run = built({});
  const SimulateResult r = simulate(run, {});
  const double hours = value(r.metrics, "duration") / 3600;
  EXPECT_NEAR(value(r.metrics, "cost"), value(r.metrics, "price_per_hour") * hours, 1e-12);
  EXPECT_NEAR(value(r.metrics, "energy"), value(r.metrics, "power") * hours / 1000, 1e-12);
  EXPECT_LT(value(r.metrics, "idle_energy"), value(r.metrics, "energy"));
}

TEST(Economics, UnitsAreAsked) {
  Diagnostics d;
  load_scenario(std::string(KVSIM_SOURCE_DIR) + "/scenarios/quickstart.yaml",
                {"economics.electricity=0.12", "economics.dram_price=1 USD/h", "economics.pu=1.1"},
                d);
  ASSERT_EQ(d.all().size(), 3U);
  EXPECT_NE(d.all()[0].message.find("0.12 USD/kWh"), std::string::npos) << d.all()[0].message;
  EXPECT_NE(d.all()[1].message.find("USD/GiB/h"), std::string::npos) << d.all()[1].message;
  EXPECT_NE(d.all()[2].hint.find("'pue'"), std::string::npos) << d.all()[2].hint;
}

}  // namespace
}  // namespace kvsim
