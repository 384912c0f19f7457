// kvsim compare and kvsim run --uncertainty as people use them.
#include <algorithm>

#include "sim/scenario/yaml.h"
#include "tests/sim/cli/cli_fixture.h"

namespace kvsim {
namespace {

using cli_test::expect_holds;
using cli_test::expect_misuse;
using cli_test::expect_width;
using cli_test::kvsim;

const std::string kScenario = cli_test::scenario("what-if.yaml");
const std::vector<std::string> kSmall{"--set", "workload.generate.requests=60"};

std::vector<std::string> compare(std::vector<std::string> more) {
  more.insert(more.begin(), {"compare", kScenario});
  more.insert(more.end(), kSmall.begin(), kSmall.end());
  return more;
}

TEST(CompareCli, TellsWhatChangedAndWhy) {
  auto r = kvsim(compare({"--set-b", "engine.max_running=4", "--seeds", "8"}));
  EXPECT_EQ(r.code, 0) << r.err;
  expect_width(r.out);
  std::replace(r.out.begin(), r.out.end(), '\n', ' ');
  expect_holds(r.out,
               {"engine.max_running", " values)", "95 % CI", "where mean TTFT goes", "lost most",
                "The mean TTFT of B is", "times that of A", "Mostly because queue rose"});
}

TEST(CompareCli, SaysWhenNothingDiffers) {
  const auto r = kvsim(compare({"--set-b", "name=other", "--seeds", "5"}));
  EXPECT_EQ(r.code, 0);
  expect_holds(r.out, {"No difference: both sides have the same events with each of 5 seeds"});
}

TEST(CompareCli, PrintsJsonAndCsv) {
  const auto json = kvsim(compare({"--set-b", "engine.max_running=4", "--seeds", "8", "--json"}));
  EXPECT_EQ(json.code, 0);
  Diagnostics d;
  const Tree tree = parse_yaml(json.out, "out", d);  // JSON is YAML
  ASSERT_TRUE(d.empty()) << json.out;
  EXPECT_EQ(tree.find("method")->text(), "seeds");
  EXPECT_GT(tree.find("rows")->items().size(), 10U);
  EXPECT_NE(tree.find("verdict")->text().find("times that of A"), std::string::npos);
  const auto csv = kvsim(compare({"--set-b", "engine.max_running=4", "--csv"}));
  EXPECT_EQ(csv.code, 0);
  EXPECT_EQ(std::count(csv.out.begin(), csv.out.end(), '\n'), 61);
  const auto columns = [](const std::string& line) {
    return std::count(line.begin(), line.end(), ',');
  };
  std::istringstream lines(csv.out);
  std::string head;
  std::getline(lines, head);
  for (std::string line; std::getline(lines, line);) EXPECT_EQ(columns(line), columns(head));
}

TEST(CompareCli, Misuse) {
  expect_misuse({"compare"}, {"nothing to compare", "--help"});
  expect_misuse(compare({}), {"one file needs a change", "--set-b"});
  expect_misuse(compare({"--set-b", "name=x", "--by", "itl"}), {"unknown latency 'itl'", "valid"});
  expect_misuse(compare({"--set-b", "name=x", "--seeds", "3"}), {"3 seeds are too few"});
  expect_misuse(compare({"--set-b", "name=x", "--confidence", "20"}), {"between 50 and 100"});
  expect_misuse(compare({"--set-b", "name=x", "--json", "--csv"}), {"exclude each other"});
  expect_misuse(compare({"--set-b", "name=x", "--coverage", "5"}), {"20 to 10000"});
  expect_misuse({"compare", "none.yaml", "none.db"}, {"none.yaml"});
  expect_misuse({"run", kScenario, "--range", "x=1..2"}, {"need --uncertainty"});
  expect_misuse({"run", kScenario, "--uncertainty", "--vary", "sed"}, {"did you mean 'seeds'"});
}

TEST(CompareCli, ErrorBarsOfARun) {
  std::vector<std::string> arguments{"run", kScenario, "--uncertainty",
                                     "20",  "--range", "engine.front_end=0..5 ms"};
  arguments.insert(arguments.end(), kSmall.begin(), kSmall.end());
  const auto r = kvsim(arguments);
  EXPECT_EQ(r.code, 0) << r.err;
  expect_width(r.out);
  expect_holds(r.out,
               {"13 deployments", "engine.front_end from 0 ms to 5 ms", "P95", "ttft_ms p99, ms"});
  arguments.emplace_back("--json");
  Diagnostics d;
  const Tree tree = parse_yaml(kvsim(arguments).out, "out", d);
  ASSERT_TRUE(d.empty());
  EXPECT_EQ(tree.find("trials")->text(), "20");
}

}  // namespace
}  // namespace kvsim
