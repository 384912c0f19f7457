#pragma once
// What the trials of a study say, point by point, read from its database.
#include <optional>
#include <string>
#include <vector>

#include "sim/record/database.h"
#include "sim/study/study_plan.h"

namespace kvsim {

// Means over the trials of a point that finished and have the metric; empty when none has.
struct PointResult {
  std::size_t trials = 0, failed = 0;                         // that were run; of these, failed
  std::vector<std::optional<double>> objectives, deviations;  // a deviation needs two trials
  std::vector<std::optional<double>> constraints;
  std::optional<bool> feasible;  // empty: a metric is missing
  bool on_front = false;         // among feasible points
};

struct StudyResults {
  std::string name, design, status;
  std::size_t trials_done = 0, trials_failed = 0;
  std::vector<PointResult> points;
};

// The plan of a study database: nothing but the text in it is read. Throws InputError when the file
// is no study.
StudyPlan stored_plan(Database&);
StudyResults read_results(Database&, const StudyPlan&);

// Marks the points that no other dominates: at least as good everywhere and better somewhere. Rows
// of one value an objective; `goals` says which way is better. Rows with a gap are never marked.
std::vector<bool> pareto_front(const std::vector<std::vector<std::optional<double>>>& rows,
                               const std::vector<Goal>& goals);

}  // namespace kvsim
