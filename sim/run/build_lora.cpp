#include "sim/run/build_lora.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "models/geometry.h"
#include "sim/engine/adapters.h"

namespace kvsim {

namespace {

double d(std::int64_t v) { return static_cast<double>(v); }

// Of an adapter of rank 1 in one layer on one GPU: numbers, and pairs of products. The factor on
// the side that tensor parallelism does not cut is whole on every rank.
struct LayerShare {
  double numbers = 0, pairs = 0;
};
LayerShare layer_share(const ModelSpec& m, LoraTargets targets, int tensor) {
  const double hidden = d(m.hidden), cut = 1.0 / tensor;
  const double q = d(m.heads * m.head_width()), kv = d(m.kv_head_count()) * d(m.head_width());
  LayerShare s;
  const auto column = [&](double out) { s.numbers += hidden + out * cut; };
  const auto row = [&](double in) { s.numbers += in * cut + hidden; };
  column(q), column(kv), column(kv), row(q);
  s.pairs = 2;  // query, key and value together; output
  if (targets == LoraTargets::attention) return s;
  if (m.gated) column(d(m.intermediate));
  column(d(m.intermediate)), row(d(m.intermediate));
  s.pairs += 2;
  return s;
}

bool is_plain(const ModelSpec& m) {
  if (m.mla || m.moe || m.recurrent || m.encoder || m.tpa) return false;
  const std::vector<Layer> all = layers_of(m);
  return std::all_of(all.begin(), all.end(), [](const Layer& l) {
    return l.attention == AttentionKind::full || l.attention == AttentionKind::sliding ||
           l.attention == AttentionKind::chunked;
  });
}

// Bytes of one adapter on one GPU; 16-bit numbers, as they are served.
double adapter_bytes(const BuiltRun& run, const LoraSpec& s) {
  return 2 * d(s.rank) * d(run.model.layers) *
         layer_share(run.model, s.targets, run.parallel.tensor).numbers;
}

}  // namespace

void build_lora(BuiltRun& run, const Tree& scenario, Diagnostics& diagnostics) {
  if (!run.scenario.engine.lora) return;
  const LoraSpec& s = *run.scenario.engine.lora;
  const Tree* engine = scenario.find("engine");
  const Tree* at = engine != nullptr ? engine->find("lora") : nullptr;
  const auto error = [&](const std::string& message, const std::string& hint) {
    diagnostics.add(at != nullptr ? at->place() : scenario.place(), "engine.lora", message, hint);
  };
  if (!is_plain(run.model))
    return error(fmt::format("adapters of {} are not modelled", run.model.name),
                 "choose a dense model with plain attention");
  if (!s.names.empty()) {
    std::set<std::string> names;
    for (const std::string& name : s.names)
      if (name.empty() || !names.insert(name).second)
        error(
            fmt::format("names: '{}' {}", name, name.empty() ? "is no name" : "stands there twice"),
            "give each adapter one name");
    const auto& trace = run.scenario.workload.trace;
    if (!trace || trace->format.name != "mooncake")
      error(
          fmt::format("names: {} no adapters",
                      trace ? "traces of format " + trace->format.name + " name"
                            : std::string("workload.generate names")),
          "use a mooncake trace with the field `adapter`, or let adapters be drawn: remove names");
  }
  double peak = 0;
  for (const char* precision : {"fp16", "bf16"})
    if (const auto rate = run.device.compute.find(precision); rate != run.device.compute.end())
      peak = std::max(peak, rate->second.value);
  const double link = s.link ? s.link->value : host_link(run.node, run.device).bandwidth.value;
  if (!(peak > 0) || !(link > 0))
    return error(fmt::format("device {} has no 16-bit compute rate or no link to host memory",
                             run.device.name),
                 "give engine.lora.link, or both in the device's file");
  const Efficiency& e = run.device.efficiency;
  const double bytes = adapter_bytes(run, s), layers = d(run.model.layers);
  const LayerShare share = layer_share(run.model, s.targets, run.parallel.tensor);
  AdapterRules rules;
  rules.names = s.names;
  rules.adapters = s.names.empty() ? s.adapters : static_cast<std::int64_t>(s.names.size());
  rules.zipf = s.zipf;
  rules.share = s.share.value;
  rules.slots = s.slots;
  rules.load_ns = static_cast<std::int64_t>(std::ceil(bytes / link * 1e9)) +
                  to_ns(run.device.host_link.latency);
  // A narrow product down and one up for every group of projections that run together.
  rules.fixed_ns =
      static_cast<std::int64_t>(std::ceil(2 * share.pairs * layers * d(to_ns(e.launch))));
  rules.adapter_ns =
      static_cast<std::int64_t>(std::ceil(bytes / (run.device.bandwidth.value * e.memory) * 1e9));
  rules.token_ns = 2 * d(s.rank) * layers * share.numbers / (peak * e.gemm) * 1e9;
  rules.seed = run.scenario.seed;
  run.adapters = std::make_unique<Adapters>(rules);
  run.engine.adapters = run.adapters.get();
}

void make_room_for_adapters(const BuiltRun& run, MemoryPlan& plan) {
  if (!run.adapters) return;
  const LoraSpec& s = *run.scenario.engine.lora;
  const double all = adapter_bytes(run, s) * d(s.slots) / run.parallel.pipeline;
  plan.other = plan.other.value_or(other_memory_estimate(run.parallel)) +
               Bytes{static_cast<std::int64_t>(std::ceil(all))};
}

}  // namespace kvsim
