// kvsim query: what a result file knows
#include "sim/record/query.h"

#include <fmt/format.h>

#include <iostream>

#include "sim/base/diagnostics.h"
#include "sim/cli/command.h"
#include "sim/cli/text_table.h"
#include "sim/record/schema.h"

namespace kvsim {

namespace {

void declare(po::options_description& o, po::positional_options_description& p) {
  o.add_options()("database", po::value<std::string>(),
                  "result of kvsim run (also without the option's name)")(
      "query", po::value<std::string>(),
      "one SQL statement, @NAME, .schema [TABLE] or .tables (also without the option's name)")(
      "with", po::value<std::string>(),
      "a second result, for @compare and as schema `other` in SQL")("csv", "print as CSV")(
      "json", "print as JSON");
  p.add("database", 1).add("query", 1);
}

void print_guide() {
  TextTable tables({"", ""}), queries({"", ""});
  for (const TableInfo& t : schema_tables()) tables.row({t.name, t.text});
  for (const ViewInfo& v : schema_views()) tables.row({v.name, v.text});
  for (const NamedQuery& q : named_queries()) queries.row({"@" + q.name, q.text});
  fmt::print("tables and views (.schema TABLE shows the columns)\n{}\nnamed queries\n{}",
             tables.text(2), queries.text(2));
}

int run(const po::variables_map& v) {
  if (v.count("database") == 0)
    throw InputError("kvsim query: no database given",
                     "kvsim run writes out/NAME.db; kvsim query --help shows examples");
  if (v.count("csv") > 0 && v.count("json") > 0)
    throw InputError("kvsim query: --csv and --json exclude each other");
  const std::string db = v["database"].as<std::string>();
  const std::string with = option_or(v, "with", std::string{});
  for (const std::string& file : {db, with})
    if (!file.empty())
      for (const std::string& line : unfinished_runs(file))
        fmt::print(stderr, "warning: {}: {}; its numbers are not complete\n", file, line);
  if (v.count("query") == 0) {
    print_guide();
    return 0;
  }
  const QueryFormat format = v.count("csv") > 0    ? QueryFormat::csv
                             : v.count("json") > 0 ? QueryFormat::json
                                                   : QueryFormat::table;
  run_query(db, v["query"].as<std::string>(), format, std::cout, {}, with);
  std::cout.flush();
  if (!std::cout) throw InputError("kvsim query: cannot write the result");
  return 0;
}

// The list of named queries is part of the help.
const std::string& examples() {
  static const std::string text = [] {
    std::string out =
        "  kvsim query out/quickstart.db                      its tables and the named queries\n"
        "  kvsim query out/quickstart.db @latency\n"
        "  kvsim query out/quickstart.db \"SELECT count(*) FROM request WHERE hit_tokens > 0\"\n"
        "  kvsim query out/quickstart.db \"SELECT * FROM request\" --csv > requests.csv\n"
        "  kvsim query out/quickstart.db '.schema request'\n"
        "  kvsim query out/quickstart.db --with small.db @compare\n\nnamed queries\n";
    TextTable queries({"", ""});
    for (const NamedQuery& q : named_queries()) queries.row({"@" + q.name, q.text});
    out += queries.text(2);
    out.pop_back();
    return out;
  }();
  return text;
}

}  // namespace

extern const Command kQueryCommand{"query",
                                   "ask a result database: SQL or named queries; never changes it",
                                   "DB [SQL | @NAME | .schema [TABLE]]",
                                   examples().c_str(),
                                   declare,
                                   run};

}  // namespace kvsim
