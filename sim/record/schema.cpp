#include "sim/record/schema.h"

#include <fmt/format.h>

#include "sim/base/check.h"
#include "sim/record/schema_quality.h"
#include "sim/record/schema_study.h"
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
  TableInfo t{
      "request",
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
       {"recomputed_tokens", "INTEGER NOT NULL", "computed again after preemptions and tool calls"},
       {"peer_tokens", "INTEGER NOT NULL",
        "copied from another instance's cache at first admission"},
       {"first_instance", "INTEGER NOT NULL", "that it was routed to first"},
       {"handovers", "INTEGER NOT NULL", "from one instance to another, with its KV"},
       {"preemptions", "INTEGER NOT NULL", "how often it lost its KV blocks"},
       {"swaps", "INTEGER NOT NULL", "how often its KV was kept in host memory then"},
       {"tool_calls", "INTEGER NOT NULL", "tools that it waited for while it was served"},
       {"arrival_ns", "INTEGER NOT NULL", "since the start of the run"},
       {"scheduled_ns", "INTEGER", "first scheduled; NULL = never"},
       {"first_token_ns", "INTEGER", "NULL = never"},
       {"last_token_ns", "INTEGER", "NULL = never"},
       {"held_ns", "INTEGER NOT NULL", "of ttft_front_end_ns: held back by a quota"}},
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
           {"instance", "INTEGER NOT NULL", "serving engine, from 0"},
           {"rank", "INTEGER NOT NULL", "data-parallel rank in the instance"},
           {"start_ns", "INTEGER NOT NULL", "since the start of the run"},
           {"end_ns", "INTEGER NOT NULL", "since the start of the run"},
           {"decodes", "INTEGER NOT NULL", "sequences that computed one next token"},
           {"prefill_tokens", "INTEGER NOT NULL", "prompt tokens computed"},
           {"context_tokens", "INTEGER NOT NULL", "KV tokens read by the decodes, summed"},
           {"running", "INTEGER NOT NULL", "requests in the running queue"},
           {"waiting", "INTEGER NOT NULL", "requests in the waiting queue"},
           {"free_blocks", "INTEGER NOT NULL", "KV blocks without a holder"},
           {"preemptions", "INTEGER NOT NULL", "requests that lost their blocks"},
           {"prompts", "INTEGER NOT NULL", "sequences that computed prompt tokens"},
           {"held_blocks_end", "INTEGER NOT NULL",
            "KV blocks with a holder after it, when those that finished have left"}},
          ""};
}

TableInfo sample_table() {
  return {"instance_sample",
          "state of each rank at regular instants",
          {kRunId,
           {"at_ns", "INTEGER NOT NULL", "since the start of the run"},
           {"instance", "INTEGER NOT NULL", "serving engine, from 0"},
           {"rank", "INTEGER NOT NULL", "data-parallel rank in the instance"},
           {"running", "INTEGER NOT NULL", "requests in the running queue"},
           {"waiting", "INTEGER NOT NULL", "requests in the waiting queue"},
           {"used_blocks", "INTEGER NOT NULL", "KV blocks held by requests"},
           {"cached_blocks", "INTEGER NOT NULL", "KV blocks free but still matched by prefixes"},
           {"total_blocks", "INTEGER NOT NULL", "usable KV blocks"},
           {"prompt_tokens", "INTEGER NOT NULL", "computed since the start"},
           {"output_tokens", "INTEGER NOT NULL", "computed since the start"},
           {"unfilled_tokens", "INTEGER NOT NULL", "places in held KV blocks without a token"},
           {"stranded_blocks", "INTEGER NOT NULL",
            "free, but in holes too small for the head of the queue"}},
          ""};
}

TableInfo instance_table() {
  return {"instance",
          "totals of each rank",
          {kRunId,
           {"instance", "INTEGER NOT NULL", "serving engine, from 0"},
           {"rank", "INTEGER NOT NULL", "data-parallel rank in the instance"},
           {"blocks", "INTEGER NOT NULL", "usable KV blocks"},
           {"iterations", "INTEGER NOT NULL", "forward passes"},
           {"decode_iterations", "INTEGER NOT NULL", "iterations that only decoded"},
           {"preemptions", "INTEGER NOT NULL", "requests that lost their KV blocks"},
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
           {"peak_blocks", "INTEGER NOT NULL", "most KV blocks in use at once"},
           {"stall_ns", "INTEGER NOT NULL", "time of iterations that waited for KV from below"},
           {"mapping_ns", "INTEGER NOT NULL", "of host_ns: iterations waited for pages"},
           {"block_tokens", "INTEGER NOT NULL", "of a KV block"},
           {"used_blocks_mean", "REAL NOT NULL", "KV blocks in use, over the time in iterations"},
           {"unfilled_tokens_mean", "REAL NOT NULL",
            "places in them without a token: internal fragmentation"},
           {"unfilled_tokens_peak", "INTEGER NOT NULL", "the most at once"},
           {"stranded_blocks_mean", "REAL NOT NULL",
            "free, but in holes too small for the head of the queue: external fragmentation"},
           {"stranded_blocks_peak", "INTEGER NOT NULL", "the most at once"},
           {"swaps_out", "INTEGER NOT NULL", "preemptions that kept KV in host memory"},
           {"swaps_in", "INTEGER NOT NULL", "returns from there"},
           {"layered_prompts", "INTEGER NOT NULL",
            "admitted with only some of their layers on the GPU"},
           {"to_host_bytes", "INTEGER NOT NULL", "KV of admitted requests, outside the tiers"},
           {"from_host_bytes", "INTEGER NOT NULL", "the same, to the GPU"},
           {"peak_host_blocks", "INTEGER NOT NULL", "KV blocks there at once"},
           {"tools_kept", "INTEGER NOT NULL", "tool calls with KV on the GPU meanwhile"},
           {"tools_swapped", "INTEGER NOT NULL", "tool calls with KV in host memory meanwhile"},
           {"tools_discarded", "INTEGER NOT NULL", "tool calls that gave their KV up"},
           {"tools_reclaimed", "INTEGER NOT NULL",
            "of those kept: lost after all, because others ran short of blocks"}},
          "PRIMARY KEY (run_id, instance, rank)"};
}

TableInfo tier_table() {
  return {
      "tier",
      "totals of each store of each tier below the GPU; a chunk is its unit",
      {kRunId,
       {"tier", "INTEGER NOT NULL", "1 = next to the GPU"},
       {"store", "INTEGER NOT NULL", "which of this tier, from 0"},
       {"name", "TEXT NOT NULL", "of the tier in the scenario"},
       {"kind", "TEXT NOT NULL", "cpu, ssd, remote"},
       {"capacity_chunks", "INTEGER NOT NULL", "that fit"},
       {"chunk_bytes", "INTEGER NOT NULL", "as this tier stores it, one engine rank's share"},
       {"chunk_tokens", "INTEGER NOT NULL", "of a chunk"},
       {"resident_chunks", "INTEGER NOT NULL", "at the end"},
       {"peak_chunks", "INTEGER NOT NULL", "at most"},
       {"inserted_chunks", "INTEGER NOT NULL", "= resident + evicted + expired + lost + abandoned"},
       {"evicted_chunks", "INTEGER NOT NULL", "by the policy's choice"},
       {"expired_chunks", "INTEGER NOT NULL", "unused for longer than ttl"},
       {"lost_chunks", "INTEGER NOT NULL", "to faults"},
       {"abandoned_chunks", "INTEGER NOT NULL", "whose writing failed or was stopped"},
       {"refused_chunks", "INTEGER NOT NULL",
        "not written: no room, over quota, or not admitted by the policy"},
       {"read_chunks", "INTEGER NOT NULL", "chunks read from it"},
       {"stale_chunks", "INTEGER NOT NULL", "promised by the directory, but gone"},
       {"read_bytes", "INTEGER NOT NULL", "bytes read from it"},
       {"written_bytes", "INTEGER NOT NULL", "bytes written to it"},
       {"far_read_chunks", "INTEGER NOT NULL", "of a pool placed locally: read by other nodes"},
       {"far_read_bytes", "INTEGER NOT NULL", "bytes of these"},
       {"copied_chunks", "INTEGER NOT NULL", "written here as copies of other nodes' chunks"},
       {"copied_bytes", "INTEGER NOT NULL", "bytes of these"},
       {"dropped_chunks", "INTEGER NOT NULL", "of the evicted: another node still had them"},
       {"drive_life_years", "REAL", "at the run's rate of writing; NULL = no drive"}},
      "PRIMARY KEY (run_id, tier, store)"};
}

TableInfo tier_hit_table() {
  return {"tier_hit",
          "prompt tokens that first admissions loaded from below, one row a request and tier",
          {kRunId,
           {"request", "INTEGER NOT NULL", "index in the workload"},
           {"tier", "INTEGER NOT NULL", "where they lay, before any prefetch"},
           {"tokens", "INTEGER NOT NULL", "prompt tokens loaded"},
           {"far_tokens", "INTEGER NOT NULL", "of these, from another node's memory"}},
          "PRIMARY KEY (run_id, request, tier)"};
}

TableInfo tier_sample_table() {
  return {"tier_sample",
          "state of each store at regular instants",
          {kRunId,
           {"at_ns", "INTEGER NOT NULL", "since the start of the run"},
           {"tier", "INTEGER NOT NULL", "1 = next to the GPU"},
           {"store", "INTEGER NOT NULL", "which of this tier, from 0"},
           {"resident_chunks", "INTEGER NOT NULL", "chunks in it"},
           {"read_bytes", "INTEGER NOT NULL", "since the start"},
           {"written_bytes", "INTEGER NOT NULL", "since the start"}},
          ""};
}

TableInfo link_table() {
  return {"link",
          "use of each link of the machine, one row a direction",
          {kRunId,
           {"link", "INTEGER NOT NULL", "index in the machine"},
           {"name", "TEXT NOT NULL", "from and to, or the part of the machine"},
           {"bandwidth_bytes_per_s", "REAL NOT NULL",
            "or 1: the link is a drive's time, shared by reads and writes"},
           {"bytes", "INTEGER NOT NULL", "that passed"},
           {"busy_ns", "INTEGER NOT NULL", "with at least one transfer"},
           {"mean_flows", "REAL NOT NULL", "transfers at once while busy; above 1 they queue"},
           {"peak_flows", "INTEGER NOT NULL", "the most transfers at once"}},
          "PRIMARY KEY (run_id, link)"};
}

TableInfo transfer_table() {
  return {
      "transfer",
      "one row a transfer of KV, when the scenario asks for them",
      {kRunId,
       {"instance", "INTEGER NOT NULL", "serving engine, from 0"},
       {"rank", "INTEGER NOT NULL", "data-parallel rank in the instance"},
       {"kind", "TEXT NOT NULL",
        "load: to the GPU; promote: up a tier; store: from the GPU; demote: down a tier; "
        "replicate: what was read from another node, to this one; "
        "to_host, from_host: KV of admitted requests, outside the tiers (both 0 below); handover: "
        "between instances (likewise)"},
       {"from_tier", "INTEGER NOT NULL", "0 = the GPU"},
       {"to_tier", "INTEGER NOT NULL", "0 = the GPU"},
       {"start_ns", "INTEGER NOT NULL", "since the start of the run"},
       {"end_ns", "INTEGER NOT NULL", "since the start of the run"},
       {"bytes", "INTEGER NOT NULL", "moved"},
       {"chunks", "INTEGER NOT NULL", "moved"},
       {"failed", "INTEGER NOT NULL", "1: ended by a fault"}},
      ""};
}

TableInfo fault_table() {
  return {"fault",
          "one row a fault, with what it cost",
          {kRunId,
           {"kind", "TEXT NOT NULL", "instance, node, tier, link, directory"},
           {"target", "TEXT NOT NULL", "which"},
           {"at_ns", "INTEGER NOT NULL", "since the start of the run"},
           {"end_ns", "INTEGER", "NULL = not over when the run ended"},
           {"requests_moved", "INTEGER NOT NULL", "that lost their KV and went on elsewhere"},
           {"blocks_lost", "INTEGER NOT NULL", "cached KV blocks of GPUs"},
           {"chunks_lost", "INTEGER NOT NULL", "of tiers"},
           {"transfers_failed", "INTEGER NOT NULL", "that it ended"},
           {"goodput_before_per_s", "REAL NOT NULL", "finished requests in the window before"},
           {"goodput_least_per_s", "REAL NOT NULL", "of the windows after"},
           {"recovery_ns", "INTEGER", "until a window reaches 95 % of before; NULL = not seen"}},
          ""};
}

TableInfo scale_event_table() {
  return {"scale_event",
          "instances of a fleet that scales come and go; counts are of the moment after it",
          {kRunId,
           {"at_ns", "INTEGER NOT NULL", "since the start of the run"},
           {"instance", "INTEGER NOT NULL", "serving engine, from 0"},
           {"event", "TEXT NOT NULL",
            "start: its model is loaded; up: it takes requests; drain: no more of them; recall: "
            "again; cancel: before it was up; stop: it is empty and off"},
           {"wanted", "INTEGER NOT NULL", "instances, by the policy, when it was last asked"},
           {"up", "INTEGER NOT NULL", "instances that take requests"},
           {"starting", "INTEGER NOT NULL", "instances"},
           {"draining", "INTEGER NOT NULL", "instances"},
           {"waiting", "INTEGER NOT NULL", "requests in queues, or without an instance"},
           {"in_flight", "INTEGER NOT NULL", "requests that came in and are not over"}},
          ""};
}

// What a router and the truth say of one instance when a request is routed.
std::vector<Column> weighed_columns() {
  return {{"score", "REAL", "the router's own, the least is best; NULL = it did not look"},
          {"in_flight", "INTEGER NOT NULL", "requests there"},
          {"pending_tokens", "INTEGER NOT NULL",
           "prompt tokens of requests there without a first token, less what was promised"},
          {"promised_tokens", "INTEGER NOT NULL", "of the prompt, cached there as the router knew"},
          {"cached_tokens", "INTEGER NOT NULL", "of the prompt, cached there in truth"},
          {"cost_ns", "INTEGER NOT NULL",
           "to compute all that waits there, and of this prompt what is not cached"}};
}

TableInfo decision_table() {
  TableInfo t{"decision",
              "one row a decision of a router, when the scenario asks for them",
              {kRunId,
               {"request", "INTEGER NOT NULL", "index in the workload"},
               {"at_ns", "INTEGER NOT NULL", "since the start of the run"},
               {"instance", "INTEGER NOT NULL", "that was chosen"}},
              ""};
  for (const Column& c : weighed_columns()) t.columns.push_back(c);
  t.columns.push_back({"best_instance", "INTEGER NOT NULL", "with the least cost of all"});
  t.columns.push_back({"best_cost_ns", "INTEGER NOT NULL", "cost_ns less this is the regret"});
  return t;
}

TableInfo alternative_table() {
  TableInfo t{"alternative",
              "instances that a decision did not choose, the cheapest of them",
              {kRunId,
               {"request", "INTEGER NOT NULL", "index in the workload"},
               {"at_ns", "INTEGER NOT NULL", "of the decision"},
               {"instance", "INTEGER NOT NULL", "that was not chosen"}},
              ""};
  for (const Column& c : weighed_columns()) t.columns.push_back(c);
  return t;
}

TableInfo kernel_timing_table() {
  return {"kernel_timing",
          "kernels measured on this machine before the run (cost model kernels); empty when a kept "
          "profile had all",
          {kRunId,
           {"operation", "TEXT NOT NULL", "kvsim list kernel"},
           {"shape", "TEXT NOT NULL", "its parameters"},
           {"target", "TEXT NOT NULL", "the device it ran on"},
           {"call_ns", "REAL NOT NULL", "a quarter of the calls were faster"},
           {"calls", "INTEGER NOT NULL", "that had their cores to themselves"}},
          ""};
}

TableInfo metric_table() {
  return {"metric",
          "summary numbers, see metrics.h for their definitions",
          {kRunId,
           {"scope", "TEXT NOT NULL",
            "run, instance:N, class:NAME (of tenants), or no-offload: the same run without tiers "
            "below the GPU"},
           {"name", "TEXT NOT NULL", "ttft_ms, request_throughput, ..."},
           {"statistic", "TEXT NOT NULL",
            "value, or count, mean, median, std, min, p90, p95, p99, max"},
           {"value", "REAL NOT NULL", "in its unit"},
           {"unit", "TEXT NOT NULL", "ms, s, 1/s, tokens/s, tokens, ratio, count"}},
          "PRIMARY KEY (run_id, scope, name, statistic)"};
}

}  // namespace

const std::vector<TableInfo>& schema_tables() {
  static const std::vector<TableInfo> kTables = [] {
    std::vector<TableInfo> all{
        run_table(),           provenance_table(),  param_table(),    request_table(),
        iteration_table(),     sample_table(),      instance_table(), tier_table(),
        tier_hit_table(),      tier_sample_table(), link_table(),     transfer_table(),
        fault_table(),         scale_event_table(), decision_table(), alternative_table(),
        kernel_timing_table(), quality_table(),     metric_table()};
    all.insert(all.end(), study_tables().begin(), study_tables().end());
    return all;
  }();
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
  std::string sql = fmt::format("CREATE VIEW {} AS  -- {}\n", v.name, v.text);
  for (const auto& [column, text] : v.columns) sql += fmt::format("--   {}: {}\n", column, text);
  return sql + v.sql;
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
  db.exec("CREATE INDEX IF NOT EXISTS decision_by_request ON decision (run_id, request)");
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
