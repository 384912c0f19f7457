#pragma once
// The database of a study: complete under its own name, or `<path>.unfinished`, which may be read
// at any time, and from which a killed study is resumed.
//
// Determinism: a finished file depends on study, scenario and version only, to the last byte: not
// on threads, ranks, order of completion, kills or resumptions.
#include <memory>
#include <string>
#include <vector>

#include "sim/record/database.h"
#include "sim/study/study_plan.h"

namespace kvsim {

enum class StoreMode {
  fresh,    // an unfinished file is an error
  restart,  // it is thrown away
  resume,   // it must be there, and of the same study
};

class StudyStore {
 public:
  // Throws InputError when the mode does not fit what is there, or another process is writing it.
  StudyStore(std::string path, const StudyPlan&, const std::string& scenario_text, StoreMode);
  StudyStore(const StudyStore&) = delete;
  StudyStore& operator=(const StudyStore&) = delete;
  ~StudyStore();  // without finish(): leaves the unfinished file, with all that was committed

  // Trials without a row, ascending.
  [[nodiscard]] const std::vector<std::size_t>& missing() const { return missing_; }
  // In a transaction that is committed every few trials, and by commit().
  void write(std::size_t trial, const TrialResult&);
  void commit();
  // Requires a row for each trial. The file appears under its name.
  void finish();

  // Whether `path` is a finished database of the same study.
  static bool is_finished(const std::string& path, const StudyPlan&,
                          const std::string& scenario_text);
  static std::string unfinished_path(const std::string& path) { return path + ".unfinished"; }

 private:
  class Lock;
  void create(const std::string& scenario_text);
  void reopen(const std::string& scenario_text);
  void rank_points();

  std::string path_, unfinished_;
  const StudyPlan* plan_;
  std::unique_ptr<Lock> lock_;  // outlives db_: closing its file would drop SQLite's own locks
  std::optional<Database> db_;
  std::optional<Statement> trial_, param_, metric_;
  std::vector<std::size_t> missing_;
  int uncommitted_ = 0;
};

}  // namespace kvsim
