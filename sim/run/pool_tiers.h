#pragma once
// Several pools of instances as one system: where they stand, and the tiers below their GPUs.
#include <optional>
#include <vector>

#include "sim/run/build.h"

namespace kvsim {

// The node that each instance of the run stands on; a pool begins a node of its own. Spare
// instances stand where those stand that they are the other side of.
std::vector<int> instance_nodes(const BuiltRun&);

// The tiers of all pools, moved out of the parts; nothing when no pool has any. Pools must agree on
// what a tier is, not on how large it is: mistakes go to Diagnostics.
std::optional<TierSystem> merge_tiers(const LoadedScenario&, BuiltRun&, Diagnostics&);

}  // namespace kvsim
