#pragma once
// `engine.speculative` and `engine.shared_prefix_attention`: what they ask of the parts of a run.
#include "sim/run/build.h"

namespace kvsim {

// Fills the run's speculation and the engine's settings of both. Requires model, precision, split,
// cost model and the engine's rules. Mistakes go to Diagnostics.
void build_speculation(BuiltRun&, const Tree& scenario, Diagnostics&);
// The draft model, if there is one, takes memory of the GPU: its weights, and its KV of each block.
void make_room_for_draft(const BuiltRun&, MemoryPlan&);

}  // namespace kvsim
