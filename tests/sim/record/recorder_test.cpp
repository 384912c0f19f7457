// Result files: values come back, files are complete or absent, equal runs give equal bytes.
#include "sim/record/recorder.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <functional>
#include <sstream>
#include <thread>

#include "sim/base/diagnostics.h"
#include "sim/record/schema.h"
#include "tests/sim/record/sample_run.h"

namespace kvsim {
namespace {

using record_test::Folder;
using record_test::sample_header;
using record_test::sample_run;
using record_test::write_sample;
namespace fs = std::filesystem;

std::string bytes_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream all;
  all << in.rdbuf();
  return all.str();
}

std::string text_of(Database& db, const char* sql) {
  Statement s = db.prepare(sql);
  return s.step() ? std::string(s.text(0)) : "(no row)";
}

// The message of the InputError that `work` must throw.
std::string input_error(const std::function<void()>& work) {
  try {
    work();
  } catch (const InputError& e) {
    return e.what();
  }
  return "(no error)";
}

// Runs `work` in a child with its own limits; the child's exit code.
int in_child(const std::function<int()>& work) {
  const pid_t child = fork();
  if (child == 0) _exit(work());
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

TEST(Recorder, RequestComesBackColumnByColumn) {
  const Folder folder;
  RunOutcome run;
  RequestOutcome r;
  std::int64_t next = 1000;
  r.index = 1;
  r.session = 0xffffffffffffffffULL;
  r.turn = 3, r.tenant = 4, r.instance = 5, r.rank = 6;
  r.outcome = Outcome::timed_out;
  r.reason = "too 'late' \"here\"";
  r.prompt_tokens = 7, r.output_tokens = 8, r.hit_tokens = 9, r.queried_tokens = 10,
  r.recomputed_tokens = 11;
  r.peer_tokens = 17, r.first_instance = 18, r.handovers = 19;
  r.preemptions = 12, r.swaps = 13, r.tool_calls = 20;
  r.arrival = Time{Duration{14}};
  r.scheduled = Time{Duration{15}};
  r.first_token = Time{Duration{16}};
  r.held_ns = 21;
  for (auto* values : {&r.ttft_ns, &r.after_ns})
    for (std::size_t k = 0; k < kIntervals; ++k) values->set(k, next++);
  for (std::size_t k = 0; k < kMissCauses; ++k) r.miss_tokens.set(k, next++);
  run.requests = {r};
  write_sample(folder / "a.db", run);
  Database db = Database::open_read_only(folder / "a.db");
  Statement s = db.prepare("SELECT * FROM request");
  ASSERT_TRUE(s.step());
  ASSERT_EQ(s.columns(), static_cast<int>(schema_table("request").columns.size()));
  const std::vector<std::string> expected{
      "1",  "1",  "-1", "3",  "4",  "5",  "6",  "timed_out", r.reason, "7",  "8", "9", "10",
      "11", "17", "18", "19", "12", "13", "20", "14",        "15",     "16", "",  "21"};
  for (int i = 0; i < static_cast<int>(expected.size()); ++i)
    EXPECT_EQ(s.text(i), expected[static_cast<std::size_t>(i)]) << s.name(i);
  EXPECT_EQ(s.type(23), Statement::Type::null);  // no last token
  for (int i = 25; i < s.columns(); ++i) EXPECT_EQ(s.integer(i), 1000 + i - 25) << s.name(i);
  EXPECT_EQ(s.name(25), "ttft_front_end_ns");
  const int intervals = static_cast<int>(kIntervals), causes = static_cast<int>(kMissCauses);
  EXPECT_EQ(s.name(24 + 2 * intervals), "after_back_end_ns");
  EXPECT_EQ(s.name(24 + 2 * intervals + causes), "miss_not_shareable_tokens");
  EXPECT_FALSE(s.step());
}

TEST(Recorder, OtherTablesComeBack) {
  const Folder folder;
  const RunOutcome run = sample_run(10);
  const RunHeader header = sample_header();
  {
    Recorder recorder(folder / "a.db", header);
    recorder.finish(run, compute_metrics(run, header.slo),
                    Provenance{"host-1", "2026-01-01T00:00:00Z", 77});
  }
  Database db = Database::open_read_only(folder / "a.db");
  const auto row = [&](const char* sql) {
    Statement s = db.prepare(sql);
    std::string all;
    if (s.step())
      for (int i = 0; i < s.columns(); ++i) all += std::string(s.text(i)) + "|";
    return all;
  };
  EXPECT_EQ(row("SELECT name, scenario_text, seed, version, status, error, slo_ttft_ns, "
                "slo_tpot_ns, slo_e2e_ns, requests,"
                " event_digest FROM run"),
            "sample|name: sample\nmodel: it's "
            "quoted\n|42|0.1.0|finished||200000000|20000000||10|fedcba9876543210|");
  EXPECT_EQ(db.integer("SELECT simulated_ns FROM run"), to_ns(run.end));
  EXPECT_EQ(row("SELECT * FROM provenance"), "1|host-1|2026-01-01T00:00:00Z|77|");
  EXPECT_EQ(
      row("SELECT group_concat(path || '=' || value) FROM (SELECT * FROM param ORDER BY path)"),
      "cache.tiers.0.capacity=80 GiB,engine.block_tokens=16|");
  EXPECT_EQ(row("SELECT * FROM iteration"), "1|1|0|5|25|3|4|5|6|7|8|9|10|11|");
  EXPECT_EQ(row("SELECT * FROM instance_sample"), "1|1000000000|2|1|3|4|50|60|100|700|80|0|0|");
  EXPECT_EQ(row("SELECT * FROM instance WHERE instance = 2"),
            "1|2|0|1000|200|150|2|9000|800|10000|4000|11|12|13|1000000|800000|200000|500|14|15|16|"
            "300.0|40.0|40|7.0|7|2|1|3|4000|5000|60|5|4|3|1|");
  EXPECT_EQ(db.integer("SELECT count(*) FROM metric"),
            static_cast<std::int64_t>(compute_metrics(run, header.slo).size()));
  EXPECT_EQ(db.integer("PRAGMA application_id"), kApplicationId);
  EXPECT_EQ(row("PRAGMA integrity_check"), "ok|");
  EXPECT_EQ(row("PRAGMA foreign_key_check"), "");
  EXPECT_FALSE(fs::exists(folder / "a.db.unfinished"));
  EXPECT_FALSE(fs::exists(folder / "a.db.unfinished-journal"));
}

TEST(Recorder, EqualRunsGiveEqualBytes) {
  const Folder folder;
  write_sample(folder / "a.db", sample_run(20'000));
  write_sample(folder / "b.db", sample_run(20'000));
  write_sample(folder / "c.db", sample_run(20'000, 2));
  EXPECT_TRUE(bytes_of(folder / "a.db") == bytes_of(folder / "b.db"));
  EXPECT_FALSE(bytes_of(folder / "a.db") == bytes_of(folder / "c.db"));
}

TEST(Recorder, StreamedRowsEqualRowsGivenAtTheEnd) {
  const Folder folder;
  const RunOutcome run = sample_run(20'000);
  write_sample(folder / "a.db", run);
  const RunHeader header = sample_header();
  {
    Recorder recorder(folder / "b.db", header);
    const std::span<const RequestOutcome> all(run.requests);
    recorder.append(all.first(9'000));
    recorder.append(all.subspan(9'000));
    RunOutcome rest = run;
    rest.requests.clear();
    recorder.finish(rest, compute_metrics(run, header.slo), std::nullopt);
  }
  EXPECT_TRUE(bytes_of(folder / "a.db") == bytes_of(folder / "b.db"));
}

TEST(Recorder, UnfinishedAndFailedRunsSpareTheOldResult) {
  const Folder folder;
  write_sample(folder / "a.db", sample_run(10));
  const std::string old = bytes_of(folder / "a.db");
  {
    Recorder recorder(folder / "a.db", sample_header());
    recorder.append(sample_run(20'000).requests);
  }
  EXPECT_EQ(bytes_of(folder / "a.db"), old);
  {
    Database db = Database::open_read_only(folder / "a.db.unfinished");
    EXPECT_EQ(text_of(db, "SELECT status FROM run"), "unfinished");
    EXPECT_EQ(text_of(db, "PRAGMA integrity_check"), "ok");
    EXPECT_EQ(db.integer("SELECT count(*) FROM request"), 20'000 / 8192 * 8192);
  }
  Recorder(folder / "a.db", sample_header()).fail("the pool holds no block");
  EXPECT_EQ(bytes_of(folder / "a.db"), old);
  Database db = Database::open_read_only(folder / "a.db.unfinished");
  EXPECT_EQ(text_of(db, "SELECT status || ': ' || error FROM run"),
            "failed: the pool holds no block");
}

TEST(Recorder, KilledAtAnyMomentLeavesAFileThatOpens) {
  const RunOutcome run = sample_run(3000);
  Rng rng(3, "kill");
  std::int64_t most = 0;
  // On a busy machine the first batch may take long: later rounds wait longer for it.
  for (std::uint64_t round = 0; round < 20 || (most == 0 && round < 100); ++round) {
    const Folder folder;
    const std::string path = folder / "a.db";
    const pid_t child = fork();
    if (child == 0) {
      Recorder recorder(path, sample_header());
      for (;;) recorder.append(run.requests);
    }
    while (!fs::exists(path + ".unfinished")) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::microseconds(rng.below(120'000 * (1 + round / 20))));
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    EXPECT_FALSE(fs::exists(path));
    Database db = Database::open_read_only(path + ".unfinished");
    EXPECT_EQ(text_of(db, "PRAGMA integrity_check"), "ok");
    if (db.integer("SELECT count(*) FROM sqlite_schema") == 0)
      continue;  // killed before the run began
    EXPECT_EQ(text_of(db, "SELECT status FROM run"), "unfinished");
    const std::int64_t rows = db.integer("SELECT count(*) FROM request");
    EXPECT_EQ(rows % 8192, 0);
    most = std::max(most, rows);
  }
  EXPECT_GT(most, 0);  // at least one was killed amid its batches
}

// Killed while results replace each other: under the final name there is always a whole one.
TEST(Recorder, KilledWhileFinishingLeavesAWholeResult) {
  const RunOutcome run = sample_run(3000);
  Rng rng(4, "kill");
  for (int round = 0; round < 20; ++round) {
    const Folder folder;
    const std::string path = folder / "a.db";
    const pid_t child = fork();
    if (child == 0)
      for (;;) write_sample(path, run);
    while (!fs::exists(path)) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::microseconds(rng.below(40'000)));
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    Database db = Database::open_read_only(path);
    EXPECT_EQ(text_of(db, "PRAGMA integrity_check"), "ok");
    EXPECT_EQ(text_of(db, "SELECT status FROM run"), "finished");
    EXPECT_EQ(db.integer("SELECT count(*) FROM request"), 3000);
    if (!fs::exists(path + ".unfinished")) continue;
    Database left = Database::open_read_only(path + ".unfinished");
    EXPECT_EQ(text_of(left, "PRAGMA integrity_check"), "ok");
    write_sample(path, run);  // the dead process is no obstacle
    EXPECT_FALSE(fs::exists(path + ".unfinished"));
  }
}

TEST(RunWriter, SeveralRunsShareAFile) {
  Database db = Database::in_memory();
  create_schema(db);
  for (const std::uint64_t n : {10U, 20U}) {
    Transaction t(db);
    RunWriter writer(db, sample_header());
    const RunOutcome run = sample_run(n, n);
    for (const RequestOutcome& r : run.requests) writer.write(r);
    for (const Metric& m : compute_metrics(run, {})) writer.write(m);
    writer.finish(run);
    t.commit();
  }
  {
    Transaction rolled_back(db);
    const RunWriter writer(db, sample_header());
    EXPECT_EQ(writer.run_id(), 3);
  }
  create_indices(db);
  EXPECT_EQ(
      db.integer(
          "SELECT group_concat(n, '0') FROM (SELECT count(*) AS n FROM request GROUP BY run_id)"),
      10020);
  EXPECT_EQ(db.integer("SELECT count(*) FROM run"), 2);
  EXPECT_EQ(db.integer("SELECT count(*) FROM slo_attainment"), 2);
  EXPECT_EQ(db.integer("SELECT count(*) FROM vllm_bench"), 2);
  EXPECT_EQ(db.integer("SELECT count(*) FROM percentile WHERE metric = 'ttft_ms'"), 2);
}

// A limit on file size stands in for a full disk: both end in a refused write.
TEST(Recorder, AFileThatMayNotGrowIsAClearError) {
  const Folder folder;
  const std::string path = folder / "a.db";
  const int code = in_child([&] {
    signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{3 << 20, 3 << 20};
    setrlimit(RLIMIT_FSIZE, &limit);
    const std::string error = input_error([&] { write_sample(path, sample_run(40'000)); });
    const bool clear = error.find(path + ".unfinished") != std::string::npos &&
                       error.find("limits on file size") != std::string::npos;
    return clear ? 0 : (std::fprintf(stderr, "%s\n", error.c_str()), 1);
  });
  EXPECT_EQ(code, 0);
  EXPECT_TRUE(fs::is_empty(folder.path()));  // absent, not half
}

TEST(Recorder, AFullDiskIsAClearError) {
  const Folder folder;
  if (mount("tmpfs", folder.path().c_str(), "tmpfs", 0, "size=2m") != 0)
    GTEST_SKIP() << "may not mount a small file system here";
  const std::string error = input_error([&] { write_sample(folder / "a.db", sample_run(40'000)); });
  EXPECT_NE(error.find("no space left"), std::string::npos) << error;
  EXPECT_NE(error.find(folder / "a.db"), std::string::npos) << error;
  EXPECT_TRUE(fs::is_empty(folder.path()));
  umount(folder.path().c_str());
}

TEST(Recorder, BadPlacesAreClearErrors) {
  const Folder folder;
  const auto error_at = [](const std::string& path) {
    return input_error([&] { Recorder(path, sample_header()); });
  };
  EXPECT_NE(error_at(folder / "no/such/a.db").find("No such file or directory"), std::string::npos);
  EXPECT_NE(error_at(folder.path().string()).find("not a regular file"), std::string::npos);
  EXPECT_NE(error_at("").find("no name"), std::string::npos);
  fs::permissions(folder.path(),
                  fs::perms::owner_read | fs::perms::owner_exec | fs::perms::others_exec);
  const int code = in_child([&] {
    if (geteuid() == 0 && setuid(65534) != 0) return 2;  // root may write anywhere
    return error_at(folder / "a.db").find("Permission denied") != std::string::npos ? 0 : 1;
  });
  EXPECT_EQ(code, 0);
}

TEST(Recorder, TwoRunsMayNotShareAFile) {
  const Folder folder;
  const std::string path = folder / "a.db";
  Recorder first(path, sample_header());
  // Locks belong to a process, so the second run needs one of its own.
  const int code = in_child([&] {
    const std::string error = input_error([&] { Recorder(path, sample_header()); });
    return error.find("another run is writing it") != std::string::npos ? 0 : 1;
  });
  EXPECT_EQ(code, 0);
  const RunOutcome run = sample_run(5);
  first.finish(run, {}, std::nullopt);
  Database db = Database::open_read_only(path);
  EXPECT_EQ(db.integer("SELECT count(*) FROM request"), 5);
}

}  // namespace
}  // namespace kvsim
