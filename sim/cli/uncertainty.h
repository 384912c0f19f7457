#pragma once
// kvsim run --uncertainty: error bars of a prediction.
#include <string>

#include "sim/cli/command.h"

namespace kvsim {

// --uncertainty, --range, --vary and --threads.
void declare_uncertainty(po::options_description&);
int run_uncertainty(const std::string& scenario, const po::variables_map&);

}  // namespace kvsim
