#include "sim/record/schema_study.h"

namespace kvsim {
namespace {

const Column kTrial{"trial", "INTEGER NOT NULL REFERENCES trial(trial)", "the trial"};

TableInfo study_table() {
  return {"study",
          "the study of this file, if it is one of `kvsim study`: one row",
          {{"study_id", "INTEGER PRIMARY KEY CHECK (study_id = 1)", "1: one study a file"},
           {"name", "TEXT NOT NULL", "of the study"},
           {"study_text", "TEXT NOT NULL", "the study file with every default, YAML"},
           {"scenario_text", "TEXT NOT NULL", "scenario of the first trial, resolved, YAML"},
           {"digest", "TEXT NOT NULL",
            "of both texts and the version, 16 hexadecimal digits: what may be resumed"},
           {"version", "TEXT NOT NULL", "of kvsim"},
           {"design", "TEXT NOT NULL", "grid, latin-hypercube, sobol, morris or saltelli"},
           {"points", "INTEGER NOT NULL", "settings of the axes"},
           {"trials", "INTEGER NOT NULL", "points times seeds"},
           {"status", "TEXT NOT NULL CHECK (status IN ('unfinished', 'finished'))",
            "unfinished: still running, or killed; `kvsim study resume` goes on"}},
          ""};
}

TableInfo study_goal_table() {
  return {"study_goal",
          "objectives and constraints of the study",
          {{"metric", "TEXT NOT NULL", "name.statistic; a bare name means the statistic value"},
           {"goal", "TEXT NOT NULL CHECK (goal IN ('min', 'max', 'at_most', 'at_least'))",
            "min and max: an objective; the others: a constraint"},
           {"bound", "REAL", "of a constraint, in the metric's unit"}},
          ""};
}

TableInfo trial_table() {
  return {
      "trial",
      "one row a run of the study, in the order of its design",
      {{"trial", "INTEGER PRIMARY KEY", "counts from 1"},
       {"point", "INTEGER NOT NULL", "counts from 1; trials of a point differ in their seed"},
       {"seed", "INTEGER", "NULL = the scenario's own"},
       {"status", "TEXT NOT NULL CHECK (status IN ('finished', 'failed'))", "failed: see error"},
       {"error", "TEXT", "why a trial failed"},
       {"scenario_digest", "TEXT NOT NULL", "as in table run; empty when it could not be read"},
       {"event_digest", "TEXT NOT NULL", "as in table run"},
       {"feasible", "INTEGER",
        "1: the means over the seeds of its point keep every constraint; NULL: the study is "
        "not finished, or every trial of the point failed"},
       {"on_front", "INTEGER",
        "1: feasible, and no other feasible point is at least as good in every objective and "
        "better in one; NULL as above, or no objectives"}},
      ""};
}

TableInfo trial_param_table() {
  return {"trial_param",
          "what a trial sets, one row a path of an axis",
          {kTrial,
           {"axis", "INTEGER NOT NULL", "counts from 1; paths of one axis move together"},
           {"path", "TEXT NOT NULL", "as in table param"},
           {"value", "TEXT NOT NULL", "YAML"}},
          "PRIMARY KEY (trial, path)"};
}

TableInfo trial_metric_table() {
  return {"trial_metric",
          "summary numbers of a trial, as in table metric",
          {kTrial,
           {"scope", "TEXT NOT NULL", "run or no-offload"},
           {"name", "TEXT NOT NULL", "ttft_ms, request_throughput, ..."},
           {"statistic", "TEXT NOT NULL",
            "value, or count, mean, median, std, min, p90, p95, p99, max"},
           {"value", "REAL NOT NULL", "in the unit beside it"},
           {"unit", "TEXT NOT NULL", "ms, s, 1/s, tokens/s, tokens, ratio, count"}},
          "PRIMARY KEY (trial, scope, name, statistic)"};
}

}  // namespace

const std::vector<TableInfo>& study_tables() {
  static const std::vector<TableInfo> kTables{study_table(), study_goal_table(), trial_table(),
                                              trial_param_table(), trial_metric_table()};
  return kTables;
}

}  // namespace kvsim
