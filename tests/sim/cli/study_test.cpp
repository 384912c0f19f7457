// kvsim study as a user meets it, and as processes that are killed.
#include <fcntl.h>
#include <spawn.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "sim/base/diagnostics.h"
#include "sim/record/database.h"
#include "sim/scenario/yaml.h"
#include "tests/sim/cli/cli_fixture.h"

namespace kvsim {
namespace {

using cli_test::expect_holds;
using cli_test::expect_misuse;
using cli_test::read_file;
using cli_test::Result;
using cli_test::TempFolder;

std::string study(const std::string& name) {
  return std::string(KVSIM_SOURCE_DIR) + "/scenarios/studies/" + name;
}

TEST(Study, RunsShowsAndAnswersQueries) {
  const TempFolder folder;
  const std::string db = folder / "a.db";
  const Result r = cli_test::kvsim({"study", "run", study("eviction-sweep.yaml"), "-o", db});
  ASSERT_EQ(r.code, 0) << r.err;
  expect_holds(r.out, {"eviction-sweep: grid, 35 trials", "leaf-lru", "64 GiB", "front"});
  expect_holds(r.err, {"35 trials in ", "written to " + db});
  cli_test::expect_width(r.out);
  EXPECT_EQ(cli_test::kvsim({"study", "show", db, "--all"}).out, r.out);
  const Result again = cli_test::kvsim({"study", "resume", study("eviction-sweep.yaml"), "-o", db});
  EXPECT_EQ(again.out, r.out);
  expect_holds(again.err, {"nothing to resume"});

  Diagnostics d;
  const Tree json = parse_yaml(cli_test::kvsim({"study", "show", db, "--json"}).out, "json", d);
  EXPECT_TRUE(d.empty());
  EXPECT_EQ(json.find("points")->items().size(), 35U);
  EXPECT_EQ(json.find("status")->text(), "finished");
  const std::string front = cli_test::kvsim({"study", "show", db, "--front", "--csv"}).out;
  EXPECT_EQ(static_cast<std::int64_t>(std::count(front.begin(), front.end(), '\n')) - 1,
            Database::open_read_only(db).integer("SELECT sum(on_front) FROM trial"));
  const Result query = cli_test::kvsim({"query", db, "@study", "--csv"});
  EXPECT_EQ(query.code, 0);
  expect_holds(query.out, {"cache.tiers.1.eviction=s3-fifo cache.tiers.1.capacity=32 GiB"});
}

TEST(Study, ThreadsDoNotShow) {
  const TempFolder folder;
  for (const char* threads : {"1", "3"})
    EXPECT_EQ(cli_test::kvsim({"study", "run", study("eviction-sweep.yaml"), "--threads", threads,
                               "-o", folder / threads})
                  .code,
              0);
  EXPECT_EQ(read_file(folder / "1"), read_file(folder / "3"));
}

TEST(Study, SensitivityOfAnExample) {
  const TempFolder folder;
  const Result r =
      cli_test::kvsim({"study", "run", study("what-matters.yaml"), "-o", folder / "a.db"});
  ASSERT_EQ(r.code, 0) << r.err;
  expect_holds(r.out, {"mu*", "sigma", "effect on"});
  cli_test::expect_width(r.out);
}

TEST(Study, AFailingTrialIsARowAndTheStudyGoesOn) {
  const TempFolder folder;
  const std::string file =
      folder.write("s.yaml", "base: " + cli_test::scenario("quickstart.yaml") +
                                 "\nset: [workload.limit=20]\naxes:\n"
                                 // 70B on one GPU does not fit; each value alone, with the first of
                                 // the other, does.
                                 "  - {path: model, values: [llama-3.1-8b, llama-3.1-70b]}\n"
                                 "  - {path: deployment.parallel.tensor, values: [8, 1]}\n"
                                 "objectives: [{metric: completed, goal: max}]\n");
  const Result r = cli_test::kvsim({"study", "run", file, "-o", folder / "a.db"});
  ASSERT_EQ(r.code, 0) << r.err;
  expect_holds(r.out, {"failed"});
  expect_holds(r.err, {"1 trials failed, the first: trial 4: "});
  Database db = Database::open_read_only(folder / "a.db");
  EXPECT_EQ(db.integer("SELECT count(*) FROM trial"), 4);
  EXPECT_EQ(db.integer("SELECT count(*) FROM trial WHERE status = 'failed' AND error <> '' AND "
                       "feasible IS NULL"),
            1);
}

TEST(Study, Misuse) {
  expect_misuse({"study"}, {"what should be done?", "run"});
  expect_misuse({"study", "rnu", "x"}, {"unknown action 'rnu'", "did you mean 'run'?"});
  expect_misuse({"study", "run"}, {"no study file given"});
  expect_misuse({"study", "run", "nowhere.yaml"}, {"nowhere.yaml"});
  expect_misuse({"study", "run", study("eviction-sweep.yaml"), "--threads", "0"}, {"1 to 4096"});
  expect_misuse({"study", "run", cli_test::scenario("quickstart.yaml")},
                {"looks like a scenario", "unknown key"});
  const TempFolder folder;
  expect_misuse({"study", "show", study("eviction-sweep.yaml"), "-o", folder / "a.db"},
                {"has not been run"});
  expect_misuse({"study", "resume", study("eviction-sweep.yaml"), "-o", folder / "a.db"},
                {"nothing can be resumed"});
  ASSERT_EQ(
      cli_test::kvsim({"run", cli_test::scenario("quickstart.yaml"), "-o", folder / "r.db"}).code,
      0);
  expect_misuse({"study", "show", folder / "r.db"}, {"holds no study"});
}

TEST(Study, ChecksEveryExample) {
  std::size_t n = 0;
  for (const auto& e : std::filesystem::directory_iterator(study(""))) {
    if (e.path().extension() != ".yaml") continue;
    const Tree t = [&] {
      Diagnostics d;
      return load_yaml(e.path().string(), d);
    }();
    if (t.find("kvsim-study") == nullptr) continue;
    ++n;
    const Result r = cli_test::kvsim({"study", "check", e.path().string()});
    EXPECT_EQ(r.code, 0) << r.err;
    expect_holds(r.out, {": good; "});
  }
  EXPECT_GE(n, 2U);
}

// ---- under mpirun

// A child process with its output in a file.
class Process {
 public:
  Process(const std::vector<std::string>& words, const std::string& log) {
    std::vector<char*> arguments;
    for (const std::string& w : words) arguments.push_back(const_cast<char*>(w.c_str()));
    arguments.push_back(nullptr);
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, log.c_str(),
                                     O_CREAT | O_WRONLY | O_APPEND, 0644);
    posix_spawn_file_actions_adddup2(&files, STDOUT_FILENO, STDERR_FILENO);
    if (posix_spawnp(&pid_, arguments[0], &files, nullptr, arguments.data(), environ) != 0)
      pid_ = -1;
    posix_spawn_file_actions_destroy(&files);
  }
  [[nodiscard]] int wait() const {
    int status = 0;
    waitpid(pid_, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  // By process id: mpirun starts them in the order of their ranks.
  [[nodiscard]] std::vector<pid_t> children() const {
    std::vector<pid_t> all;
    for (const auto& e : std::filesystem::directory_iterator("/proc")) {
      std::ifstream stat(e.path() / "stat");
      std::string id, name, state, parent;
      if (stat >> id >> name >> state >> parent && parent == std::to_string(pid_))
        all.push_back(static_cast<pid_t>(std::stol(id)));
    }
    std::sort(all.begin(), all.end());
    return all;
  }

 private:
  pid_t pid_ = -1;
};

class MpiStudy : public testing::Test {
 protected:
  void SetUp() override {
    if (cli_test::program().empty()) GTEST_SKIP() << "kvsim was not built";
    if (cli_test::shell("command -v mpirun >/dev/null") != 0) GTEST_SKIP() << "no mpirun";
    if (cli_test::shell("ldd " + cli_test::program() + " | grep -q libmpi") != 0)
      GTEST_SKIP() << "kvsim was built without MPI";
    file_ = folder_.write(
        "long.yaml", "name: long\nbase: " + study("../quickstart.yaml") +
                         "\naxes: [{path: engine.max_running, range: {from: 1, to: 120, steps: "
                         "120}}]\nobjectives: [{metric: ttft_ms.mean}]\n");
  }
  std::vector<std::string> mpirun(const std::vector<std::string>& more,
                                  const std::vector<std::string>& words) {
    std::vector<std::string> all{"mpirun", "-np", "4", "--oversubscribe", "--allow-run-as-root",
                                 // MPI leaks; that is not ours to find.
                                 "-x", "ASAN_OPTIONS=detect_leaks=0"};
    all.insert(all.end(), more.begin(), more.end());
    all.push_back(cli_test::program());
    all.insert(all.end(), words.begin(), words.end());
    return all;
  }
  // Waits for the first trials, then kills a rank as if the machine had run out of memory.
  void kill_one(const Process& job, const std::string& db, bool head) {
    std::int64_t done = 0;
    for (int i = 0; i < 6000 && done < 16; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      if (!std::filesystem::exists(db + ".unfinished")) continue;
      try {
        done = Database::open_read_only(db + ".unfinished").integer("SELECT count(*) FROM trial");
      } catch (const std::exception&) {  // its tables are being made
      }
    }
    ASSERT_GE(done, 16) << read_file(folder_ / "log");
    const std::vector<pid_t> ranks = job.children();
    ASSERT_EQ(ranks.size(), 4U);
    ASSERT_EQ(kill(head ? ranks.front() : ranks.back(), SIGKILL), 0);
  }
  void expect_reference(const std::string& db) {
    ASSERT_EQ(
        cli_test::kvsim({"study", "run", file_, "--threads", "1", "-o", folder_ / "ref.db"}).code,
        0);
    EXPECT_EQ(read_file(db), read_file(folder_ / "ref.db"));
  }

  TempFolder folder_;
  std::string file_;
};

TEST_F(MpiStudy, RanksGiveTheDatabaseOfOneThread) {
  const std::string sweep = study("eviction-sweep.yaml");
  const Process job(mpirun({}, {"study", "run", "--mpi", sweep, "-o", folder_ / "a.db"}),
                    folder_ / "log");
  ASSERT_EQ(job.wait(), 0) << read_file(folder_ / "log");
  ASSERT_EQ(cli_test::kvsim({"study", "run", sweep, "--threads", "1", "-o", folder_ / "b.db"}).code,
            0);
  EXPECT_EQ(read_file(folder_ / "a.db"), read_file(folder_ / "b.db"));
}

TEST_F(MpiStudy, AKilledRankCostsNothingUnderRecovery) {
  const std::string db = folder_ / "a.db";
  const Process job(mpirun({"--enable-recovery"}, {"study", "run", "--mpi", file_, "-o", db}),
                    folder_ / "log");
  kill_one(job, db, false);
  EXPECT_EQ(job.wait(), 0) << read_file(folder_ / "log");
  expect_reference(db);
}

TEST_F(MpiStudy, AKilledJobIsResumed) {
  const std::string db = folder_ / "a.db";
  const Process job(mpirun({}, {"study", "run", "--mpi", file_, "-o", db}), folder_ / "log");
  kill_one(job, db, true);
  EXPECT_NE(job.wait(), 0);
  EXPECT_FALSE(std::filesystem::exists(db));
  expect_holds(cli_test::kvsim({"study", "show", file_, "-o", db}).out, {" done"});
  const Process rest(mpirun({}, {"study", "resume", "--mpi", file_, "-o", db}), folder_ / "log");
  EXPECT_EQ(rest.wait(), 0) << read_file(folder_ / "log");
  expect_reference(db);
}

}  // namespace
}  // namespace kvsim
