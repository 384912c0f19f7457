// The queries that `kvsim query DB @name` knows. Each puts run_id first where a file may hold
// several runs.
#include <fmt/format.h>

#include "sim/record/query.h"
#include "sim/state/outcome.h"

namespace kvsim {
namespace {

constexpr const char* kLatencySql =
    R"(SELECT run_id, name AS metric, max(value) FILTER (WHERE statistic = 'count') AS count,
  max(value) FILTER (WHERE statistic = 'mean') AS mean, max(value) FILTER (WHERE statistic = 'median') AS median,
  max(value) FILTER (WHERE statistic = 'p90') AS p90, max(value) FILTER (WHERE statistic = 'p95') AS p95,
  max(value) FILTER (WHERE statistic = 'p99') AS p99, max(value) FILTER (WHERE statistic = 'max') AS max
FROM metric WHERE scope = 'run' AND unit IN ('ms', 'count') AND statistic <> 'value'
  AND name IN ('ttft_ms', 'tpot_ms', 'itl_ms', 'e2el_ms', 'queue_ms', 'normalized_latency_ms')
GROUP BY run_id, name ORDER BY run_id, min(metric.rowid))";

constexpr const char* kRegretSql =
    R"(SELECT run_id, request, at_ns / 1e9 AS at_s, instance, score, in_flight, pending_tokens AS pending,
  promised_tokens AS promised, cached_tokens AS cached, cost_ns / 1e6 AS cost_ms, best_instance AS best,
  best_cost_ns / 1e6 AS best_ms, (cost_ns - best_cost_ns) / 1e6 AS regret_ms
FROM decision ORDER BY cost_ns - best_cost_ns DESC, run_id, request LIMIT 20)";

constexpr const char* kRoutingSql =
    R"(SELECT run_id, r.name, (SELECT value FROM param p WHERE p.run_id = r.run_id AND path = 'router.policy') AS router,
  max(value) FILTER (WHERE m.name = 'prefix_hit_rate') AS hit_rate, max(value) FILTER (WHERE m.name = 'load_jain') AS load_jain,
  max(value) FILTER (WHERE m.name = 'load_max_over_mean') AS load_max_over_mean,
  max(value) FILTER (WHERE m.name = 'regret_ms' AND statistic = 'mean') AS regret_ms,
  max(value) FILTER (WHERE m.name = 'best_choice_rate') AS best_choices,
  max(value) FILTER (WHERE m.name = 'index_error') AS index_error,
  max(value) FILTER (WHERE m.name = 'ttft_ms' AND statistic = 'mean') AS ttft_mean_ms,
  max(value) FILTER (WHERE m.name = 'ttft_ms' AND statistic = 'p99') AS ttft_p99_ms
FROM run r JOIN metric m USING (run_id) WHERE m.scope = 'run' GROUP BY run_id ORDER BY run_id)";

constexpr const char* kFaultsSql =
    R"(SELECT run_id, kind, target, at_ns / 1e9 AS at_s, (end_ns - at_ns) / 1e9 AS down_s, requests_moved AS moved,
  blocks_lost, chunks_lost, transfers_failed AS failed, goodput_before_per_s AS before, goodput_least_per_s AS least,
  recovery_ns / 1e9 AS recovery_s FROM fault ORDER BY run_id, at_ns)";

constexpr const char* kScalingSql =
    R"(SELECT run_id, at_ns / 1e9 AS at_s, event, instance, wanted, up, starting, draining, waiting, in_flight
FROM scale_event ORDER BY run_id, rowid)";

constexpr const char* kClassesSql =
    R"(SELECT run_id, substr(scope, 7) AS class, max(value) FILTER (WHERE name = 'injected') AS requests,
  max(value) FILTER (WHERE name = 'rejected') AS rejected, max(value) FILTER (WHERE name = 'held_requests') AS held,
  max(value) FILTER (WHERE name = 'held_ms' AND statistic = 'mean') AS held_mean_ms,
  max(value) FILTER (WHERE name = 'slo_attainment') AS attainment,
  max(value) FILTER (WHERE name = 'slo_attainment_ttft') AS ttft_attainment,
  max(value) FILTER (WHERE name = 'slo_attainment_tpot') AS tpot_attainment,
  max(value) FILTER (WHERE name = 'request_goodput') AS goodput,
  max(value) FILTER (WHERE name = 'ttft_ms' AND statistic = 'mean') AS ttft_mean_ms,
  max(value) FILTER (WHERE name = 'ttft_ms' AND statistic = 'p99') AS ttft_p99_ms,
  max(value) FILTER (WHERE name = 'tpot_ms' AND statistic = 'mean') AS tpot_mean_ms,
  max(value) FILTER (WHERE name = 'output_throughput') AS output_tokens_per_s
FROM metric WHERE scope LIKE 'class:%' GROUP BY run_id, scope ORDER BY run_id, min(rowid))";

constexpr const char* kQualitySql =
    "SELECT run_id, policy, 100.0 * budget_ratio AS budget_percent, parameters,\n"
    "  round(100.0 * kv_bytes / full_bytes, 2) AS kept_percent,\n"
    "  round(100.0 * read_bytes / full_read_bytes, 2) AS read_percent, measure,\n"
    "  max(value) FILTER (WHERE statistic IN ('mean', 'value')) AS mean,\n"
    "  max(value) FILTER (WHERE statistic IN ('p99', 'p1')) AS tail, unit\n"
    "FROM quality WHERE layer IS NULL AND head IS NULL AND step IS NULL\n"
    "GROUP BY run_id, policy, budget_ratio, measure ORDER BY min(rowid)";

// One pass over the requests; the view `interval` would take twenty.
std::string intervals_sql() {
  std::string sums, rows;
  for (const char* phase : {"ttft", "after"})
    for (const auto& [kind, name] : enum_names(Interval{})) {
      sums +=
          fmt::format(", sum({0}_{1}_ns) AS {0}_{1}, max({0}_{1}_ns) AS max_{0}_{1}", phase, name);
      rows += fmt::format(
          "{0}SELECT run_id, n, '{1}' AS phase, '{2}' AS kind, {1}_{2} AS ns, max_{1}_{2} AS top "
          "FROM total",
          rows.empty() ? "" : "\nUNION ALL ", phase, name);
    }
  return fmt::format(
      "WITH total AS MATERIALIZED (SELECT run_id, count(*) AS n{} FROM request WHERE outcome = "
      "'finished' "
      "GROUP BY run_id),\nkinds AS ({})\n"
      "SELECT run_id, phase, kind, ns / 1e9 AS total_s, ns / 1e6 / n AS mean_ms, top / 1e6 AS "
      "max_ms,\n"
      "  1.0 * ns / sum(ns) OVER (PARTITION BY run_id) AS share\n"
      "FROM kinds WHERE ns <> 0 ORDER BY run_id, phase DESC, ns DESC",
      sums, rows);
}

std::string slowest_sql() {
  std::string rows;
  for (const auto& [kind, name] : enum_names(Interval{}))
    rows += fmt::format(
        "{0}SELECT run_id, request, '{1}' AS kind, ttft_{1}_ns + after_{1}_ns AS ns FROM slow",
        rows.empty() ? "" : "\n  UNION ALL ", name);
  return fmt::format(
      "WITH slow AS MATERIALIZED (SELECT * FROM request WHERE outcome = 'finished'\n"
      "  ORDER BY last_token_ns - arrival_ns DESC, run_id, request LIMIT 10),\n"
      "spent AS MATERIALIZED ({})\n"
      "SELECT run_id, request, s.instance, s.prompt_tokens AS prompt, s.output_tokens AS output, "
      "s.hit_tokens AS hit,\n"
      "  ttft_ms, tpot_ms, e2el_ms, (SELECT kind || printf(' %.0f ms', ns / 1e6) FROM spent\n"
      "    WHERE spent.run_id = s.run_id AND spent.request = s.request ORDER BY ns DESC LIMIT 1) "
      "AS most\n"
      "FROM slow s JOIN request_latency USING (run_id, request) ORDER BY e2el_ms DESC, run_id, "
      "request",
      rows);
}

// The first run of the file against each other one, or against the first of the attached file.
// Requests are paired by their index where both runs had the same ones.
std::string compare_sql(bool attached) {
  const char* other = attached ? "other" : "main";
  const char* others =
      attached ? "= (SELECT min(run_id) FROM other.run)" : "> (SELECT min(run_id) FROM main.run)";
  return fmt::format(
      R"(WITH first AS (SELECT rowid AS n, * FROM main.metric WHERE scope = 'run'
    AND run_id = (SELECT min(run_id) FROM main.run)
    AND (statistic IN ('mean', 'median', 'p99') AND unit = 'ms' OR name LIKE '%throughput'
      OR name IN ('request_goodput', 'slo_attainment', 'prefix_hit_rate', 'total_hit_rate', 'completed', 'preemptions',
        'prefill_tokens', 'mean_kv_usage', 'busy_share'))),
  second AS (SELECT * FROM {0}.metric WHERE scope = 'run' AND run_id {1}),
  pair AS (SELECT b.run_id, sign(b.first_token_ns - b.arrival_ns - a.first_token_ns + a.arrival_ns) AS later
    FROM main.request a JOIN {0}.request b ON b.run_id {1} AND b.request = a.request
      AND b.prompt_tokens = a.prompt_tokens AND b.output_tokens = a.output_tokens
    WHERE a.run_id = (SELECT min(run_id) FROM main.run) AND a.outcome = 'finished' AND b.outcome = 'finished')
SELECT run_id AS second_run, metric, first, second, second - first AS difference,
  round(100.0 * (second - first) / nullif(abs(first), 0), 2) AS percent
FROM (SELECT b.run_id, 1 AS part, a.n, a.name || iif(a.statistic = 'value', '', ' ' || a.statistic) AS metric,
    a.value AS first, b.value AS second
  FROM first a JOIN second b USING (name, statistic)
  UNION ALL
  SELECT run_id, 2, later, CASE later WHEN -1 THEN 'first tokens sooner' WHEN 0 THEN 'first tokens as soon'
    ELSE 'first tokens later' END, NULL, count(*) FROM pair GROUP BY run_id, later)
ORDER BY run_id, part, n)",
      other, others);
}

}  // namespace

const std::vector<NamedQuery>& named_queries() {
  static const std::vector<NamedQuery> kQueries{
      {"classes", "classes of tenants: requests, refusals, latency, what their quotas held back",
       kClassesSql},
      {"compare",
       "the first run beside each other one, or beside that of --with FILE; requests paired",
       compare_sql(false), compare_sql(true)},
      {"cost", "what the run cost and drew: USD and kWh, by the hour and by a million tokens",
       R"(SELECT run_id, scope, name, value, unit FROM metric WHERE scope IN ('run', 'no-offload')
  AND statistic = 'value' AND (name LIKE 'price_%' OR name LIKE 'cost%' OR name LIKE '%energy%'
    OR name IN ('gpus', 'power', 'duration', 'total_input_tokens', 'total_output_tokens')
    OR name LIKE 'tier_%_drive_life') ORDER BY run_id, scope DESC, rowid)"},
      {"faults", "what broke, what it cost, when goodput was back", kFaultsSql},
      {"hits", "prefix cache hits of the run (instance empty) and of each instance",
       R"(SELECT run_id, instance, requests, prompt_tokens AS prompt, queried_tokens AS queried, hit_tokens AS hit,
  prefix_hit_rate AS hit_rate, cached_prompt_ratio AS cached_ratio FROM hit_rate)"},
      {"instances", "work, hits, use of time and of KV blocks of each rank",
       R"(SELECT i.run_id, instance, rank, iterations, prefill_tokens AS prefill, decode_tokens AS decode, preemptions,
  round(1.0 * hit_tokens / nullif(queried_tokens, 0), 4) AS hit_rate, evicted_blocks AS evicted,
  round(1.0 * busy_ns / nullif(simulated_ns, 0), 4) AS busy,
  round(1.0 * peak_blocks / nullif(blocks, 0), 4) AS peak_kv_usage
FROM instance i JOIN run USING (run_id) ORDER BY 1, 2, 3)"},
      {"intervals", "where the time of finished requests went, by phase and kind", intervals_sql()},
      {"latency", "TTFT, TPOT, ITL, end-to-end and queue time of finished requests, ms",
       kLatencySql},
      {"links", "the links that transfers wait for the most",
       R"(SELECT run_id, link.name, bytes / 1e9 AS gb, 1.0 * busy_ns / nullif(simulated_ns, 0) AS busy_share,
  mean_flows, peak_flows FROM link JOIN run USING (run_id) WHERE busy_ns > 0
ORDER BY run_id, mean_flows * busy_ns DESC, link LIMIT 20)"},
      {"metrics", "every summary number", "SELECT * FROM metric ORDER BY run_id, rowid"},
      {"misses", "why prompt tokens were computed instead of found in the prefix cache",
       R"(SELECT run_id, cause, sum(tokens) AS tokens, count(*) AS requests,
  1.0 * sum(tokens) / sum(sum(tokens)) OVER (PARTITION BY run_id) AS share
FROM miss GROUP BY run_id, cause ORDER BY run_id, tokens DESC)"},
      {"params", "the resolved scenario, one row a value",
       "SELECT run_id, path, value FROM param ORDER BY run_id, path"},
      {"quality",
       "token policies: bytes kept and read, and what that does, of all layers and steps",
       kQualitySql},
      {"regret",
       "the decisions of routers that cost the most beside the best instance, with what was "
       "promised and what was there",
       kRegretSql},
      {"routing",
       "run by run: router, hits, how even the load is, regret of its decisions, latency",
       kRoutingSql},
      {"runs", "the runs of the file and how they ended",
       R"(SELECT run_id, name, status, error, requests, simulated_ns / 1e9 AS simulated_s, seed, version, scenario_digest,
  event_digest FROM run ORDER BY run_id)"},
      {"scaling", "when instances came and went, and how many there were then", kScalingSql},
      {"slo", "the objectives, the share of requests that meet them, goodput",
       R"(SELECT a.*, (SELECT value FROM metric m WHERE m.run_id = a.run_id AND scope = 'run'
  AND m.name = 'request_goodput') AS request_goodput FROM slo_attainment a)"},
      {"slowest",
       "the ten finished requests with the longest end-to-end time and what they spent most of it "
       "on",
       slowest_sql()},
      {"study",
       "the trials of a study: what each sets, its objectives, whether it keeps the constraints",
       R"(SELECT trial, point, seed, (SELECT group_concat(path || '=' || value, ' ') FROM (SELECT path, value
  FROM trial_param p WHERE p.trial = t.trial ORDER BY rowid)) AS sets, (SELECT group_concat(g.metric || '=' || printf('%.6g', m.value), ' ')
  FROM study_goal g JOIN trial_metric m ON m.trial = t.trial AND m.scope = 'run'
    AND g.metric IN (m.name || '.' || m.statistic, iif(m.statistic = 'value', m.name, NULL))
  WHERE g.goal IN ('min', 'max')) AS objectives, feasible, on_front AS front, error FROM trial t ORDER BY trial)"},
      {"throughput", "duration, counts and rates of the run",
       R"(SELECT run_id, name, value, unit FROM metric WHERE scope = 'run' AND statistic = 'value'
  AND (name IN ('duration', 'injected', 'completed', 'failed', 'total_input_tokens', 'total_output_tokens', 'iterations',
    'tokens_per_iteration', 'busy_share', 'kv_usage') OR name LIKE '%throughput' OR name LIKE '%goodput')
ORDER BY run_id, rowid)"},
      {"tiers",
       "prompt tokens found in each tier, of these at other nodes, bytes moved, how full, drive "
       "life",
       R"(SELECT run_id, tier, name, hit_tokens, hit_rate, far_tokens, read_bytes / 1e9 AS read_gb,
  written_bytes / 1e9 AS written_gb, copied_bytes / 1e9 AS copied_gb, peak_usage, drive_life_years FROM tier_hit_rate ORDER BY run_id, tier)"},
      {"timeline", "arrivals, completions and tokens of the completed, second by second",
       "SELECT * FROM throughput_timeline"},
      {"vllm", "the summary in the names of vllm bench serve", "SELECT * FROM vllm_bench"}};
  return kQueries;
}

}  // namespace kvsim
