#include "sim/run/build_tiers.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "hardware/topology.h"
#include "models/geometry.h"
#include "sim/engine/cost_estimator.h"
#include "sim/run/token_forms.h"

namespace kvsim {
namespace {

constexpr std::int64_t kMostChunks = std::int64_t{1} << 24;  // policies keep columns for them

std::optional<TierKind> kind_by_name(const std::string& name) {
  for (const auto& [kind, text] : enum_names(TierKind{}))
    if (name == text) return kind;
  return std::nullopt;
}

VertexKind vertex_kind(TierKind kind) {
  switch (kind) {
    case TierKind::cpu:
      return VertexKind::dram;
    case TierKind::ssd:
      return VertexKind::ssd;
    case TierKind::remote:
      return VertexKind::remote;
  }
  return VertexKind::dram;
}

// Uses of the same link are one.
void add_uses(TransferPath& path, const Route& route, Bytes chunk, double share) {
  for (const FlowNetwork::Use& u : route.uses(chunk)) {
    const auto at = std::find_if(path.uses.begin(), path.uses.end(),
                                 [&](const FlowNetwork::Use& v) { return v.link == u.link; });
    if (at == path.uses.end()) {
      path.uses.push_back({u.link, u.weight * share, share});
    } else {
      at->weight += u.weight * share;
      at->share += share;
    }
  }
  path.latency = std::max(path.latency, route.latency);
  const double cap = route.rate_cap(chunk);
  if (cap > 0) path.rate_cap += cap;
}

class TierBuilder {
 public:
  TierBuilder(const BuiltRun& run, const Tree& scenario, Diagnostics& d)
      : run_(run), scenario_(scenario), d_(d), cache_(run.scenario.cache) {}

  void avoid(std::span<const std::uint32_t> links) {
    for (const std::uint32_t l : links) avoided_.push_back(LinkId{l});
  }

  std::optional<TierSystem> build() {
    const bool first_is_gpu = !cache_.tiers.empty() && cache_.tiers.front().name == "gpu";
    if (!cache_.tiers.empty() && !first_is_gpu)
      error(0, "name", "the first tier must be the GPU", "begin the list with {name: gpu}");
    const bool below = cache_.tiers.size() >= 2 && first_is_gpu;
    if (!below && run_.engine.host_blocks == 0) return std::nullopt;
    if (cache_.tiers.size() > kMaxTiers + 1) {
      error(kMaxTiers + 1, "", fmt::format("more than {} tiers below the GPU", kMaxTiers));
      return std::nullopt;
    }
    if (below && !run_.engine.prefix_caching)
      error(1, "", "without a prefix index nothing can be found in a tier",
            "set cache.prefix.index: hash");
    place_instances();
    const std::size_t before = d_.all().size();
    settings();
    for (std::size_t k = 1; below && k < cache_.tiers.size(); ++k) add_tier(k);
    if (run_.engine.host_blocks > 0 && d_.all().size() == before) add_hosts();
    if (d_.all().size() != before) return std::nullopt;
    for (const Link& l : graph_.links()) out_.links.push_back({l.name, l.capacity});
    return std::move(out_);
  }

 private:
  // Of a tier's key, or of as much as is written.
  [[nodiscard]] Place place(std::size_t tier, const std::string& key) const {
    const Tree* t = scenario_.find("cache");
    if (t != nullptr) t = t->find("tiers");
    if (t == nullptr || !t->is_list() || tier >= t->items().size())
      return t == nullptr ? Place{} : t->place();
    const Tree& item = t->items()[tier];
    const Tree* at = key.empty() ? nullptr : item.find(key);
    return at == nullptr ? item.place() : at->place();
  }
  // Of "engine.preemption.space", or of as much of it as is written.
  [[nodiscard]] Place place(std::string_view path) const {
    const Tree* t = &scenario_;
    Place place = t->place();
    while (!path.empty()) {
      const std::size_t dot = path.find('.');
      t = t->find(path.substr(0, dot));
      if (t == nullptr) break;
      if (t->place().file) place = t->place();
      path.remove_prefix(dot == std::string_view::npos ? path.size() : dot + 1);
    }
    return place;
  }
  void error(std::size_t tier, const std::string& key, const std::string& message,
             const std::string& hint = {}) {
    d_.add(place(tier, key), fmt::format("cache.tiers.{}{}{}", tier, key.empty() ? "" : ".", key),
           message, hint);
  }

  void place_instances() {
    per_node_ = instances_per_node(run_);
    const int replicas = run_.scenario.deployment.replicas;
    nodes_ = std::max(run_.node.nodes, (replicas + per_node_ - 1) / per_node_);
    graph_ = build_topology(run_.node, nodes_, run_.storage);
    if (!avoided_.empty()) {
      cut_ = graph_;
      cut_->cut(avoided_);
    }
    nodes_used_ = (replicas + per_node_ - 1) / per_node_;
    out_.block_tokens = run_.engine.block_tokens;
    out_.ranks.resize(static_cast<std::size_t>(replicas * run_.parallel.data));
  }
  [[nodiscard]] int node_of(int instance) const { return instance / per_node_; }

  void settings() {
    const OffloadSpec& s = cache_.offload;
    OffloadConfig& o = out_.offload;
    const std::int64_t block = run_.engine.block_tokens;
    const std::int64_t chunk = s.chunk_tokens == 0 ? block : s.chunk_tokens;
    if (chunk % block != 0)
      d_.add(scenario_.place(), "cache.offload.chunk_tokens",
             fmt::format("{} is not a multiple of the block of {} tokens", chunk, block));
    o.chunk_blocks = std::max<std::int64_t>(1, chunk / block);
    o.load = s.load;
    o.load_layers = run_.model.layers;
    o.min_load_tokens = s.min_load_tokens;
    restore(s, o);
    o.whole_prompts = s.whole_prompts;
    o.outputs = s.outputs;
  }

  void restore(const OffloadSpec& s, OffloadConfig& o) {
    if (s.restore.name == "always") return;
    o.restore = [name = s.restore.name, params = s.restore.params] {
      return Registry::instance().make<RestorePlanner>(name, params, {});
    };
    const ModelSpec& m = run_.model;
    for (const std::int64_t n : stage_kv_layers(m, 1)) o.layers = std::max<std::int64_t>(1, n);
    o.kv_token_bytes = kv_token_bytes(m, run_.precision.kv).count();
    // The input of each layer that has a cache, in the precision of the activations.
    o.hidden_token_bytes = m.hidden * o.layers * bits(run_.precision.activations) / 8;
    // K and V projections against all products of a token (active weights).
    const double project = 2.0 * static_cast<double>(m.hidden) *
                           static_cast<double>(kv_elements(m)) * static_cast<double>(o.layers);
    o.project_share = std::min(1.0, project / (2.0 * static_cast<double>(active_parameters(m))));
  }

  void add_tier(std::size_t number) {
    const TierSpec& spec = cache_.tiers[number];
    TierConfig t;
    t.name = spec.name;
    const auto kind = spec.kind ? spec.kind : kind_by_name(spec.name);
    if (!kind) {
      error(number, "name",
            fmt::format("what kind of memory '{}' is, its name does not say", spec.name),
            "add kind: cpu, ssd or remote");
      return;
    }
    for (std::size_t i = 0; i < number; ++i)
      if (cache_.tiers[i].name == spec.name)
        error(number, "name", fmt::format("there are two tiers '{}'", spec.name));
    t.kind = *kind;
    const bool below_cpu = number > 1 && out_.offload.tiers.front().kind == TierKind::cpu;
    t.staged = spec.staged.value_or(below_cpu && t.kind != TierKind::cpu);
    if (t.staged && number == 1)
      error(number, "staged", "the first tier below the GPU is reached directly");
    t.lookup = spec.lookup.value_or(Duration{0});
    t.write = spec.write;
    t.write_after = spec.write_after;
    t.contiguous = spec.contiguous;
    t.pin_tokens = spec.pin_tokens;
    t.track_queue = spec.eviction.name == "look-ahead";
    const PrefetchSpec& p = spec.prefetch;
    t.prefetch = {p.policy,        p.policy == PrefetchRule::look_ahead ? p.look_ahead : 0,
                  p.min_tokens,    p.share.value,
                  p.wait,          p.wait_base,
                  p.wait_per_1024, p.wait_most};
    out_.offload.look_ahead = std::max(out_.offload.look_ahead, t.prefetch.look_ahead);
    if (p.policy != PrefetchRule::on_admission && !t.staged)
      error(number, "prefetch", "only a tier behind the first one is prefetched from",
            "put a cpu tier before it");
    const ObjectTable none;
    EvictionPolicy::Context context;
    context.objects = &none;
    if (Registry::instance()
            .make<EvictionPolicy>(spec.eviction.name, spec.eviction.params, context)
            ->needs_future())
      error(number, "eviction",
            fmt::format("{} needs to know the future, which a simulation does not",
                        spec.eviction.name),
            "kvsim cache replays a trace with it");
    placement(number, t);
    if (!chunk_bytes(number, t)) return;
    if (number == 1 && !fix_layers(t)) return;
    if (out_.offload.stored.fixed() && !chunk_bytes(number, t)) return;
    out_.offload.tiers.push_back(t);
    add_stores(number, t);
  }

  void placement(std::size_t number, TierConfig& t) {
    const TierSpec& spec = cache_.tiers[number];
    t.pooled = spec.placement == Placement::local;
    t.replicate_after = spec.replicate.after;
    t.most_copies = spec.replicate.copies;
    if (!t.pooled) {
      if (spec.replicate.after > 0 || spec.replicate.copies > 0)
        error(number, "replicate", "only a pool whose chunks lie with a node has copies of them",
              "add placement: local");
      return;
    }
    if (t.kind != TierKind::remote || scope(number) != TierScope::cluster) {
      error(number, "placement", "only a pool of all nodes' memory can be placed",
            "make it kind: remote, scope: cluster");
    } else if (!graph_.of_kind(VertexKind::remote).empty()) {
      error(number, "placement",
            fmt::format("{} has a remote pool of its own, which is one place", run_.node.name));
    }
  }

  // A restore policy that does not store KV says once what is stored of each layer: what serves a
  // load from the first tier best.
  bool fix_layers(const TierConfig& t) {
    OffloadConfig& o = out_.offload;
    if (!o.restore) return true;
    const auto planner = o.restore();
    if (planner->stored_for() == 0) return true;
    TierWay way;
    if (!find_ways(1, t, 0, 0, way)) return false;
    RestoreQuestion q;
    q.stored_tokens = planner->stored_for();
    q.tail_tokens = 1;
    q.grain = o.chunk_blocks * out_.block_tokens;
    q.layers = o.layers;
    q.kv_bytes = Bytes{o.kv_token_bytes};
    q.hidden_bytes = Bytes{o.hidden_token_bytes};
    double rate = way.in.rate_cap > 0 ? way.in.rate_cap : 1e15;
    for (const FlowNetwork::Use& u : way.in.uses)
      rate = std::min(rate, graph_.links()[u.link.index].capacity / u.weight);
    q.bandwidth = Bandwidth{rate};
    q.latency = way.in.latency;
    const CostEstimator steps(*run_.cost, o.project_share);
    q.steps = &steps;
    const RestorePlan plan = planner->plan(q);
    o.stored = {plan.recompute_layers, plan.hidden_layers};
    stored_bytes_ = (plan.bytes.count() + q.stored_tokens - 1) / q.stored_tokens;
    if (stored_bytes_ == 0)
      error(1, "",
            fmt::format("nothing would be stored: computing {} tokens again is faster than "
                        "loading any layer of them",
                        q.stored_tokens),
            "use a faster tier, or cache.offload.restore: break-even");
    return stored_bytes_ > 0;
  }

  // Of a token on the GPU in the form in which others may use it, all ranks together.
  [[nodiscard]] std::int64_t gpu_token_bytes() const {
    const std::int64_t plain = kv_token_bytes(run_.model, run_.precision.kv).count();
    return run_.forms ? static_cast<std::int64_t>(
                            std::ceil(static_cast<double>(plain) * run_.forms->block_share()))
                      : plain;
  }

  // Bits of a number in the tier's own precision. Narrow integers come in groups of 64 numbers that
  // share a scale and a zero of 16 bits each (FlexGen, arXiv:2303.06865).
  bool read_dtype(std::size_t number, double& stored_bits) {
    constexpr double kShared = 32.0 / 64;
    const std::string& name = cache_.tiers[number].dtype;
    for (const auto& [narrow, width] : {std::pair{"int2", 2}, {"int3", 3}, {"int4", 4}})
      if (name == narrow) return stored_bits = width + kShared, true;
    Dtype dtype{};
    Reader r(d_);
    const Reader::Scope scope(r, fmt::format("cache.tiers.{}.dtype", number));
    if (!Codec<Dtype>::read(Tree::scalar(name, place(number, "dtype")), dtype, r)) return false;
    stored_bits = bits(dtype);
    return true;
  }

  bool chunk_bytes(std::size_t number, TierConfig& t) {
    const TierSpec& spec = cache_.tiers[number];
    double stored_bits = 0;
    if (!spec.dtype.empty() && !read_dtype(number, stored_bits)) return false;
    if (!spec.dtype.empty() && out_.offload.stored.fixed()) {
      error(number, "dtype", "hidden states are stored in the precision of the activations");
      return false;
    }
    // Stored once, however many GPUs hold a copy.
    const Bytes token = stored_bytes_ > 0 ? Bytes{stored_bytes_}
                        : stored_bits > 0 ? kv_token_bytes(run_.model, stored_bits)
                                          : Bytes{gpu_token_bytes()};
    t.chunk_bytes = token.count() * out_.offload.chunk_blocks * out_.block_tokens;
    const std::int64_t ranks = scope(number) == TierScope::instance ? run_.parallel.data : 1;
    const std::int64_t chunks =
        spec.capacity.count() / std::max<std::int64_t>(1, t.chunk_bytes) / ranks;
    if (chunks < 1 || chunks > kMostChunks) {
      error(number, "capacity",
            fmt::format("{} holds {} chunks of {} bytes", Codec<Bytes>::write(spec.capacity).text(),
                        chunks, t.chunk_bytes),
            chunks < 1 ? "give a larger capacity" : "give a smaller capacity or larger chunks");
      return false;
    }
    capacity_ = chunks;
    return true;
  }

  TierScope scope(std::size_t number) const {
    const TierSpec& spec = cache_.tiers[number];
    const auto kind = spec.kind ? spec.kind : kind_by_name(spec.name);
    return spec.scope.value_or(kind == TierKind::remote ? TierScope::cluster : TierScope::instance);
  }

  void add_stores(std::size_t number, const TierConfig& t) {
    const auto level = static_cast<std::uint32_t>(number - 1);
    const int replicas = run_.scenario.deployment.replicas, data = run_.parallel.data;
    const std::size_t first = out_.stores.size();
    for (int i = 0; i < replicas; ++i) {
      for (int r = 0; r < data; ++r) {
        const std::size_t rank = static_cast<std::size_t>(i * data + r);
        bool fresh = true;
        std::size_t store = out_.stores.size();
        if (scope(number) == TierScope::cluster && !t.pooled && rank > 0)
          store = first, fresh = false;
        const bool of_node = scope(number) == TierScope::node || t.pooled;
        if (of_node && (i % per_node_ != 0 || r > 0)) store = out_.stores.size() - 1, fresh = false;
        if (fresh) out_.stores.push_back(make_store(number, level, node_of(i)));
        TierWay way;
        way.store = static_cast<std::uint32_t>(store);
        if (!find_ways(number, t, i, r, way)) return;
        out_.ranks[rank].push_back(std::move(way));
      }
    }
    check_room(number, t, first);
  }

  TierSystem::Store make_store(std::size_t number, std::uint32_t level, int node) {
    const TierSpec& spec = cache_.tiers[number];
    TierSystem::Store s;
    s.tier = level;
    s.node = node;
    s.options.capacity = capacity_;
    s.options.make_policy = [name = spec.eviction.name,
                             params = spec.eviction.params](const EvictionPolicy::Context& c) {
      return Registry::instance().make<EvictionPolicy>(name, params, c);
    };
    s.options.watermark = spec.watermark.value;
    s.options.tenant_quota = spec.tenant_quota.value;
    s.options.ttl = spec.ttl;
    s.options.lease = spec.lease;
    s.options.lag = spec.directory_lag;
    s.options.seed = hash_combine(run_.scenario.seed, out_.stores.size());
    return s;
  }

  // GPUs of one data-parallel rank of an instance.
  std::vector<VertexId> gpus_of(int instance, int rank) {
    const int each = run_.parallel.gpus() / run_.parallel.data;
    const int first = (instance % per_node_) * run_.parallel.gpus() + rank * each;
    const std::vector<VertexId> all = graph_.of_kind(VertexKind::gpu, node_of(instance));
    std::vector<VertexId> out;
    for (int g = first; g < first + each && static_cast<std::size_t>(g) < all.size(); ++g)
      out.push_back(all[static_cast<std::size_t>(g)]);
    return out;
  }

  // The memories or drives that a tier of this kind uses, seen from `near`.
  std::vector<VertexId> homes(TierKind kind, VertexId near, int node) {
    if (kind == TierKind::cpu) {
      const auto dram = graph_.nearest(near, VertexKind::dram);
      return dram ? std::vector{*dram} : std::vector<VertexId>{};
    }
    std::vector<VertexId> all =
        graph_.of_kind(vertex_kind(kind), kind == TierKind::remote ? -1 : node);
    // Without a pool of its own, remote memory is that of all nodes, spread evenly.
    if (kind == TierKind::remote && all.empty()) all = graph_.of_kind(VertexKind::dram);
    std::erase_if(
        all, [&](VertexId v) { return !graph_.reachable(near, v) || !graph_.reachable(v, near); });
    return all;
  }

  bool find_ways(std::size_t number, const TierConfig& t, int instance, int rank, TierWay& way) {
    const std::vector<VertexId> gpus = gpus_of(instance, rank);
    const int node = node_of(instance);
    const std::vector<VertexId> home =
        t.pooled ? graph_.of_kind(VertexKind::dram, node) : homes(t.kind, gpus.front(), node);
    if (home.empty()) {
      error(number, "",
            fmt::format("{} has no {} that its GPUs reach", run_.node.name, name_of(t.kind)),
            t.kind == TierKind::ssd
                ? "add storage to the node (kvsim list storage), as in hardware: "
                  "{base: dgx-h100, storage: [{device: pm9a3, count: 2}]}"
            : t.kind == TierKind::cpu
                ? "use a node of the catalogue (kvsim list node), or give it host_memory"
                : "use several nodes, or give the node a remote pool");
      return false;
    }
    std::vector<VertexId> ends = gpus;
    double share = share_of_gpu();
    if (t.staged) {
      ends = homes(TierKind::cpu, gpus.front(), node);
      share = 1;
    }
    const auto join = [&](const std::vector<VertexId>& from, const std::vector<VertexId>& to,
                          TransferPath& path) {
      const double part = share / static_cast<double>(home.size());
      for (const VertexId a : from)
        for (const VertexId b : to) pass(path, a, b, Bytes{t.chunk_bytes}, part);
      path.convert = conversion(number, t, share, ends.front());
    };
    join(home, ends, way.in);
    join(ends, home, way.out);
    for (int n = 0; t.pooled && n < nodes_used_; ++n)
      join(graph_.of_kind(VertexKind::dram, n), ends, way.pool.emplace_back());
    return true;
  }

  // Of each byte of KV: what passes over a GPU's link (all of it where ranks hold copies).
  [[nodiscard]] double share_of_gpu() const {
    const Bytes one{kv_token_bytes(run_.model, run_.precision.kv)};
    const Bytes shard{kv_token_bytes(run_.model, run_.precision.kv, run_.parallel.tensor)};
    return static_cast<double>(shard.count()) / static_cast<double>(one.count()) /
           run_.parallel.pipeline;
  }

  void connect(const std::vector<VertexId>& home, const std::vector<VertexId>& ends, double share,
               Bytes chunk, TransferPath& in, TransferPath& out) {
    const double part = share / static_cast<double>(home.size());
    for (const VertexId h : home) {
      for (const VertexId e : ends) {
        pass(in, h, e, chunk, part);
        pass(out, e, h, chunk, part);
      }
    }
  }

  // The way of each rank to the memory of its node, for KV that leaves the GPU outside the tiers.
  void add_hosts() {
    const bool layers = run_.engine.memory.layers > 0, swap = run_.engine.swap;
    const std::string path = layers ? "cache.memory" : swap ? "engine.preemption" : "engine.tools";
    // Layers, and K and V, lie apart: a copy is of blocks of one of them.
    const Bytes piece = kv_layer_bytes(run_.model, bits(run_.precision.kv), run_.parallel.tensor) *
                        run_.engine.block_tokens * run_.scenario.engine.preemption.copy_blocks /
                        (run_.model.mla ? 1 : 2);
    for (int i = 0; i < run_.scenario.deployment.replicas; ++i) {
      for (int r = 0; r < run_.parallel.data; ++r) {
        const std::vector<VertexId> gpus = gpus_of(i, r);
        const std::vector<VertexId> home = homes(TierKind::cpu, gpus.front(), node_of(i));
        TierSystem::HostWay& way = out_.hosts.emplace_back();
        connect(home, gpus, share_of_gpu(), piece, way.in, way.out);
        if (home.empty() || way.in.uses.empty() || way.out.uses.empty())
          return d_.add(
              place(path), path,
              fmt::format("{} has no host memory that its GPUs reach over a link", run_.node.name),
              "use a node of the catalogue (kvsim list node), or give it host_memory and "
              "a host_link");
      }
    }
    check_host_room(layers ? "cache.memory.space" : "engine.preemption.space");
  }

  void check_host_room(const std::string& path) {
    double there = 0;
    for (const VertexId v : graph_.of_kind(VertexKind::dram, 0))
      there += to_double(graph_.vertex(v).capacity);
    const Bytes space = run_.engine.memory.layers == 0 ? run_.scenario.engine.preemption.space
                                                       : run_.engine.memory.host_bytes;
    const int gpus = std::min(per_node_, run_.scenario.deployment.replicas) * run_.parallel.gpus();
    const double taken = to_double(space * gpus) + host_tiers_;
    if (there > 0 && taken > there)
      d_.add(place(path), path,
             fmt::format("with the cpu tiers, {} GPUs of a node take {:.0f} GiB of host memory, "
                         "there are {:.0f} GiB",
                         gpus, taken / 0x1p30, there / 0x1p30),
             "lower it, or use a larger machine");
  }

  // A copy within one memory reads it and writes it.
  void pass(TransferPath& path, VertexId from, VertexId to, Bytes chunk, double part) {
    const auto socket =
        from == to ? graph_.nearest(from, VertexKind::socket) : std::optional<VertexId>{};
    if (!socket) return add_uses(path, route(from, to), chunk, part);
    add_uses(path, route(from, *socket), chunk, part);
    add_uses(path, route(*socket, to), chunk, part);
  }

  // Around what is cut, where something leads there.
  const Route& route(VertexId from, VertexId to) {
    return cut_ && cut_->reachable(from, to) ? cut_->route(from, to) : graph_.route(from, to);
  }

  // Nanoseconds per byte stored: it is read in one precision and written in the other, by all GPUs
  // of a rank at once, or by the host of a staged tier.
  double conversion(std::size_t number, const TierConfig& t, double share, VertexId end) {
    const TierSpec& spec = cache_.tiers[number];
    const std::int64_t above =
        t.staged ? out_.offload.tiers.front().chunk_bytes
                 : gpu_token_bytes() * out_.offload.chunk_blocks * out_.block_tokens;
    const bool converts = above != t.chunk_bytes && stored_bytes_ == 0;
    if (!converts && spec.convert.value > 0 && !told_)
      error(number, "convert", "nothing is converted: the tier above has the same precision",
            "give the tier a dtype of its own");
    told_ = told_ || (!converts && spec.convert.value > 0);
    if (!converts) return 0;
    double rate = spec.convert.value;
    if (rate <= 0) rate = t.staged ? memory_rate(end) : gpu_rate();
    const auto stored = static_cast<double>(t.chunk_bytes);
    return share * (stored + static_cast<double>(above)) / stored / rate * 1e9;
  }

  [[nodiscard]] double gpu_rate() const {
    return run_.device.bandwidth.value * run_.device.efficiency.memory;
  }
  double memory_rate(VertexId dram) {
    const auto socket = graph_.nearest(dram, VertexKind::socket);
    return socket ? graph_.bottleneck(graph_.route(dram, *socket)) : gpu_rate();
  }

  // What the stores of one node take must be there; drives wear by what all of them write.
  void check_room(std::size_t number, const TierConfig& t, std::size_t first) {
    const bool cluster = scope(number) == TierScope::cluster && !t.pooled;
    for (int node = 0; node < (cluster ? 1 : nodes_); ++node) {
      double taken = 0, there = 0, endurance = 0;
      std::vector<std::size_t> here;
      for (std::size_t s = first; s < out_.stores.size(); ++s)
        if (cluster || out_.stores[s].node == node) here.push_back(s);
      for (const std::size_t s : here)
        taken += static_cast<double>(out_.stores[s].options.capacity * t.chunk_bytes);
      std::vector<VertexId> parts = graph_.of_kind(vertex_kind(t.kind), cluster ? -1 : node);
      if (t.kind == TierKind::remote && parts.empty())
        parts = graph_.of_kind(VertexKind::dram, cluster ? -1 : node);
      for (const VertexId v : parts) {
        const Vertex& vertex = graph_.vertex(v);
        there += static_cast<double>(vertex.capacity.count());
        const auto drive = run_.storage.find(vertex.storage);
        if (drive != run_.storage.end())
          endurance += static_cast<double>(drive->second.endurance.count()) /
                       drive->second.write_amplification;
      }
      if (there > 0 && taken > there)
        error(number, "capacity",
              fmt::format("the stores of {} take {:.0f} GiB, there are {:.0f} GiB",
                          cluster ? "the cluster" : "one node", taken / 0x1p30, there / 0x1p30),
              "lower it, or use a larger machine");
      for (const std::size_t s : here) {
        out_.stores[s].endurance_bytes = endurance;
        out_.stores[s].drives = static_cast<std::uint32_t>(node);
      }
      if (taken > 0 && there > 0 && taken > there) return;  // once is enough
      if (t.kind == TierKind::cpu && node == 0) host_tiers_ += taken;
    }
  }

  const BuiltRun& run_;
  const Tree& scenario_;
  Diagnostics& d_;
  const CacheSpec& cache_;
  TierSystem out_;
  Topology graph_;
  std::vector<LinkId> avoided_;
  std::optional<Topology> cut_;                    // without them
  int per_node_ = 1, nodes_ = 1, nodes_used_ = 1;  // used: by instances
  std::int64_t capacity_ = 0;
  std::int64_t stored_bytes_ = 0;  // of a token, where tiers do not hold KV
  bool told_ = false;              // that a rate of conversion is of no use
  double host_tiers_ = 0;          // bytes of the first node's memory that cpu tiers take
};

}  // namespace

int instances_per_node(const BuiltRun& run) {
  return std::max(1, run.node.devices / run.parallel.gpus());
}

std::optional<TierSystem> build_tiers(const BuiltRun& run, const Tree& scenario, Diagnostics& d) {
  return TierBuilder(run, scenario, d).build();
}

std::vector<std::vector<TierWay>> detours(const BuiltRun& run, const Tree& scenario,
                                          std::span<const std::uint32_t> links) {
  Diagnostics told_before;
  TierBuilder builder(run, scenario, told_before);
  builder.avoid(links);
  std::optional<TierSystem> system = builder.build();
  return system ? std::move(system->ranks) : std::vector<std::vector<TierWay>>{};
}

}  // namespace kvsim
