#include "sim/run/build_host.h"

#include <algorithm>

#include "models/geometry.h"
#include "policies/pause/pause.h"
#include "sim/run/token_forms.h"

namespace kvsim {
namespace {

// What becomes of KV while tools run; true when it may go to host memory.
bool choose_pause(BuiltRun& run, const HostError& error) {
  EngineConfig& c = run.engine;
  const ToolsSpec& t = run.scenario.engine.tools;
  c.returns_by_arrival = t.rules.returns == ToolReturn::arrival;
  if (t.policy.name == "discard") return false;
  c.make_pause = [policy = t.policy](const PausePolicy::Context& context) {
    return Registry::instance().make<PausePolicy>(policy.name, policy.params, context);
  };
  if (c.memory.contiguous || c.memory.map_block.count() > 0 || c.memory.layers > 0)
    error("engine.tools", "KV that waits for a tool needs memory in blocks",
          "use policy: discard, or cache.memory paged or pooled");
  return c.make_pause({c.seed})->swaps();
}

// With KV, of the stage that has the most.
std::int64_t layers_of_stage(const BuiltRun& run) {
  const auto owners = stage_kv_layers(run.model, run.parallel.pipeline);
  return std::max<std::int64_t>(1, *std::max_element(owners.begin(), owners.end()));
}

// Preempted requests whose KV stays on the GPU until its blocks are needed.
void choose_pauses(BuiltRun& run, const HostError& error) {
  EngineConfig& c = run.engine;
  const PreemptionSpec& p = run.scenario.engine.preemption;
  c.gives_tails = p.part != PreemptedPart::request;
  if (p.part == PreemptedPart::layers) {
    c.part_layers = layers_of_stage(run);
    if (p.mode != PreemptionMode::swap)
      error("engine.preemption.part",
            "the last layers cannot be computed again without those before them",
            "set mode: swap and copies: beside or ahead, or part: tail");
    if (c.prefix_caching)
      error("engine.preemption.part", "a block without its last layers serves no other request",
            "set cache.prefix.index: none, or part: tail");
  }
  if (p.copies != CopyTime::waited && !c.swap)
    return error("engine.preemption.copies", "nothing is copied", "set mode: swap");
  c.copies = p.copies == CopyTime::waited   ? EngineConfig::Copies::waited
             : p.copies == CopyTime::beside ? EngineConfig::Copies::beside
                                            : EngineConfig::Copies::ahead;
  if (c.copies == EngineConfig::Copies::ahead)
    c.idle_blocks = static_cast<std::int64_t>(p.idle.value * static_cast<double>(c.kv_blocks));
  if (c.gives_tails && c.swap && c.copies == EngineConfig::Copies::waited)
    error("engine.preemption.part", "a part of a request is swapped beside the iterations only",
          "set copies: beside or ahead, or mode: recompute");
  if (c.gives_tails && c.keeps_copies)
    error("engine.preemption.part", "copies that stay are of whole requests",
          "set keeps_copies: false, or part: request");
  if (c.gives_tails && c.swap && c.pool.share_blocks > 1)
    error("engine.preemption.part", "a chunk tree gives back whole chunks",
          "set part: request, or cache.prefix.index: hash or radix");
  if (!c.pauses()) return;
  const char* key = c.gives_tails ? "engine.preemption.part" : "engine.preemption.copies";
  const char* hint = c.gives_tails ? "set part: request" : "set copies: waited";
  if (c.memory.contiguous || c.memory.map_block > Duration{0} || c.memory.layers > 0)
    error(key, "KV of preempted requests stays on the GPU only where memory is in blocks",
          "use cache.memory paged or pooled");
  if (run.hybrid) error(key, "layers that keep different things leave the GPU together", hint);
  if (c.gives_tails && run.forms)
    error(key, "compressed KV cannot be computed again from the middle", hint);
}

}  // namespace

void size_host(BuiltRun& run, const HostError& error) {
  EngineConfig& c = run.engine;
  const PreemptionSpec& p = run.scenario.engine.preemption;
  c.swap = p.mode == PreemptionMode::swap;
  c.keeps_copies = p.keeps_copies;
  const bool layers = c.memory.layers > 0;
  if (p.by_layer) {
    c.copy_layers = layers_of_stage(run);
    if (!c.swap) error("engine.preemption.by_layer", "nothing is swapped", "set mode: swap");
  }
  const bool tools_swap = choose_pause(run, error);
  if (c.swap && layers)
    error("engine.preemption", "layer-wise memory moves KV to the host by itself",
          "set mode: recompute, or another cache.memory");
  if (c.keeps_copies && !c.swap && !tools_swap)
    error("engine.preemption.keeps_copies", "nothing is swapped",
          "set mode: swap, or engine.tools.policy: swap");
  choose_pauses(run, error);
  if (!c.swap && !tools_swap && !layers) return;
  const Bytes space = layers ? c.memory.host_bytes : p.space;
  Bytes block = kv_block_bytes(run.model, run.parallel, run.precision.kv, c.block_tokens);
  c.host_block_bytes = kv_token_bytes(run.model, run.precision.kv).count() * c.block_tokens;
  if (run.forms) {  // other forms lie in blocks of KV
    const double share = run.forms->block_share();
    block = Bytes{static_cast<std::int64_t>(to_double(block) * share)};
    c.host_block_bytes = static_cast<std::int64_t>(static_cast<double>(c.host_block_bytes) * share);
  }
  if (run.hybrid) {
    block = run.hybrid->rank;
    c.host_block_bytes = run.hybrid->all.count();
  }
  c.host_blocks = block > Bytes{0} ? space / block : 0;
  if (c.host_blocks < 1)
    error(layers ? "cache.memory.space" : "engine.preemption.space", "holds not one block of KV",
          "give more");
}

}  // namespace kvsim
