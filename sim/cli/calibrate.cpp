// kvsim calibrate: fits the roofline's numbers to measurements
#include <fmt/format.h>

#include <fstream>

#include "sim/base/diagnostics.h"
#include "sim/calibrate/fleet_report.h"
#include "sim/calibrate/profile_fit.h"
#include "sim/cli/command.h"

namespace kvsim {

namespace {

void declare(po::options_description& o, po::positional_options_description& p) {
  o.add_options()("what", po::value<std::string>(),
                  "fleet or profile (also without the option's name)")(
      "input", po::value<std::vector<std::string>>(),
      "fleet: the table; profile: folders that hold tp1/ (likewise)")(
      "device", po::value<std::string>()->default_value("h100-sxm"),
      "accelerator of the catalogue")("preset",
                                      po::value<std::string>()->default_value("vllm-0.15"),
                                      "fleet: engine that was measured")(
      "model", po::value<std::string>()->default_value(""),
      "profile: model, when meta.yaml names none of the catalogue")(
      "fit", "fleet: fit, and print leave-one-out errors; else the catalogue's numbers are tested")(
      "seconds", po::value<double>()->default_value(0),
      "fleet: replay only this much of each load; 0 = all")(
      "chats", po::value<std::uint64_t>()->default_value(FleetOptions{}.chats),
      "fleet: the requests go round this many chats, whose prompts repeat; 0 = every prompt is "
      "new")("seed", po::value<std::uint64_t>()->default_value(1), "fleet: of the arrivals")(
      "threads", po::value<int>()->default_value(2), "the result does not depend on it")(
      "write", po::value<std::string>(),
      "fleet --fit: the device's catalogue file with the fitted numbers goes here");
  p.add("what", 1).add("input", -1);
}

int run_fleet(const po::variables_map& v, const std::vector<std::string>& inputs) {
  if (inputs.size() != 1)
    throw InputError("kvsim calibrate fleet: expected one table",
                     "kvsim calibrate --help shows an example");
  FleetOptions options;
  options.device = v["device"].as<std::string>();
  options.preset = v["preset"].as<std::string>();
  options.longest = v["seconds"].as<double>();
  options.seed = v["seed"].as<std::uint64_t>();
  options.chats = v["chats"].as<std::uint64_t>();
  const int threads = v["threads"].as<int>();
  if (threads < 1 || threads > 256) throw InputError("--threads: expected 1 to 256");
  if (!(options.longest >= 0)) throw InputError("--seconds: expected 0 or more");
  const bool fit = v.count("fit") > 0;
  if (!fit && v.count("write") > 0)
    throw InputError("--write needs --fit", "without a fit there is nothing new to write");
  const FleetReport report = calibrate_fleet(inputs[0], options, fit, threads);
  fmt::print("{}", fleet_table(report));
  if (v.count("write") == 0) return 0;
  const std::string path = v["write"].as<std::string>();
  std::ofstream out(path, std::ios::binary);
  out << fitted_device_file(report);
  if (!out.flush())
    throw InputError(fmt::format("{}: cannot write", path), "check the folder and the disk");
  fmt::print("written to {}\n", path);
  return 0;
}

int run(const po::variables_map& v) {
  const std::string what = option_or(v, "what", std::string{});
  const auto inputs = list_option(v, "input");
  if (what == "fleet") return run_fleet(v, inputs);
  if (what != "profile")
    throw InputError(fmt::format("kvsim calibrate: unknown kind '{}' of calibration", what),
                     "valid: fleet, profile");
  if (inputs.empty())
    throw InputError("kvsim calibrate profile: no folder given",
                     "kvsim calibrate --help shows an example");
  const std::string device = v["device"].as<std::string>();
  fmt::print(
      "{}", profile_table(calibrate_profile(inputs, device, v["model"].as<std::string>()), device));
  return 0;
}

}  // namespace

extern const Command kCalibrateCommand{
    "calibrate",
    "fit the roofline cost model to measurements, with errors",
    "fleet TABLE | profile DIR...",
    "  kvsim calibrate fleet h100.csv --fit --write h100-sxm.yaml\n"
    "  kvsim calibrate fleet h100.csv                the catalogue's numbers against the table\n"
    "  kvsim calibrate profile DIR --device rtx-pro-6000",
    declare,
    run};

}  // namespace kvsim
