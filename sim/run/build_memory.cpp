#include "sim/run/build_memory.h"

#include <algorithm>

#include "models/geometry.h"

namespace kvsim {

std::unique_ptr<MemoryManager> build_memory(const BuiltRun& run) {
  const EngineSpec& e = run.scenario.engine;
  const auto owners = stage_kv_layers(run.model, run.parallel.pipeline);
  const std::int64_t layers = *std::max_element(owners.begin(), owners.end());
  if (layers == 0 && run.scenario.cache.memory.name != "paged")
    throw InputError("model " + run.model.name + " caches no keys and values",
                     "leave out cache.memory");
  const std::int64_t planes = run.model.mla ? 1 : 2;
  MemoryManager::Context c;
  c.block_tokens = e.block_tokens;
  c.max_model_len = *e.max_model_len;
  c.max_batched_tokens = *e.max_batched_tokens;
  c.shares_prefixes = run.scenario.cache.prefix.index != PrefixIndex::none;
  const std::int64_t layer =
      kv_layer_bytes(run.model, bits(run.precision.kv), run.parallel.tensor).count();
  c.plane = Bytes{(layer + planes - 1) / planes};
  c.layers = stage_kv_layers(run.model, 1).front();
  c.planes = layers * planes;
  c.activation_bytes = e.activation_memory
                           .value_or(activation_estimate(run.model, run.parallel, run.precision,
                                                         *e.max_batched_tokens, *e.max_running))
                           .count();
  c.block_bytes = kv_block_bytes(run.model, run.parallel, run.precision.kv, e.block_tokens).count();
  return Registry::instance().make<MemoryManager>(run.scenario.cache.memory.name,
                                                  run.scenario.cache.memory.params, c);
}

}  // namespace kvsim
