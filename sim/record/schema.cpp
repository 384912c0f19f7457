#include "sim/record/schema.h"

#include <fmt/format.h>

#include "sim/base/check.h"
#include "sim/state/outcome.h"

namespace kvsim {
namespace {

const Column kRunId{"run_id", "INTEGER NOT NULL REFERENCES run(run_id)", "the run"};

TableInfo run_table() {
  return {"run",
          "one row a run",
          {{"run_id", "INTEGER PRIMARY KEY", "counts from 1"},
           {"name", "TEXT NOT NULL", "of the scenario"},
           {"scenario_text", "TEXT NOT NULL", "fully resolved, YAML"},
           {"scenario_digest", "TEXT NOT NULL", "of scenario_text, 16 hexadecimal digits"},
           {"seed", "INTEGER NOT NULL", "64 bits; a seed of 2^63 or more shows as negative"},
           {"version", "TEXT NOT NULL", "of kvsim"},
           {"status", "TEXT NOT NULL CHECK (status IN ('unfinished', 'finished', 'failed'))",
            "unfinished: still running, or killed"},
           {"error", "TEXT", "why a run failed"},
           {"slo_ttft_ns", "INTEGER", "objective: time to first token; NULL = none"},
           {"slo_tpot_ns", "INTEGER", "objective: time per output token; NULL = none"},
           {"slo_e2e_ns", "INTEGER", "objective: end-to-end latency; NULL = none"},
           {"simulated_ns", "INTEGER", "time of the last event"},
           {"requests", "INTEGER", "requests injected"},
           {"event_digest", "TEXT", "of the event stream, 16 hexadecimal digits"}},
          ""};
}

TableInfo provenance_table() {
  return {
      "provenance",
      "where and how fast a run was computed; differs between runs, empty for reproducible files",
      {{"run_id", "INTEGER PRIMARY KEY REFERENCES run(run_id)", "the run"},
       {"host", "TEXT NOT NULL", "name of the machine"},
       {"started_utc", "TEXT NOT NULL", "ISO 8601"},
       {"wall_ns", "INTEGER NOT NULL", "real time the simulation took"}},
      ""};
}

TableInfo param_table() {
  return {"param",
          "the resolved scenario, one row a value",
          {kRunId,
           {"path", "TEXT NOT NULL", "key, as in cache.tiers.0.capacity"},
           {"value", "TEXT NOT NULL", "as text"}},
          "PRIMARY KEY (run_id, path)"};
}

TableInfo request_table() {
  TableInfo t{"request",
              "one row a request, in order of completion",
              {kRunId,
               {"request", "INTEGER NOT NULL", "index in the workload"},
               {"session", "INTEGER NOT NULL", "requests of one session continue each other"},
               {"turn", "INTEGER NOT NULL", "position in its session, from 0"},
               {"tenant", "INTEGER NOT NULL", "who asked"},
               {"instance", "INTEGER NOT NULL", "that served it"},
               {"rank", "INTEGER NOT NULL", "data-parallel rank in the instance"},
               // OR, because IN builds a table for each row: a third of the time of an INSERT.
               {"outcome",
                "TEXT NOT NULL CHECK (outcome = 'finished' OR outcome = 'rejected' OR outcome = "
                "'timed_out')",
                "how it ended"},
               {"reason", "TEXT NOT NULL", "of a rejection or time-out"},
               {"prompt_tokens", "INTEGER NOT NULL", "tokens it brought"},
               {"output_tokens", "INTEGER NOT NULL", "tokens it received"},
               {"hit_tokens", "INTEGER NOT NULL", "found in the prefix cache at first admission"},
               {"queried_tokens", "INTEGER NOT NULL", "looked up at first admission"},
               {"recomputed_tokens", "INTEGER NOT NULL", "computed again after preemptions"},
               {"preemptions", "INTEGER NOT NULL", "how often it lost its KV blocks"},
               {"arrival_ns", "INTEGER NOT NULL", "since the start of the run"},
               {"scheduled_ns", "INTEGER", "first scheduled; NULL = never"},
               {"first_token_ns", "INTEGER", "NULL = never"},
               {"last_token_ns", "INTEGER", "NULL = never"}},
              ""};
  for (const auto& [kind, name] : enum_names(Interval{}))
    t.columns.push_back(
        {fmt::format("ttft_{}_ns", name), "INTEGER NOT NULL", "share of TTFT; they sum to it"});
  for (const auto& [kind, name] : enum_names(Interval{}))
    t.columns.push_back(
        {fmt::format("after_{}_ns", name), "INTEGER NOT NULL", "share of first to last token"});
  for (const auto& [cause, name] : enum_names(MissCause{}))
    t.columns.push_back({fmt::format("miss_{}_tokens", name), "INTEGER NOT NULL",
                         "prompt tokens computed for this cause"});
  return t;
}

TableInfo iteration_table() {
  return {"iteration",
          "one row an iteration of a rank, when the scenario asks for them",
          {kRunId,
           {"instance", "INTEGER NOT NULL", ""},
           {"rank", "INTEGER NOT NULL", ""},
           {"start_ns", "INTEGER NOT NULL", "since the start of the run"},
           {"end_ns", "INTEGER NOT NULL", "since the start of the run"},
           {"decodes", "INTEGER NOT NULL", "sequences that computed one next token"},
           {"prefill_tokens", "INTEGER NOT NULL", "prompt tokens computed"},
           {"context_tokens", "INTEGER NOT NULL", "KV tokens read by the decodes, summed"},
           {"running", "INTEGER NOT NULL", "requests in the running queue"},
           {"waiting", "INTEGER NOT NULL", "requests in the waiting queue"},
           {"free_blocks", "INTEGER NOT NULL", "KV blocks without a holder"},
           {"preemptions", "INTEGER NOT NULL", "requests that lost their blocks"}},
          ""};
}

TableInfo sample_table() {
  return {"instance_sample",
          "state of each rank at regular instants",
          {kRunId,
           {"at_ns", "INTEGER NOT NULL", "since the start of the run"},
           {"instance", "INTEGER NOT NULL", ""},
           {"rank", "INTEGER NOT NULL", ""},
           {"running", "INTEGER NOT NULL", "requests in the running queue"},
           {"waiting", "INTEGER NOT NULL", "requests in the waiting queue"},
           {"used_blocks", "INTEGER NOT NULL", "KV blocks held by requests"},
           {"cached_blocks", "INTEGER NOT NULL", "KV blocks free but still matched by prefixes"},
           {"total_blocks", "INTEGER NOT NULL", "usable KV blocks"},
           {"prompt_tokens", "INTEGER NOT NULL", "computed since the last sample"},
           {"output_tokens", "INTEGER NOT NULL", "computed since the last sample"}},
          ""};
}

TableInfo instance_table() {
  return {"instance",
          "totals of each rank",
          {kRunId,
           {"instance", "INTEGER NOT NULL", ""},
           {"rank", "INTEGER NOT NULL", "data-parallel rank in the instance"},
           {"blocks", "INTEGER NOT NULL", "usable KV blocks"},
           {"iterations", "INTEGER NOT NULL", ""},
           {"decode_iterations", "INTEGER NOT NULL", "iterations that only decoded"},
           {"preemptions", "INTEGER NOT NULL", ""},
           {"prefill_tokens", "INTEGER NOT NULL", "computed"},
           {"decode_tokens", "INTEGER NOT NULL", "computed"},
           {"queried_tokens", "INTEGER NOT NULL", "at first admissions"},
           {"hit_tokens", "INTEGER NOT NULL", "at first admissions"},
           {"resumed_queried_tokens", "INTEGER NOT NULL", "at admissions after a preemption"},
           {"resumed_hit_tokens", "INTEGER NOT NULL", "at admissions after a preemption"},
           {"evicted_blocks", "INTEGER NOT NULL", "cached blocks that were reused"},
           {"busy_ns", "INTEGER NOT NULL", "time in iterations"},
           {"gpu_ns", "INTEGER NOT NULL", "GPU time of iterations"},
           {"host_ns", "INTEGER NOT NULL", "host overhead of iterations"},
           {"peak_blocks", "INTEGER NOT NULL", "most KV blocks in use at once"}},
          "PRIMARY KEY (run_id, instance, rank)"};
}

TableInfo metric_table() {
  return {"metric",
          "summary numbers, see metrics.h for their definitions",
          {kRunId,
           {"scope", "TEXT NOT NULL", "run, or instance:N"},
           {"name", "TEXT NOT NULL", "ttft_ms, request_throughput, ..."},
           {"statistic", "TEXT NOT NULL",
            "value, or count, mean, median, std, min, p90, p95, p99, max"},
           {"value", "REAL NOT NULL", ""},
           {"unit", "TEXT NOT NULL", "ms, s, 1/s, tokens/s, tokens, ratio, count"}},
          "PRIMARY KEY (run_id, scope, name, statistic)"};
}

}  // namespace

const std::vector<TableInfo>& schema_tables() {
  static const std::vector<TableInfo> kTables{run_table(),      provenance_table(), param_table(),
                                              request_table(),  iteration_table(),  sample_table(),
                                              instance_table(), metric_table()};
  return kTables;
}

const TableInfo& schema_table(const std::string& name) {
  for (const TableInfo& t : schema_tables())
    if (t.name == name) return t;
  KVSIM_CHECK(false, "no table {}", name);
}

std::string create_sql(const TableInfo& t) {
  std::string sql = fmt::format("CREATE TABLE {} (  -- {}\n", t.name, t.text);
  for (std::size_t i = 0; i < t.columns.size(); ++i) {
    const Column& c = t.columns[i];
    const bool last = i + 1 == t.columns.size() && t.constraints.empty();
    sql += fmt::format("  {} {}{}", c.name, c.type, last ? "" : ",");
    sql += c.text.empty() ? "\n" : fmt::format("  -- {}\n", c.text);
  }
  if (!t.constraints.empty()) sql += fmt::format("  {}\n", t.constraints);
  return sql + ") STRICT";
}

std::string create_sql(const ViewInfo& v) {
  return fmt::format("CREATE VIEW {} AS  -- {}\n{}", v.name, v.text, v.sql);
}

std::string insert_sql(const TableInfo& t) {
  std::string sql = fmt::format("INSERT INTO {} VALUES (?", t.name);
  for (std::size_t i = 1; i < t.columns.size(); ++i) sql += ", ?";
  return sql + ")";
}

void create_schema(Database& db) {
  for (const TableInfo& t : schema_tables()) db.exec(create_sql(t));
  for (const ViewInfo& v : schema_views()) db.exec(create_sql(v));
  db.exec(fmt::format("PRAGMA application_id = {}; PRAGMA user_version = {}", kApplicationId,
                      kSchemaVersion));
}

void create_indices(Database& db) {
  db.exec("CREATE UNIQUE INDEX IF NOT EXISTS request_by_index ON request (run_id, request)");
  db.exec("CREATE INDEX IF NOT EXISTS iteration_by_time ON iteration (run_id, start_ns)");
  db.exec("CREATE INDEX IF NOT EXISTS instance_sample_by_time ON instance_sample (run_id, at_ns)");
}

std::string schema_markdown() {
  std::string text = "| table | content |\n|---|---|\n";
  for (const TableInfo& t : schema_tables()) text += fmt::format("| `{}` | {} |\n", t.name, t.text);
  text += "\n| view | content |\n|---|---|\n";
  for (const ViewInfo& v : schema_views()) text += fmt::format("| `{}` | {} |\n", v.name, v.text);
  return text;
}

}  // namespace kvsim
