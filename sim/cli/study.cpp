// kvsim study: many runs of one scenario
#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <thread>

#include "sim/base/diagnostics.h"
#include "sim/cli/command.h"
#include "sim/cli/output_path.h"
#include "sim/cli/study_show.h"
#include "sim/study/runner.h"
#include "sim/study/study_store.h"

namespace kvsim {

namespace {

constexpr std::size_t kRowsOfASummary = 40;

void declare(po::options_description& o, po::positional_options_description& p) {
  o.add_options()("action", po::value<std::string>(),
                  "run, resume, check or show (also without the option's name)")(
      "study", po::value<std::string>(),
      "study file; show: also its database (also without the option's name)")(
      "output,o", po::value<std::string>(), "result database (default out/<name>.db)")(
      "threads", po::value<int>(), "trials at a time: default all cores, with --mpi 1 a rank")(
      "mpi", "share the trials with the ranks of the MPI job (mpirun, srun)")(
      "restart", "run: throw away an unfinished study")(
      "front", "show only the Pareto front of the points that keep the constraints")(
      "all", "show: every point, not the first 40")("csv", "show as CSV")("json", "show as JSON");
  p.add("action", 1).add("study", 1);
}

// A line on a terminal: how far the study is, and how long it may still take.
class StudyProgress {
 public:
  StudyProgress(std::size_t total, std::size_t already)
      : total_(total), already_(already), done_(already), shown_(isatty(STDERR_FILENO) == 1) {}
  ~StudyProgress() { clear(); }
  StudyProgress(const StudyProgress&) = delete;
  StudyProgress& operator=(const StudyProgress&) = delete;
  void add(bool failed) {
    ++done_;
    failed_ += failed ? 1 : 0;
  }
  void draw() {
    const auto now = std::chrono::steady_clock::now();
    if (!shown_ || now - last_ < std::chrono::milliseconds(200)) return;
    last_ = now;
    drawn_ = true;
    std::string line = fmt::format("{} of {} trials", done_, total_);
    if (failed_ > 0) line += fmt::format(", {} failed", failed_);
    const auto fresh = static_cast<double>(done_ - already_);
    if (fresh > 0 && done_ < total_)
      line +=
          fmt::format(", {:.0f} s left", seconds() / fresh * static_cast<double>(total_ - done_));
    fmt::print(stderr, "\r\033[K{}", line);
    std::fflush(stderr);
  }
  void clear() {
    if (drawn_) fmt::print(stderr, "\r\033[K");
    drawn_ = false;
  }
  [[nodiscard]] double seconds() const {
    return (std::chrono::steady_clock::now() - start_) / std::chrono::duration<double>(1);
  }
  [[nodiscard]] std::size_t failed() const { return failed_; }

 private:
  std::size_t total_, already_, done_, failed_ = 0;
  bool shown_, drawn_ = false;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now(), last_{};
};

// Whatever happens to rank 0, the others are told to go.
class Dismissal {
 public:
  explicit Dismissal(Team* team) : team_(team) {}
  Dismissal(const Dismissal&) = delete;
  Dismissal& operator=(const Dismissal&) = delete;
  ~Dismissal() { now(); }
  void now() {
    if (team_ != nullptr) dismiss(*team_);
    team_ = nullptr;
  }

 private:
  Team* team_;
};

std::string output_of(const po::variables_map& v, const std::string& name) {
  return option_or(v, "output", default_output(name, "study"));
}

int threads_of(const po::variables_map& v) {
  const int otherwise =
      v.count("mpi") > 0 ? 1 : static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  const int threads = option_or(v, "threads", otherwise);
  if (threads < 1 || threads > 4096)
    throw InputError(fmt::format("kvsim study: --threads {}: expected 1 to 4096", threads));
  return threads;
}

int show_database(const std::string& path, const po::variables_map& v, std::size_t rows) {
  Database db = Database::open_read_only(path);
  const StudyPlan plan = stored_plan(db);
  const StudyResults results = read_results(db, plan);
  const ShowChoice choice{v.count("front") > 0, rows};
  if (v.count("csv") > 0) {
    fmt::print("{}", study_csv(plan, results, choice));
  } else if (v.count("json") > 0) {
    fmt::print("{}", study_json(plan, results, choice));
  } else {
    fmt::print(
        "{}: {}, {} trials{}{}\n\n{}{}", results.name, results.design, plan.trials(),
        results.trials_done < plan.trials() ? fmt::format(", {} done", results.trials_done) : "",
        results.trials_failed > 0 ? fmt::format(", {} failed", results.trials_failed) : "",
        study_table(plan, results, choice), sensitivity_table(plan, results));
  }
  return 0;
}

// The first error of a study, so that nobody has to look for it.
std::string first_error(const std::string& path) {
  Database db = Database::open_read_only(path);
  Statement s = db.prepare("SELECT trial, error FROM trial WHERE status = 'failed' LIMIT 1");
  return s.step() ? fmt::format("trial {}: {}", s.integer(0), s.text(1)) : "";
}

int run_study(const std::string& file, const po::variables_map& v, bool resumes, Team* team) {
  Dismissal dismissal(team);
  const PreparedStudy prepared = prepare_study(file);
  const StudyPlan& plan = prepared.plan;
  const std::string& scenario = prepared.scenario;
  const std::string path = output_of(v, plan.spec().name);
  Distribution work;
  work.threads = threads_of(v);
  work.team = team;
  if (v.count("output") == 0) std::filesystem::create_directories("out");
  if (resumes && !std::filesystem::exists(StudyStore::unfinished_path(path)) &&
      StudyStore::is_finished(path, plan, scenario)) {
    fmt::print(stderr, "{}: all {} trials are there, nothing to resume\n", path, plan.trials());
    return show_database(path, v, kRowsOfASummary);
  }
  StudyStore store(path, plan, scenario,
                   resumes                  ? StoreMode::resume
                   : v.count("restart") > 0 ? StoreMode::restart
                                            : StoreMode::fresh);
  const std::size_t left = store.missing().size();
  StudyProgress progress(plan.trials(), plan.trials() - left);
  work.job = [&](std::size_t trial) {
    TrialInput input = plan.input(trial);
    return TrialJob{trial, plan.base_path(), std::move(input.sets), input.seed, input.quality};
  };
  work.done = [&](std::size_t trial, TrialResult&& result) {
    store.write(trial, result);
    progress.add(!result.error.empty());
    progress.draw();
  };
  work.idle = [&] {
    store.commit();
    progress.draw();
  };
  run_trials(store.missing(), work);
  dismissal.now();
  store.finish();
  progress.clear();
  const int code = show_database(path, v, kRowsOfASummary);
  std::fflush(stdout);
  fmt::print(stderr, "{} trials in {:.1f} s{}{}, written to {}\n", left, progress.seconds(),
             team == nullptr ? fmt::format(" on {} threads", work.threads)
                             : fmt::format(" on {} ranks", team->size()),
             resumes ? ", resumed" : "", path);
  if (progress.failed() == 0) return code;
  fmt::print(stderr, "{} trials failed, the first: {}\n", progress.failed(), first_error(path));
  return progress.failed() == plan.trials() ? 3 : code;
}

int run_here_or_together(const std::string& file, const po::variables_map& v, bool resumes) {
  if (v.count("mpi") == 0) return run_study(file, v, resumes, nullptr);
  const int threads = threads_of(v);
  const std::unique_ptr<Team> team = join_mpi();
  if (team->rank() == 0) {
    const int code = run_study(file, v, resumes, team.get());
    std::fflush(stdout);
    team->leave_with(code);
    return code;
  }
  if (serve_trials(*team, threads)) {
    team->leave_with(0);
    return 0;
  }
  team->abandon();
  throw InputError(fmt::format("rank {}: rank 0 does not answer", team->rank()),
                   "`kvsim study resume` goes on with what was done");
}

int check_study(const std::string& file) {
  const StudyPlan plan = prepare_study(file).plan;
  fmt::print("{}: good; {} points, {} trials\n", file, plan.points(), plan.trials());
  return 0;
}

// The database of a study file, finished or not; a database is taken as it is.
int show_study(const std::string& file, const po::variables_map& v) {
  if (v.count("csv") > 0 && v.count("json") > 0)
    throw InputError("kvsim study: --csv and --json exclude each other");
  const std::size_t rows = v.count("all") > 0 || v.count("front") > 0 ? 0 : kRowsOfASummary;
  if (!file.ends_with(".yaml") && !file.ends_with(".yml")) return show_database(file, v, rows);
  Diagnostics d;
  const LoadedStudy study = load_study(file, d);
  d.throw_if_any();
  const std::string path = output_of(v, study.value.name);
  const std::string unfinished = StudyStore::unfinished_path(path);
  if (std::filesystem::exists(unfinished)) return show_database(unfinished, v, rows);
  if (std::filesystem::exists(path)) return show_database(path, v, rows);
  throw InputError(fmt::format("{}: this study has not been run", path),
                   fmt::format("`kvsim study run {}` runs it; name its database with -o", file));
}

int run(const po::variables_map& v) {
  const std::vector<std::string> actions{"run", "resume", "check", "show"};
  const std::string action = option_or(v, "action", std::string());
  if (std::ranges::find(actions, action) == actions.end())
    throw InputError(action.empty() ? "kvsim study: what should be done?"
                                    : fmt::format("kvsim study: unknown action '{}'", action),
                     name_hint(action, actions));
  if (v.count("study") == 0)
    throw InputError(fmt::format("kvsim study {}: no study file given", action),
                     "scenarios/studies has examples; kvsim study --help shows more");
  const std::string file = v["study"].as<std::string>();
  if (action == "run") return run_here_or_together(file, v, false);
  if (action == "resume") return run_here_or_together(file, v, true);
  return action == "check" ? check_study(file) : show_study(file, v);
}

}  // namespace

extern const Command kStudyCommand{
    "study",
    "run a scenario along axes of its parameters; tables, Pareto front, sensitivity",
    "run|resume|check|show STUDY",
    "  kvsim study run scenarios/studies/eviction-sweep.yaml       on every core\n"
    "  kvsim study resume scenarios/studies/eviction-sweep.yaml    after a kill\n"
    "  kvsim study show scenarios/studies/eviction-sweep.yaml --front\n"
    "  kvsim query out/eviction-sweep.db @study                    the same in SQL\n"
    "  mpirun -np 4 kvsim study run --mpi scenarios/studies/eviction-sweep.yaml\n"
    "  kvsim show study                                            every key of a study file",
    declare,
    run};

}  // namespace kvsim
