#pragma once
// What `kvsim study show` prints of a study's database.
#include <string>

#include "sim/study/study_results.h"

namespace kvsim {

struct ShowChoice {
  bool front = false;    // only the Pareto front
  std::size_t rows = 0;  // at most so many rows; 0 = all
};

std::string study_table(const StudyPlan&, const StudyResults&, const ShowChoice&);
std::string study_csv(const StudyPlan&, const StudyResults&, const ShowChoice&);
std::string study_json(const StudyPlan&, const StudyResults&, const ShowChoice&);
// Morris or Sobol indices of each objective; "" for other designs.
std::string sensitivity_table(const StudyPlan&, const StudyResults&);

}  // namespace kvsim
