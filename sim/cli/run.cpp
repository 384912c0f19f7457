// kvsim run and kvsim check
#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "sim/base/diagnostics.h"
#include "sim/cli/command.h"
#include "sim/cli/kernels_calibrate.h"
#include "sim/cli/output_path.h"
#include "sim/cli/progress.h"
#include "sim/cli/summary.h"
#include "sim/cli/uncertainty.h"
#include "sim/run/run_quality.h"
#include "sim/run/simulate.h"
#include "sim/run/timeline.h"
#include "sim/scenario/catalog.h"

namespace kvsim {

namespace {

void declare_scenario(po::options_description& o, po::positional_options_description& p) {
  o.add_options()("scenario", po::value<std::vector<std::string>>(),
                  "scenario files (also without the option's name)")(
      "set", po::value<std::vector<std::string>>()->composing(),
      "PATH=VALUE overrides one value; may be repeated");
  p.add("scenario", -1);
}

std::vector<std::string> scenario_files(const po::variables_map& v, const char* verb) {
  auto files = list_option(v, "scenario");
  if (files.empty())
    throw InputError(fmt::format("kvsim {}: no scenario file given", verb),
                     fmt::format("kvsim {} --help shows examples", verb));
  return files;
}

void declare_run(po::options_description& o, po::positional_options_description& p) {
  declare_scenario(o, p);
  o.add_options()("output,o", po::value<std::string>(), "result database (default out/<name>.db)")(
      "no-database", "write no database")("print",
                                          "print the resolved scenario instead of running")(
      "json", "print the metrics as JSON")("reproducible",
                                           "leave host, date and wall time out of the database")(
      "exact", "take the sequence-by-sequence path always: slow, the same results")(
      "timeline", po::value<std::string>(),
      "write instances, iterations, requests and transfers as a trace that ui.perfetto.dev and "
      "chrome://tracing open");
  declare_uncertainty(o);
}

// Every iteration of a run with a timeline stays in memory.
void check_timeline_size(std::uint64_t requests) {
  constexpr std::uint64_t kMostRequests = 20'000;
  if (requests > kMostRequests)
    throw InputError(fmt::format("--timeline: the run has more than {} requests", kMostRequests),
                     "look at the first of them: --set workload.limit=2000");
}

// The file of --timeline, open before the run, so that a wrong path costs no simulation.
std::ofstream open_timeline(const std::string& path, const BuiltRun& run) {
  check_timeline_size(run.trace->total().value_or(0));
  std::ofstream out(path, std::ios::binary);
  if (!out)
    throw InputError(fmt::format("{}: cannot write: {}", path, std::strerror(errno)),
                     "the folder must exist and be writable");
  return out;
}

void finish_timeline(std::ofstream out, const std::string& path, const BuiltRun& run,
                     const SimulateResult& result) {
  const TimelineSummary summary = write_timeline(result.outcome, run.scenario.name, out);
  out.close();
  if (!out) throw InputError(fmt::format("{}: cannot write: {}", path, std::strerror(errno)));
  fmt::print(stderr, "timeline of {} events written to {}\n", summary.events, path);
  if (summary.is_cut)
    fmt::print(stderr,
               "warning: {}: what begins after {:.3f} s is left out, as viewers hold no more than "
               "{} events; shorten the run with --set workload.limit=N\n",
               path, to_seconds(summary.cut_at.time_since_epoch()), kMostTimelineEvents);
}

// Before the run, as its kernels: what its token policies cost in quality.
void measure_quality_of(const LoadedScenario& loaded, const BuiltRun& run,
                        SimulateOptions& options) {
  Diagnostics d;
  const auto question = run_question(loaded, run.model, false, d);
  d.throw_if_any();
  if (!question) return;
  quality::MeasureOptions how;
  how.threads = static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1U, 256U));
  how.progress = kernel_progress;
  if (const std::string folder = cache_folder(); !folder.empty())
    how.folder = std::filesystem::path(folder) / "quality";
  RunQuality measured = measure_run_quality(*question, how);
  end_kernel_progress();
  options.quality = std::move(measured.rows);
  options.quality_metrics = std::move(measured.metrics);
}

int run_one(const std::string& file, const po::variables_map& v) {
  Diagnostics d;
  const LoadedScenario loaded = load_scenario(file, list_option(v, "set"), d);
  SimulateOptions options;
  const ThisMachine machine = measured_machine(options.kernel_timings);
  BuiltRun run = build_run(loaded, v.count("print") == 0, d, machine);
  d.throw_if_any();
  if (v.count("print") > 0) {
    fmt::print("{}", to_yaml(run.resolved));
    return 0;
  }
  options.reproducible = v.count("reproducible") > 0;
  options.exact_steps = v.count("exact") > 0;
  if (v.count("no-database") == 0) {
    options.database = option_or(v, "output", default_output(run.scenario.name, "run"));
    if (v.count("output") == 0) std::filesystem::create_directories("out");
  }
  const std::string timeline = option_or(v, "timeline", std::string());
  std::ofstream timeline_file;
  if (!timeline.empty()) timeline_file = open_timeline(timeline, run);
  options.keep_timeline = !timeline.empty();
  ProgressLine line(run.trace->total());
  options.progress = [&](Time t, std::uint64_t done) {
    line.update(t, done);
    if (!timeline.empty()) check_timeline_size(done);
    return true;
  };
  options.baseline = without_offload(loaded, machine);
  measure_quality_of(loaded, run, options);
  const SimulateResult result = simulate(run, options);
  line.clear();
  fmt::print("{}", v.count("json") > 0 ? summary_json(run, result) : summary_table(run, result));
  std::fflush(stdout);
  const double rate =
      static_cast<double>(result.outcome.injected) / std::max(result.wall_seconds, 1e-9);
  fmt::print(stderr, "{:.3f} s, {:.0f} requests/s{}\n", result.wall_seconds, rate,
             options.database.empty()
                 ? ""
                 : fmt::format(", written to {0} (kvsim report {0} draws it)", options.database));
  if (!timeline.empty()) finish_timeline(std::move(timeline_file), timeline, run, result);
  return 0;
}

int run_run(const po::variables_map& v) {
  const auto files = scenario_files(v, "run");
  if (files.size() > 1 && v.count("output") > 0)
    throw InputError("kvsim run: --output names one database, but there are several scenarios");
  const bool has_bars = v.count("uncertainty") > 0;
  if (!has_bars && v.count("range") + v.count("vary") > 0)
    throw InputError("kvsim run: --range and --vary need --uncertainty");
  if (files.size() > 1 && v.count("timeline") > 0)
    throw InputError("kvsim run: --timeline names one file, but there are several scenarios");
  for (const std::string& file : files)
    if (const int code = has_bars ? run_uncertainty(file, v) : run_one(file, v)) return code;
  return 0;
}

int run_check(const po::variables_map& v) {
  for (const std::string& file : scenario_files(v, "check")) {
    Diagnostics d;
    const LoadedScenario loaded = load_scenario(file, list_option(v, "set"), d);
    const BuiltRun run = build_run(loaded, true, d);
    d.throw_if_any();
    run_question(loaded, run.model, false, d);
    d.throw_if_any();
    fmt::print("{}: good\n", file);
    for (const std::string& note : run.notes) fmt::print("  note: {}\n", note);
  }
  return 0;
}

}  // namespace

extern const Command kRunCommand{
    "run",
    "simulate scenarios, print a summary, write a database",
    "SCENARIO...",
    "  kvsim run scenarios/quickstart.yaml\n"
    "  kvsim run scenarios/quickstart.yaml --set engine.max_running=64 -o small.db\n"
    "  kvsim run scenarios/quickstart.yaml --print      the scenario with every default\n"
    "  kvsim run scenarios/what-if.yaml --uncertainty --range \"engine.front_end=0..5 ms\"   error "
    "bars\n"
    "  kvsim run scenarios/quickstart.yaml --timeline out/timeline.json   open it in "
    "ui.perfetto.dev\n"
    "  kvsim query out/quickstart.db @latency           ask the result",
    declare_run,
    run_run};

extern const Command kCheckCommand{
    "check",          "check scenarios without running them; all mistakes at once",
    "SCENARIO...",    "  kvsim check scenarios/quickstart.yaml",
    declare_scenario, run_check};

}  // namespace kvsim
