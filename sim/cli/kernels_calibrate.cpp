#include "sim/cli/kernels_calibrate.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cmath>

#include "sim/base/diagnostics.h"
#include "sim/cli/command.h"
#include "sim/cli/text_table.h"
#include "sim/run/build.h"
#include "sim/run/build_kernels.h"
#include "sim/run/kernel_loop.h"
#include "sim/scenario/catalog.h"
#include "sim/scenario/scenario.h"

namespace kvsim {

namespace {

// Shapes of models in wide use, measured unless a scenario says what it needs: Llama 3.2 1B, Llama
// 3 8B and 70B (one tensor rank of eight), and DeepSeek-V2's latent.
KernelNeeds usual_needs() {
  const AttentionShape small{32, 8, 64, 64, false, "f16", 0}, gqa{32, 8, 128, 128, false, "f16", 0},
      rank{8, 1, 128, 128, false, "f16", 0};
  AttentionShape coded = gqa;
  coded.element = "i8";
  return {{"f16"}, {small, gqa, rank, coded}, {small, gqa, rank, coded}};
}

KernelNeeds needs_of_scenario(const std::string& path) {
  Diagnostics d;
  LoadedScenario loaded = load_scenario(path, {}, d);
  d.throw_if_any();
  // The model decides; what the scenario says of cost and hardware does not matter here.
  loaded.value.cost = {"roofline", Tree::map()};
  const BuiltRun run = build_run(loaded, false, d);
  d.throw_if_any();
  return needs_of(*run.work);
}

int thread_count(const po::variables_map& v) {
  const auto threads = option_or(v, "threads", std::vector<int>{});
  if (threads.size() > 1) throw InputError("--threads: one number is enough here");
  if (threads.empty()) return 0;
  if (threads[0] < 1 || threads[0] > 256) throw InputError("--threads: expected 1 to 256");
  return threads[0];
}

std::string local_name(const po::variables_map& v) {
  const auto devices = list_option(v, "device");
  if (devices.size() > 1) throw InputError("--device: one device at a time");
  return devices.empty() ? "cpu" : devices[0];
}

void print_profile(const DeviceSpec& d, const std::vector<KernelTiming>& points) {
  const KernelProfile& p = *d.kernels;
  fmt::print("{}{}: {} points measured, lines differ from them by {:.0f} % at most\n", p.device,
             p.software ? " (software: says nothing about a GPU)" : "", points.size(),
             100 * p.worst_fit);
  TextTable table({"operation", ">us", ">calls", "shape"});
  for (const KernelTiming& k : points)
    table.row(
        {k.operation, fmt::format("{:.1f}", 1e6 * k.seconds), std::to_string(k.calls), k.shape});
  fmt::print("{}", table.text());
}

}  // namespace

void kernel_progress(const std::string& what) {
  if (isatty(STDERR_FILENO) == 1) fmt::print(stderr, "\r\033[K{}\r", what.substr(0, 99));
}
void end_kernel_progress() {
  if (isatty(STDERR_FILENO) == 1) fmt::print(stderr, "\r\033[K");
}

std::filesystem::path profile_folder() {
  if (const std::string folder = cache_folder(); !folder.empty()) return folder;
  throw InputError("no place to keep the measured profile: HOME and XDG_CACHE_HOME are not set",
                   "set one, or name a file of `kvsim kernels calibrate -o FILE` as "
                   "deployment.hardware");
}

ThisMachine measured_machine(std::vector<KernelTiming>& timings) {
  return [&timings](const std::string& device, const ModelWork& model) {
    DeviceSpec d = local_profile(device, model, profile_folder(), timings, kernel_progress);
    end_kernel_progress();
    return d;
  };
}

int run_kernel_calibrate(const po::variables_map& v) {
  const LocalDevice local(local_name(v), thread_count(v));
  const std::string scenario = option_or(v, "scenario", std::string{});
  const KernelNeeds needs = scenario.empty() ? usual_needs() : needs_of_scenario(scenario);
  std::vector<KernelTiming> points;
  DeviceSpec device = measure_device(local.target(), local.id(), points, kernel_progress);
  measure(needs, local.target(), device, points, kernel_progress);
  end_kernel_progress();
  const std::string path =
      option_or(v, "output", (profile_folder() / (local.id() + ".yaml")).string());
  write_profile(path, device);
  print_profile(device, points);
  fmt::print("written to {}\n", path);
  return 0;
}

int run_kernel_loop_verb(const po::variables_map& v) {
  const std::string path = option_or(v, "scenario", std::string{});
  if (path.empty())
    throw InputError("kvsim kernels loop: no scenario given",
                     "kvsim kernels loop --scenario scenarios/examples/this-machine.yaml");
  Diagnostics d;
  const LoadedScenario loaded = load_scenario(path, {}, d);
  d.throw_if_any();
  std::vector<KernelTiming> timings;
  const BuiltRun run = build_run(loaded, false, d, measured_machine(timings));
  d.throw_if_any();
  if (!run.device.kernels || run.scenario.cost.name != "kernels")
    throw InputError(
        fmt::format("{}: its cost model is {}, not kernels", path, run.scenario.cost.name),
        "`cost: {model: kernels, device: cpu}`");
  if (!run.device.kernels->driver.empty())
    throw InputError("the loop runs on the CPU", "`cost: {model: kernels, device: cpu}`");
  LoopShape shape;
  shape.batch = v["batch"].as<std::int64_t>();
  shape.context = v["context"].as<std::int64_t>();
  shape.steps = v["steps"].as<std::int64_t>();
  shape.threads = run.device.kernels->threads;
  if (shape.batch < 1 || shape.batch > 1024) throw InputError("--batch: expected 1 to 1024");
  if (shape.context < 1 || shape.context > 1 << 20)
    throw InputError("--context: expected 1 to 1048576");
  if (shape.steps < 1 || shape.steps > 100000) throw InputError("--steps: expected 1 to 100000");
  const LocalDevice local("cpu", shape.threads);
  const TimeKernels time_kernels = [&] {
    DeviceSpec now = run.device;
    measure_decodes(needs_of(*run.work), shape.batch, local.target(), now, timings,
                    kernel_progress);
    return Registry::instance().make<CostModel>(
        "kernels", run.scenario.cost.params,
        {run.work.get(), &now, &run.interconnect, run.parallel, run.base_dir, &run.node,
         &run.storage, static_cast<double>(bits(run.precision.kv))});
  };
  const LoopReport report =
      run_kernel_loop(run.model, *run.cost, time_kernels, shape, kernel_progress);
  end_kernel_progress();
  if (!std::isfinite(report.measured))
    throw InputError("no iteration had its cores to itself", "try when fewer other programs run");
  fmt::print(
      "{} on {}, {} thread{}: {} sequences, contexts from {}, {} iterations of {} "
      "({} calls dropped: others used the cores)\n",
      run.model.name, run.device.kernels->device, shape.threads, shape.threads > 1 ? "s" : "",
      shape.batch, shape.context, report.quiet, shape.steps, report.disturbed);
  fmt::print("measured                                    {:8.2f} ms an iteration (median)\n",
             1e3 * report.measured);
  fmt::print("simulated, kernels timed between iterations {:+8.1f} %\n",
             100 * report.law_difference);
  fmt::print("simulated, kernels of the profile           {:+8.1f} %, {:.2f} ms\n",
             100 * report.difference(), 1e3 * report.simulated);
  const double then = run.device.bandwidth.value, now = report.read_rate;
  if (std::isfinite(now) && then > 0)
    fmt::print("memory reads {:.1f} GB/s now, {:.1f} when the profile was measured\n", now / 1e9,
               then / 1e9);
  return 0;
}

}  // namespace kvsim
