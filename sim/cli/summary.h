#pragma once
// The table that `kvsim run` prints: at most 100 columns.
#include <string>

#include "sim/run/simulate.h"

namespace kvsim {

std::string summary_table(const BuiltRun&, const SimulateResult&);
std::string summary_json(const BuiltRun&, const SimulateResult&);

}  // namespace kvsim
