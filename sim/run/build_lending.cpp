#include "sim/run/build_lending.h"

#include "models/geometry.h"
#include "sim/run/conflict.h"

namespace kvsim {

void build_lending(BuiltRun& run, const Tree& scenario, Diagnostics& d) {
  const Scenario& s = run.scenario;
  if (!s.deployment.lending) return;
  const EngineConfig& c = run.engine;
  const Router::Traits router = run.router->traits();
  const bool fits = check_conflicts(
      {{s.deployment.replicas < 2, "one instance", "set deployment.replicas: 2 or more"},
       {run.parallel.data > 1 || run.parallel.context > 1,
        "instances of several data-parallel ranks or context groups",
        "set deployment.parallel: {data: 1, context: 1}"},
       {c.prefix_caching, "shared prefixes: a block has one owner here",
        "set cache.prefix.index: none"},
       {s.cache.memory.name != "paged", "memory that is not paged", "remove cache.memory"},
       {c.hybrid.on || c.windows[0] > 0 || forgets(run.model),
        "layers that do not keep every token", "choose a model with full attention"},
       {c.forms != nullptr, "cache.token_policies, hidden_states or placement",
        "remove one of the two"},
       {s.cache.tiers.size() > 1, "tiers below the GPU", "keep only the tier gpu"},
       {c.host_blocks > 0 || c.pauses(), "KV in host memory, or kept by preempted requests",
        "set engine.preemption: recompute, and tools that discard"},
       {c.batch.reserve != BatchReserve::none, "memory that is set aside for output",
        "choose another preset, or engine.batch.reserve: none"},
       {!c.full_sequence_admission, "requests that are admitted before all of them fits",
        "set engine.scheduler.full_sequence_admission: true"},
       {c.pipeline_batches > 0, "several batches in flight", "remove engine.pipeline_batches"},
       {c.speculation != nullptr, "engine.speculative", "remove one of the two"},
       {c.shared_prefix_attention, "engine.shared_prefix_attention", "remove one of the two"},
       {c.batch.carries_fractions, "engine.batch.carries_fractions", "set it to false"},
       {run.cost->offload() != nullptr, "KV outside the GPU", "choose another cost.model"},
       {router.copies || router.every > Duration{0}, "routers that move or copy KV",
        "choose another router"},
       {!run.scaling.empty(), "deployment.autoscaling", "remove one of the two"},
       {!s.faults.empty(), "faults", "remove one of the two"}},
      kDoesNotGoWith, scenario, "deployment.lending", d);
  if (!fits) return;
  const LendingRules& rules = s.deployment.lending->rules;
  LendingPlan plan;
  plan.every = rules.every;
  plan.keep = rules.keep.value;
  plan.chunk_blocks = std::max<std::int64_t>(1, rules.chunk / c.block_tokens);
  const ModelWork::Facts& facts = run.work->facts();
  const AttentionShape& heads = facts.decode_attention;
  // What a rank computes, of all ranks; a partial result has a maximum and a sum.
  const double wide =
      static_cast<double>(heads.q_heads * run.parallel.tensor) * facts.activation_element_bytes;
  plan.layers = facts.layers;
  plan.query_bytes = wide * static_cast<double>(heads.key_dim);
  plan.answer_bytes = wide * static_cast<double>(heads.value_dim + 2);
  const auto& policy = s.deployment.lending->policy;
  plan.rule = Registry::instance().make<LendingPolicy>(policy.name, policy.params,
                                                       {c.block_tokens, plan.chunk_blocks});
  run.lending = std::move(plan);
}

}  // namespace kvsim
