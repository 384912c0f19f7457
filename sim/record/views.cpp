// The views of schema.h: questions people ask, in the field's names.
#include <fmt/format.h>

#include "sim/record/schema.h"
#include "sim/state/outcome.h"

namespace kvsim {
namespace {

// One branch a column, so that a view of rows costs nothing in the table.
std::string interval_sql() {
  std::string sql;
  for (const char* phase : {"ttft", "after"})
    for (const auto& [kind, name] : enum_names(Interval{}))
      sql += fmt::format(
          "{0}SELECT run_id, request, '{1}' AS phase, '{2}' AS kind, {1}_{2}_ns AS duration_ns "
          "FROM request "
          "WHERE {1}_{2}_ns <> 0",
          sql.empty() ? "" : "\nUNION ALL\n", phase, name);
  return sql;
}

std::string miss_sql() {
  std::string sql;
  for (const auto& [cause, name] : enum_names(MissCause{}))
    sql += fmt::format(
        "{0}SELECT run_id, request, '{1}' AS cause, miss_{1}_tokens AS tokens FROM request "
        "WHERE miss_{1}_tokens <> 0",
        sql.empty() ? "" : "\nUNION ALL\n", name);
  return sql;
}

constexpr const char* kRequestLatency =
    R"(SELECT run_id, request, session, turn, tenant, instance, rank, outcome,
  prompt_tokens, output_tokens, hit_tokens, preemptions, arrival_ns / 1e9 AS arrival_s,
  (first_token_ns - arrival_ns) / 1e6 AS ttft_ms,
  CASE WHEN output_tokens >= 2 THEN (last_token_ns - first_token_ns) / 1e6 / (output_tokens - 1) END AS tpot_ms,
  (last_token_ns - arrival_ns) / 1e6 AS e2el_ms,
  (scheduled_ns - arrival_ns) / 1e6 AS queue_ms,
  CASE WHEN output_tokens >= 1 THEN (last_token_ns - arrival_ns) / 1e6 / output_tokens END AS normalized_latency_ms
FROM request)";

// A percentile is a hat function over the ranks: it weighs the two order statistics around q (n -
// 1), which is numpy's linear interpolation. A branch a metric, so that a query for one of them
// sorts only its values.
std::string percentile_sql() {
  std::string sql;
  for (const char* name : {"ttft_ms", "tpot_ms", "e2el_ms", "queue_ms", "normalized_latency_ms"}) {
    sql += fmt::format(
        "{}SELECT run_id, '{}' AS metric, count(*) AS count, avg(v) AS mean, min(v) AS min",
        sql.empty() ? "" : "\nUNION ALL\n", name);
    for (const auto& [column, q] :
         {std::pair{"median", "0.5"}, {"p90", "0.9"}, {"p95", "0.95"}, {"p99", "0.99"}})
      sql += fmt::format(
          ",\n  sum(v * (1 - abs(r - {0} * top))) FILTER (WHERE abs(r - {0} * top) < 1) AS {1}", q,
          column);
    sql += fmt::format(
        ",\n  max(v) AS max\nFROM (SELECT run_id, {0} AS v, row_number() OVER (PARTITION BY run_id "
        "ORDER BY {0}) - 1 AS r,\n"
        "    count(*) OVER (PARTITION BY run_id) - 1 AS top\n"
        "  FROM request_latency WHERE outcome = 'finished' AND {0} IS NOT NULL) GROUP BY run_id",
        name);
  }
  return sql;
}

// Integer arithmetic, so that it agrees with meets() in metrics.h to the nanosecond; a missing
// objective gives NULL.
constexpr const char* kSloAttainment =
    R"(WITH met AS (SELECT run_id,
    q.outcome = 'finished' AND ifnull(first_token_ns - arrival_ns <= r.slo_ttft_ns, 1) AS ttft,
    q.outcome = 'finished' AND (output_tokens < 2
      OR ifnull(last_token_ns - first_token_ns <= r.slo_tpot_ns * (output_tokens - 1), 1)) AS tpot,
    q.outcome = 'finished' AND ifnull(last_token_ns - arrival_ns <= r.slo_e2e_ns, 1) AS e2e
  FROM request q JOIN run r USING (run_id))
SELECT run_id, r.slo_ttft_ns / 1e6 AS slo_ttft_ms, r.slo_tpot_ns / 1e6 AS slo_tpot_ms,
  r.slo_e2e_ns / 1e6 AS slo_e2e_ms, count(*) AS requests, sum(ttft AND tpot AND e2e) AS met,
  avg(ttft) AS ttft_attainment, avg(tpot) AS tpot_attainment, avg(e2e) AS e2e_attainment,
  avg(ttft AND tpot AND e2e) AS attainment
FROM met JOIN run r USING (run_id) GROUP BY run_id)";

constexpr const char* kThroughputTimeline =
    R"(WITH event AS (
  SELECT run_id, arrival_ns / 1000000000 AS second, 1 AS arrived, 0 AS finished, 0 AS input, 0 AS output FROM request
  UNION ALL
  SELECT run_id, last_token_ns / 1000000000, 0, 1, prompt_tokens, output_tokens FROM request WHERE outcome = 'finished')
SELECT run_id, second AS at_s, sum(arrived) AS arrived, sum(finished) AS finished,
  sum(input) AS input_tokens, sum(output) AS output_tokens
FROM event GROUP BY run_id, second)";

constexpr const char* kLoadTimeline =
    R"(SELECT run_id, at_ns / 1e9 AS at_s, sum(running) AS running, sum(waiting) AS waiting,
  1.0 * sum(used_blocks) / nullif(sum(total_blocks), 0) AS kv_usage,
  1.0 * sum(cached_blocks) / nullif(sum(total_blocks), 0) AS kv_cached,
  sum(prompt_tokens) AS prompt_tokens, sum(output_tokens) AS output_tokens
FROM instance_sample GROUP BY run_id, at_ns)";

constexpr const char* kHitRate =
    R"(SELECT run_id, NULL AS instance, count(*) AS requests, sum(prompt_tokens) AS prompt_tokens,
  sum(queried_tokens) AS queried_tokens, sum(hit_tokens) AS hit_tokens,
  1.0 * sum(hit_tokens) / nullif(sum(queried_tokens), 0) AS prefix_hit_rate,
  1.0 * sum(hit_tokens) / nullif(sum(prompt_tokens), 0) AS cached_prompt_ratio
FROM request GROUP BY run_id
UNION ALL
SELECT run_id, instance, count(*), sum(prompt_tokens), sum(queried_tokens), sum(hit_tokens),
  1.0 * sum(hit_tokens) / nullif(sum(queried_tokens), 0), 1.0 * sum(hit_tokens) / nullif(sum(prompt_tokens), 0)
FROM request GROUP BY run_id, instance)";

constexpr const char* kTierHitRate =
    R"(WITH prompts AS (SELECT run_id, sum(prompt_tokens) AS tokens, sum(hit_tokens) AS hit FROM request GROUP BY run_id),
  below AS (SELECT run_id, tier, sum(tokens) AS tokens, sum(far_tokens) AS far FROM tier_hit GROUP BY run_id, tier),
  names AS (SELECT run_id, tier, name, sum(read_bytes) AS read_bytes, sum(written_bytes) AS written_bytes, sum(copied_bytes) AS copied_bytes,
    1.0 * sum(peak_chunks) / nullif(sum(capacity_chunks), 0) AS peak_usage, min(drive_life_years) AS drive_life_years
    FROM tier GROUP BY run_id, tier)
SELECT run_id, 0 AS tier, 'gpu' AS name, hit AS hit_tokens, 1.0 * hit / nullif(tokens, 0) AS hit_rate,
  0 AS far_tokens, NULL AS read_bytes, NULL AS written_bytes, NULL AS copied_bytes, NULL AS peak_usage, NULL AS drive_life_years FROM prompts
UNION ALL
SELECT n.run_id, n.tier, n.name, ifnull(b.tokens, 0), 1.0 * ifnull(b.tokens, 0) / nullif(p.tokens, 0),
  ifnull(b.far, 0), read_bytes, written_bytes, copied_bytes, peak_usage, drive_life_years
FROM names n JOIN prompts p USING (run_id) LEFT JOIN below b ON b.run_id = n.run_id AND b.tier = n.tier)";

// One row a run; column names are those of the JSON that `vllm bench serve` writes.
std::string vllm_bench_sql() {
  std::string sql = "SELECT run_id";
  const auto pick = [&](const std::string& column, const std::string& name, const char* statistic) {
    sql += fmt::format(",\n  max(value) FILTER (WHERE name = '{}' AND statistic = '{}') AS {}",
                       name, statistic, column);
  };
  for (const char* name :
       {"duration", "completed", "failed", "total_input_tokens", "total_output_tokens",
        "request_throughput", "request_goodput", "output_throughput", "total_token_throughput"})
    pick(name, name, "value");
  for (const char* name : {"ttft_ms", "tpot_ms", "itl_ms", "e2el_ms"})
    for (const char* statistic : {"mean", "median", "std", "p90", "p95", "p99"})
      pick(fmt::format("{}_{}", statistic, name), name, statistic);
  return sql + "\nFROM metric WHERE scope = 'run' GROUP BY run_id";
}

// Metrics of sim/run/economics.h, one row a run (scope run or no-offload).
std::string cost_sql() {
  std::string sql = "SELECT run_id, scope";
  for (const char* name :
       {"gpus", "price_per_hour", "price_gpu_per_hour", "price_dram_per_hour", "price_ssd_per_hour",
        "price_replacement_per_hour", "price_electricity_per_hour", "cost",
        "cost_per_million_tokens", "cost_per_million_output_tokens", "power", "energy",
        "idle_energy", "energy_per_million_tokens", "energy_per_million_output_tokens"})
    sql += fmt::format(",\n  max(value) FILTER (WHERE name = '{0}') AS {0}", name);
  return sql +
         "\nFROM metric WHERE scope IN ('run', 'no-offload') AND statistic = 'value' GROUP BY "
         "run_id, scope";
}

}  // namespace

const std::vector<ViewInfo>& schema_views() {
  static const std::vector<ViewInfo> kViews{
      {"interval",
       "where each request's time went, one row a kind that is not zero",
       interval_sql(),
       {{"phase", "ttft (arrival to first token) or after (first to last token)"},
        {"kind", "queue, prefill, decode, ...; those of a request and phase sum to its latency"},
        {"duration_ns", "nanoseconds"}}},
      {"miss",
       "why prompt tokens were computed, one row a request and cause",
       miss_sql(),
       {{"cause", "never_seen, evicted_capacity, last_block, ..."},
        {"tokens", "prompt tokens computed for it at first admission"}}},
      {"request_latency",
       "TTFT, TPOT, end-to-end, queue and normalised latency of each request",
       kRequestLatency,
       {{"arrival_s", "since the start of the run"},
        {"ttft_ms", "first token - arrival"},
        {"tpot_ms", "(last - first token) / (output tokens - 1); NULL below two tokens"},
        {"e2el_ms", "last token - arrival"},
        {"queue_ms", "first scheduled - arrival"},
        {"normalized_latency_ms", "end-to-end latency / output tokens"}}},
      {"percentile",
       "statistics of request_latency over finished requests, from the rows",
       percentile_sql(),
       {{"metric", "ttft_ms, tpot_ms, e2el_ms, queue_ms, normalized_latency_ms"},
        {"median, p90, p95, p99", "interpolated linearly between ranks"}}},
      {"slo_attainment",
       "share of all requests that meet the run's objectives",
       kSloAttainment,
       {{"slo_ttft_ms, slo_tpot_ms, slo_e2e_ms", "the objectives; NULL = none"},
        {"met", "finished requests within all of them"},
        {"ttft_attainment, tpot_attainment, e2e_attainment", "share within this one"},
        {"attainment", "met / requests"}}},
      {"throughput_timeline",
       "per second: arrivals, completions, tokens of the completed",
       kThroughputTimeline,
       {{"at_s", "whole seconds since the start; seconds without events are left out"},
        {"input_tokens, output_tokens", "of the requests that finished in it"}}},
      {"load_timeline",
       "per sample: queues, KV usage and tokens of all instances",
       kLoadTimeline,
       {{"running, waiting", "requests in the queues of all ranks"},
        {"kv_usage", "KV blocks held by requests / all blocks"},
        {"kv_cached", "KV blocks free but still matched by prefixes / all blocks"},
        {"prompt_tokens, output_tokens", "computed since the sample before"}}},
      {"hit_rate",
       "prefix hits of the run (instance NULL) and of each instance",
       kHitRate,
       {{"prefix_hit_rate", "hit_tokens / queried_tokens, as vLLM counts"},
        {"cached_prompt_ratio", "hit_tokens / prompt_tokens, as SGLang counts"}}},
      {"tier_hit_rate",
       "prompt tokens found in each tier, bytes moved, drive life",
       kTierHitRate,
       {{"tier", "0 = the GPU's prefix cache, 1 = next to the GPU"},
        {"hit_tokens", "prompt tokens that first admissions found there"},
        {"hit_rate", "hit_tokens / all prompt tokens; the tiers add up"},
        {"far_tokens", "of these, from other nodes"},
        {"peak_usage", "most chunks at once / capacity"},
        {"drive_life_years", "at the run's rate of writing; NULL = no drive"}}},
      {"cost",
       "USD an hour and its parts, USD and kWh of the run and of a million tokens",
       cost_sql(),
       {{"price_per_hour", "USD an hour, of everything; the next columns are its parts"},
        {"cost, cost_per_million_tokens", "USD of the run, of a million input and output tokens"},
        {"power", "mean, W with PUE"},
        {"energy, energy_per_million_tokens", "kWh with PUE; idle_energy: of it, drawn idle"}}},
      {"vllm_bench",
       "the run in the names of vllm bench serve",
       vllm_bench_sql(),
       {{"duration", "seconds; throughputs are per second"}}}};
  return kViews;
}

}  // namespace kvsim
