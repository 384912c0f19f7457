#pragma once
// From result files to a report.
#include <string>
#include <vector>

#include "sim/report/report.h"

namespace kvsim::report {

// One report of all runs and studies in the files, side by side. Its size is bounded whatever the
// size of the files. Deterministic. Throws InputError for files that cannot be read or hold
// nothing.
Report build_report(const std::vector<std::string>& databases);

}  // namespace kvsim::report
