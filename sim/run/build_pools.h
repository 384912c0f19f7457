#pragma once
// Pools of instances: deployment.pools, each built like a scenario of its own, and the links
// between instances where KV goes from one to another.
#include <functional>

#include "sim/run/build.h"

namespace kvsim {

// Builds one pool's parts; with its trace, and as if there were no other.
using BuildPart = std::function<BuiltRun(const LoadedScenario&, bool with_trace, bool alone)>;
BuiltRun build_pools(const LoadedScenario&, bool with_trace, const BuildPart&, Diagnostics&);

// A run of one pool: its autoscaling and quotas, and links between its instances, when its router
// copies prefixes or requests move.
BuiltRun with_fleet(BuiltRun, const Tree& scenario, Diagnostics&);

void make_router(BuiltRun&, int instances);

}  // namespace kvsim
