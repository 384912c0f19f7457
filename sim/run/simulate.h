#pragma once
// Runs a built scenario and records it.
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "sim/record/metrics.h"
#include "sim/record/recorder.h"
#include "sim/record/schema_quality.h"
#include "sim/record/writer.h"
#include "sim/run/build.h"

namespace kvsim {

inline constexpr const char* kVersion = "0.1.0";

struct SimulateOptions {
  std::string database;  // empty: nothing is written
  // Several runs in one file: made at the first, completed by who gave it.
  std::optional<Recorder>* shared = nullptr;
  bool reproducible = false;  // leave host, date and wall time out of the database
  // Simulated time and completed requests, now and then; false stops the run.
  std::function<bool(Time, std::uint64_t)> progress;
  std::vector<Metric> baseline;              // of another run, kept beside this one's
  std::vector<Metric> quality_metrics;       // of its token policies (run_quality.h)
  std::vector<QualityRow> quality;           // likewise, for the database
  std::vector<KernelTiming> kernel_timings;  // measured for this run
  bool exact_steps = false;                  // the slow path, for comparisons
  bool keep_timeline = false;  // iterations and transfers stay in the outcome, see timeline.h
  bool check_often = false;    // all invariants every few thousand events, not only at the end
};

struct SimulateResult {
  RunOutcome outcome;  // its requests are kept only when nothing is written or `keep_requests`
  std::vector<Metric> metrics;
  TraceSource::Skipped skipped;
  double wall_seconds = 0;
};

Slo slo_of(const Scenario&);
// "engine.scheduler.async" -> "true", for every value of a resolved scenario, in its order.
std::vector<std::pair<std::string, std::string>> flat_params(const Tree& resolved);
// Metrics of the same scenario without tiers below the GPU, in the scope `no-offload`; none unless
// cache.offload.compare asks for them.
std::vector<Metric> without_offload(const LoadedScenario&, const ThisMachine& machine = {});
// Throws InputError for what only the run can find (broken trace records, full disk).
SimulateResult simulate(BuiltRun&, const SimulateOptions&);

}  // namespace kvsim
