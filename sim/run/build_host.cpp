#include "sim/run/build_host.h"

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

}  // namespace

void size_host(BuiltRun& run, const HostError& error) {
  EngineConfig& c = run.engine;
  const PreemptionSpec& p = run.scenario.engine.preemption;
  c.swap = p.mode == PreemptionMode::swap;
  c.keeps_copies = p.keeps_copies;
  const bool layers = c.memory.layers > 0;
  const bool tools_swap = choose_pause(run, error);
  if (c.swap && layers)
    error("engine.preemption", "layer-wise memory moves KV to the host by itself",
          "set mode: recompute, or another cache.memory");
  if (c.keeps_copies && !c.swap && !tools_swap)
    error("engine.preemption.keeps_copies", "nothing is swapped",
          "set mode: swap, or engine.tools.policy: swap");
  if (!c.swap && !tools_swap && !layers) return;
  const Bytes space = layers ? c.memory.host_bytes : p.space;
  Bytes block = kv_block_bytes(run.model, run.parallel, run.precision.kv, c.block_tokens);
  c.host_block_bytes = kv_token_bytes(run.model, run.precision.kv).count() * c.block_tokens;
  if (run.forms) {
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
