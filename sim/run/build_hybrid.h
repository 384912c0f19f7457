#pragma once
// Hybrid memory of a run: what a block of the pool holds, what sequences take besides, and where
// snapshots of states and windows lie.
#include "sim/run/build.h"

namespace kvsim {

// Fills `hybrid` and the engine's settings of it where the model asks for it. Requires model,
// precision, split and the engine's sizes but the cache's. Mistakes go to Diagnostics.
void build_hybrid(BuiltRun&, const Tree& scenario, Diagnostics&);
// Sets room for snapshots aside in the engine's kv_blocks.
void reserve_snapshots(BuiltRun&, const Tree& scenario, Diagnostics&);

}  // namespace kvsim
