// The folder of schedulers: each scheduler and admission control has its example there, and each
// example runs, the same on both paths.
#include <set>

#include "sim/run/simulate.h"
#include "sim/scenario/yaml.h"
#include "tests/sim/cli/cli_fixture.h"

namespace kvsim {
namespace {

std::vector<std::string> examples() {
  std::vector<std::string> files;
  for (const auto& e : std::filesystem::directory_iterator(cli_test::scenario("schedulers")))
    if (e.path().extension() == ".yaml") files.push_back(e.path().string());
  std::sort(files.begin(), files.end());
  return files;
}

TEST(SchedulerScenarios, CoverTheRegistry) {
  std::set<std::string> schedulers, admissions, pauses;
  for (const std::string& file : examples()) {
    Diagnostics d;
    const Scenario s = load_scenario(file, {}, d).value;
    EXPECT_TRUE(d.empty()) << file;
    EXPECT_EQ(s.name, std::filesystem::path(file).stem().string());
    schedulers.insert(s.engine.scheduler.policy.name);
    admissions.insert(s.engine.admission.name);
    pauses.insert(s.engine.tools.policy.name);
    cli_test::expect_holds(cli_test::read_file(file),
                           {"kvsim run scenarios/schedulers/" + s.name + ".yaml"});
  }
  for (const std::string& name : Registry::instance().names("scheduler"))
    EXPECT_TRUE(schedulers.contains(name)) << name << " has no example in scenarios/schedulers";
  for (const std::string& name : Registry::instance().names("admission"))
    EXPECT_TRUE(admissions.contains(name)) << name << " has no example in scenarios/schedulers";
  for (const std::string& name : Registry::instance().names("pause"))
    EXPECT_TRUE(pauses.contains(name)) << name << " has no example in scenarios/schedulers";
}

TEST(SchedulerScenarios, RunTheSameOnBothPaths) {
  for (const std::string& file : examples()) {
    const auto run = [&](bool exact) {
      Diagnostics d;
      BuiltRun built = build_run(load_scenario(file, {"workload.limit=300"}, d), true, d);
      d.throw_if_any();
      SimulateOptions options;
      options.check_often = true;
      options.exact_steps = exact;
      return simulate(built, options).outcome;
    };
    const RunOutcome fast = run(false);
    EXPECT_EQ(fast.requests.size(), 300U) << file;
    EXPECT_EQ(fast.digest, run(true).digest) << file;
  }
}

}  // namespace
}  // namespace kvsim
