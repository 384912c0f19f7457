#pragma once
// `deployment.lending`: instances that lend each other KV memory.
#include "sim/run/build.h"

namespace kvsim {

// Fills `lending` of a run whose instances are built, all alike. What lent memory is not modelled
// with goes to Diagnostics, under `deployment.lending`.
void build_lending(BuiltRun&, const Tree& scenario, Diagnostics&);

}  // namespace kvsim
