#include "sim/run/build_pipeline.h"

#include <fmt/format.h>

#include "sim/run/conflict.h"
#include "sim/run/place_of.h"

namespace kvsim {

void build_pipeline(BuiltRun& run, const Tree& scenario, Diagnostics& diagnostics) {
  const auto& given = run.scenario.engine.pipeline_batches;
  if (!given) return;
  const auto error = [&](const std::string& message, const std::string& cure) {
    diagnostics.add(place_of(scenario, "engine.pipeline_batches"), "engine.pipeline_batches",
                    message, cure);
  };
  EngineConfig& c = run.engine;
  const int stages = run.parallel.pipeline;
  if (stages == 1 && *given > 1)
    return error(fmt::format("{} batches in flight need stages to be in", *given),
                 "set deployment.parallel.pipeline: 2 or more, or pipeline_batches: 0 (as many as "
                 "stages)");
  if (stages == 1) return;
  const CacheSpec& cache = run.scenario.cache;
  const std::string& cost = run.scenario.cost.name;
  check_conflicts(
      {{cost == "pipelined", "cost.model pipelined, which cuts every batch up itself",
        "set cost.model: roofline"},
       {run.cost != nullptr && run.cost->offload() != nullptr,
        "KV or weights outside the GPU, whose transfers are priced for one batch at a time",
        "choose another cost.model"},
       {c.batch.carries_fractions, "batch.carries_fractions", "set it to false"},
       {c.batch.reserve == BatchReserve::estimate, "batch.reserve estimate",
        "choose another preset, or batch.reserve: none"},
       {c.speculation != nullptr, "engine.speculative", "remove one of the two"},
       {c.forms != nullptr, "cache.token_policies, hidden_states or placement",
        "remove one of the two"},
       {cache.tiers.size() > 1, "tiers below the GPU", "keep only the tier gpu"},
       {c.host_blocks > 0, "KV in host memory (preemption or tools that swap, memory in layers)",
        "use preemption: recompute, tools that keep or discard, cache.memory: pooled"},
       {c.pauses(), "preempted requests that keep KV",
        "set engine.preemption: {copies: waited, part: request}"},
       {c.memory.lent_blocks > 0, "memory that activations lend", "choose another cache.memory"},
       {c.snapshots.slots > 0, "snapshots of states", "set cache.hybrid.snapshots: 0"},
       {run.parallel.data > 1, "several data-parallel ranks", "set parallel.data: 1"}},
      kDoesNotGoWith, scenario, "engine.pipeline_batches", diagnostics);
  c.pipeline_stages = stages;
  c.pipeline_batches = *given > 0 ? *given : stages;
  c.async_scheduling = false;  // a batch is planned when there is room for it in the pipeline
}

void check_context(const BuiltRun& run, const Tree& scenario, Diagnostics& diagnostics) {
  if (run.parallel.context == 1) return;
  const EngineConfig& c = run.engine;
  const Scenario& s = run.scenario;
  check_conflicts(
      {{s.cost.name != "roofline", "this cost model, which knows no shared context",
        "set cost.model: roofline"},
       {c.shared_prefix_attention, "engine.shared_prefix_attention", "set it to false"},
       {c.speculation != nullptr, "engine.speculative", "remove one of the two"},
       {c.adapters != nullptr, "engine.lora", "remove one of the two"},
       {c.forms != nullptr, "cache.token_policies, hidden_states or placement",
        "remove one of the two"},
       {s.cache.tiers.size() > 1, "tiers below the GPU", "keep only the tier gpu"},
       {c.host_blocks > 0, "KV in host memory (preemption or tools that swap, memory in layers)",
        "use preemption: recompute, tools that keep or discard, cache.memory: pooled"}},
      kDoesNotGoWith, scenario, "deployment.parallel.context", diagnostics);
}

}  // namespace kvsim
