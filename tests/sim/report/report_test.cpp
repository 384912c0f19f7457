// What a report says, against the rows it says it of.
#include <algorithm>
#include <numeric>
#include <set>

#include "sim/base/diagnostics.h"
#include "sim/record/schema.h"
#include "tests/sim/report/report_fixture.h"

namespace kvsim::report {
namespace {

using record_test::Folder;
using report_test::find_chart;
using report_test::find_table;

class ReportOf : public testing::Test {
 protected:
  Folder folder_;
  std::string db_ = folder_ / "sample.db";
};

TEST_F(ReportOf, CurvesAreTheQuantilesOfTheRows) {
  const RunOutcome run = record_test::sample_run(777);
  record_test::write_sample(db_, run);
  std::vector<double> ttft;
  for (const RequestOutcome& r : run.requests)
    if (r.outcome == Outcome::finished)
      ttft.push_back(static_cast<double>(to_ns(r.first_token - r.arrival)) / 1e6);
  std::sort(ttft.begin(), ttft.end());
  const Report report = build_report({db_});
  const Chart* c = find_chart(report, "cdf-ttft");
  ASSERT_NE(c, nullptr);
  const Series& s = c->series.at(0);
  EXPECT_DOUBLE_EQ(s.x.front(), ttft.front());
  EXPECT_DOUBLE_EQ(s.x.back(), ttft.back());
  for (std::size_t i = 0; i < s.x.size(); ++i) {
    const double at = s.y[i] / 100 * static_cast<double>(ttft.size() - 1);
    const auto low = static_cast<std::size_t>(at + 1e-9);
    EXPECT_GE(s.x[i], ttft[low] - 1e-9) << s.y[i];
    EXPECT_LE(s.x[i], ttft[std::min(low + 1, ttft.size() - 1)] + 1e-9) << s.y[i];
  }
}

TEST_F(ReportOf, ObjectivesAreLines) {
  record_test::write_sample(db_, record_test::sample_run(50));  // 200 ms TTFT, 20 ms TPOT
  const Report report = build_report({db_});
  EXPECT_EQ(find_chart(report, "cdf-ttft")->series.back().x, (std::vector<double>{200, 200}));
  EXPECT_EQ(find_chart(report, "cdf-tpot")->series.back().name, "SLO 20 ms");
  EXPECT_EQ(find_chart(report, "cdf-e2el")->series.size(), 1U);
}

TEST_F(ReportOf, TheWaterfallEndsAtTheMeanTtft) {
  record_test::write_sample(db_, record_test::sample_run(400));
  const Report report = build_report({db_});
  for (const char* id : {"ttft-mean", "ttft-slowest"}) {
    const Chart* c = find_chart(report, id);
    ASSERT_NE(c, nullptr);
    const Series& s = c->series.at(0);
    ASSERT_EQ(s.y.size(), c->y.categories.size());
    ASSERT_EQ(s.base.size(), s.y.size());
    EXPECT_EQ(s.base.front(), 0);
    for (std::size_t i = 1; i + 1 < s.y.size(); ++i) EXPECT_DOUBLE_EQ(s.base[i], s.y[i - 1]);
    EXPECT_EQ(s.base.back(), 0);
    EXPECT_DOUBLE_EQ(s.y.back(), s.y[s.y.size() - 2]);
  }
  Database db = Database::open_read_only(db_);
  Statement mean = db.prepare(
      "SELECT avg(first_token_ns - arrival_ns) / 1e6 FROM request WHERE outcome = 'finished'");
  ASSERT_TRUE(mean.step());
  EXPECT_NEAR(find_chart(report, "ttft-mean")->series[0].y.back(), mean.real(0), 1e-6);
  EXPECT_GT(find_chart(report, "ttft-slowest")->series[0].y.back(), mean.real(0));
}

TEST_F(ReportOf, OriginsOfPromptTokensMakeUpAllOfThem) {
  record_test::write_sample(db_, record_test::sample_run(300));
  const Report report = build_report({db_});
  const Chart* c = find_chart(report, "prompt-tokens");
  ASSERT_NE(c, nullptr);
  double sum = 0;
  for (const Series& s : c->series) sum += s.y.at(0);
  EXPECT_NEAR(sum, 100, 1e-9);
  double tokens = 0;
  for (const Cell& cell : find_table(report, "misses")->rows.at(0))
    if (!std::isnan(cell.number)) tokens += cell.number;
  Database db = Database::open_read_only(db_);
  EXPECT_EQ(tokens, static_cast<double>(db.integer("SELECT sum(queried_tokens) FROM request")));
}

TEST_F(ReportOf, ThroughputsAreDifferencesOfTheSamples) {
  RunOutcome run = record_test::sample_run(10);
  run.samples.clear();
  for (int i = 1; i <= 1200; ++i)
    for (std::uint32_t rank = 0; rank < 2; ++rank)
      run.samples.push_back(
          {Time{std::chrono::seconds(2 * i)}, 0, rank, 3, 1, 10, 20, 100, 100 * i, 10 * i});
  record_test::write_sample(db_, run);
  const Report report = build_report({db_});
  const Chart* tokens = find_chart(report, "throughput-timeline");
  ASSERT_NE(tokens, nullptr);
  EXPECT_LE(tokens->series.at(0).x.size(), 500U);
  for (const double rate : tokens->series.at(0).y) EXPECT_NEAR(rate, 100, 1e-9);
  for (const double rate : tokens->series.at(1).y) EXPECT_NEAR(rate, 10, 1e-9);
  for (const double running : find_chart(report, "queue-timeline")->series.at(0).y)
    EXPECT_NEAR(running, 6, 1e-9);
  for (const double held : find_chart(report, "kv-timeline")->series.at(0).y)
    EXPECT_NEAR(held, 10, 1e-9);
}

// Two instances come up at once, one leaves at 10 s and is gone at 12 s.
TEST_F(ReportOf, FleetsAreStepsUntilTheEnd) {
  RunOutcome run = record_test::sample_run(10);
  record_test::write_sample(db_, run);
  {
    Database db = Database::open_existing(db_);
    db.exec(R"(
UPDATE run SET simulated_ns = 20000000000;
INSERT INTO scale_event (run_id, at_ns, instance, event, wanted, up, starting, draining, waiting, in_flight) VALUES
  (1, 0, 0, 'up', 2, 1, 0, 0, 0, 0), (1, 0, 1, 'up', 2, 2, 0, 0, 0, 0),
  (1, 10000000000, 1, 'drain', 1, 1, 0, 1, 0, 3), (1, 12000000000, 1, 'stop', 1, 1, 0, 0, 0, 2);)");
  }
  const Report report = build_report({db_});
  const Chart* fleet = find_chart(report, "fleet-timeline");
  ASSERT_NE(fleet, nullptr);
  ASSERT_EQ(fleet->series.size(), 2U);
  const Series &up = fleet->series[0], &idle = fleet->series[1];
  EXPECT_EQ(up.x, (std::vector<double>{0, 10, 10, 12, 12, 20}));
  EXPECT_EQ(up.y, (std::vector<double>{2, 2, 1, 1, 1, 1}));
  EXPECT_EQ(idle.x, up.x);
  EXPECT_EQ(idle.y, (std::vector<double>{0, 0, 1, 1, 0, 0}));
}

TEST_F(ReportOf, EveryChartHasTitleUnitsAndMarks) {
  record_test::write_sample(db_, record_test::sample_run(200));
  report_test::write_study(folder_ / "study.db");
  report_test::write_quality(folder_ / "quality.db");
  const Report report = build_report({db_, folder_ / "study.db", folder_ / "quality.db"});
  std::set<std::string> ids;
  for (const Chart* c : report_test::charts(report)) {
    EXPECT_TRUE(ids.insert(c->id).second) << c->id;
    EXPECT_FALSE(c->title.empty() || c->x.title.empty() || c->y.title.empty()) << c->id;
    EXPECT_FALSE(c->series.empty()) << c->id;
    for (const Series& s : c->series) EXPECT_FALSE(s.y.empty()) << c->id;
  }
  EXPECT_GT(ids.size(), 10U);
}

TEST_F(ReportOf, SectionsWithoutDataAreLeftOut) {
  RunOutcome empty;
  record_test::write_sample(db_, empty);
  const Report report = build_report({db_});
  EXPECT_TRUE(report_test::charts(report).empty());
  for (const Section& s : report.sections) EXPECT_FALSE(s.parts.empty()) << s.id;
  const std::string page = to_html(report);
  for (const char* absent : {"<canvas", "id=\"tiers\"", "id=\"latency\"", "id=\"quality\""})
    EXPECT_EQ(page.find(absent), std::string::npos) << absent;
}

TEST_F(ReportOf, StudiesShowFrontAndMaps) {
  report_test::write_study(db_);
  const Report report = build_report({db_});
  EXPECT_EQ(report.title, "Study eviction-sweep");
  const Chart* front = find_chart(report, "study-1-pareto");
  ASSERT_NE(front, nullptr);
  EXPECT_EQ(front->series.at(0).name, "Pareto front");
  EXPECT_EQ(front->series.at(0).labels, (std::vector<std::string>{"lru; 15000", "lru; 10000"}));
  EXPECT_EQ(front->series.at(0).y, (std::vector<double>{950, 850}));
  EXPECT_DOUBLE_EQ(front->series.at(0).x.at(0), 10.5);  // mean of two seeds
  EXPECT_EQ(front->series.at(2).name, "break a constraint");
  const Chart* map = find_chart(report, "study-1-map-1");
  ASSERT_NE(map, nullptr);
  EXPECT_EQ(map->x.categories, (std::vector<std::string>{"5000", "10000", "15000"}));
  EXPECT_EQ(map->y.categories, (std::vector<std::string>{"lru", "s3-fifo"}));
  EXPECT_EQ(map->series.at(0).y, (std::vector<double>{50.5, 30.5, 10.5, 61, 40.5, 20.5}));
  const Table* points = find_table(report, "study-1-points");
  ASSERT_NE(points, nullptr);
  EXPECT_EQ(points->rows.size(), 6U);
  EXPECT_EQ(points->rows.back().back().text, "1 of 2");
  EXPECT_NE(find_chart(report, "study-1-map-3"), nullptr) << "hit rates, as an axis is eviction";
}

TEST_F(ReportOf, QualityStandsAgainstBytes) {
  report_test::write_quality(db_);
  const Report report = build_report({db_});
  const Chart* c = find_chart(report, "quality-1");
  ASSERT_NE(c, nullptr);
  ASSERT_EQ(c->series.size(), 2U) << "one a policy, of all layers, means only";
  EXPECT_EQ(c->series[0].name, "h2o");
  EXPECT_EQ(c->series[0].x, (std::vector<double>{10, 20}));
  EXPECT_EQ(c->series[0].y, (std::vector<double>{0.07, 0.05}));
  EXPECT_EQ(c->series[0].labels, (std::vector<std::string>{"h2o size 10", "h2o size 20"}));
  EXPECT_EQ(c->series[1].name, "snapkv");
}

TEST_F(ReportOf, SeveralFilesStandSideBySide) {
  record_test::write_sample(db_, record_test::sample_run(100, 1));
  record_test::write_sample(folder_ / "other.db", record_test::sample_run(150, 2));
  const Report report = build_report({db_, folder_ / "other.db"});
  const Chart* c = find_chart(report, "cdf-e2el");
  ASSERT_NE(c, nullptr);
  ASSERT_EQ(c->series.size(), 2U);
  EXPECT_EQ(c->series[0].name, "sample (sample)");
  EXPECT_EQ(c->series[1].name, "sample (other)");
  EXPECT_NE(c->series[0].color, c->series[1].color);
}

TEST_F(ReportOf, AnUnfinishedRunIsSaid) {
  { Recorder killed(db_, record_test::sample_header()); }
  const Report report = build_report({db_ + ".unfinished"});
  ASSERT_EQ(report.warnings.size(), 1U);
  EXPECT_NE(report.warnings[0].find("unfinished"), std::string::npos);
}

TEST_F(ReportOf, FilesThatAreNoResultsAreRefused) {
  EXPECT_THROW(build_report({}), InputError);
  EXPECT_THROW(build_report({folder_ / "absent.db"}), InputError);
  {
    Database other = Database::create(db_);
    other.exec("CREATE TABLE run (x)");
  }
  EXPECT_THROW(build_report({db_}), InputError);
  record_test::write_sample(folder_ / "good.db", record_test::sample_run(5));
  EXPECT_THROW(build_report({folder_ / "good.db", folder_ / "good.db"}), InputError);
  {
    Database changed = Database::create(folder_ / "changed.db");
    create_schema(changed);
    changed.exec("DROP TABLE run; CREATE TABLE run (run_id INTEGER)");
  }
  EXPECT_THROW(build_report({folder_ / "changed.db"}), InputError);
}

}  // namespace
}  // namespace kvsim::report
