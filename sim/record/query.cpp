#include "sim/record/query.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include <algorithm>
#include <chrono>
#include <ostream>
#include <string_view>

#include "sim/base/diagnostics.h"
#include "sim/record/schema.h"

namespace kvsim {
namespace {

constexpr int kStepsPerCheck = 10'000;
constexpr std::size_t kLongestSql = 1 << 20;

std::string trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r\n";
  const std::size_t first = text.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return {};
  return std::string(text.substr(first, text.find_last_not_of(kBlank) - first + 1));
}

// Pragmas that only tell; with an argument only where that names a table.
bool harmless_pragma(std::string_view name, bool has_argument) {
  constexpr std::string_view kAboutTables[] = {
      "table_info",  "table_xinfo",      "table_list",        "index_list",  "index_info",
      "index_xinfo", "foreign_key_list", "foreign_key_check", "quick_check", "integrity_check"};
  constexpr std::string_view kAboutFile[] = {"application_id", "user_version", "schema_version",
                                             "page_count",     "page_size",    "encoding",
                                             "function_list",  "database_list"};
  if (std::find(std::begin(kAboutTables), std::end(kAboutTables), name) != std::end(kAboutTables))
    return true;
  return !has_argument &&
         std::find(std::begin(kAboutFile), std::end(kAboutFile), name) != std::end(kAboutFile);
}

int authorize(void*, int action, const char* first, const char* second, const char*, const char*) {
  switch (action) {
    case SQLITE_SELECT:
    case SQLITE_READ:
    case SQLITE_RECURSIVE:
      return SQLITE_OK;
    case SQLITE_FUNCTION:
      return second != nullptr && std::string_view(second) == "load_extension" ? SQLITE_DENY
                                                                               : SQLITE_OK;
    case SQLITE_PRAGMA:
      return first != nullptr && harmless_pragma(first, second != nullptr) ? SQLITE_OK
                                                                           : SQLITE_DENY;
    default:
      return SQLITE_DENY;
  }
}

// Stops a statement that takes too long.
struct Budget {
  std::int64_t steps_left;
  std::chrono::steady_clock::time_point deadline;
  bool spent = false;

  explicit Budget(const QueryLimits& limits)
      : steps_left(limits.max_steps),
        deadline(std::chrono::steady_clock::now() +
                 std::chrono::duration_cast<std::chrono::steady_clock::duration>(
                     std::chrono::duration<double>(limits.max_seconds))) {}
  static int tick(void* self) {
    auto* b = static_cast<Budget*>(self);
    b->steps_left -= kStepsPerCheck;
    b->spent = b->spent || b->steps_left < 0 || std::chrono::steady_clock::now() > b->deadline;
    return b->spent ? 1 : 0;
  }
};

class HeapLimit {
 public:
  explicit HeapLimit(std::int64_t bytes) : before_(sqlite3_hard_heap_limit64(bytes)) {}
  HeapLimit(const HeapLimit&) = delete;
  HeapLimit& operator=(const HeapLimit&) = delete;
  ~HeapLimit() { sqlite3_hard_heap_limit64(before_); }

 private:
  std::int64_t before_;
};

void confine(Database& db, Budget& budget, const QueryLimits& limits) {
  sqlite3* raw = db.handle();
  // Sorting in memory, so that the heap limit bounds what would else fill the disk with temporary
  // files.
  db.exec("PRAGMA query_only = ON; PRAGMA temp_store = MEMORY; PRAGMA cell_size_check = ON");
  for (const auto& [option, value] : {std::pair{SQLITE_DBCONFIG_DEFENSIVE, 1},
                                      {SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0},
                                      {SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0},
                                      {SQLITE_DBCONFIG_ENABLE_TRIGGER, 0},
                                      {SQLITE_DBCONFIG_DQS_DML, 0}})  // "x" is a column, never text
    sqlite3_db_config(raw, option, value, nullptr);
  for (const auto& [limit, value] : {std::pair{SQLITE_LIMIT_LENGTH, limits.max_cell_bytes},
                                     {SQLITE_LIMIT_SQL_LENGTH, static_cast<int>(kLongestSql)},
                                     {SQLITE_LIMIT_ATTACHED, 0},
                                     {SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 1000},
                                     {SQLITE_LIMIT_EXPR_DEPTH, 500},
                                     {SQLITE_LIMIT_WORKER_THREADS, 0}})
    sqlite3_limit(raw, limit, value);
  sqlite3_progress_handler(raw, kStepsPerCheck, &Budget::tick, &budget);
  sqlite3_set_authorizer(raw, &authorize, nullptr);
}

std::vector<std::string> relations(Database& db) {
  std::vector<std::string> names;
  Statement s = db.prepare(
      "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') ORDER BY name LIMIT 1000");
  while (s.step()) names.emplace_back(s.text(0));
  return names;
}

bool is_refusal(std::string_view message) {
  return message.rfind("not authorized", 0) == 0 ||
         message.find("prohibited") != std::string_view::npos;
}

std::string explain(const std::string& message) {
  if (!is_refusal(message)) return printable(message);
  return message == "not authorized" ? "refused: the statement does more than read"
                                     : "refused: " + printable(message);
}

class Query {
 public:
  Query(const std::string& path, const std::string& with, QueryFormat format, std::ostream& out,
        const QueryLimits& limits)
      : heap_(limits.max_memory_bytes),
        path_(path),
        with_(with),
        format_(format),
        out_(&out),
        limits_(limits),
        budget_(limits),
        db_(Database::open_read_only(path)) {
    if (with_.empty()) return;
    Database::open_read_only(with_);  // says what is wrong with it; rolls a journal back
    Statement attach = db_.prepare("ATTACH ? AS other");  // read-only as the first file is
    attach.bind(1, std::string_view(with_));
    attach.run();
  }

  void answer(const std::string& command) {
    try {
      confine(db_, budget_, limits_);
      dispatch(command);
    } catch (const SqlError& e) {
      if (budget_.spent)
        refuse("stopped: the query takes too long", "narrow it with WHERE or LIMIT");
      refuse(explain(e.what()), hint_for(e.what()));
    }
  }

 private:
  [[noreturn]] void refuse(const std::string& message, const std::string& hint) const {
    throw InputError(fmt::format("{}: {}", path_, message), hint);
  }

  void dispatch(const std::string& command) {
    if (command.rfind('@', 0) == 0) return named(command.substr(1));
    if (command == ".tables")
      return sql(
          "SELECT name, type FROM sqlite_schema WHERE type IN ('table', 'view') ORDER BY type, "
          "name");
    if (command == ".schema") return schema("");
    if (command.rfind(".schema ", 0) == 0) return schema(trimmed(command.substr(8)));
    if (command.rfind('.', 0) != 0) return sql(command);
    const std::vector<std::string> valid{".schema", ".tables"};
    throw InputError(fmt::format("unknown command '{}'", printable(command)),
                     name_hint(command, valid));
  }

  void named(const std::string& name) {
    std::vector<std::string> names;
    for (const NamedQuery& q : named_queries()) {
      names.push_back("@" + q.name);
      if (q.name != name) continue;
      require_result(path_, "main");
      if (q.attached_sql.empty()) return sql(q.sql);
      if (!with_.empty()) {
        require_result(with_, "other");
        return sql(q.attached_sql);
      }
      if (db_.integer("SELECT count(*) FROM run") < 2)
        refuse("holds one run, a comparison takes two",
               fmt::format("name the other file: kvsim query {} --with OTHER.db @{}", path_, name));
      return sql(q.sql);
    }
    throw InputError(fmt::format("unknown query '@{}'", printable(name)),
                     name_hint("@" + name, names));
  }

  // The file behind `schema` is a result of this version.
  void require_result(const std::string& path, const char* schema) {
    if (db_.integer(fmt::format("PRAGMA {}.application_id", schema)) != kApplicationId)
      throw InputError(fmt::format("{}: not a result of kvsim", path),
                       "named queries read files that 'kvsim run' wrote");
    if (const std::int64_t version = db_.integer(fmt::format("PRAGMA {}.user_version", schema));
        version != kSchemaVersion)
      throw InputError(fmt::format("{}: its tables have version {}, this kvsim reads version {}",
                                   path, version, kSchemaVersion),
                       "use the kvsim that wrote it, or run the scenario again");
  }

  void schema(const std::string& name) {
    Statement s = db_.prepare(
        "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND (?1 = '' OR tbl_name = ?1) "
        "ORDER BY type = 'index', type = 'view', rowid");
    s.bind(1, std::string_view(name));
    bool any = false;
    for (; s.step(); any = true) *out_ << printable(s.text(0), true) << ";\n";
    if (!any && !name.empty())
      refuse(fmt::format("no table '{}'", printable(name)), name_hint(name, relations(db_)));
  }

  // What to do about a message of SQLite. A damaged file may refuse this, too.
  std::string hint_for(const std::string& message) {
    constexpr std::string_view kNoTable = "no such table: ";
    if (is_refusal(message))
      return "queries only read; to change a copy of the file use the sqlite3 program";
    if (message.rfind(kNoTable, 0) != 0)
      return "'.schema' shows tables and columns; 'kvsim query --help' lists the named queries";
    std::vector<std::string> names;
    try {
      names = relations(db_);
    } catch (const SqlError&) {
    }
    return names.empty() ? "the file holds no tables"
                         : name_hint(message.substr(kNoTable.size()), names);
  }

  void sql(std::string_view text) {
    if (text.size() > kLongestSql) refuse("the statement is longer than 1 MiB", "shorten it");
    if (text.find('\0') != std::string_view::npos)
      refuse("the statement holds a zero byte", "remove it");
    std::string_view rest;
    Statement s = db_.prepare(text, &rest);
    if (Database::empty(s))
      refuse("the statement is empty", "try \"SELECT * FROM run\", @latency or .schema");
    while (!rest.empty()) {  // comments and semicolons may follow, a statement may not
      std::string_view after;
      if (!Database::empty(db_.prepare(rest, &after)))
        refuse("more than one statement", "give one at a time");
      if (after.size() == rest.size()) break;
      rest = after;
    }
    if (!s.read_only()) throw SqlError("not authorized");
    if (s.parameters() > 0) refuse("the statement has parameters", "write the values into it");
    if (s.columns() == 0) refuse("the statement has no result", "use SELECT");
    const auto sink = make_sink(format_, s, *out_);
    for (std::int64_t rows = 0; s.step(); ++rows) {
      if (rows == limits_.max_rows)
        refuse(fmt::format("stopped: more than {} rows", limits_.max_rows),
               "narrow it with WHERE or LIMIT");
      if (!sink->row(s)) break;
    }
    sink->finish();
  }

  HeapLimit heap_;
  std::string path_, with_;
  QueryFormat format_;
  std::ostream* out_;
  QueryLimits limits_;
  Budget budget_;
  Database db_;
};

}  // namespace

void run_query(const std::string& db_path, const std::string& text, QueryFormat format,
               std::ostream& out, const QueryLimits& limits, const std::string& with) {
  Query query(db_path, with, format, out, limits);
  query.answer(trimmed(text));
}

std::vector<std::string> unfinished_runs(const std::string& db_path) {
  const QueryLimits limits;
  Budget budget(limits);
  Database db = Database::open_read_only(db_path);
  std::vector<std::string> runs;
  try {
    confine(db, budget, limits);
    if (db.integer("PRAGMA application_id") != kApplicationId) return runs;
    Statement s = db.prepare(
        "SELECT run_id, name, iif(status = 'failed', 'failed', 'is ' || status), ifnull(': ' || "
        "error, '') FROM run "
        "WHERE status <> 'finished' ORDER BY run_id");
    while (s.step())
      runs.push_back(fmt::format("run {} '{}' {}{}", s.integer(0), printable(s.text(1)),
                                 printable(s.text(2)), printable(s.text(3))));
    Statement study = db.prepare(
        "SELECT name, (SELECT count(*) FROM trial), trials FROM study WHERE status <> 'finished'");
    while (study.step())
      runs.push_back(fmt::format("study '{}' has {} of its {} trials", printable(study.text(0)),
                                 study.integer(1), study.integer(2)));
  } catch (const SqlError&) {  // the query itself will say what is wrong with the file
  }
  return runs;
}

}  // namespace kvsim
