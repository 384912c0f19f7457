#include "sim/study/trial.h"

#include <fmt/format.h>

#include <algorithm>

#include "sim/base/diagnostics.h"
#include "sim/base/hash.h"
#include "sim/record/writer.h"
#include "sim/run/run_quality.h"
#include "sim/run/simulate.h"
#include "sim/scenario/catalog.h"

namespace kvsim {

namespace {
std::vector<Metric> quality_of(const LoadedScenario& loaded, const ModelSpec& model) {
  Diagnostics d;
  const auto question = run_question(loaded, model, true, d);
  d.throw_if_any();
  if (!question) return {};
  quality::MeasureOptions options;
  if (const std::string folder = cache_folder(); !folder.empty())
    options.folder = std::filesystem::path(folder) / "quality";
  return measure_run_quality(*question, options).metrics;
}
}  // namespace

TrialResult run_trial(const std::string& scenario, const TrialInput& input) {
  TrialResult result;
  try {
    Diagnostics d;
    std::vector<std::string> sets = input.sets;
    if (input.seed) sets.push_back(fmt::format("seed={}", *input.seed));
    const LoadedScenario loaded = load_scenario(scenario, sets, d);
    BuiltRun run = build_run(loaded, true, d);
    d.throw_if_any();
    result.scenario_digest = digest_text(hash_text(to_yaml(run.resolved)));
    SimulateOptions options;
    options.baseline = without_offload(loaded);
    if (input.quality) options.quality_metrics = quality_of(loaded, run.model);
    if (input.cancelled != nullptr)
      options.progress = [flag = input.cancelled](Time, std::uint64_t) { return !flag->load(); };
    SimulateResult done = simulate(run, options);
    if (input.cancelled != nullptr && input.cancelled->load()) throw InputError("cancelled");
    result.event_digest = digest_text(done.outcome.digest);
    result.metrics = std::move(done.metrics);
    if (input.keep_requests) {
      result.requests = std::move(done.outcome.requests);
      std::ranges::sort(result.requests, {}, &RequestOutcome::index);
    }
  } catch (const InputError& e) {
    result.error = e.what();
  }
  return result;
}

bool is_of_quality(const std::string& metric) { return metric.starts_with("quality."); }

std::optional<double> metric_value(std::span<const Metric> metrics, const std::string& name) {
  const std::size_t dot = name.find('.');
  const std::string first = name.substr(0, dot);
  const std::string statistic = dot == std::string::npos ? "value" : name.substr(dot + 1);
  const auto found = std::ranges::find_if(metrics, [&](const Metric& m) {
    return m.scope == "run" && m.name == first && m.statistic == statistic;
  });
  return found == metrics.end() ? std::nullopt : std::optional(found->value);
}

}  // namespace kvsim
