#pragma once
// Room for KV when weights, KV and activations are spread over GPU, host memory and drives.
#include "sim/run/build.h"

namespace kvsim {

// Requires a cost model that offloads. Sets engine.kv_blocks of the scenario to the most that every
// memory has room for, or checks the number that is given. A memory holds its share of the weights,
// of the KV and of one iteration's hidden states; the GPU also two layers' worth of the weights
// that pass through it, a micro-batch of hidden states, and engine.activation_memory where given
// (other intermediate values are not counted). Mistakes go to Diagnostics.
void build_offload(BuiltRun&, const Tree& scenario, Diagnostics&);

}  // namespace kvsim
