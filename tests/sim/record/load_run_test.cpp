// A run comes back from its file as it was; files from elsewhere are refused, not obeyed.
#include "sim/record/load_run.h"

#include <gtest/gtest.h>
#include <sqlite3.h>

#include <functional>

#include "sim/base/diagnostics.h"
#include "tests/sim/record/sample_run.h"

namespace kvsim {
namespace {

using record_test::Folder;

std::string refusal(const std::string& path, std::optional<std::int64_t> run = {},
                    const LoadLimits& limits = {}) {
  try {
    load_run(path, run, limits);
  } catch (const InputError& e) {
    return e.what();
  }
  return "";
}

void change(const std::string& path, const char* sql) {
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open(path.c_str(), &db), SQLITE_OK);
  char* error = nullptr;
  sqlite3_exec(db, sql, nullptr, nullptr, &error);
  EXPECT_EQ(error, nullptr) << error;
  sqlite3_free(error);
  sqlite3_close(db);
}

TEST(LoadRun, ComesBackAsItWas) {
  const Folder folder;
  RunOutcome run = record_test::sample_run(200);
  run.requests[4].tier_tokens[2] = 48;
  const std::string path = folder / "a.db";
  record_test::write_sample(path, run);
  const RecordedRun back = load_run(path, std::nullopt);
  EXPECT_EQ(back.run_id, 1);
  EXPECT_EQ(back.name, "sample");
  EXPECT_EQ(back.seed, 42U);
  EXPECT_EQ(back.event_digest, "fedcba9876543210");
  EXPECT_EQ(back.slo.ttft, Duration{std::chrono::milliseconds(200)});
  EXPECT_FALSE(back.slo.e2e);
  ASSERT_EQ(back.params.size(), 2U);
  EXPECT_EQ(back.params[0].first + back.params[0].second, "engine.block_tokens16");
  ASSERT_EQ(back.requests.size(), 200U);
  for (std::size_t i = 0; i < 200; ++i) {
    const RequestOutcome &x = run.requests[i], &y = back.requests[i];
    EXPECT_EQ(x.index, y.index);
    EXPECT_EQ(x.session, y.session);
    EXPECT_EQ(x.outcome, y.outcome);
    EXPECT_EQ(x.output_tokens, y.output_tokens);
    EXPECT_EQ(x.arrival, y.arrival);
    EXPECT_EQ(x.last_token, y.last_token);
    EXPECT_EQ(x.ttft_ns, y.ttft_ns);
    EXPECT_EQ(x.after_ns, y.after_ns);
    EXPECT_EQ(x.miss_tokens, y.miss_tokens);
    EXPECT_EQ(x.tier_tokens, y.tier_tokens);
  }
  const auto metrics = compute_metrics(run, record_test::sample_header().slo);
  const auto is_run = [](const Metric& m) { return m.scope == "run"; };
  EXPECT_EQ(static_cast<std::ptrdiff_t>(back.metrics.size()),
            std::count_if(metrics.begin(), metrics.end(), is_run));
}

TEST(LoadRun, SaysWhichRunsThereAre) {
  const Folder folder;
  const std::string path = folder / "a.db";
  record_test::write_sample(path, record_test::sample_run(5));
  EXPECT_NE(refusal(path, 2).find("no run 2\n    runs: 1 ('sample', finished)"), std::string::npos)
      << refusal(path, 2);
  LoadLimits limits;
  limits.max_requests = 3;
  EXPECT_NE(refusal(path, 1, limits).find("5 requests, at most 3"), std::string::npos);
  change(path,
         "INSERT INTO run SELECT 2, 'second', scenario_text, scenario_digest, seed, version, "
         "'unfinished', error, slo_ttft_ns, slo_tpot_ns, slo_e2e_ns, simulated_ns, requests, "
         "event_digest FROM run");
  EXPECT_NE(refusal(path).find("holds several runs\n    name one as FILE.db:RUN"),
            std::string::npos);
  EXPECT_NE(refusal(path, 2).find("run 2 is unfinished"), std::string::npos);
  EXPECT_EQ(refusal(path, 1), "");
}

TEST(LoadRun, RefusesFilesThatBreakTheirOwnLaws) {
  const Folder folder;
  const std::pair<const char*, const char*> breaks[] = {
      {"UPDATE request SET ttft_queue_ns = ttft_queue_ns + 1 WHERE request = 3",
       "do not add up to its latency"},
      {"UPDATE request SET prompt_tokens = -1 WHERE request = 2", "prompt_tokens = -1"},
      {"UPDATE request SET arrival_ns = 9223372036854775807 WHERE request = 2", "arrival_ns"},
      {"DROP INDEX request_by_index; UPDATE request SET request = 2 WHERE request = 3",
       "there twice"},
      {"INSERT INTO tier_hit VALUES (1, 1, 99, 5, 0)", "without its request or tier"},
      {"PRAGMA user_version = 1", "its tables have version 1"},
      {"PRAGMA application_id = 7", "not a result of kvsim"},
      // A view could run forever.
      {"DROP TABLE param; CREATE VIEW param AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT "
       "i + 1 FROM n) SELECT 1 AS run_id, i AS path, i AS value FROM n",
       "no table 'param'"},
      {"DROP TABLE param; CREATE TABLE param (run_id INTEGER, path TEXT, value TEXT AS "
       "(hex(zeroblob(1000000))))",
       "computed columns"},
      {"DROP TABLE param; CREATE TABLE param (run_id INTEGER)", "not what kvsim writes"}};
  int number = 0;
  for (const auto& [sql, message] : breaks) {
    const std::string path = folder / ("x" + std::to_string(number++) + ".db").c_str();
    record_test::write_sample(path, record_test::sample_run(5));
    change(path, sql);
    EXPECT_NE(refusal(path).find(message), std::string::npos) << sql << "\n" << refusal(path);
  }
  EXPECT_NE(refusal(folder / "none.db"), "");
}

}  // namespace
}  // namespace kvsim
