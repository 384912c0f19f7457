#include "sim/run/build_hybrid.h"

#include <fmt/format.h>

#include <algorithm>

#include "models/geometry.h"
#include "models/recurrent.h"
#include "sim/base/hash.h"
#include "sim/run/build_tokens.h"
#include "sim/run/place_of.h"

namespace kvsim {
namespace {

// A scan writes its state back this often where there is no KV to compare with (Mamba-2's chunk).
constexpr std::int64_t kScanTokens = 256;

constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
std::int64_t blocks_of(Bytes what, Bytes block) { return (what + block - Bytes{1}) / block; }

class HybridBuilder {
 public:
  HybridBuilder(BuiltRun& run, const Tree& scenario, Diagnostics& d)
      : run_(run),
        scenario_(scenario),
        d_(d),
        spec_(run.scenario.cache.hybrid),
        engine_(run.engine),
        block_(run.engine.block_tokens) {}

  void build() {
    const KeptBytes whole = kept(Parallel{}, 0);
    const bool states = whole.states > Bytes{0}, windows = whole.windowed > Bytes{0};
    const bool chosen = spec_.allocation != LayerAllocation::automatic;
    // Beside token policies the room of states is left out.
    if (!chosen)
      spec_.allocation =
          states && (!has_token_policies(run_.scenario) || spec_.snapshots.room.value > 0)
              ? LayerAllocation::grouped
              : LayerAllocation::uniform;
    if (!states && !windows) {
      if (spec_.snapshots.room.value > 0)
        error("snapshots.room", "every layer of the model keeps every token: nothing to save",
              "remove it");
      return;
    }
    if (spec_.allocation == LayerAllocation::uniform) {
      if (states && chosen && !has_token_policies(run_.scenario))
        error("allocation", "states take room, which uniform allocation has none of",
              "set grouped, or leave it out");
      if (spec_.snapshots.room.value > 0)
        error("snapshots.room", "with uniform allocation every token is kept: nothing to save",
              "set cache.hybrid.allocation: grouped, or remove it");
      return;
    }
    if (!check(whole)) return;
    fill();
    if (spec_.snapshots.room.value > 0) fill_snapshots(whole);
  }

 private:
  void error(const std::string& key, const std::string& message, const std::string& hint) {
    error_at("cache.hybrid." + key, message, hint);
  }
  void error_at(const std::string& path, const std::string& message, const std::string& hint) {
    d_.add(place_of(scenario_, path), path, message, hint);
  }
  [[nodiscard]] KeptBytes kept(const Parallel& split, int stage) const {
    return kept_bytes(run_.model, split, run_.precision.kv, block_, stage);
  }
  [[nodiscard]] static Bytes unit_of(const KeptBytes& k) {
    return k.full > Bytes{0} ? k.full : k.windowed > Bytes{0} ? k.windowed : k.states;
  }

  bool check(const KeptBytes& whole) {
    const std::size_t before = d_.all().size();
    const CacheSpec& cache = run_.scenario.cache;
    if (cache.memory.name != "paged")
      error_at("cache.memory", "layers that keep different things need paged memory",
               "set paged, or cache.hybrid.allocation: uniform");
    if (has_token_policies(run_.scenario))
      error_at(
          "cache.token_policies",
          "token policies act on layers that keep every token, and only on these",
          "remove them, or choose a model without states and cache.hybrid.allocation: uniform");
    if (cache.prefix.index == PrefixIndex::chunk_tree)
      error_at("cache.prefix.index", "a chunk tree shares more than the blocks of snapshots",
               "set hash or radix");
    if (run_.cost != nullptr && run_.cost->offload() != nullptr)
      error_at("cost.model", "KV that lies outside the GPU is of one kind",
               "choose another cost model, or cache.hybrid.allocation: uniform");
    const bool below = std::any_of(cache.tiers.begin(), cache.tiers.end(),
                                   [](const TierSpec& t) { return t.name != "gpu"; });
    if (below && (whole.states > Bytes{0} || whole.full == Bytes{0} || run_.model.encoder))
      error_at("cache.tiers", "tiers below the GPU keep blocks of tokens, no states",
               "remove them; preemption.mode: swap carries states to host memory");
    for (int s = 0; s < run_.parallel.pipeline; ++s)
      if (whole.full > Bytes{0} && kept(run_.parallel, s).full == Bytes{0})
        error_at("deployment.parallel.pipeline",
                 fmt::format("stage {} has no layer that keeps every token", s),
                 "give fewer stages");
    return d_.all().size() == before;
  }

  void fill() {
    HybridMemory& h = engine_.hybrid;
    h.on = true;
    run_.hybrid.emplace();
    for (int s = 0; s < run_.parallel.pipeline; ++s) {
      const KeptBytes k = kept(run_.parallel, s);
      const Bytes unit = unit_of(k);
      h.full = k.full > Bytes{0} ? 1 : 0;
      h.window_units = std::max(h.window_units, blocks_of(k.windowed, unit));
      h.state_units = std::max(h.state_units, blocks_of(k.states, unit));
      // The last window - 1 tokens and the present one touch at most so many blocks.
      if (k.windowed > Bytes{0})
        h.window_blocks = std::max(h.window_blocks, ceil_div(k.window - 1, block_) + 1);
      run_.hybrid->rank = std::max(run_.hybrid->rank, unit);
    }
    run_.hybrid->all = unit_of(kept(Parallel{}, 0));
  }

  void fill_snapshots(const KeptBytes& whole) {
    const bool states = whole.states > Bytes{0};
    if (run_.scenario.cache.prefix.index == PrefixIndex::none)
      error("snapshots.room", "without a prefix index nothing is found again",
            "set cache.prefix.index: hash or radix, or remove it");
    if (states && !engine_.chunked_prefill)
      error_at("engine.scheduler.chunked_prefill",
               "states are saved where an iteration ends, so prompts must be cut there",
               "set it to true, or cache.hybrid.snapshots.room to 0");
    SnapshotSpec& s = spec_.snapshots;
    if (s.align == 0) s.align = states ? state_tokens() : block_;
    if (s.align % block_ != 0)
      error("snapshots.align",
            fmt::format("{} is no multiple of the block of {} tokens", s.align, block_),
            "change it or engine.block_tokens");
    if (s.every % s.align != 0)
      error("snapshots.every", fmt::format("{} is no multiple of align, {}", s.every, s.align),
            "give a multiple");
    SnapshotRules& r = engine_.snapshots;
    r.align = s.align;
    r.every = s.every;
    r.outputs = s.outputs;
    r.cuts = states;
    engine_.make_snapshot_policy = [e = s.eviction](const EvictionPolicy::Context& c) {
      return Registry::instance().make<EvictionPolicy>(e.name, e.params, c);
    };
    const ObjectTable none;
    EvictionPolicy::Context context;
    context.objects = &none;
    if (engine_.make_snapshot_policy(context)->needs_future())
      error(
          "snapshots.eviction",
          fmt::format("{} needs to know the future, which a simulation does not", s.eviction.name),
          "choose another");
    // Beside the live state, the one at the last position that a snapshot can be of.
    if (states && s.outputs) engine_.hybrid.state_units *= 2;
  }

  // Tokens with as much KV in one layer as that layer's state (vLLM's block of Mamba layers).
  [[nodiscard]] std::int64_t state_tokens() const {
    const Bytes token = kv_layer_bytes(run_.model, bits(run_.precision.kv), run_.parallel.tensor);
    const Bytes state = std::max(layer_state_bytes(run_.model, run_.parallel.tensor),
                                 layer_memory_bytes(run_.model, run_.parallel.tensor));
    const bool has_kv = kv_token_bytes(run_.model, run_.precision.kv) > Bytes{0};
    const std::int64_t tokens = has_kv ? blocks_of(state, token) : kScanTokens;
    return ceil_div(tokens, block_) * block_;
  }

  BuiltRun& run_;
  const Tree& scenario_;
  Diagnostics& d_;
  HybridSpec& spec_;
  EngineConfig& engine_;
  std::int64_t block_;
};

}  // namespace

void build_hybrid(BuiltRun& run, const Tree& scenario, Diagnostics& d) {
  HybridBuilder(run, scenario, d).build();
}

void reserve_snapshots(BuiltRun& run, const Tree& scenario, Diagnostics& d) {
  const SnapshotSpec& s = run.scenario.cache.hybrid.snapshots;
  EngineConfig& e = run.engine;
  if (!e.make_snapshot_policy) return;
  // In blocks of the pool: the states, and the window at its longest.
  const std::int64_t states = e.hybrid.state_units / (e.snapshots.cuts && s.outputs ? 2 : 1);
  const std::int64_t one =
      std::max<std::int64_t>(1, states + e.hybrid.window_units * e.hybrid.window_blocks);
  const auto room = static_cast<std::int64_t>(static_cast<double>(e.kv_blocks) * s.room.value);
  e.snapshots.slots = room / one;
  if (e.snapshots.slots < 1)
    d.add(scenario.place(), "cache.hybrid.snapshots.room",
          fmt::format("{} blocks hold not one snapshot of {}", room, one), "give more");
  e.kv_blocks -= e.snapshots.slots * one;
}

}  // namespace kvsim
