#pragma once
// One finished run of a result file, back in memory. The file may come from anyone: only real
// tables are read (a view could run forever), sizes are bounded, and rows that break their own laws
// are refused.
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "sim/record/metrics.h"
#include "sim/state/outcome.h"

namespace kvsim {

struct RecordedRun {
  std::int64_t run_id = 0;
  std::string name, scenario_digest, event_digest;
  std::uint64_t seed = 0;
  Slo slo;
  std::vector<std::pair<std::string, std::string>> params;  // resolved, by path
  std::vector<Metric> metrics;                              // of the scope run
  // By index. Without what the database does not keep: the reason of a rejection.
  std::vector<RequestOutcome> requests;
};

struct LoadLimits {
  std::int64_t max_requests = 2'000'000;  // about 500 bytes each
  std::int64_t max_params = 100'000, max_metrics = 100'000;
};

// `run_id` may be left out when the file holds one run. Throws InputError: no result of this kvsim,
// no such run (with those there are), a run that did not finish, too large, rows that contradict
// themselves (a TTFT that is not the sum of its intervals).
RecordedRun load_run(const std::string& path, std::optional<std::int64_t> run_id,
                     const LoadLimits& = {});

}  // namespace kvsim
