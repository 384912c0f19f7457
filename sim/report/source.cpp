#include "sim/report/source.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "sim/base/diagnostics.h"
#include "sim/record/render.h"
#include "sim/record/schema.h"
#include "sim/report/report.h"

namespace kvsim::report {
namespace {

// What a hostile file could ask of a reader of tables: triggers and functions in its schema.
constexpr const char* kConfine =
    "PRAGMA query_only = ON; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON";
constexpr int kLongestName = 200;

std::string stem(const std::string& path) { return std::filesystem::path(path).stem().string(); }

}  // namespace

File::File(const std::string& path) : path_(path), db_(Database::open_read_only(path)) {
  try {
    db_.exec(kConfine);
    if (db_.integer("PRAGMA application_id") != kApplicationId)
      throw InputError(fmt::format("{}: not a result of kvsim", path),
                       "give a file that 'kvsim run' or 'kvsim study run' wrote");
    if (const std::int64_t version = db_.integer("PRAGMA user_version"); version != kSchemaVersion)
      throw InputError(fmt::format("{}: its tables have version {}, this kvsim reads version {}",
                                   path, version, kSchemaVersion),
                       "use the kvsim that wrote it, or run the scenario again");
    Statement s = db_.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' LIMIT 1000");
    while (s.step()) tables_.emplace(s.text(0));
  } catch (const SqlError& e) {
    throw InputError(fmt::format("{}: cannot be read: {}", path, printable(e.what())),
                     "the file is damaged; run the scenario again");
  }
}

void File::each(const std::string& sql, const std::function<void(Statement&)>& bind,
                const std::function<void(const Statement&)>& row) {
  try {
    Statement s = db_.prepare(sql);
    if (bind) bind(s);
    while (s.step()) row(s);
  } catch (const SqlError& e) {
    throw InputError(fmt::format("{}: cannot be read: {}", path_, printable(e.what())),
                     "the file is damaged or its tables were changed; run the scenario again");
  }
}

bool File::has_rows(const std::string& table) {
  bool any = false;
  if (has(table))
    each(fmt::format("SELECT 1 FROM {} LIMIT 1", quoted_name(table)), {},
         [&](const Statement&) { any = true; });
  return any;
}

std::vector<std::string> File::columns(const std::string& table) {
  std::vector<std::string> names;
  if (has(table))
    each(
        "SELECT name FROM pragma_table_info(?1)",
        [&](Statement& s) { s.bind(1, std::string_view(table)); },
        [&](const Statement& s) { names.emplace_back(s.text(0)); });
  return names;
}

void Run::each(const std::string& sql, const std::function<void(const Statement&)>& row) const {
  file->each(
      sql, [this](Statement& s) { s.bind(1, id); }, row);
}

double Run::number(const std::string& sql) const {
  double value = kNone;
  bool is_first = true;
  each(sql, [&](const Statement& s) {
    if (is_first) value = real_or_none(s, 0);
    is_first = false;
  });
  return value;
}

double Run::metric(const std::string& name_of_metric, const std::string& statistic,
                   const std::string& scope) const {
  double value = kNone;
  file->each(
      "SELECT value FROM metric WHERE run_id = ?1 AND name = ?2 AND statistic = ?3 AND "
      "scope = ?4",
      [&](Statement& s) {
        s.bind(1, id);
        s.bind(2, std::string_view(name_of_metric));
        s.bind(3, std::string_view(statistic));
        s.bind(4, std::string_view(scope));
      },
      [&](const Statement& s) { value = real_or_none(s, 0); });
  return value;
}

Source::Source(const std::vector<std::string>& paths) {
  if (paths.empty())
    throw InputError("no database given", "kvsim run writes out/NAME.db: kvsim report out/NAME.db");
  std::set<std::string> seen;
  for (const std::string& path : paths) {
    auto file = std::make_unique<File>(path);
    if (!seen.insert(std::filesystem::weakly_canonical(path).string()).second)
      throw InputError(fmt::format("{}: given twice", path), "name each database once");
    if (file->has("run"))
      file->each(
          fmt::format("SELECT run_id, substr(name, 1, {}), version, status, ifnull(error, ''), "
                      "scenario_digest FROM run ORDER BY run_id",
                      kLongestName),
          {}, [&](const Statement& s) {
            if (runs_.size() == kMostRuns) {
              ++left_out_;
              return;
            }
            Run r;
            r.file = file.get();
            r.id = s.integer(0);
            r.name = printable(s.text(1));
            r.version = printable(s.text(2));
            r.status = printable(s.text(3));
            r.error = printable(s.text(4));
            r.digest = printable(s.text(5));
            r.color = runs_.size();
            runs_.push_back(std::move(r));
          });
    files_.push_back(std::move(file));
  }
  label_runs();
}

// The name alone where it is unique, else with the file, else with the number of the run.
void Source::label_runs() {
  const auto count = [&](auto text) {
    std::map<std::string, int> n;
    for (const Run& r : runs_) ++n[text(r)];
    return n;
  };
  const auto with_file = [](const Run& r) {
    return fmt::format("{} ({})", r.name, stem(r.file->path()));
  };
  const auto names = count([](const Run& r) { return r.name; });
  const auto files = count(with_file);
  for (Run& r : runs_) {
    r.label = r.name;
    if (names.at(r.name) > 1) r.label = with_file(r);
    if (names.at(r.name) > 1 && files.at(with_file(r)) > 1)
      r.label = fmt::format("{} ({} run {})", r.name, r.file->path(), r.id);
  }
}

double real_or_none(const Statement& s, int column) {
  return s.type(column) == Statement::Type::null ? kNone : s.real(column);
}

std::string quoted_name(const std::string& name) {
  std::string out = "\"";
  for (const char c : name) out += c == '"' ? "\"\"" : std::string(1, c);
  return out + '"';
}

}  // namespace kvsim::report
