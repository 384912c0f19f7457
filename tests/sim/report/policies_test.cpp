// Replays of kvsim cache -o in a report: every policy beside the bound.
#include "tests/sim/cli/cli_fixture.h"
#include "tests/sim/report/report_fixture.h"

namespace kvsim::report {
namespace {

class Policies : public testing::Test {
 protected:
  cli_test::Result cache(const std::vector<std::string>& more) {
    std::vector<std::string> arguments{
        "cache", "--trace", std::string(KVSIM_SOURCE_DIR) + "/traces/samples/chat.jsonl",
        "--csv", "-o",      db_};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return cli_test::kvsim(arguments);
  }
  record_test::Folder folder_;
  std::string db_ = folder_ / "policies.db";
};

TEST_F(Policies, StandBesideTheOptimumOfPrefixes) {
  const cli_test::Result r =
      cache({"--prefix", "--policy", "lru,s3-fifo", "--capacity", "100,1000"});
  ASSERT_EQ(r.code, 0) << r.err;
  const Report report = build_report({db_});
  const Table* t = report_test::find_table(report, "replays-1");
  ASSERT_NE(t, nullptr);
  ASSERT_EQ(t->rows.size(), 3U);
  EXPECT_EQ(t->rows[0][0].text, "optimum (bound)");
  EXPECT_DOUBLE_EQ(t->rows[0].back().number, 1);
  for (const auto& row : t->rows) {
    ASSERT_EQ(row.size(), t->columns.size());
    for (std::size_t i = 1; i < row.size(); ++i) EXPECT_LE(row[i].number, t->rows[0][i].number);
  }
  const Chart* c = report_test::find_chart(report, "replay-curves-1");
  ASSERT_NE(c, nullptr);
  EXPECT_EQ(c->series.at(0).x, (std::vector<double>{100, 1000}));
  EXPECT_TRUE(c->series.at(0).is_dashed);
  // The same ratios as printed: "lru",100,accesses,hits,...
  for (std::size_t k = 0; k < 2; ++k) {
    const std::string line = "\"optimum\"," + std::string(k == 0 ? "100," : "1000,");
    const std::size_t at = r.out.find(line);
    ASSERT_NE(at, std::string::npos) << r.out;
    double accesses = 0, hits = 0;
    ASSERT_EQ(std::sscanf(r.out.c_str() + at + line.size(), "%lf,%lf", &accesses, &hits), 2);
    EXPECT_DOUBLE_EQ(t->rows[0][1 + k].number, hits / accesses);
  }
}

TEST_F(Policies, ReplaysOfBlocksAndMisuse) {
  ASSERT_EQ(cache({"--policy", "belady:bypass=true,lru", "--capacity", "500"}).code, 0);
  const Report report = build_report({db_});
  EXPECT_EQ(report_test::find_table(report, "replays-1")->rows.at(0)[0].text,
            "belady:bypass=true (bound)");
  EXPECT_EQ(report_test::find_chart(report, "replay-curves-1"), nullptr) << "one capacity";
  const cli_test::Result twice = cache({"--policy", "lru,lru", "--capacity", "500"});
  EXPECT_EQ(twice.code, 2);
  cli_test::expect_holds(twice.err, {"policies.db", "once"});
  EXPECT_EQ(build_report({db_}).sections.size(), 1U) << "the older file stays";
}

}  // namespace
}  // namespace kvsim::report
