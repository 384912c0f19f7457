#pragma once
// From a scenario to the parts of a run: model, hardware, engine settings, cost model, trace.
// Everything that can be wrong is reported here, all at once, before anything runs.
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "hardware/cost_model.h"
#include "hardware/node.h"
#include "hardware/storage.h"
#include "models/memory_plan.h"
#include "models/model.h"
#include "policies/memory/memory.h"
#include "policies/router/router.h"
#include "sim/engine/world.h"
#include "sim/scenario/scenario.h"
#include "traces/trace_source.h"

namespace kvsim {

class Adapters;     // sim/engine/adapters.h
class Speculation;  // sim/engine/speculation.h
class TokenForms;   // sim/run/token_forms.h
struct BuiltRun;

// Instances beside those of the run itself.
struct BuiltPool {
  std::string name;
  PoolRole role = PoolRole::mixed;
  std::unique_ptr<BuiltRun> run;
};

struct BuiltRun {
  BuiltRun();
  BuiltRun(BuiltRun&&) noexcept;
  BuiltRun& operator=(BuiltRun&&) noexcept;
  ~BuiltRun();
  Scenario scenario;  // fully resolved
  ModelSpec model;
  DeviceSpec device;
  LinkSpec interconnect;
  NodeSpec node;  // a bare device: a machine of as many as an instance has
  std::map<std::string, StorageSpec> storage;  // drives of the node by id
  Precision precision;
  Parallel parallel;
  EngineConfig engine;
  std::optional<MemoryBudget> memory;  // absent when kv_blocks was given or KV is offloaded
  struct HybridBlock {
    Bytes rank, all;  // of one block of the pool on a rank, and on all GPUs of an instance
  };
  std::optional<HybridBlock> hybrid;  // where the engine's memory is hybrid
  std::unique_ptr<ModelWork> work;
  std::unique_ptr<CostModel> cost;
  std::unique_ptr<TraceSource> trace;
  std::unique_ptr<Router> router;
  std::unique_ptr<MemoryManager> memory_manager;  // the engine's settings point to it
  std::unique_ptr<TokenForms> forms;              // likewise; null without token policies
  // Likewise: hidden states in place of KV, or tokens placed in phases.
  std::unique_ptr<KvForms> cache_forms;
  std::unique_ptr<Adapters> adapters;             // the engine's settings point to it
  std::unique_ptr<EncoderRules> encoder;          // likewise; null: prompts bring no images
  EncodeStage encode;                             // encoders of their own, on
  DeviceSpec encode_device;
  std::optional<ModelSpec> draft;            // of speculative decoding with a draft model
  std::unique_ptr<Speculation> speculation;  // the engine's settings point to it
  std::vector<std::string> notes;            // what holds at a price that the run charges
  std::optional<TierSystem> tiers;           // below the GPU
  std::vector<FaultPlan> faults;
  std::vector<ScalingPlan> scaling;  // of the run, or of each pool that scales
  std::vector<QuotaPlan> quotas;
  // deployment.pools: the first is the run's own parts; those that decode come last.
  std::vector<BuiltPool> pools;
  PoolRole role = PoolRole::mixed;
  int spare = 0;  // instances that serve here only when they come from the other role
  std::optional<PeerSystem> peers;
  std::optional<RoleRules> roles;
  std::optional<LendingPlan> lending;
  std::unique_ptr<Router> decode_router;
  Tree
      resolved;  // the scenario with model and hardware spelled out: its text is the run's identity
  std::string base_dir;
  bool is_unmeasured = false;  // the hardware is this machine, and nobody measured it
};

// Measures `device` ("cpu" or "vulkan") of this machine for a model, or reads what was kept of it.
using ThisMachine = std::function<DeviceSpec(const std::string& device, const ModelWork&)>;

// All instances of a run, pool by pool.
std::vector<const BuiltRun*> parts_of(const BuiltRun&);
// Of a part: those of its pool, and the spare ones.
[[nodiscard]] inline int places_of(const BuiltRun& part) {
  return part.scenario.deployment.replicas + part.spare;
}
[[nodiscard]] int instances_of(const BuiltRun&);

// Mistakes go to Diagnostics; the result is usable only when there are none. `with_trace` opens the
// trace. Without `machine` a scenario whose hardware is this machine can be checked, but not run.
BuiltRun build_run(const LoadedScenario&, bool with_trace, Diagnostics&,
                   const ThisMachine& machine = {});

// The parts alone, for `kvsim show` and other users. `path` names the key in messages.
ModelSpec build_model(const Tree& given, const std::string& base_dir, const std::string& path,
                      Diagnostics&);
struct Hardware {
  DeviceSpec device;
  LinkSpec gpu_link;
  NodeSpec node;
  bool bare = true;  // no node was named: the machine has the GPUs that are asked for
  std::map<std::string, StorageSpec> storage;  // drives of the node by id
};
Hardware build_hardware(const Tree& given, const std::string& base_dir, const std::string& path,
                        Diagnostics&);
// Opens a trace or a generator; `limit` 0 = all.
std::unique_ptr<TraceSource> build_trace(const WorkloadSpec&, const TraceSource::Context&,
                                         const std::string& base_dir, Diagnostics&);

}  // namespace kvsim
