#pragma once
// Autoscaling and tenants of a scenario: who starts and stops when, and what each may use.
#include <string>
#include <vector>

#include "sim/record/metrics.h"
#include "sim/run/build.h"

namespace kvsim {

// Fills `scaling` and `quotas` of a run whose instances are built. Mistakes go to Diagnostics,
// under `deployment.autoscaling` and `tenants`.
void build_fleet(BuiltRun&, const Tree& scenario, Diagnostics&);

// Whose requests are judged together by which objectives; none without `tenants`.
std::vector<SloClass> classes_of(const Scenario&);

// Time that an instance takes to load its weights.
Duration load_time(const BuiltRun&);

}  // namespace kvsim
