#pragma once
// The table that `kvsim run` prints: at most 100 columns.
#include <string>
#include <vector>

#include "sim/run/simulate.h"

namespace kvsim {

std::string summary_table(const BuiltRun&, const SimulateResult&);
std::string summary_json(const BuiltRun&, const SimulateResult&);

// The variants of a file side by side.
struct NamedResult {
  std::string name;
  std::vector<Metric> metrics;
};
std::string variants_table(const std::vector<NamedResult>&);
std::string variants_json(const std::vector<NamedResult>&);

}  // namespace kvsim
