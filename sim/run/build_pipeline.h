#pragma once
// `engine.pipeline_batches`: batches in flight through the stages of a pipeline; and what
// `deployment.parallel.context` goes with.
#include "sim/run/build.h"

namespace kvsim {

// Requires the engine's other settings. What does not go with overlapping batches is refused.
void build_pipeline(BuiltRun&, const Tree& scenario, Diagnostics&);
void check_context(const BuiltRun&, const Tree& scenario, Diagnostics&);

}  // namespace kvsim
