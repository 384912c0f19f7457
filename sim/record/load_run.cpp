#include "sim/record/load_run.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include <algorithm>
#include <string_view>

#include "sim/base/diagnostics.h"
#include "sim/record/database.h"
#include "sim/record/render.h"
#include "sim/record/schema.h"

namespace kvsim {
namespace {

constexpr std::int64_t kLongestTime = std::int64_t{1} << 61;  // ns; two of them add up safely
constexpr std::int64_t kMostTokens = std::int64_t{1} << 40;   // of one request
constexpr int kLongestCell = 16 << 20;

// The columns of table request that are read, in this order; intervals and causes follow.
constexpr std::string_view kRequestColumns[] = {
    "request",        "session",           "turn",          "tenant",        "instance",
    "rank",           "outcome",           "prompt_tokens", "output_tokens", "hit_tokens",
    "queried_tokens", "recomputed_tokens", "preemptions",   "swaps",         "arrival_ns",
    "scheduled_ns",   "first_token_ns",    "last_token_ns"};

class Loader {
 public:
  Loader(const std::string& path, const LoadLimits& limits)
      : path_(path), limits_(limits), db_(Database::open_read_only(path)) {
    sqlite3* raw = db_.handle();
    db_.exec("PRAGMA query_only = ON; PRAGMA cell_size_check = ON");
    sqlite3_db_config(raw, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
    sqlite3_db_config(raw, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
    sqlite3_limit(raw, SQLITE_LIMIT_LENGTH, kLongestCell);
  }

  RecordedRun load(std::optional<std::int64_t> run_id) {
    check_kind();
    RecordedRun run = header(run_id);
    params(run);
    metrics(run);
    requests(run);
    tier_hits(run);
    return run;
  }

 private:
  [[noreturn]] void refuse(const std::string& message, const std::string& hint) const {
    throw InputError(fmt::format("{}: {}", path_, message), hint);
  }
  [[noreturn]] void damaged(const std::string& what) const {
    refuse("not what kvsim writes: " + what, "run the scenario again");
  }

  void check_kind() {
    if (db_.integer("PRAGMA application_id") != kApplicationId)
      refuse("not a result of kvsim", "give a scenario, or a file that 'kvsim run' wrote");
    if (const auto version = db_.integer("PRAGMA user_version"); version != kSchemaVersion)
      refuse(fmt::format("its tables have version {}, this kvsim reads version {}", version,
                         kSchemaVersion),
             "use the kvsim that wrote it, or run the scenario again");
    for (const char* table : {"run", "param", "metric", "request", "tier_hit"}) {
      Statement s = db_.prepare(
          "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ? AND sql LIKE "
          "'CREATE TABLE%'");
      s.bind(1, std::string_view(table));
      if (!s.step() || s.integer(0) != 1) damaged(fmt::format("no table '{}'", table));
      // Generated columns compute on reading.
      Statement hidden =
          db_.prepare("SELECT count(*) FROM pragma_table_xinfo(?) WHERE hidden <> 0");
      hidden.bind(1, std::string_view(table));
      if (!hidden.step() || hidden.integer(0) != 0)
        damaged(fmt::format("table '{}' has computed columns", table));
    }
  }

  std::string runs_of_file() {
    std::string text;
    Statement s = db_.prepare("SELECT run_id, name, status FROM run ORDER BY run_id LIMIT 20");
    while (s.step())
      text += fmt::format("{}{} ('{}', {})", text.empty() ? "" : ", ", s.integer(0),
                          printable(s.text(1)), printable(s.text(2)));
    return text.empty() ? "the file holds no run" : "runs: " + text;
  }

  RecordedRun header(std::optional<std::int64_t> wanted) {
    if (!wanted) {
      Statement s = db_.prepare("SELECT run_id FROM run LIMIT 2");
      if (s.step()) wanted = s.integer(0);
      if (!wanted || s.step())
        refuse(wanted ? "holds several runs" : "holds no run",
               "name one as FILE.db:RUN; " + runs_of_file());
    }
    Statement s = db_.prepare(
        "SELECT name, scenario_digest, seed, status, slo_ttft_ns, slo_tpot_ns, slo_e2e_ns, "
        "event_digest, requests FROM run WHERE run_id = ?");
    s.bind(1, *wanted);
    if (!s.step()) refuse(fmt::format("no run {}", *wanted), runs_of_file());
    if (s.text(3) != "finished")
      refuse(fmt::format("run {} is {}", *wanted, printable(s.text(3))),
             "its numbers are not complete; run the scenario again");
    RecordedRun run;
    run.run_id = *wanted;
    run.name = printable(s.text(0));
    run.scenario_digest = printable(s.text(1));
    run.seed = static_cast<std::uint64_t>(s.integer(2));
    const auto limit = [&](int column) -> std::optional<Duration> {
      if (s.type(column) == Statement::Type::null) return std::nullopt;
      return Duration{s.integer(column)};
    };
    run.slo = {limit(4), limit(5), limit(6)};
    run.event_digest = printable(s.text(7));
    requests_ = s.integer(8);
    return run;
  }

  void params(RecordedRun& run) {
    Statement s = db_.prepare("SELECT path, value FROM param WHERE run_id = ? ORDER BY rowid");
    s.bind(1, run.run_id);
    while (s.step()) {
      if (static_cast<std::int64_t>(run.params.size()) == limits_.max_params)
        damaged(fmt::format("more than {} parameters", limits_.max_params));
      run.params.emplace_back(printable(s.text(0).substr(0, 4096)),
                              printable(s.text(1).substr(0, 4096)));
    }
  }

  void metrics(RecordedRun& run) {
    Statement s = db_.prepare(
        "SELECT name, statistic, value, unit FROM metric WHERE run_id = ? AND scope = 'run'");
    s.bind(1, run.run_id);
    while (s.step()) {
      if (static_cast<std::int64_t>(run.metrics.size()) == limits_.max_metrics)
        damaged(fmt::format("more than {} metrics", limits_.max_metrics));
      run.metrics.push_back({"run", printable(s.text(0).substr(0, 256)),
                             printable(s.text(1).substr(0, 256)), s.real(2),
                             printable(s.text(3).substr(0, 256))});
    }
  }

  static std::string request_sql() {
    std::string sql = "SELECT ";
    for (const std::string_view column : kRequestColumns) sql += fmt::format("{}, ", column);
    for (const char* phase : {"ttft", "after"})
      for (const auto& [kind, name] : enum_names(Interval{}))
        sql += fmt::format("{}_{}_ns, ", phase, name);
    for (const auto& [cause, name] : enum_names(MissCause{}))
      sql += fmt::format("miss_{}_tokens, ", name);
    sql.erase(sql.size() - 2);
    return sql + " FROM request WHERE run_id = ? ORDER BY request";
  }

  void requests(RecordedRun& run) {
    Statement count = db_.prepare("SELECT count(*) FROM request WHERE run_id = ?");
    count.bind(1, run.run_id);
    const std::int64_t rows = count.step() ? count.integer(0) : 0;
    if (rows == 0 && requests_ > 0)
      refuse(fmt::format("run {} kept no rows of its requests", run.run_id),
             "run the scenario with record.requests=all");
    if (rows > limits_.max_requests)
      refuse(fmt::format("run {} has {} requests, at most {} are compared", run.run_id, rows,
                         limits_.max_requests),
             "compare shorter runs (workload.limit)");
    run.requests.reserve(static_cast<std::size_t>(rows));
    Statement s = db_.prepare(request_sql());
    s.bind(1, run.run_id);
    while (s.step()) {
      run.requests.push_back(request(s));
      const auto n = run.requests.size();
      if (n > 1 && run.requests[n - 2].index == run.requests[n - 1].index)
        damaged(fmt::format("request {} is there twice", run.requests.back().index));
    }
  }

  std::int64_t bounded(const Statement& s, int column, std::int64_t most) {
    const std::int64_t v = s.integer(column);
    if (v < 0 || v > most)
      damaged(fmt::format("{} = {} of request {}", printable(s.name(column)), v, s.integer(0)));
    return v;
  }
  Time time(const Statement& s, int column) {
    return s.type(column) == Statement::Type::null
               ? kNever
               : Time{Duration{bounded(s, column, kLongestTime)}};
  }

  RequestOutcome request(const Statement& s) {
    RequestOutcome r;
    int at = 0;
    const auto small = [&] {
      return static_cast<std::uint32_t>(bounded(s, at++, std::int64_t{0xffffffff}));
    };
    const auto tokens = [&] { return bounded(s, at++, kMostTokens); };
    r.index = static_cast<std::uint64_t>(bounded(s, at++, kLongestTime));
    r.session = static_cast<std::uint64_t>(s.integer(at++));
    r.turn = small(), r.tenant = small(), r.instance = small(), r.rank = small();
    bool known = false;
    for (const auto& [value, name] : enum_names(Outcome{}))
      if (s.text(at) == name) r.outcome = value, known = true;
    if (!known) damaged(fmt::format("outcome of request {}", r.index));
    ++at;
    r.prompt_tokens = tokens(), r.output_tokens = tokens(), r.hit_tokens = tokens();
    r.queried_tokens = tokens(), r.recomputed_tokens = tokens();
    r.preemptions = small(), r.swaps = small();
    r.arrival = time(s, at++), r.scheduled = time(s, at++);
    r.first_token = time(s, at++), r.last_token = time(s, at++);
    for (auto* phase : {&r.ttft_ns, &r.after_ns})
      for (std::size_t k = 0; k < kIntervals; ++k) phase->set(k, bounded(s, at++, kLongestTime));
    for (std::size_t k = 0; k < kMissCauses; ++k) r.miss_tokens.set(k, tokens());
    check_sums(r);
    return r;
  }

  void check_sums(const RequestOutcome& r) const {
    __extension__ typedef __int128 Wide;
    const auto sum = [](const auto& parts) {
      Wide all = 0;
      for (const std::int64_t ns : parts) all += ns;
      return all;
    };
    if (r.outcome != Outcome::finished) return;
    if (r.arrival == kNever || r.first_token == kNever || r.last_token == kNever ||
        r.output_tokens < 1)
      damaged(fmt::format("request {} finished without a token", r.index));
    if (sum(r.ttft_ns) != Wide{to_ns(r.first_token)} - to_ns(r.arrival) ||
        sum(r.after_ns) != Wide{to_ns(r.last_token)} - to_ns(r.first_token))
      damaged(fmt::format("the intervals of request {} do not add up to its latency", r.index));
  }

  void tier_hits(RecordedRun& run) {
    Statement s = db_.prepare("SELECT request, tier, tokens FROM tier_hit WHERE run_id = ?");
    s.bind(1, run.run_id);
    while (s.step()) {
      const std::int64_t index = s.integer(0), tier = s.integer(1);
      const auto found = std::ranges::lower_bound(run.requests, static_cast<std::uint64_t>(index),
                                                  {}, &RequestOutcome::index);
      if (found == run.requests.end() || index < 0 ||
          found->index != static_cast<std::uint64_t>(index) || tier < 1 ||
          tier > static_cast<std::int64_t>(kMaxTiers))
        damaged("a tier_hit without its request or tier");
      found->tier_tokens[static_cast<std::size_t>(tier - 1)] = bounded(s, 2, kMostTokens);
    }
  }

  std::string path_;
  LoadLimits limits_;
  Database db_;
  std::int64_t requests_ = 0;
};

}  // namespace

RecordedRun load_run(const std::string& path, std::optional<std::int64_t> run_id,
                     const LoadLimits& limits) {
  try {
    return Loader(path, limits).load(run_id);
  } catch (const SqlError& e) {
    throw InputError(fmt::format("{}: not what kvsim writes: {}", path, printable(e.what())),
                     "run the scenario again");
  }
}

}  // namespace kvsim
