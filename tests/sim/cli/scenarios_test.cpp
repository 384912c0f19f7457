// Every example is good, keeps all invariants, prints within a terminal, and needs nothing from
// outside.

#include "sim/cli/summary.h"
#include "sim/run/simulate.h"
#include "sim/scenario/yaml.h"
#include "tests/sim/cli/cli_fixture.h"

namespace kvsim {
namespace {

class Scenarios : public testing::TestWithParam<std::string> {
 protected:
  static BuiltRun build(const std::vector<std::string>& overrides = {}) {
    Diagnostics d;
    const LoadedScenario loaded = load_scenario(GetParam(), overrides, d);
    BuiltRun run = build_run(loaded, true, d);
    d.throw_if_any();
    return run;
  }
};

TEST_P(Scenarios, KeepsInvariantsAndBothPathsAgree) {
  BuiltRun fast = build(), exact = build();
  SimulateOptions options;
  options.check_often = true;
  const SimulateResult a = simulate(fast, options);
  options.exact_steps = true;
  const SimulateResult b = simulate(exact, options);
  EXPECT_GT(a.outcome.injected, 0u);
  EXPECT_EQ(a.outcome.injected, a.outcome.requests.size());
  EXPECT_EQ(a.outcome.digest, b.outcome.digest);
  EXPECT_EQ(a.skipped.records, 0u);
  cli_test::expect_width(summary_table(fast, a));
}

// --print shows what the run is identified by.
TEST_P(Scenarios, PrintIsTheResolvedScenario) {
  BuiltRun first = build();
  cli_test::TempFolder folder;
  const auto printed = cli_test::kvsim({"run", GetParam(), "--print"});
  ASSERT_EQ(printed.code, 0) << printed.err;
  EXPECT_EQ(printed.out, to_yaml(first.resolved));
}

TEST_P(Scenarios, ExplainsItselfInAFewLines) {
  std::istringstream lines(cli_test::read_file(GetParam()));
  int comment = 0;
  std::string line;
  while (std::getline(lines, line) && line.starts_with('#')) ++comment;
  EXPECT_GE(comment, 3);
  EXPECT_LE(comment, 30);
  const std::string name = std::filesystem::path(GetParam()).stem().string();
  cli_test::expect_holds(cli_test::read_file(GetParam()),
                         {"name: " + name, "kvsim run scenarios/" + name + ".yaml"});
  cli_test::expect_holds(cli_test::read_file(cli_test::scenario("README.md")),
                         {"`" + name + ".yaml`"});
}

TEST_P(Scenarios, NeedsNothingFromOutside) {
  EXPECT_EQ(cli_test::read_file(GetParam()).find("shared/"), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(Examples, Scenarios, testing::ValuesIn(cli_test::scenario_files()),
                         [](const auto& file) {
                           std::string name = std::filesystem::path(file.param).stem().string();
                           for (char& c : name)
                             if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
                           return name;
                         });

TEST(Quickstart, FinishesAll) {
  cli_test::TempFolder folder;
  const auto r =
      cli_test::kvsim({"run", cli_test::scenario("quickstart.yaml"), "-o", folder / "q.db"});
  EXPECT_EQ(r.code, 0) << r.err;
  cli_test::expect_holds(r.out, {"requests   400 in, 400 finished", "SLO", "goodput"});
}

// What the comments of the examples promise.
TEST(Examples, ShowWhatTheySay) {
  const auto tight =
      cli_test::kvsim({"run", cli_test::scenario("tight-memory.yaml"), "--no-database"});
  EXPECT_EQ(tight.out.find(" 0 preemptions"), std::string::npos) << tight.out;
  const auto roomy = cli_test::kvsim({"run", cli_test::scenario("tight-memory.yaml"),
                                      "--no-database", "--set", "engine.kv_blocks=4800"});
  cli_test::expect_holds(roomy.out, {" 0 preemptions"});
  const std::string swap = cli_test::scenario("tight-memory-swap.yaml");
  cli_test::expect_holds(cli_test::kvsim({"run", swap, "--no-database"}).out,
                         {"preempted requests swapped out"});
  const auto again =
      cli_test::kvsim({"run", swap, "--no-database", "--set", "engine.preemption=recompute"});
  EXPECT_EQ(again.out.find("swapped out"), std::string::npos) << again.out;
  const auto without = cli_test::kvsim({"run", cli_test::scenario("multi-turn.yaml"),
                                        "--no-database", "--set", "cache.prefix.index=none"});
  cli_test::expect_holds(without.out, {"0.00 % of the prompt tokens hit"});
  const auto with =
      cli_test::kvsim({"run", cli_test::scenario("multi-turn.yaml"), "--no-database"});
  cli_test::expect_holds(with.out, {"evicted_capacity"});
}

TEST(RunJson, IsJsonWithTheMetrics) {
  const auto r =
      cli_test::kvsim({"run", cli_test::scenario("quickstart.yaml"), "--no-database", "--json"});
  EXPECT_EQ(r.code, 0);
  Diagnostics d;
  cli_test::TempFolder folder;
  const Tree t = load_yaml(folder.write("r.json", r.out), d);
  EXPECT_TRUE(d.empty());
  ASSERT_NE(t.find("metrics"), nullptr);
  EXPECT_GT(t.find("metrics")->items().size(), 20u);
}

}  // namespace
}  // namespace kvsim
