// The program as a whole: help, exit codes, where text goes, misuse.
#include <thread>

#include "sim/base/diagnostics.h"
#include "sim/cli/command.h"
#include "sim/cli/progress.h"
#include "tests/sim/cli/cli_fixture.h"

namespace kvsim {
namespace {

using cli_test::expect_holds;
using cli_test::expect_misuse;
using cli_test::Result;

TEST(Program, HelpListsEveryVerb) {
  for (const char* word : {"--help", "-h", "help"}) {
    const Result r = cli_test::kvsim({word});
    EXPECT_EQ(r.code, 0);
    EXPECT_EQ(r.err, "");
    for (const Command* c : commands()) expect_holds(r.out, {c->name, c->summary});
    cli_test::expect_width(r.out);
  }
}

TEST(Program, EveryVerbShowsOptionsAndExamples) {
  for (const Command* c : commands()) {
    const Result by_option = cli_test::kvsim({c->name, "--help"}),
                 by_verb = cli_test::kvsim({"help", c->name});
    EXPECT_EQ(by_option.code, 0);
    EXPECT_EQ(by_option.out, by_verb.out);
    expect_holds(by_option.out, {std::string("usage: kvsim ") + c->name, "--help", "examples",
                                 std::string("  kvsim ") + c->name});
    cli_test::expect_width(by_option.out);
  }
}

TEST(Program, WithoutVerbTheHelpIsAnError) {
  const Result r = cli_test::kvsim({});
  EXPECT_EQ(r.code, 2);
  EXPECT_EQ(r.out, "");
  expect_holds(r.err, {"usage: kvsim VERB"});
}

TEST(Program, MisuseNamesTheCure) {
  expect_misuse({"rnu"}, {"unknown verb 'rnu'", "did you mean 'run'?"});
  expect_misuse({"help", "shwo"}, {"unknown verb 'shwo'", "did you mean 'show'?"});
  expect_misuse({"run", "--reproducable", "x.yaml"},
                {"unknown option '--reproducable'", "did you mean '--reproducible'?"});
  expect_misuse({"run", "--repro", "x.yaml"}, {"unknown option '--repro'"});
  expect_misuse({"run", "x.yaml", "--set"}, {"kvsim run", "--set", "kvsim run --help"});
  expect_misuse({"schema", "x"}, {"kvsim schema"});
  expect_misuse({"show", "a", "b"}, {"too many arguments; expected NAME"});
}

TEST(Program, EveryVerbRefusesUnknownOptions) {
  for (const Command* c : commands())
    expect_misuse({c->name, "--halp"}, {"unknown option '--halp'", "did you mean '--help'?"});
}

TEST(Run, Misuse) {
  expect_misuse({"run"}, {"no scenario file given"});
  expect_misuse({"run", "absent.yaml"}, {"absent.yaml"});
  const std::string quickstart = cli_test::scenario("quickstart.yaml");
  expect_misuse({"run", quickstart, quickstart, "-o", "x.db"}, {"--output names one database"});
  expect_misuse({"run", quickstart, "--no-database", "--set", "engine.max_runing=4"},
                {"max_runing", "did you mean 'max_running'?"});
  expect_misuse({"run", quickstart, "--set", "name"}, {"expected PATH=VALUE"});
  expect_misuse({"run", quickstart, "-o", "/nowhere/at/all/x.db"}, {"/nowhere/at/all/x.db"});
}

TEST(Check, GoodAndWrong) {
  const std::string quickstart = cli_test::scenario("quickstart.yaml");
  const Result good = cli_test::kvsim({"check", quickstart});
  EXPECT_EQ(good.code, 0);
  EXPECT_EQ(good.out, quickstart + ": good\n");
  expect_misuse({"check"}, {"no scenario file given"});
  expect_misuse({"check", quickstart, "--set", "deployment.hardware=h100-smx"},
                {"unknown hardware 'h100-smx'", "did you mean 'h100-sxm'?"});
  expect_misuse({"check", quickstart, "--set", "slo.ttft=2", "--set", "engine.overhead=5"},
                {"slo.ttft", "engine.overhead", "2 s"});
}

TEST(Validate, Misuse) {
  expect_misuse({"validate"}, {"no case given"});
  expect_misuse({"validate", "/nowhere"}, {"/nowhere"});
  expect_misuse({"validate", cli_test::scenario("quickstart.yaml")}, {"measured", "is missing"});
  expect_misuse({"validate", "x", "--tolerance", "much"}, {"--tolerance", "much"});
}

TEST(Validate, ComparesARealDeployment) {
  const std::string folder =
      std::string(KVSIM_SOURCE_DIR) + "/../shared/validation/rtxpro6000-llama-3.1-8b";
  if (!std::filesystem::exists(folder + "/case.yaml")) GTEST_SKIP() << "no " << folder;
  const Result r = cli_test::kvsim({"validate", folder});
  EXPECT_EQ(r.code, 0) << r.err;
  expect_holds(r.out, {"e2e_latency  mean", "largest difference"});
  EXPECT_EQ(cli_test::kvsim({"validate", folder, "--tolerance", "0.0001"}).code, 3);
  EXPECT_TRUE(cli_test::kvsim({"validate", folder, "--json"}).out.starts_with("{\"case\": "));
}

// A process whose stderr is no terminal shows no line.
TEST(Progress, OnlyOnATerminal) {
  cli_test::Redirect err(STDERR_FILENO);
  {
    ProgressLine line(100);
    std::this_thread::sleep_for(std::chrono::milliseconds(120));
    line.update(Time{}, 50);
  }
  EXPECT_EQ(err.take(), "");
}

class Binary : public testing::Test {
 protected:
  void SetUp() override {
    if (cli_test::program().empty()) GTEST_SKIP() << "kvsim is not built beside the tests";
  }
  [[nodiscard]] std::string run(const std::string& arguments, int expected) const {
    const int code = cli_test::shell(cli_test::program() + " " + arguments + " >" +
                                     (folder_ / "out") + " 2>" + (folder_ / "err"));
    EXPECT_EQ(code, expected) << arguments << "\n" << cli_test::read_file(folder_ / "err");
    return cli_test::read_file(folder_ / "out");
  }
  cli_test::TempFolder folder_;
};

TEST_F(Binary, ExitCodesAndStreams) {
  expect_holds(run("--version", 0), {"kvsim "});
  EXPECT_EQ(run("run", 2), "");
  expect_holds(cli_test::read_file(folder_ / "err"), {"error: kvsim run: no scenario file given"});
  EXPECT_EQ(run("shwo", 2), "");
}

// Results, and nothing else, on stdout; no progress line where there is no terminal.
TEST_F(Binary, RunWritesResultsToStdout) {
  const std::string out =
      run("run " + cli_test::scenario("quickstart.yaml") + " -o " + (folder_ / "q.db"), 0);
  const std::string err = cli_test::read_file(folder_ / "err");
  expect_holds(out, {"quickstart: llama-3.1-8b on 2 x h100-sxm", "TTFT, ms"});
  EXPECT_EQ(out.find("written to"), std::string::npos);
  expect_holds(err, {"written to"});
  EXPECT_EQ(err.find('\r'), std::string::npos);
  EXPECT_EQ(err.find('\033'), std::string::npos);
}

TEST_F(Binary, FullOutputIsAnError) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "no /dev/full";
  EXPECT_EQ(cli_test::shell(cli_test::program() + " list >/dev/full 2>" + (folder_ / "err")), 2);
  expect_holds(cli_test::read_file(folder_ / "err"), {"cannot write the result"});
  EXPECT_EQ(cli_test::shell(cli_test::program() + " schema >/dev/full 2>/dev/null"), 2);
}

}  // namespace
}  // namespace kvsim
