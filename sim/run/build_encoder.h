#pragma once
// `encoder`: what images of prompts take, in the instances or in a pool of role encode.
#include "models/memory_plan.h"
#include "sim/run/build.h"

namespace kvsim {

// Rules of an encoder on the part's own GPUs; the engine's settings point to them. Requires the
// device.
void build_encoder(BuiltRun&, const Tree& scenario, Diagnostics&);
// Its weights lie beside the model's.
void make_room_for_encoder(const BuiltRun&, MemoryPlan&);
// Encoders of their own before the run: the pool `spec` of the scenario. What they make is as wide
// as the model.
void build_encode_stage(BuiltRun&, const LoadedScenario&, const PoolSpec& spec, Diagnostics&);
// Of a whole run: generated images need somebody who encodes them. (A trace's are seen when it is
// read.)
void check_images(const BuiltRun&, const Tree& scenario, Diagnostics&);

}  // namespace kvsim
