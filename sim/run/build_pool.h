#pragma once
// The GPU's own cache: how prefixes are found in it, and what leaves when blocks are needed.
#include "sim/run/build.h"

namespace kvsim {

// Fills the engine's settings of the pool, and in its scenario what was left to defaults. Mistakes
// go to Diagnostics under `cache` and `engine`.
void build_pool(BuiltRun&, const Tree& scenario, Diagnostics&);

}  // namespace kvsim
