// kvsim query on a file that kvsim run wrote.
#include "sim/record/query.h"

#include <sqlite3.h>

#include "sim/record/schema.h"
#include "sim/scenario/yaml.h"
#include "tests/sim/cli/cli_fixture.h"

namespace kvsim {
namespace {

using cli_test::expect_holds;
using cli_test::expect_misuse;
using cli_test::Result;

class QueryVerb : public testing::Test {
 protected:
  QueryVerb() : db_(folder_ / "q.db") {
    const Result r = cli_test::kvsim(
        {"run", cli_test::scenario("quickstart.yaml"), "-o", db_, "--set", "workload.limit=50"});
    EXPECT_EQ(r.code, 0) << r.err;
  }
  cli_test::TempFolder folder_;
  std::string db_;
};

TEST_F(QueryVerb, WithoutQuestionItGuides) {
  const Result r = cli_test::kvsim({"query", db_});
  EXPECT_EQ(r.code, 0);
  EXPECT_EQ(r.err, "");
  for (const TableInfo& t : schema_tables()) expect_holds(r.out, {"  " + t.name});
  for (const ViewInfo& v : schema_views()) expect_holds(r.out, {"  " + v.name});
  for (const NamedQuery& q : named_queries())
    expect_holds(r.out, {"@" + q.name, q.text.substr(0, 20)});
  cli_test::expect_width(r.out);
}

TEST_F(QueryVerb, HelpListsNamedQueries) {
  const std::string help = cli_test::kvsim({"help", "query"}).out;
  for (const NamedQuery& q : named_queries()) expect_holds(help, {"@" + q.name});
}

TEST_F(QueryVerb, EveryNamedQueryInEveryForm) {
  for (const NamedQuery& q : named_queries()) {
    const auto ask = [&](const std::string& form) {
      std::vector<std::string> arguments{"query", db_, "@" + q.name};
      if (!form.empty()) arguments.push_back(form);
      if (!q.attached_sql.empty()) arguments.insert(arguments.end(), {"--with", db_});
      return cli_test::kvsim(arguments);
    };
    const Result table = ask("");
    EXPECT_EQ(table.code, 0) << table.err;
    cli_test::expect_width(table.out);
    const Result json = ask("--json");
    Diagnostics d;
    EXPECT_TRUE(parse_yaml(json.out, "json", d).is_list()) << q.name;
    EXPECT_TRUE(d.empty()) << q.name;
    EXPECT_EQ(ask("--csv").code, 0);
  }
}

TEST_F(QueryVerb, ComparesWithAnotherFile) {
  const cli_test::TempFolder folder;
  const std::string other = folder / "other.db";
  ASSERT_EQ(cli_test::kvsim({"run", cli_test::scenario("quickstart.yaml"), "-o", other, "--set",
                             "workload.limit=20"})
                .code,
            0);
  const Result r = cli_test::kvsim({"query", db_, "--with", other, "@compare", "--csv"});
  EXPECT_EQ(r.code, 0) << r.err;
  expect_holds(r.out, {"second_run,metric,first,second,difference,percent",
                       "1,completed,50,20,-30,-60"});
  expect_holds(cli_test::kvsim({"query", db_, "--with", other,
                                "SELECT count(*) AS n FROM other.request", "--csv"})
                   .out,
               {"n\r\n20\r\n"});
  expect_misuse({"query", db_, "@compare"}, {"holds one run", "--with OTHER.db"});
  expect_misuse({"query", db_, "--with", folder / "none.db", "@compare"},
                {"none.db", "cannot open"});
  expect_misuse(
      {"query", db_, "--with", folder.write("text.db", "no database, but long enough"), "@compare"},
      {"text.db"});
  expect_misuse({"query", db_, "--with", other, "DELETE FROM other.request"}, {"refused"});
}

TEST_F(QueryVerb, SqlAndSchema) {
  EXPECT_EQ(cli_test::kvsim({"query", db_, "SELECT count(*) AS n FROM request", "--csv"}).out,
            "n\r\n50\r\n");
  expect_holds(cli_test::kvsim({"query", db_, ".schema request"}).out,
               {"CREATE TABLE", "hit_tokens"});
}

TEST_F(QueryVerb, WarnsOfUnfinishedRuns) {
  sqlite3* raw = nullptr;  // as a killed run would leave it
  ASSERT_EQ(sqlite3_open(db_.c_str(), &raw), SQLITE_OK);
  EXPECT_EQ(sqlite3_exec(raw, "UPDATE run SET status = 'unfinished'", nullptr, nullptr, nullptr),
            SQLITE_OK);
  sqlite3_close(raw);
  const Result r = cli_test::kvsim({"query", db_, "@runs"});
  EXPECT_EQ(r.code, 0);
  expect_holds(r.err, {"warning: " + db_ + ": run 1 'quickstart' is unfinished"});
}

TEST_F(QueryVerb, Misuse) {
  expect_misuse({"query"}, {"no database given", "kvsim run writes"});
  expect_misuse({"query", folder_ / "absent.db"}, {"absent.db"});
  expect_misuse({"query", cli_test::scenario("quickstart.yaml"), "@latency"}, {"quickstart.yaml"});
  expect_misuse({"query", db_, "@latencies"},
                {"unknown query '@latencies'", "did you mean '@latency'?"});
  expect_misuse({"query", db_, "SELECT * FROM requests"},
                {"no such table: requests", "did you mean 'request'?"});
  expect_misuse({"query", db_, "DELETE FROM request"}, {"refused"});
  expect_misuse({"query", db_, ".shema"}, {"unknown command '.shema'", "did you mean '.schema'?"});
  expect_misuse({"query", db_, "@latency", "--csv", "--json"}, {"exclude each other"});
  expect_misuse({"query", db_, "SELECT", "1"}, {"too many arguments"});
}

}  // namespace
}  // namespace kvsim
