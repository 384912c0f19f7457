#include "sim/run/build_encoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "sim/engine/encoder.h"
#include "sim/run/place_of.h"

namespace kvsim {

namespace {

double d(std::int64_t v) { return static_cast<double>(v); }

// Weights and activations of an encoder are 16-bit numbers.
constexpr double kNumberBytes = 2;
// Kernels of a layer: two norms, three products and attention in front, three behind, activation.
constexpr double kLaunches = 10;

double weights_of(const ImageEncoderSpec& s) {
  const double hidden = d(s.hidden), up = s.gated ? 3 : 2;
  return d(s.layers) * (4 * hidden * hidden + up * hidden * d(s.intermediate));
}

// An image of n patches on one GPU of the device, by its fitted efficiencies: the longer of reading
// the weights once and of 2 n weights + 4 n^2 hidden layers operations (all patches see each
// other).
EncoderRules rules_of(const ImageEncoderSpec& s, const DeviceSpec& device) {
  double peak = 0;
  for (const char* precision : {"fp16", "bf16"})
    if (const auto rate = device.compute.find(precision); rate != device.compute.end())
      peak = std::max(peak, rate->second.value);
  if (!(peak > 0) || !(device.bandwidth.value > 0))
    throw InputError(
        fmt::format("device {} has no 16-bit compute rate or no memory bandwidth", device.name),
        "give both in its file");
  const Efficiency& e = device.efficiency;
  const double weights = weights_of(s), patches = s.patches_per_token;
  EncoderRules r;
  r.floor_ns = weights * kNumberBytes / (device.bandwidth.value * e.memory) * 1e9;
  r.token_ns = 2 * weights * patches / (peak * e.gemm) * 1e9;
  r.square_ns = 4 * d(s.layers) * d(s.hidden) * patches * patches / (peak * e.attention) * 1e9;
  r.launch_ns = kLaunches * d(s.layers) * d(to_ns(e.launch));
  r.cache_tokens = static_cast<std::int64_t>(to_double(s.cache));
  return r;
}

}  // namespace

void build_encoder(BuiltRun& run, const Tree& scenario, Diagnostics& diagnostics) {
  const auto& spec = run.scenario.encoder;
  if (!spec) return;
  try {
    run.encoder = std::make_unique<EncoderRules>(rules_of(*spec, run.device));
  } catch (const InputError& e) {
    for (const Diagnostic& one : e.all())
      diagnostics.add(place_of(scenario, "encoder"), "encoder", one.message, one.hint);
    return;
  }
  run.engine.encoder = run.encoder.get();
}

void make_room_for_encoder(const BuiltRun& run, MemoryPlan& plan) {
  if (run.engine.encoder == nullptr) return;
  const double bytes = weights_of(*run.scenario.encoder) * kNumberBytes;
  plan.other = plan.other.value_or(other_memory_estimate(run.parallel)) +
               Bytes{static_cast<std::int64_t>(std::ceil(bytes))};
}

void check_images(const BuiltRun& run, const Tree& scenario, Diagnostics& diagnostics) {
  const Tree* images = run.scenario.workload.generate.find("images");
  if (images == nullptr || images->find("count") == nullptr || run.encoder ||
      run.encode.encoders > 0)
    return;
  diagnostics.add(place_of(scenario, "workload.generate"), "workload.generate.images",
                  "nobody encodes them",
                  "describe the encoder: encoder: {layers: 24, hidden: 1024, intermediate: 4096}");
}

void build_encode_stage(BuiltRun& run, const LoadedScenario& all, const PoolSpec& spec,
                        Diagnostics& diagnostics) {
  const Scenario& scenario = all.value;
  EncodeStage& stage = run.encode;
  const auto error = [&](const std::string& message, const std::string& hint) {
    diagnostics.add(place_of(all.tree, "deployment.pools"), "deployment.pools", message, hint);
  };
  if (!scenario.encoder) {
    error(fmt::format("pool {} has nothing to encode with", spec.name),
          "describe it: encoder: {layers: 24, hidden: 1024, intermediate: 4096}");
    return;
  }
  for (const auto& [key, tree] : {std::pair{"parallel", &spec.parallel},
                                  {"engine", &spec.engine},
                                  {"cache", &spec.cache},
                                  {"cost", &spec.cost}})
    if (!tree->is_null())
      error(fmt::format("pool {} encodes images on one GPU an instance: {} has no meaning there",
                        spec.name, key),
            "remove it");
  const Hardware hardware =
      build_hardware(spec.hardware.is_null() ? scenario.deployment.hardware : spec.hardware,
                     run.base_dir, "deployment.pools.hardware", diagnostics);
  if (!diagnostics.empty()) return;
  try {
    stage.rules = rules_of(*scenario.encoder, hardware.device);
  } catch (const InputError& e) {
    error(e.what(), "choose other hardware for the pool");
    return;
  }
  const auto& over = scenario.deployment.handover;
  const NodeSpec& node = hardware.node;
  stage.bytes_per_second =
      over && over->bandwidth
          ? over->bandwidth->value
          : node.network.bandwidth.value * node.nics.count / std::max(1, node.devices);
  stage.latency = over && over->latency ? *over->latency : node.network.latency;
  if (!(stage.bytes_per_second > 0))
    error(fmt::format("pool {} has no network for its results to go over", spec.name),
          "name a node of the catalogue (kvsim list node) as its hardware, or set "
          "deployment.handover: {bandwidth: 25 GB/s}");
  stage.encoders = spec.replicas;
  stage.token_bytes = run.model.hidden * bits(run.precision.activations) / 8;
  run.encode_device = hardware.device;
}

}  // namespace kvsim
