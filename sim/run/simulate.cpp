#include "sim/run/simulate.h"

#include <unistd.h>

#include <chrono>
#include <ctime>

#include "sim/run/build_faults.h"
#include "sim/run/build_fleet.h"
#include "sim/run/economics.h"

namespace kvsim {

namespace {

std::string host_name() {
  char name[256] = {};
  return gethostname(name, sizeof name - 1) == 0 ? name : "unknown";
}

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[32];
  return {text, std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts)};
}

void flatten(const Tree& t, const std::string& path,
             std::vector<std::pair<std::string, std::string>>& out) {
  const std::string prefix = path.empty() ? "" : path + ".";
  if (t.is_scalar()) out.emplace_back(path, t.text());
  for (const Tree::Entry& e : t.entries()) flatten(e.value, prefix + e.key, out);
  for (std::size_t i = 0; i < t.items().size(); ++i)
    flatten(t.items()[i], prefix + std::to_string(i), out);
}

RunHeader header_of(const BuiltRun& run, const SimulateOptions& options) {
  RunHeader h;
  h.kernel_timings = options.kernel_timings;
  h.quality = options.quality;
  h.name = run.scenario.name;
  h.scenario_text = to_yaml(run.resolved);
  h.seed = run.scenario.seed;
  h.version = kVersion;
  h.slo = slo_of(run.scenario);
  h.params = flat_params(run.resolved);
  return h;
}

std::vector<InstanceSpec> instances_for(BuiltRun& run, bool exact_steps) {
  std::vector<InstanceSpec> all;
  const auto add = [&](BuiltRun& part) {
    part.engine.exact_steps = exact_steps;
    const bool lockstep = part.parallel.data > 1 && part.model.moe.has_value();
    all.push_back({part.engine, part.parallel.data, lockstep,
                   part.scenario.engine.data_balancing == Balancing::waiting, part.cost.get(),
                   static_cast<std::size_t>(places_of(part))});
  };
  add(run);
  for (BuiltPool& p : run.pools) add(*p.run);
  return all;
}

// The instances that take over, when there are such.
DecodeStage decode_stage_of(BuiltRun& run) {
  DecodeStage stage;
  for (const BuiltPool& p : run.pools)
    if (p.role == PoolRole::decode) stage.instances += static_cast<std::size_t>(places_of(*p.run));
  stage.router = std::move(run.decode_router);
  if (run.scenario.deployment.handover)
    stage.local_prefill = run.scenario.deployment.handover->local_prefill;
  return stage;
}

}  // namespace

std::vector<std::pair<std::string, std::string>> flat_params(const Tree& resolved) {
  std::vector<std::pair<std::string, std::string>> out;
  flatten(resolved, "", out);
  return out;
}

Slo slo_of(const Scenario& s) { return {s.slo.ttft, s.slo.tpot, s.slo.e2e}; }

std::vector<Metric> without_offload(const LoadedScenario& loaded, const ThisMachine& machine) {
  if (!loaded.value.cache.offload.compare || loaded.value.cache.tiers.size() < 2) return {};
  LoadedScenario other = loaded;
  other.value.cache.tiers.resize(1);
  other.value.faults.clear();
  Diagnostics d;
  BuiltRun run = build_run(other, true, d, machine);
  d.throw_if_any();
  std::vector<Metric> metrics;
  for (Metric& m : simulate(run, {}).metrics) {
    if (m.scope != "run") continue;
    m.scope = "no-offload";
    metrics.push_back(std::move(m));
  }
  return metrics;
}

SimulateResult simulate(BuiltRun& run, const SimulateOptions& options) {
  const auto started = std::chrono::steady_clock::now();
  const std::string started_utc = utc_now();
  std::optional<Recorder> own;
  std::optional<Recorder>& recorder = options.shared != nullptr ? *options.shared : own;
  if (run.is_unmeasured)
    throw InputError("cost.device: this machine has not been measured",
                     "only `kvsim run` measures; elsewhere name a file of `kvsim kernels calibrate "
                     "-o FILE` as deployment.hardware");
  if (recorder)
    recorder->begin_run(header_of(run, options));
  else if (!options.database.empty())
    recorder.emplace(options.database, header_of(run, options));
  std::vector<InstanceSpec> instances = instances_for(run, options.exact_steps);
  World::Options world_options;
  world_options.sample_every = run.scenario.record.sample_every;
  const bool iteration_rows = run.scenario.record.iterations == RecordLevel::all;
  const bool transfer_rows = run.scenario.record.transfers == RecordLevel::all;
  world_options.record_iterations = iteration_rows || options.keep_timeline;
  world_options.progress = options.progress;
  world_options.check_often = options.check_often;
  for (const Duration at : run.scenario.cache.prefix.reset_at)
    world_options.resets.push_back(Time{at});
  const Bill bill = bill_of(run);
  world_options.record_transfers = transfer_rows || options.keep_timeline;
  world_options.tiers = std::move(run.tiers);
  world_options.faults = std::move(run.faults);
  world_options.peers = std::move(run.peers);
  world_options.scaling = std::move(run.scaling);
  world_options.quotas = std::move(run.quotas);
  world_options.decode = decode_stage_of(run);
  world_options.roles = std::move(run.roles);
  world_options.lending = std::move(run.lending);
  world_options.encode = run.encode;
  if (run.scenario.record.decisions == RecordLevel::all)
    world_options.record_decisions = run.scenario.record.alternatives;
  SimulateResult result;
  try {
    {  // its caches take as much memory as what is summarised and written next
      World world(std::move(instances), std::move(run.router), *run.trace,
                  std::move(world_options));
      result.outcome = world.run();
    }
    result.skipped = run.trace->skipped();
    measure_faults(result.outcome, slo_of(run.scenario));
    result.metrics =
        compute_metrics(result.outcome, slo_of(run.scenario), classes_of(run.scenario));
    const auto money = economics_metrics(bill, result.outcome, result.metrics);
    result.metrics.insert(result.metrics.end(), money.begin(), money.end());
    for (const std::vector<Metric>* more : {&options.quality_metrics, &options.baseline})
      result.metrics.insert(result.metrics.end(), more->begin(), more->end());
    const auto elapsed = std::chrono::steady_clock::now() - started;
    if (recorder) {
      RunOutcome kept;  // what the scenario does not want in the database
      const auto set_aside = [&] {
        if (run.scenario.record.requests != RecordLevel::all)
          kept.requests.swap(result.outcome.requests);
        if (!iteration_rows) kept.iterations.swap(result.outcome.iterations);
        if (!transfer_rows) kept.transfers.swap(result.outcome.transfers);
      };
      set_aside();
      std::optional<Provenance> provenance;
      if (!options.reproducible)
        provenance =
            Provenance{host_name(), started_utc,
                       std::chrono::duration_cast<std::chrono::nanoseconds>(elapsed).count()};
      recorder->end_run(result.outcome, result.metrics, provenance);
      if (options.shared == nullptr) recorder->complete();
      set_aside();
    }
  } catch (const InputError& e) {
    if (recorder) recorder->fail(e.what());
    throw;
  }
  result.wall_seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  return result;
}

}  // namespace kvsim
