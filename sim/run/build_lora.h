#pragma once
// `engine.lora`: sizes and prices of adapters from the model's shape and the device's rates.
#include "sim/run/build.h"

namespace kvsim {

// Fills the run's adapters and the engine's settings of them. Requires model, split and device.
// Mistakes go to Diagnostics.
void build_lora(BuiltRun&, const Tree& scenario, Diagnostics&);
// Slots take memory of the GPU.
void make_room_for_adapters(const BuiltRun&, MemoryPlan&);

}  // namespace kvsim
