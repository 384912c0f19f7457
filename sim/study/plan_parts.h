#pragma once
// The steps of run_plan(): candidates from choices, one evaluation, the search.
#include <cstddef>
#include <optional>
#include <vector>

#include "sim/study/plan.h"

namespace kvsim {

// Every combination, with what can be said without a run. Throws InputError for what is wrong in
// the files, places in the plan's file where it came from there.
std::vector<PlanCandidate> plan_candidates(const PlanFile&, int threads);

// Rent and idle draw of a candidate at a level, the least that its worth can be.
PlanWorth least_worth(const PlanFile&, const PlanCandidate&, std::size_t level);

// Runs a level until its objectives are decided.
PlanEvaluation evaluate(const PlanFile&, const std::vector<PlanCandidate>&, std::size_t candidate,
                        std::size_t level);
// Whether a run with another seed has other events than the first repetition of this one.
bool seed_changes(const PlanFile&, const PlanCandidate&, const PlanEvaluation&);

}  // namespace kvsim
