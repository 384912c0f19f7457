// Queries: the views agree with the rows and with stats.h, output forms, and what must be refused.
#include "sim/record/query.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sqlite3.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "sim/base/diagnostics.h"
#include "sim/base/stats.h"
#include "sim/record/schema.h"
#include "tests/sim/record/sample_run.h"

namespace kvsim {
namespace {

using record_test::Folder;
using record_test::sample_header;
using record_test::sample_run;
using record_test::write_sample;

class QueryTest : public testing::Test {
 protected:
  QueryTest() : run_(sample_run(2000)), path_(folder_ / "run.db") { write_sample(path_, run_); }
  std::string ask(const std::string& text, QueryFormat format = QueryFormat::csv,
                  const QueryLimits& limits = {}, const std::string& with = {}) {
    std::ostringstream out;
    run_query(path_, text, format, out, limits, with);
    return out.str();
  }
  std::string error_of(const std::string& text, const QueryLimits& limits = {}) {
    try {
      ask(text, QueryFormat::csv, limits);
    } catch (const InputError& e) {
      return e.what();
    }
    return "(no error)";
  }
  Folder folder_;
  RunOutcome run_;
  std::string path_;
};

void expect_close(double a, double b, const std::string& what) {
  EXPECT_NEAR(a, b, 1e-9 * std::abs(b) + 1e-12) << what;
}

TEST_F(QueryTest, IntervalsSumToLatencies) {
  Database db = Database::open_read_only(path_);
  Statement s = db.prepare(
      "SELECT count(*) FROM request q WHERE outcome = 'finished' AND (first_token_ns - arrival_ns "
      "<> "
      "(SELECT total(duration_ns) FROM interval i WHERE i.run_id = q.run_id AND i.request = "
      "q.request AND phase = 'ttft')"
      " OR last_token_ns - arrival_ns <> "
      "(SELECT total(duration_ns) FROM interval i WHERE i.run_id = q.run_id AND i.request = "
      "q.request))");
  ASSERT_TRUE(s.step());
  EXPECT_EQ(s.integer(0), 0);
  std::int64_t total = 0, kinds = 0, missed = 0;
  for (const RequestOutcome& r : run_.requests) {
    for (const auto& values : {r.ttft_ns, r.after_ns})
      for (const auto ns : values) total += ns, kinds += ns != 0;
    for (const auto tokens : r.miss_tokens) missed += tokens;
  }
  EXPECT_EQ(db.integer("SELECT sum(duration_ns) FROM interval"), total);
  EXPECT_EQ(db.integer("SELECT count(*) FROM interval"), kinds);
  EXPECT_EQ(db.integer("SELECT sum(tokens) FROM miss"), missed);
  EXPECT_EQ(db.integer("SELECT sum(queried_tokens - hit_tokens) FROM request"), missed);
}

// The view computes percentiles from rows by window functions, metrics.cpp through stats.h: two
// ways, one answer.
TEST_F(QueryTest, PercentileViewAgreesWithMetrics) {
  Database db = Database::open_read_only(path_);
  Statement s = db.prepare("SELECT * FROM percentile");
  int rows = 0;
  for (; s.step(); ++rows) {
    for (int i = 2; i < s.columns(); ++i) {
      Statement m =
          db.prepare("SELECT value FROM metric WHERE scope = 'run' AND name = ? AND statistic = ?");
      m.bind(1, s.text(1));
      m.bind(2, std::string_view(s.name(i)));
      ASSERT_TRUE(m.step()) << s.text(1) << " " << s.name(i);
      expect_close(s.real(i), m.real(0), std::string(s.text(1)) + " " + s.name(i));
    }
  }
  EXPECT_EQ(rows, 5);
}

TEST_F(QueryTest, AttainmentThroughputAndHitsAgreeWithMetrics) {
  Database db = Database::open_read_only(path_);
  const auto number = [&](const std::string& sql) {
    Statement s = db.prepare(sql);
    EXPECT_TRUE(s.step()) << sql;
    return s.real(0);
  };
  const auto metric = [&](const std::string& name) {
    return number(
        "SELECT value FROM metric WHERE scope = 'run' AND statistic = 'value' AND name = '" + name +
        "'");
  };
  expect_close(number("SELECT attainment FROM slo_attainment"), metric("slo_attainment"),
               "attainment");
  expect_close(number("SELECT ttft_attainment FROM slo_attainment"), metric("slo_attainment_ttft"),
               "ttft");
  expect_close(number("SELECT tpot_attainment FROM slo_attainment"), metric("slo_attainment_tpot"),
               "tpot");
  expect_close(number("SELECT e2e_attainment FROM slo_attainment"), metric("completed") / 2000,
               "no e2e objective");
  expect_close(number("SELECT met FROM slo_attainment") / metric("duration"),
               metric("request_goodput"), "goodput");
  expect_close(number("SELECT prefix_hit_rate FROM hit_rate WHERE instance IS NULL"),
               metric("prefix_hit_rate"), "hits");
  expect_close(number("SELECT sum(finished) FROM throughput_timeline"), metric("completed"),
               "completed");
  expect_close(number("SELECT sum(output_tokens) FROM throughput_timeline"),
               metric("total_output_tokens"), "output");
  expect_close(number("SELECT output_throughput FROM vllm_bench"), metric("output_throughput"),
               "vllm");
  expect_close(number("SELECT mean_itl_ms FROM vllm_bench"), run_.itl.mean_ns() / 1e6, "itl");
  EXPECT_GT(metric("slo_attainment"), 0);
  EXPECT_LT(metric("slo_attainment"), 1);
}

TEST_F(QueryTest, EveryNamedQueryAnswersInEveryForm) {
  for (const NamedQuery& q : named_queries()) {
    for (const QueryFormat f : {QueryFormat::table, QueryFormat::csv, QueryFormat::json}) {
      const std::string text = ask("@" + q.name, f, {}, q.attached_sql.empty() ? "" : path_);
      // A run has no trials, this one neither token policies, decisions, scaling nor classes.
      const bool no_rows = q.name == "study" || q.name == "quality" || q.name == "regret" ||
                           q.name == "scaling" || q.name == "classes";
      EXPECT_GE(std::count(text.begin(), text.end(), '\n'), no_rows ? 0 : 2) << q.name;
      if (f != QueryFormat::table) continue;
      std::istringstream lines(text);
      for (std::string line; std::getline(lines, line);) {
        const auto characters =
            std::count_if(line.begin(), line.end(), [](char c) { return (c & 0xc0) != 0x80; });
        EXPECT_LE(characters, 100) << q.name << ": " << line;
      }
    }
    EXPECT_FALSE(q.text.empty());
  }
  EXPECT_TRUE(
      std::is_sorted(named_queries().begin(), named_queries().end(),
                     [](const NamedQuery& a, const NamedQuery& b) { return a.name < b.name; }));
}

// Another run of the same requests, one of them a millisecond later and one sooner.
TEST_F(QueryTest, CompareIsOfTwoFilesOrTwoRunsOfOne) {
  RunOutcome other = run_;
  int moved = 0;
  for (RequestOutcome& r : other.requests)
    if (r.outcome == Outcome::finished && r.output_tokens >= 2 && moved < 2)
      r.first_token += Duration{moved++ == 0 ? 1'000'000 : -1'000};
  const std::string path = folder_ / "other.db";
  write_sample(path, other);
  const std::string text = ask("@compare", QueryFormat::csv, {}, path);
  const auto finished =
      std::ranges::count(run_.requests, Outcome::finished, &RequestOutcome::outcome);
  for (const std::string& row :
       {std::string("1,first tokens sooner,,1,,\r\n"), std::string("1,first tokens later,,1,,\r\n"),
        "1,first tokens as soon,," + std::to_string(finished - 2) + ",,\r\n"})
    EXPECT_NE(text.find(row), std::string::npos) << text;
  const auto mean = [&](const std::string& file) {
    Database db = Database::open_read_only(file);
    Statement s =
        db.prepare("SELECT value FROM metric WHERE name = 'ttft_ms' AND statistic = 'mean'");
    return s.step() ? s.real(0) : 0;
  };
  std::istringstream lines(text);
  std::string line;
  std::getline(lines, line);
  EXPECT_EQ(line, "second_run,metric,first,second,difference,percent\r");
  std::getline(lines, line);
  double first = 0, second = 0;
  ASSERT_EQ(std::sscanf(line.c_str(), "1,ttft_ms mean,%lf,%lf", &first, &second), 2) << line;
  EXPECT_EQ(first, mean(path_));
  EXPECT_EQ(second, mean(path));
  EXPECT_NE(error_of("@compare").find("holds one run"), std::string::npos);

  // Both in one file.
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open(path_.c_str(), &db), SQLITE_OK);
  std::string sql = "ATTACH '" + path + "' AS b;";
  for (const char* table : {"run", "metric", "request"})
    sql += fmt::format(
        "CREATE TEMP TABLE t AS SELECT * FROM b.{0}; UPDATE t SET run_id = 2; "
        "INSERT INTO main.{0} SELECT * FROM t; DROP TABLE t;",
        table);
  EXPECT_EQ(sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK)
      << sqlite3_errmsg(db);
  sqlite3_close(db);
  const std::string same_file = ask("@compare");
  EXPECT_NE(same_file.find("2,first tokens sooner,,1,,\r\n"), std::string::npos) << same_file;
}

// `.schema` explains itself: every column of every table, and views' columns by their own names.
TEST_F(QueryTest, SchemaHasATextForEveryColumn) {
  for (const TableInfo& t : schema_tables())
    for (const Column& c : t.columns) EXPECT_FALSE(c.text.empty()) << t.name << "." << c.name;
  Database db = Database::open_read_only(path_);
  for (const ViewInfo& v : schema_views()) {
    std::vector<std::string> names;
    Statement s = db.prepare("SELECT * FROM " + v.name);
    for (int i = 0; i < s.columns(); ++i) names.push_back(s.name(i));
    for (const auto& [columns, text] : v.columns) {
      std::istringstream list(columns);
      for (std::string name; std::getline(list >> std::ws, name, ',');)
        EXPECT_TRUE(std::ranges::count(names, name) == 1) << v.name << "." << name;
      EXPECT_NE(ask(".schema " + v.name).find("--   " + columns + ": " + text), std::string::npos);
    }
  }
}

TEST_F(QueryTest, Forms) {
  const std::string sql = "SELECT 1 AS a, 'x,\"y\"' AS a, NULL AS b, 2.5 AS c, x'01ff' AS d";
  EXPECT_EQ(ask(sql), "a,a,b,c,d\r\n1,\"x,\"\"y\"\"\",,2.5,01ff\r\n");
  EXPECT_EQ(
      ask(sql, QueryFormat::json),
      "[\n{\"a\": 1, \"a:2\": \"x,\\\"y\\\"\", \"b\": null, \"c\": 2.5, \"d\": \"01ff\"}\n]\n");
  EXPECT_EQ(ask("SELECT 1 AS a WHERE 0", QueryFormat::json), "[]\n");
  EXPECT_EQ(ask("SELECT 9e999 AS a", QueryFormat::json), "[\n{\"a\": null}\n]\n");
  EXPECT_EQ(ask("SELECT 0.1 + 0.2 AS a"), "a\r\n0.30000000000000004\r\n");
  EXPECT_EQ(ask("VALUES (1, 'one'), (20, 'two') -- note", QueryFormat::table),
            "column1  column2\n-------  -------\n      1  one\n     20  two\n");
  // Text from the file cannot steer the terminal.
  EXPECT_EQ(
      ask("SELECT char(27) || '[2J' || char(155) || char(10) || 'b' AS a", QueryFormat::table),
      "a\n-------\n?[2J? b\n");
  EXPECT_EQ(ask("SELECT CAST(x'61ff62' AS TEXT) AS a", QueryFormat::json),
            "[\n{\"a\": \"a\xef\xbf\xbd"
            "b\"}\n]\n");
}

TEST_F(QueryTest, TablesFitTheTerminal) {
  const std::string wide = ask("SELECT printf('%.300c', 'x') AS long, 7 AS n", QueryFormat::table);
  EXPECT_NE(wide.find("x\xe2\x80\xa6  7\n"), std::string::npos) << wide;
  const std::string records = ask("SELECT * FROM request LIMIT 2", QueryFormat::table);
  EXPECT_NE(records.find("\nprompt_tokens"), std::string::npos) << records;
  const std::string many = ask("SELECT request FROM request", QueryFormat::table);
  EXPECT_NE(many.find("the first 1000 rows"), std::string::npos);
}

TEST_F(QueryTest, DotCommands) {
  EXPECT_NE(ask(".schema").find("CREATE VIEW vllm_bench"), std::string::npos);
  const std::string schema = ask(".schema request");
  EXPECT_NE(schema.find("-- found in the prefix cache at first admission"), std::string::npos);
  EXPECT_EQ(schema.find("CREATE TABLE run "), std::string::npos);
  EXPECT_NE(ask(".tables").find("percentile,view"), std::string::npos);
  EXPECT_NE(error_of(".schema reqest").find("did you mean 'request'"), std::string::npos);
  EXPECT_NE(error_of(".shema").find("did you mean '.schema'"), std::string::npos);
  EXPECT_NE(error_of(".import /etc/passwd t").find("unknown command"), std::string::npos);
}

TEST_F(QueryTest, RefusesWhateverIsNotReading) {
  for (const char* sql : {"INSERT INTO run(run_id) VALUES (9)",
                          "UPDATE run SET name = 'x'",
                          "DELETE FROM request",
                          "DROP TABLE request",
                          "CREATE TABLE t(a)",
                          "CREATE TEMP TABLE t(a)",
                          "CREATE TEMP VIEW v AS SELECT 1",
                          "ALTER TABLE run RENAME TO r",
                          "ATTACH 'other.db' AS o",
                          "DETACH main",
                          "VACUUM",
                          "VACUUM INTO 'copy.db'",
                          "REINDEX",
                          "ANALYZE",
                          "BEGIN",
                          "SAVEPOINT s",
                          "PRAGMA writable_schema = 1",
                          "PRAGMA query_only = 0",
                          "PRAGMA journal_mode = WAL",
                          "PRAGMA user_version = 5",
                          "PRAGMA temp_store_directory = '/tmp'",
                          "SELECT load_extension('x.so')",
                          "CREATE VIRTUAL TABLE f USING fts5(a)",
                          "EXPLAIN DELETE FROM run"}) {
    const std::string error = error_of(sql);
    EXPECT_NE(error.find("refused"), std::string::npos) << sql << ": " << error;
    EXPECT_NE(error.find(path_), std::string::npos) << error;
  }
  EXPECT_EQ(ask("SELECT count(*) FROM request"), "count(*)\r\n2000\r\n");
}

TEST_F(QueryTest, RefusesWhatIsMalformed) {
  const auto says = [&](const std::string& sql, const char* part) {
    const std::string error = error_of(sql);
    EXPECT_NE(error.find(part), std::string::npos) << sql << ": " << error;
  };
  says("SELECT 1; SELECT 2", "more than one statement");
  says("SELECT 1; -- c\n ; DROP TABLE run", "refused");
  says("", "empty");
  says("  ; -- nothing", "empty");
  says("SELEC 1", "syntax error");
  says("SELECT 1; SELEC 2", "syntax error");
  says("SELECT * FROM requests", "did you mean 'request'");
  says("SELECT \"no column\" FROM run", "no such column");
  says("SELECT ?", "parameters");
  says(std::string("SELECT 1\0, 2", 12), "zero byte");
  says("SELECT " + std::string(2 << 20, ' ') + "1 AS a -- " + std::string(2 << 20, 'x'),
       "longer than 1 MiB");
  says("SELECT " + std::string(5000, '(') + "1" + std::string(5000, ')'), "");
  says("@latancy", "did you mean '@latency'");
  says("@", "unknown query");
  EXPECT_EQ(ask("SELECT 1 AS a; -- done;\n;"), "a\r\n1\r\n");
}

TEST_F(QueryTest, StopsAtItsLimits) {
  const std::string endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) ";
  QueryLimits steps;
  steps.max_steps = 1'000'000;
  EXPECT_NE(error_of(endless + "SELECT max(i) FROM n", steps).find("takes too long"),
            std::string::npos);
  QueryLimits seconds;
  seconds.max_seconds = 0.2;
  EXPECT_NE(error_of(endless + "SELECT max(i) FROM n", seconds).find("takes too long"),
            std::string::npos);
  QueryLimits rows;
  rows.max_rows = 10;
  EXPECT_NE(error_of(endless + "SELECT i FROM n", rows).find("more than 10 rows"),
            std::string::npos);
  EXPECT_NE(error_of("SELECT length(zeroblob(1000000000))").find("too big"), std::string::npos);
  EXPECT_NE(error_of("SELECT hex(zeroblob(10000000))").find("too big"), std::string::npos);
  QueryLimits memory;
  memory.max_memory_bytes = 32 << 20;
  EXPECT_NE(
      error_of(endless +
                   "SELECT group_concat(x) FROM (SELECT i, randomblob(100000) x FROM n ORDER BY 2)",
               memory)
          .find("memory"),
      std::string::npos);
  EXPECT_EQ(ask("SELECT 1 AS a"), "a\r\n1\r\n");  // nothing of it stays behind
}

TEST(Query, FilesThatAreNoResults) {
  const Folder folder;
  const auto error_at = [](const std::string& path, const std::string& text) -> std::string {
    std::ostringstream out;
    try {
      run_query(path, text, QueryFormat::csv, out);
    } catch (const InputError& e) {
      return e.what();
    }
    return "(no error)";
  };
  EXPECT_NE(error_at(folder / "none.db", "@runs").find("No such file or directory"),
            std::string::npos);
  EXPECT_NE(error_at(folder.path().string(), "@runs").find("not a regular file"),
            std::string::npos);
  std::ofstream(folder / "text.db") << std::string(5000, 'x');
  EXPECT_NE(error_at(folder / "text.db", "@runs").find("not an SQLite database"),
            std::string::npos);
  std::ofstream(folder / "empty.db");
  EXPECT_NE(error_at(folder / "empty.db", "@runs").find("not a result of kvsim"),
            std::string::npos);
  EXPECT_NE(error_at(folder / "empty.db", "SELECT * FROM run").find("the file holds no tables"),
            std::string::npos);
}

TEST(Query, TellsUnfinishedRuns) {
  const Folder folder;
  write_sample(folder / "a.db", sample_run(3));
  EXPECT_TRUE(unfinished_runs(folder / "a.db").empty());
  Recorder(folder / "b.db", sample_header());
  EXPECT_EQ(unfinished_runs(folder / "b.db.unfinished"),
            std::vector<std::string>{"run 1 'sample' is unfinished"});
  Recorder(folder / "b.db", sample_header()).fail("no blocks");
  EXPECT_EQ(unfinished_runs(folder / "b.db.unfinished"),
            std::vector<std::string>{"run 1 'sample' failed: no blocks"});
}

// Bytes of a file are turned at random: errors are fine, crashes and hangs are not.
TEST(Query, DamagedFilesDoNotCrash) {
  const Folder folder;
  write_sample(folder / "a.db", sample_run(300));
  std::ifstream in(folder / "a.db", std::ios::binary);
  std::stringstream all;
  all << in.rdbuf();
  Rng rng(5, "damage");
  for (int round = 0; round < 60; ++round) {
    std::string bytes = all.str();
    for (int i = 0; i < 40; ++i) {
      const std::uint64_t where = round % 2 == 0 ? rng.below(bytes.size()) : rng.below(8192 * 3);
      bytes[where] = static_cast<char>(rng.below(256));
    }
    if (round % 5 == 0) bytes.resize(rng.below(bytes.size()));
    std::ofstream(folder / "b.db", std::ios::binary) << bytes;
    for (const char* text : {"@intervals", "@slowest", "SELECT * FROM request", ".schema"}) {
      std::ostringstream out;
      try {
        run_query(folder / "b.db", text, QueryFormat::table, out);
      } catch (const InputError&) {
      }
    }
  }
}

TEST(Schema, CommentsSurviveAndMarkdownNamesEverything) {
  Database db = Database::in_memory();
  create_schema(db);
  create_indices(db);
  const std::string markdown = schema_markdown();
  for (const TableInfo& t : schema_tables())
    EXPECT_NE(markdown.find("`" + t.name + "`"), std::string::npos);
  for (const ViewInfo& v : schema_views()) {
    EXPECT_NE(markdown.find("`" + v.name + "`"), std::string::npos);
    EXPECT_EQ(db.integer("SELECT count(*) FROM " + v.name), 0) << v.name;
  }
  std::ifstream readme(std::string(KVSIM_SOURCE_DIR) + "/sim/record/README.md");
  std::stringstream text;
  text << readme.rdbuf();
  EXPECT_NE(text.str().find(markdown), std::string::npos) << "sim/record/README.md should hold:\n"
                                                          << markdown;
}

}  // namespace
}  // namespace kvsim
