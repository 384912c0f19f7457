#pragma once
// The result files of a report, opened for reading. They may come from anyone: only tables are
// read, never views (whose SQL is the file's), long texts are cut, and every failure of SQLite is
// an InputError with the file's path.
#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "sim/record/database.h"

namespace kvsim::report {

inline constexpr std::size_t kMostRuns = 8;  // side by side; more cannot be told apart

class File {
 public:
  // Throws InputError for what is no result of this version of kvsim.
  explicit File(const std::string& path);
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] bool has(const std::string& table) const { return tables_.contains(table); }
  // Whether the table is there and holds a row.
  [[nodiscard]] bool has_rows(const std::string& table);
  [[nodiscard]] std::vector<std::string> columns(const std::string& table);
  // Calls row(statement) for each row; `bind` may set parameters.
  void each(const std::string& sql, const std::function<void(Statement&)>& bind,
            const std::function<void(const Statement&)>& row);

 private:
  std::string path_;
  Database db_;
  std::set<std::string> tables_;
};

struct Run {
  File* file = nullptr;
  std::int64_t id = 0;
  std::string name, label;  // the label is unique in the report
  std::string version, status, error, digest;
  std::size_t color = 0;
  // Rows of `sql`, whose ?1 is this run.
  void each(const std::string& sql, const std::function<void(const Statement&)>& row) const;
  // First column of the first row; kNone without one.
  [[nodiscard]] double number(const std::string& sql) const;
  // Table `metric`; kNone when the run has no such metric.
  [[nodiscard]] double metric(const std::string& name, const std::string& statistic = "value",
                              const std::string& scope = "run") const;
};

class Source {
 public:
  // Throws InputError: no file, an unreadable one, or the same file twice.
  explicit Source(const std::vector<std::string>& paths);
  [[nodiscard]] const std::vector<std::unique_ptr<File>>& files() const { return files_; }
  [[nodiscard]] const std::vector<Run>& runs() const { return runs_; }  // at most kMostRuns
  [[nodiscard]] std::size_t runs_left_out() const { return left_out_; }

 private:
  void label_runs();
  std::vector<std::unique_ptr<File>> files_;
  std::vector<Run> runs_;
  std::size_t left_out_ = 0;
};

// A column as a number; kNone for NULL.
double real_or_none(const Statement&, int column);
// An SQL identifier in quotes.
std::string quoted_name(const std::string&);

}  // namespace kvsim::report
