#pragma once
// Reading a result file, which may come from anyone, with a statement that may be anything: the
// file is opened read-only with an authorizer that knows nothing but reading, and time, memory and
// cells are bounded.
#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

#include "sim/record/render.h"

namespace kvsim {

struct NamedQuery {
  std::string name;  // without the '@'
  std::string text;  // what it answers
  std::string sql;
  // Of a query over two runs: the same with the second run in an attached file, schema `other`.
  std::string attached_sql = {};
};

struct QueryLimits {
  std::int64_t max_steps = 20'000'000'000;  // instructions of SQLite's machine
  double max_seconds = 60;
  std::int64_t max_rows = 50'000'000;
  int max_cell_bytes = 16 << 20;
  std::int64_t max_memory_bytes =
      2LL << 30;  // of all SQLite connections of the process while the query runs
};

// Sorted by name.
const std::vector<NamedQuery>& named_queries();

// `text` is one SQL statement that reads, "@name" of a named query, ".schema [table]" or ".tables".
// Throws InputError for a file that is no database, a statement that is wrong, refused or over a
// limit (rows already printed stay). `with` is a second file, read as schema `other`; "" = none.
void run_query(const std::string& db_path, const std::string& text, QueryFormat, std::ostream&,
               const QueryLimits& = {}, const std::string& with = {});

// "run 2 'name' is unfinished" for each run of a result file that did not finish, for people to
// know before they read numbers; empty for a file that is no result. Throws InputError for a file
// that is no database.
std::vector<std::string> unfinished_runs(const std::string& db_path);

}  // namespace kvsim
