#pragma once
// Result files made by hand, and the parts of a report by their ids.
#include <string>
#include <vector>

#include "sim/record/schema.h"
#include "sim/report/build.h"
#include "sim/report/render.h"
#include "tests/sim/record/sample_run.h"

namespace kvsim::report_test {

inline const report::Chart* find_chart(const report::Report& r, const std::string& id) {
  for (const report::Section& s : r.sections)
    for (const auto& part : s.parts)
      if (const auto* c = std::get_if<report::Chart>(&part); c != nullptr && c->id == id) return c;
  return nullptr;
}

inline const report::Table* find_table(const report::Report& r, const std::string& id) {
  for (const report::Section& s : r.sections)
    for (const auto& part : s.parts)
      if (const auto* t = std::get_if<report::Table>(&part); t != nullptr && t->id == id) return t;
  return nullptr;
}

inline std::vector<const report::Chart*> charts(const report::Report& r) {
  std::vector<const report::Chart*> all;
  for (const report::Section& s : r.sections)
    for (const auto& part : s.parts)
      if (const auto* c = std::get_if<report::Chart>(&part)) all.push_back(c);
  return all;
}

// A file with the tables of a study over eviction policies and pool sizes: two objectives (goodput
// up, P99 TTFT down), points 1 to 6, one that failed, one that breaks a constraint.
inline void write_study(const std::string& path) {
  Database db = Database::create(path);
  create_schema(db);
  db.exec(R"(
CREATE TABLE IF NOT EXISTS study (study_id INTEGER PRIMARY KEY, name TEXT, study_text TEXT, scenario_text TEXT,
  digest TEXT, version TEXT, design TEXT, points INTEGER, trials INTEGER, status TEXT) STRICT;
CREATE TABLE IF NOT EXISTS study_goal (metric TEXT, goal TEXT, bound REAL) STRICT;
CREATE TABLE IF NOT EXISTS trial (trial INTEGER PRIMARY KEY, point INTEGER, seed INTEGER, status TEXT, error TEXT,
  scenario_digest TEXT, event_digest TEXT, feasible INTEGER, on_front INTEGER) STRICT;
CREATE TABLE IF NOT EXISTS trial_param (trial INTEGER, axis INTEGER, path TEXT, value TEXT) STRICT;
CREATE TABLE IF NOT EXISTS trial_metric (trial INTEGER, scope TEXT, name TEXT, statistic TEXT, value REAL, unit TEXT) STRICT;
INSERT INTO study (study_id, name, study_text, scenario_text, digest, version, design, points, trials, status)
  VALUES (1, 'eviction-sweep', 'axes: </script>', '', '', '0.1.0', 'grid', 6, 12, 'finished');
INSERT INTO study_goal VALUES ('request_goodput', 'max', NULL), ('ttft_ms.p99', 'min', NULL), ('ttft_ms.p99', 'at_most', 900);
WITH RECURSIVE n(t) AS (SELECT 1 UNION ALL SELECT t + 1 FROM n WHERE t < 12)
INSERT INTO trial SELECT t, (t + 1) / 2, t % 2, iif(t = 12, 'failed', 'finished'), iif(t = 12, 'no memory', NULL), '', '',
  (t + 1) / 2 <> 6, (t + 1) / 2 IN (1, 3) FROM n;
INSERT INTO trial_param SELECT trial, 1, 'cache.tiers.0.eviction.policy', iif(point % 2 = 1, 'lru', 's3-fifo') FROM trial;
INSERT INTO trial_param SELECT trial, 2, 'engine.kv_blocks', (4 - (point + 1) / 2) * 5000 FROM trial;
INSERT INTO trial_metric SELECT trial, 'run', 'request_goodput', 'value', 10 * point + seed, '1/s' FROM trial WHERE status = 'finished';
INSERT INTO trial_metric SELECT trial, 'run', 'ttft_ms', 'p99', 1000 - 50 * point, 'ms' FROM trial WHERE status = 'finished';
INSERT INTO trial_metric SELECT trial, 'run', 'prefix_hit_rate', 'value', 0.1 * point, 'ratio' FROM trial WHERE status = 'finished';)");
}

inline void write_quality(const std::string& path) {
  Database db = Database::create(path);
  create_schema(db);
  db.exec(R"(
INSERT INTO quality (source, policy, parameters, kv_bytes, full_bytes, read_bytes, full_read_bytes, kept_tokens,
    read_tokens, measure, statistic, layer, value, unit)
  VALUES ('synthetic', 'h2o', 'size 20', 20, 100, 2, 10, 20, 20, 'out_err', 'mean', NULL, 0.05, 'ratio'),
         ('synthetic', 'h2o', 'size 20', 20, 100, 2, 10, 20, 20, 'out_err', 'mean', 1, 0.06, 'ratio'),
         ('synthetic', 'h2o', 'size 20', 20, 100, 2, 10, 20, 20, 'out_err', 'p99', NULL, 0.5, 'ratio'),
         ('synthetic', 'h2o', 'size 10', 10, 100, 1, 10, 10, 10, 'out_err', 'mean', NULL, 0.07, 'ratio'),
         ('synthetic', 'snapkv', 'size 10', 10, 100, 1, 10, 10, 10, 'out_err', 'mean', NULL, 0.08, 'ratio'),
         ('transformer', 'kivi', 'K4V4', 25, 100, 2, 10, 100, 100, 'perplexity', 'value', NULL, 8.1, '');)");
}

}  // namespace kvsim::report_test
