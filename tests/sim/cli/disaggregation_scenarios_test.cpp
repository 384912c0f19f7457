// The folder of disaggregation: each role and way to hand KV over has its example there
// (routing_scenarios_test.cpp runs them).
#include <set>

#include "sim/run/simulate.h"
#include "tests/sim/cli/cli_fixture.h"

namespace kvsim {
namespace {

std::vector<std::string> examples() {
  std::vector<std::string> files;
  for (const auto& e : std::filesystem::directory_iterator(cli_test::scenario("disaggregation")))
    if (e.path().extension() == ".yaml") files.push_back(e.path().string());
  std::sort(files.begin(), files.end());
  return files;
}

TEST(DisaggregationScenarios, CoverRolesAndModes) {
  std::set<PoolRole> roles;
  std::set<HandoverMode> modes;
  bool switches = false;
  for (const std::string& file : examples()) {
    Diagnostics d;
    const Scenario s = load_scenario(file, {}, d).value;
    EXPECT_TRUE(d.empty()) << file;
    EXPECT_EQ(s.name, std::filesystem::path(file).stem().string());
    for (const PoolSpec& p : s.deployment.pools) roles.insert(p.role);
    if (!s.deployment.pools.empty())
      modes.insert(s.deployment.handover.value_or(HandoverSpec{}).mode);
    switches = switches || s.deployment.roles;
    cli_test::expect_holds(cli_test::read_file(file),
                           {"kvsim run scenarios/disaggregation/" + s.name + ".yaml"});
  }
  EXPECT_EQ(roles.size(), enum_names(PoolRole{}).size());
  EXPECT_EQ(modes.size(), enum_names(HandoverMode{}).size());
  EXPECT_TRUE(switches);
}

// Documents that no instance has the memory for are served with that of others, and refused
// without.
TEST(DisaggregationScenarios, BorrowedMemoryServesDocuments) {
  const auto run = [](const std::vector<std::string>& sets) {
    Diagnostics d;
    BuiltRun built = build_run(
        load_scenario(cli_test::scenario("disaggregation/borrowed-memory.yaml"), sets, d), true, d);
    d.throw_if_any();
    return simulate(built, {});
  };
  const auto count = [](const SimulateResult& r, const char* name) {
    for (const Metric& m : r.metrics)
      if (m.name == name && m.scope == "run") return m.value;
    return 0.0;
  };
  const SimulateResult lent = run({}), alone = run({"deployment.lending=null"});
  EXPECT_EQ(count(lent, "failed"), 0);
  EXPECT_GT(count(alone, "failed"), 5);
  EXPECT_GT(count(lent, "loans"), count(alone, "failed"));
  const std::pair<const char*, const char*> wrong[] = {
      {"deployment.replicas=1", "does not go with one instance"},
      {"cache.prefix.index=hash", "a block has one owner"},
      {"router=llumnix", "routers that move or copy KV"},
      {"engine.preemption=swap", "KV in host memory"},
      {"engine.preset=sglang", "memory that is set aside for output"},
      {"deployment.lending.policy=gredy", "did you mean 'greedy'?"},
      {"deployment.pools=[{name: a}, {name: b}]", "lend no memory"},
      {"deployment.lending.chunks=3", "did you mean 'chunk'?"}};
  for (const auto& [set, message] : wrong) {
    Diagnostics d;
    build_run(load_scenario(cli_test::scenario("disaggregation/borrowed-memory.yaml"), {set}, d),
              false, d);
    ASSERT_FALSE(d.empty()) << set;
    std::string all;
    for (const Diagnostic& one : d.all()) all += to_string(one) + "\n";
    EXPECT_NE(all.find(message), std::string::npos) << all;
  }
}

// What pools may not have, said at the place of the pools.
TEST(DisaggregationScenarios, RefuseWhatDoesNotGoTogether) {
  const std::string file = cli_test::scenario("disaggregation/tiers-and-faults.yaml");
  const std::pair<const char*, const char*> wrong[] = {
      {"deployment.handover={mode: push}", "who has set room aside must not fail"},
      {"deployment.roles={every: 1 s}", "keep their role"},
      {"faults=[{kind: instance, target: 8, at: 1 s}]", "there are 8 instances"},
      {"faults=[{kind: node, target: 2, at: 1 s}]", "no instance runs on node 2"},
      {"deployment.pools.1.cache={tiers: [{name: gpu}, {name: cpu, capacity: 9 GiB, write: back}]}",
       "pools disagree on tier 1 (cpu)"}};
  for (const auto& [set, message] : wrong) {
    Diagnostics d;
    build_run(load_scenario(file, {set}, d), false, d);
    ASSERT_FALSE(d.empty()) << set;
    EXPECT_NE(to_string(d.all()[0]).find(message), std::string::npos) << to_string(d.all()[0]);
  }
  const std::string images = cli_test::scenario("disaggregation/encoders.yaml");
  const std::pair<const char*, const char*> unfit[] = {
      {"encoder=null", "has nothing to encode with"},
      {"deployment.pools=[{name: e, role: encode}]", "nobody computes prompts"},
      {"deployment.pools=[{name: c}, {name: e, role: encode}, {name: f, role: encode}]",
       "several pools encode"},
      {"deployment.pools.1.parallel={tensor: 2}", "parallel has no meaning there"},
      {"deployment.pools.1.hardware=l40s", "has no network"}};
  for (const auto& [set, message] : unfit) {
    Diagnostics d;
    build_run(load_scenario(images, {set}, d), false, d);
    ASSERT_FALSE(d.empty()) << set;
    EXPECT_NE(to_string(d.all()[0]).find(message), std::string::npos) << to_string(d.all()[0]);
  }
  {
    Diagnostics d;
    build_run(load_scenario(images, {"deployment.pools=[{name: c}]", "encoder=null"}, d), false, d);
    ASSERT_FALSE(d.empty());
    EXPECT_NE(to_string(d.all()[0]).find("nobody encodes them"), std::string::npos);
  }
  // Both pools may have the tier, of different sizes; node 1 is the decode pool's.
  Diagnostics d;
  build_run(load_scenario(file,
                          {"deployment.pools.1.cache={tiers: [{name: gpu}, {name: cpu, capacity: 9 "
                           "GiB}]}",
                           "faults=[{kind: node, target: 1, at: 1 s, down: 1 s}, {kind: tier, "
                           "name: cpu, target: 7, at: 1 s, down: 1 s}]"},
                          d),
            false, d);
  EXPECT_TRUE(d.empty()) << to_string(d.all()[0]);
}

}  // namespace
}  // namespace kvsim
