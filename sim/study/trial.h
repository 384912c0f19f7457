#pragma once
// One run of a scenario under overrides, its metrics in memory: what studies, capacity plans and
// comparisons are made of.
#include <atomic>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "sim/record/metrics.h"
#include "sim/state/outcome.h"

namespace kvsim {

struct TrialInput {
  std::vector<std::string> sets;      // "path=value", over those of the file, in this order
  std::optional<std::uint64_t> seed;  // in place of the scenario's
  bool keep_requests = false;         // TrialResult.requests is filled
  bool quality = false;               // of its token policies: metrics quality.out_err, ...
  const std::atomic<bool>* cancelled = nullptr;  // when it turns true, the run ends with an error
};

struct TrialResult {
  std::string error;  // empty: it ran; otherwise every mistake, as `kvsim run` prints them
  std::string scenario_digest, event_digest;  // 16 hexadecimal digits, as in table `run`
  std::vector<Metric> metrics;
  std::vector<RequestOutcome> requests;  // by index in the workload
};

// Reads `scenario` with `sets` and runs it, without a database. Mistakes of the input and of the
// run are in the result; nothing is thrown for them. Threads may run trials at the same time.
// Deterministic: the same files, input and version give the same result.
TrialResult run_trial(const std::string& scenario, const TrialInput&);

// Whether a metric's name asks for TrialInput::quality.
bool is_of_quality(const std::string& metric);
// The value of "name" or "name.statistic" ("ttft_ms.p99", "request_goodput") in the scope `run`; a
// bare name means the statistic `value`. Empty when the run did not have it.
std::optional<double> metric_value(std::span<const Metric>, const std::string& name);

}  // namespace kvsim
