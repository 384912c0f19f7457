// The folders of routers and of disaggregation: each router has its example there, and each example
// runs, the same on both paths.
#include <set>

#include "sim/run/simulate.h"
#include "tests/sim/cli/cli_fixture.h"

namespace kvsim {
namespace {

std::vector<std::string> examples(const char* folder) {
  std::vector<std::string> files;
  for (const auto& e : std::filesystem::directory_iterator(cli_test::scenario(folder)))
    if (e.path().extension() == ".yaml") files.push_back(e.path().string());
  std::sort(files.begin(), files.end());
  return files;
}

RunOutcome run(const std::string& file, bool exact) {
  Diagnostics d;
  BuiltRun built = build_run(load_scenario(file, {"workload.limit=300"}, d), true, d);
  d.throw_if_any();
  SimulateOptions options;
  options.check_often = true;
  options.exact_steps = exact;
  return simulate(built, options).outcome;
}

TEST(RoutingScenarios, CoverTheRegistry) {
  std::set<std::string> routers;
  for (const std::string& file : examples("routing")) {
    Diagnostics d;
    const Scenario s = load_scenario(file, {}, d).value;
    EXPECT_TRUE(d.empty()) << file;
    EXPECT_EQ(s.name, std::filesystem::path(file).stem().string());
    EXPECT_EQ(s.name, s.router.name);
    routers.insert(s.router.name);
    cli_test::expect_holds(cli_test::read_file(file),
                           {"kvsim run scenarios/routing/" + s.name + ".yaml"});
  }
  for (const std::string& name : Registry::instance().names("router"))
    EXPECT_TRUE(routers.contains(name)) << name << " has no example in scenarios/routing";
}

TEST(RoutingScenarios, RunTheSameOnBothPaths) {
  for (const char* folder : {"routing", "disaggregation"}) {
    for (const std::string& file : examples(folder)) {
      const RunOutcome fast = run(file, false);
      EXPECT_EQ(fast.requests.size(), 300U) << file;
      EXPECT_EQ(fast.digest, run(file, true).digest) << file;
    }
  }
}

// Each autoscaling policy is a variant of the example; so is a fleet that stays as it is.
TEST(FleetScenarios, RunTheSameOnBothPaths) {
  std::set<std::string> scalers;
  for (const char* name : {"autoscaling", "tenants"}) {
    Diagnostics d;
    const std::string file = cli_test::scenario("examples/" + std::string(name) + ".yaml");
    const auto variants = load_variants(file, {"workload.limit=1500"}, d);
    d.throw_if_any();
    for (const LoadedScenario& one : variants) {
      std::uint64_t digests[2] = {};
      for (const bool exact : {false, true}) {
        BuiltRun built = build_run(one, true, d);
        d.throw_if_any();
        SimulateOptions options;
        options.check_often = true;
        options.exact_steps = exact;
        const RunOutcome outcome = simulate(built, options).outcome;
        EXPECT_EQ(outcome.requests.size(), 1500U);
        digests[exact ? 1 : 0] = outcome.digest;
      }
      EXPECT_EQ(digests[0], digests[1]) << one.value.name;
      if (one.value.deployment.autoscaling)
        scalers.insert(one.value.deployment.autoscaling->policy.name);
    }
    cli_test::expect_holds(cli_test::read_file(file),
                           {"kvsim run scenarios/examples/" + std::string(name) + ".yaml"});
  }
  for (const std::string& name : Registry::instance().names("scaler"))
    EXPECT_TRUE(scalers.contains(name)) << name << " has no variant in examples/autoscaling.yaml";
}

}  // namespace
}  // namespace kvsim
