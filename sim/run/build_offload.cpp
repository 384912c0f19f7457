#include "sim/run/build_offload.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <limits>

#include "hardware/topology.h"
#include "models/geometry.h"
#include "sim/run/build_tiers.h"

namespace kvsim {
namespace {

double d(std::int64_t v) { return static_cast<double>(v); }
std::string size(double bytes) { return fmt::format("{:.1f} GiB", bytes / 0x1p30); }

struct Memory {
  const char* name;
  double capacity = 0, weights = 0, hidden = 0, working = 0;  // bytes
  double kv_share = 0;
  [[nodiscard]] double room() const { return capacity - weights - hidden - working; }
};

class OffloadBuilder {
 public:
  OffloadBuilder(BuiltRun& run, const Tree& scenario, Diagnostics& d)
      : run_(run), scenario_(scenario), d_(d), offload_(*run.cost->offload()) {}

  void build() {
    if (!alone()) return;
    const std::array<Memory, 3> all = memories();
    const double block = block_bytes();
    EngineSpec& e = run_.scenario.engine;
    if (e.kv_blocks && !offload_.fills) {
      for (const Memory& m : all) check(m, block * d(*e.kv_blocks));
      return;
    }
    if (offload_.fills) return fill(all, block);
    double most = std::numeric_limits<double>::infinity();
    for (const Memory& m : all) {
      check(m, 0);
      if (m.kv_share > 0) most = std::min(most, m.room() / m.kv_share);
    }
    if (!d_.empty()) return;
    const auto blocks = static_cast<std::int64_t>(most / block);
    if (blocks < 2)
      error("engine",
            fmt::format("no room for the KV cache: {} are left where it goes", size(most)),
            "move weights to another memory, or use fewer bits");
    e.kv_blocks = blocks;
  }

 private:
  // GPU memory first, then host memory.
  void fill(const std::array<Memory, 3>& all, double block) {
    check(all[0], 0);
    if (!d_.empty()) return;
    const auto gpu = static_cast<std::int64_t>(all[0].room() / block);
    const auto host =
        static_cast<std::int64_t>(std::max(0.0, all[1].room()) / (block * run_.parallel.tensor));
    EngineSpec& e = run_.scenario.engine;
    if (e.kv_blocks && *e.kv_blocks > gpu + host)
      error("engine",
            fmt::format("{} KV blocks, but {} fit on the GPU and {} in host memory", *e.kv_blocks,
                        gpu, host),
            "lower kv_blocks");
    if (!e.kv_blocks) e.kv_blocks = gpu + host;
    run_.cost->sized(std::min(gpu, *e.kv_blocks) * e.block_tokens);
  }

  void error(const std::string& path, const std::string& message, const std::string& hint) {
    const Tree* t = scenario_.find(path);
    d_.add(t != nullptr ? t->place() : scenario_.place(), path, message, hint);
  }

  // What the memories hold is counted for one instance, and nothing else.
  bool alone() {
    const Scenario& s = run_.scenario;
    const std::size_t before = d_.all().size();
    const int sharing =
        (s.deployment.replicas + run_.node.nodes - 1) / std::max(1, run_.node.nodes);
    if (sharing > 1 && instances_per_node(run_) > 1)
      error("deployment",
            fmt::format("{} instances that offload would share a node's memory",
                        std::min(sharing, instances_per_node(run_))),
            "give each its node: hardware: {base: ..., devices: 1}");
    if (s.cache.tiers.size() > 1)
      error("cache", "tiers below the GPU and a cost model that offloads KV exclude each other",
            "keep {name: gpu} only, or use another cost model");
    if (s.cache.memory.name != "paged")
      error("cache",
            fmt::format("memory manager {} hands out GPU memory, but KV is offloaded",
                        s.cache.memory.name),
            "set cache.memory: paged");
    return d_.all().size() == before;
  }

  // Scales come on top of what is stored in fewer than 16 bits.
  [[nodiscard]] double weight_bytes() const {
    const double stored = to_double(rank_weight_bytes(run_.model, run_.parallel, run_.precision));
    if (!(offload_.weight_scale_bytes > 0)) return stored;
    Precision wide = run_.precision;
    wide.weights = run_.precision.activations;
    const double full = to_double(rank_weight_bytes(run_.model, run_.parallel, wide));
    const double saved = (bits(wide.weights) - bits(run_.precision.weights)) / 8.0;  // per number
    return stored + (full - stored) / saved * offload_.weight_scale_bytes;
  }
  [[nodiscard]] double block_bytes() const {
    const double stored = to_double(kv_block_bytes(run_.model, run_.parallel, run_.precision.kv,
                                                   run_.scenario.engine.block_tokens));
    return stored * (1 + offload_.kv_scale_bytes * 8 / bits(run_.precision.kv));
  }

  [[nodiscard]] std::array<Memory, 3> memories() const {
    const EngineSpec& e = run_.scenario.engine;
    Topology graph = build_topology(run_.node, 1, run_.storage);
    const auto capacity = [&](VertexKind kind) {
      double sum = 0;
      for (const VertexId v : graph.of_kind(kind)) sum += to_double(graph.vertex(v).capacity);
      return sum;
    };
    const Offload& o = offload_;
    const double weights = weight_bytes();
    const double hidden =
        d(*e.max_batched_tokens) * d(run_.model.hidden) * bits(run_.precision.activations) / 8.0;
    const double passing = 2 * weights / d(run_.model.layers) * (1 - o.weights.gpu) +
                           hidden / o.micro_batches * (1 - o.activations.gpu) +
                           to_double(e.activation_memory.value_or(Bytes{0}));
    return {Memory{"GPU memory", to_double(run_.device.memory) * e.gpu_memory_utilization.value,
                   weights * o.weights.gpu, hidden * o.activations.gpu, passing, o.kv.gpu},
            Memory{"host memory", capacity(VertexKind::dram), weights * o.weights.cpu,
                   hidden * o.activations.cpu, 0, o.kv.cpu},
            Memory{"drives", capacity(VertexKind::ssd), weights * o.weights.ssd(),
                   hidden * o.activations.ssd(), 0, o.kv.ssd()}};
  }

  void check(const Memory& m, double kv) {
    const double over = kv * m.kv_share - m.room();
    if (!(over > 0)) return;
    error(
        "cost",
        fmt::format("{}: weights {}, KV {}, hidden states {} and {} that pass through are {} more "
                    "than {}",
                    m.name, size(m.weights), size(kv * m.kv_share), size(m.hidden), size(m.working),
                    size(over), size(m.capacity)),
        m.capacity > 0
            ? "keep a smaller share there, lower engine.max_batched_tokens or kv_blocks, "
              "or use fewer bits"
            : "name a node that has some (kvsim list node), or keep nothing there");
  }

  BuiltRun& run_;
  const Tree& scenario_;
  Diagnostics& d_;
  const Offload& offload_;
};

}  // namespace

void build_offload(BuiltRun& run, const Tree& scenario, Diagnostics& d) {
  OffloadBuilder(run, scenario, d).build();
}

}  // namespace kvsim
