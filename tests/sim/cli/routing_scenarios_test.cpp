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

}  // namespace
}  // namespace kvsim
