#include "sim/study/study_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "sim/base/check.h"
#include "sim/base/hash.h"
#include "sim/record/publish.h"
#include "sim/record/schema.h"
#include "sim/record/writer.h"
#include "sim/run/simulate.h"
#include "sim/study/study_results.h"

namespace kvsim {
namespace {

namespace fs = std::filesystem;

constexpr int kTrialsOfATransaction = 16;  // what a kill may cost, at most
constexpr const char* kSettings =
    "PRAGMA page_size = 8192; PRAGMA journal_mode = TRUNCATE; PRAGMA foreign_keys = OFF;";

std::string study_text(const StudyPlan& plan) { return to_yaml(write_fields(plan.spec())); }

std::string digest_of(const StudyPlan& plan, const std::string& scenario_text) {
  return digest_text(hash_combine(
      hash_combine(hash_text(study_text(plan)), hash_text(scenario_text)), hash_text(kVersion)));
}

std::string sql_text(const std::string& text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? "''" : std::string(1, c);
  return out + "'";
}

void insert_study(Database& db, const StudyPlan& plan, const std::string& scenario_text) {
  Statement s = db.prepare(insert_sql(schema_table("study")));
  s.bind(1, 1);
  s.bind(2, std::string_view(plan.spec().name));
  s.bind(3, std::string_view(study_text(plan)));
  s.bind(4, std::string_view(scenario_text));
  s.bind(5, std::string_view(digest_of(plan, scenario_text)));
  s.bind(6, std::string_view(kVersion));
  s.bind(7, std::string_view(plan.spec().design.kind()));
  s.bind(8, plan.points());
  s.bind(9, plan.trials());
  s.bind(10, std::string_view("unfinished"));
  s.run();
  Statement goal = db.prepare(insert_sql(schema_table("study_goal")));
  const auto add = [&](const std::string& metric, std::string_view kind, const double* bound) {
    goal.bind(1, std::string_view(metric));
    goal.bind(2, kind);
    if (bound == nullptr)
      goal.bind_null(3);
    else
      goal.bind(3, *bound);
    goal.run();
  };
  for (const ObjectiveSpec& o : plan.spec().objectives) add(o.metric, name_of(o.goal), nullptr);
  for (const ConstraintSpec& c : plan.spec().constraints)
    add(c.metric, c.at_most ? "at_most" : "at_least", c.at_most ? &*c.at_most : &*c.at_least);
}

// Whether a metric belongs to a goal of the study.
bool is_goal(const StudySpec& spec, const Metric& m) {
  const std::string full = m.name + "." + m.statistic;
  const auto names = [&](const std::string& goal) {
    return goal == full || (m.statistic == "value" && goal == m.name);
  };
  return std::ranges::any_of(spec.objectives, names, &ObjectiveSpec::metric) ||
         std::ranges::any_of(spec.constraints, names, &ConstraintSpec::metric);
}

}  // namespace

// Held from opening to closing; a killed process loses it.
class StudyStore::Lock {
 public:
  explicit Lock(const std::string& path) : file_(::open(path.c_str(), O_RDWR | O_CLOEXEC)) {
    if (file_ >= 0 && ::flock(file_, LOCK_EX | LOCK_NB) != 0) {
      ::close(file_);
      throw InputError(fmt::format("{}: another process is running this study", path),
                       "wait for it; `kvsim study show` tells how far it is");
    }
  }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;
  ~Lock() {
    if (file_ >= 0) ::close(file_);
  }

 private:
  int file_;
};

StudyStore::StudyStore(std::string path, const StudyPlan& plan, const std::string& scenario_text,
                       StoreMode mode)
    : path_(std::move(path)), unfinished_(unfinished_path(path_)), plan_(&plan) {
  std::error_code error;
  const fs::file_status target = fs::status(path_, error);
  if (fs::exists(target) && !fs::is_regular_file(target))
    throw InputError(fmt::format("{}: not a regular file, so no result can take its place", path_),
                     "give the name of a file with -o");
  const bool is_there = fs::exists(unfinished_, error);
  if (mode == StoreMode::fresh && is_there)
    throw InputError(fmt::format("{}: an unfinished study is there", unfinished_),
                     "`kvsim study resume` goes on with it, --restart throws it away");
  if (mode == StoreMode::resume && !is_there)
    throw InputError(
        fmt::format("{}: there is no such file, so nothing can be resumed", unfinished_),
        "`kvsim study run` starts the study");
  if (is_there) lock_ = std::make_unique<Lock>(unfinished_);
  if (mode == StoreMode::resume)
    reopen(scenario_text);
  else
    create(scenario_text);
  trial_.emplace(db_->prepare(insert_sql(schema_table("trial"))));
  param_.emplace(db_->prepare(insert_sql(schema_table("trial_param"))));
  metric_.emplace(db_->prepare(insert_sql(schema_table("trial_metric"))));
  std::vector<bool> done(plan.trials());
  Statement s = db_->prepare("SELECT trial FROM trial");
  while (s.step()) done[static_cast<std::size_t>(s.integer(0) - 1)] = true;
  for (std::size_t i = 0; i < done.size(); ++i)
    if (!done[i]) missing_.push_back(i);
}

StudyStore::~StudyStore() = default;

void StudyStore::create(const std::string& scenario_text) {
  remove_quietly(unfinished_ + "-journal");
  remove_quietly(unfinished_);
  db_.emplace(Database::create(unfinished_));
  lock_ = std::make_unique<Lock>(unfinished_);
  db_->exec(kSettings);
  db_->exec("PRAGMA busy_timeout = 60000; PRAGMA synchronous = NORMAL; BEGIN IMMEDIATE");
  create_schema(*db_);
  insert_study(*db_, *plan_, scenario_text);
  db_->exec("COMMIT");
}

void StudyStore::reopen(const std::string& scenario_text) {
  db_.emplace(Database::open_existing(unfinished_));
  db_->exec(kSettings);
  db_->exec("PRAGMA busy_timeout = 60000; PRAGMA synchronous = NORMAL");
  std::string digest;
  try {
    Statement s = db_->prepare("SELECT digest FROM study");
    if (s.step()) digest = s.text(0);
  } catch (const SqlError&) {  // killed before its tables were there
    db_.reset();
    return create(scenario_text);
  }
  if (digest != digest_of(*plan_, scenario_text))
    throw InputError(
        fmt::format("{}: its trials are not of this study as it stands now: the study, "
                    "its scenario or kvsim has changed",
                    unfinished_),
        "`kvsim study run --restart` throws them away");
}

void StudyStore::write(std::size_t trial, const TrialResult& result) {
  if (uncommitted_++ == 0) db_->exec("BEGIN IMMEDIATE");
  const std::size_t point = plan_->point_of(trial);
  const std::size_t number = trial + 1;
  trial_->bind(1, number);
  trial_->bind(2, point + 1);
  if (const auto seed = plan_->seed_of(trial))
    trial_->bind(3, *seed);
  else
    trial_->bind_null(3);
  trial_->bind(4, std::string_view(result.error.empty() ? "finished" : "failed"));
  if (result.error.empty())
    trial_->bind_null(5);
  else
    trial_->bind(5, std::string_view(result.error));
  trial_->bind(6, std::string_view(result.scenario_digest));
  trial_->bind(7, std::string_view(result.event_digest));
  trial_->bind_null(8);
  trial_->bind_null(9);
  trial_->run();
  for (const TrialParam& p : plan_->params(point)) {
    param_->bind(1, number);
    param_->bind(2, p.axis + 1);
    param_->bind(3, std::string_view(p.path));
    param_->bind(4, std::string_view(p.value));
    param_->run();
  }
  const bool all = plan_->spec().keep == KeepMetrics::all;
  for (const Metric& m : result.metrics) {
    if (m.scope != "run" && m.scope != "no-offload") continue;
    if (!all && (m.scope != "run" || !is_goal(plan_->spec(), m))) continue;
    metric_->bind(1, number);
    metric_->bind(2, std::string_view(m.scope));
    metric_->bind(3, std::string_view(m.name));
    metric_->bind(4, std::string_view(m.statistic));
    metric_->bind(5, m.value);
    metric_->bind(6, std::string_view(m.unit));
    metric_->run();
  }
  if (uncommitted_ >= kTrialsOfATransaction) commit();
}

void StudyStore::commit() {
  if (uncommitted_ > 0) db_->exec("COMMIT");
  uncommitted_ = 0;
}

void StudyStore::rank_points() {
  const StudyResults results = read_results(*db_, *plan_);
  Statement s = db_->prepare("UPDATE trial SET feasible = ?2, on_front = ?3 WHERE point = ?1");
  db_->exec("CREATE INDEX IF NOT EXISTS trial_by_point ON trial (point)");
  for (std::size_t i = 0; i < results.points.size(); ++i) {
    const PointResult& p = results.points[i];
    if (!p.feasible) continue;
    s.bind(1, i + 1);
    s.bind(2, *p.feasible ? 1 : 0);
    if (plan_->spec().objectives.empty())
      s.bind_null(3);
    else
      s.bind(3, p.on_front ? 1 : 0);
    s.run();
  }
}

// Rows were written as trials ended; the finished file is written again in order.
void StudyStore::finish() {
  commit();
  const std::int64_t rows = db_->integer("SELECT count(*) FROM trial");
  KVSIM_CHECK(rows == static_cast<std::int64_t>(plan_->trials()), "{} of {} trials", rows,
              plan_->trials());
  db_->exec("BEGIN IMMEDIATE");
  rank_points();
  db_->exec("UPDATE study SET status = 'finished'; COMMIT");
  const std::string whole = path_ + ".finishing";
  remove_quietly(whole);
  {
    Database out = Database::create(whole);
    out.exec(kSettings);
    out.exec("PRAGMA synchronous = OFF; ATTACH " + sql_text(unfinished_) + " AS part; BEGIN");
    create_schema(out);
    for (const char* table : {"study", "study_goal"})
      out.exec(fmt::format("INSERT INTO main.{0} SELECT * FROM part.{0} ORDER BY rowid", table));
    for (const char* table : {"trial", "trial_param", "trial_metric"})
      out.exec(
          fmt::format("INSERT INTO main.{0} SELECT * FROM part.{0} ORDER BY trial, rowid", table));
    out.exec("COMMIT; DETACH part");
    out.close();
  }
  remove_quietly(whole + "-journal");
  publish(whole, path_);
  trial_.reset();
  param_.reset();
  metric_.reset();
  db_->close();
  db_.reset();
  remove_quietly(unfinished_ + "-journal");
  remove_quietly(unfinished_);
  lock_.reset();
}

bool StudyStore::is_finished(const std::string& path, const StudyPlan& plan,
                             const std::string& scenario_text) {
  std::error_code error;
  if (!fs::exists(path, error)) return false;
  try {
    Database db = Database::open_read_only(path);
    Statement s = db.prepare("SELECT digest FROM study WHERE status = 'finished'");
    return s.step() && s.text(0) == digest_of(plan, scenario_text);
  } catch (const SqlError&) {
    return false;
  }
}

}  // namespace kvsim
