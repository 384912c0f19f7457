// kvsim run and kvsim check
#include <fmt/format.h>

#include <filesystem>

#include "sim/base/diagnostics.h"
#include "sim/cli/command.h"
#include "sim/cli/kernels_calibrate.h"
#include "sim/cli/progress.h"
#include "sim/cli/summary.h"
#include "sim/cli/uncertainty.h"
#include "sim/run/simulate.h"

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
      "exact", "take the sequence-by-sequence path always: slow, the same results");
  declare_uncertainty(o);
}

// "out/<name>.db" with what a file system may not like replaced.
std::string default_output(const std::string& name) {
  std::string file;
  for (const char c : name)
    file += std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' || c == '.'
                ? c
                : '_';
  if (file.empty() || file.front() == '.') file = "run" + file;
  return "out/" + file.substr(0, 200) + ".db";
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
    options.database = option_or(v, "output", default_output(run.scenario.name));
    if (v.count("output") == 0) std::filesystem::create_directories("out");
  }
  ProgressLine line(run.trace->total());
  options.progress = [&](Time t, std::uint64_t done) {
    line.update(t, done);
    return true;
  };
  options.baseline = without_offload(loaded, machine);
  const SimulateResult result = simulate(run, options);
  line.clear();
  fmt::print("{}", v.count("json") > 0 ? summary_json(run, result) : summary_table(run, result));
  std::fflush(stdout);
  const double rate =
      static_cast<double>(result.outcome.injected) / std::max(result.wall_seconds, 1e-9);
  fmt::print(stderr, "{:.3f} s, {:.0f} requests/s{}\n", result.wall_seconds, rate,
             options.database.empty() ? "" : ", written to " + options.database);
  return 0;
}

int run_run(const po::variables_map& v) {
  const auto files = scenario_files(v, "run");
  if (files.size() > 1 && v.count("output") > 0)
    throw InputError("kvsim run: --output names one database, but there are several scenarios");
  const bool has_bars = v.count("uncertainty") > 0;
  if (!has_bars && v.count("range") + v.count("vary") > 0)
    throw InputError("kvsim run: --range and --vary need --uncertainty");
  for (const std::string& file : files)
    if (const int code = has_bars ? run_uncertainty(file, v) : run_one(file, v)) return code;
  return 0;
}

int run_check(const po::variables_map& v) {
  for (const std::string& file : scenario_files(v, "check")) {
    Diagnostics d;
    const LoadedScenario loaded = load_scenario(file, list_option(v, "set"), d);
    build_run(loaded, true, d);
    d.throw_if_any();
    fmt::print("{}: good\n", file);
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
    "  kvsim query out/quickstart.db @latency           ask the result",
    declare_run,
    run_run};

extern const Command kCheckCommand{
    "check",          "check scenarios without running them; all mistakes at once",
    "SCENARIO...",    "  kvsim check scenarios/quickstart.yaml",
    declare_scenario, run_check};

}  // namespace kvsim
