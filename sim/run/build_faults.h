#pragma once
// The faults of a scenario as plans of the engine, and what they cost a run.
#include <vector>

#include "sim/record/metrics.h"
#include "sim/run/build.h"

namespace kvsim {

// Mistakes go to Diagnostics under `faults`. Requires that the tiers are built.
std::vector<FaultPlan> build_faults(const BuiltRun&, const Tree& scenario, Diagnostics&);

// Fills goodput_before, goodput_least and recovery of every fault from the finished requests that
// meet the objectives. Windows of ten seconds, one a second; `before` is the minute up to the
// fault.
void measure_faults(RunOutcome&, const Slo&);

}  // namespace kvsim
