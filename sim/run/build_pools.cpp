#include "sim/run/build_pools.h"

#include <fmt/format.h>

#include <algorithm>

#include "models/geometry.h"
#include "sim/run/build_encoder.h"
#include "sim/run/build_faults.h"
#include "sim/run/build_fleet.h"
#include "sim/run/build_lending.h"
#include "sim/run/pool_tiers.h"
#include "sim/scenario/yaml.h"

namespace kvsim {
namespace {

bool has_encoders(const LoadedScenario& all) {
  const auto& pools = all.value.deployment.pools;
  return std::any_of(pools.begin(), pools.end(),
                     [](const PoolSpec& p) { return p.role == PoolRole::encode; });
}

// The scenario of one pool alone.
LoadedScenario scenario_of(const LoadedScenario& all, const PoolSpec& pool, Diagnostics& d) {
  Tree tree = all.tree;
  Tree deployment = tree.find("deployment") != nullptr ? *tree.find("deployment") : Tree::map();
  for (const char* key : {"pools", "handover", "roles", "lending", "autoscaling"})
    deployment.erase(key);
  tree.erase("faults");  // of all pools
  if (has_encoders(all)) tree.erase("encoder");
  deployment.set("replicas", Tree::scalar(std::to_string(pool.replicas)));
  const auto replace = [](Tree& in, const char* key, const Tree& value) {
    if (!value.is_null()) in.set(key, value);
  };
  replace(deployment, "hardware", pool.hardware);
  replace(deployment, "parallel", pool.parallel);
  replace(deployment, "interconnect", pool.interconnect);
  replace(deployment, "autoscaling", pool.autoscaling);
  tree.set("deployment", std::move(deployment));
  replace(tree, "cost", pool.cost);
  for (const auto& [key, over] : {std::pair{"engine", &pool.engine}, {"cache", &pool.cache}}) {
    const Tree* base = tree.find(key);
    if (over->is_null()) continue;
    // Another preset gives all defaults anew.
    const bool anew = base == nullptr || over->find("preset") != nullptr;
    tree.set(key, anew ? *over : Tree::merged(*base, *over));
  }
  return read_scenario(std::move(tree), all.base_dir, {}, d);
}

void add_error(const LoadedScenario& all, const std::string& path, const std::string& message,
               const std::string& hint, Diagnostics& d) {
  const Tree* t = all.tree.find("deployment");
  d.add(t == nullptr ? all.tree.place() : t->place(), path, message, hint);
}

// What the pools of one run must agree on.
void check_together(const LoadedScenario& all, const BuiltRun& run, Diagnostics& d) {
  int prefill = 0, decode = 0;
  for (const PoolSpec& p : all.value.deployment.pools) {
    prefill += p.role == PoolRole::prefill;
    decode += p.role == PoolRole::decode;
  }
  if ((prefill > 0) != (decode > 0))
    add_error(all, "deployment.pools", prefill > 0 ? "nobody decodes" : "nobody computes prompts",
              "give a pool of role prefill and one of role decode, or only mixed ones", d);
  const auto several = parts_of(run);
  for (const BuiltRun* part : several) {
    if (part->engine.block_tokens != run.engine.block_tokens)
      add_error(
          all, "deployment.pools",
          fmt::format("blocks of {} and {} tokens: instances behind one router share one size",
                      run.engine.block_tokens, part->engine.block_tokens),
          "set engine.block_tokens", d);
    if (part->precision.kv != run.precision.kv)
      add_error(all, "deployment.pools", "pools keep KV in different precisions",
                "set cache.dtype for all of them", d);
  }
  if (all.value.deployment.autoscaling)
    add_error(all, "deployment.autoscaling", "of several pools each scales by itself",
              "give it to the pools: {name: NAME, autoscaling: {...}}", d);
  for (const PoolSpec& p : all.value.deployment.pools) {
    if (p.autoscaling.is_null()) continue;
    if (p.role == PoolRole::encode)
      add_error(all, "deployment.pools", p.name + ": encoders do not start and stop",
                "remove its autoscaling", d);
    if (all.value.deployment.roles)
      add_error(all, "deployment.roles", "instances that change sides do not start and stop",
                "remove it, or the autoscaling of " + p.name, d);
    if (all.value.deployment.handover && all.value.deployment.handover->mode == HandoverMode::push)
      add_error(all, "deployment.handover.mode", "who has set room aside must not stop",
                "set mode: layers or pull, or remove the autoscaling of " + p.name, d);
  }
  if (all.value.deployment.lending)
    add_error(all, "deployment.lending", "instances of several pools lend no memory",
              "remove it, or deployment.pools", d);
  const auto& handover = all.value.deployment.handover;
  if (handover && handover->mode == HandoverMode::push && !all.value.faults.empty())
    add_error(all, "deployment.handover.mode", "who has set room aside must not fail",
              "set mode: layers or pull, or remove the faults", d);
}

// Instances that change between a prefill and a decode pool stand in both.
void add_roles(const LoadedScenario& all, BuiltRun& run, Diagnostics& d) {
  if (!all.value.deployment.roles) return;
  const RolesSpec& spec = *all.value.deployment.roles;
  const auto error = [&](const char* message, const char* hint) {
    add_error(all, "deployment.roles", message, hint, d);
  };
  if (run.pools.size() != 1 || run.role != PoolRole::prefill ||
      run.pools.front().role != PoolRole::decode)
    return error("needs a pool of role prefill and one of role decode", "and no others");
  BuiltRun& tokens = *run.pools.front().run;
  if (to_yaml(write_fields(run.scenario.deployment.parallel)) !=
          to_yaml(write_fields(tokens.scenario.deployment.parallel)) ||
      to_yaml(*run.resolved.find("deployment")->find("hardware")) !=
          to_yaml(*tokens.resolved.find("deployment")->find("hardware")))
    return error("instances of both pools must be alike to change places",
                 "give them one hardware and one parallel");
  if (run.tiers || tokens.tiers)
    return error("instances with tiers below the GPU, or that swap, keep their role",
                 "remove the tiers, or deployment.roles");
  if (!all.value.faults.empty())
    return error("instances that may fail keep their role", "remove the faults, or this");
  RoleRules rules;
  rules.prefill = static_cast<std::size_t>(run.scenario.deployment.replicas);
  rules.decode = static_cast<std::size_t>(tokens.scenario.deployment.replicas);
  rules.every = spec.every;
  rules.switching = spec.switching;
  rules.to_prefill = spec.to_prefill;
  rules.to_decode = spec.to_decode.value;
  rules.least = static_cast<std::size_t>(spec.least);
  run.spare = static_cast<int>(rules.decode);
  tokens.spare = static_cast<int>(rules.prefill);
  // In each stage its own instances come first, then the others'.
  const std::size_t all_of = rules.prefill + rules.decode;
  for (std::size_t i = 0; i < 2 * all_of; ++i) {
    const bool decodes = i >= all_of;
    const std::size_t at = i - (decodes ? all_of : 0), own = decodes ? rules.decode : rules.prefill;
    const std::size_t there = at < own ? at + all_of - own : at - own;
    rules.twin.push_back(static_cast<std::uint32_t>((decodes ? 0 : all_of) + there));
  }
  run.roles = std::move(rules);
}

// Two links an instance for what passes over the network, two for what stays in its node.
class PeerLinks {
 public:
  explicit PeerLinks(const BuiltRun& run) {
    const HandoverSpec over = run.scenario.deployment.handover.value_or(HandoverSpec{});
    const std::vector<int> nodes = instance_nodes(run);
    std::size_t at = 0;
    for (const BuiltRun* part : parts_of(run))
      for (int i = 0; i < places_of(*part); ++i) add(*part, nodes[at++], over);
  }
  void add_to(std::vector<TierSystem::Link>& links) {
    first_ = static_cast<std::uint32_t>(links.size());
    for (std::size_t i = 0; i < ends_.size(); ++i)
      for (const auto& [name, rate] : {std::pair{"network out", ends_[i].network},
                                       {"network in", ends_[i].network},
                                       {"GPU links out", ends_[i].local},
                                       {"GPU links in", ends_[i].local}})
        links.push_back({fmt::format("instance{} {}", i, name), rate});
  }
  [[nodiscard]] bool reach_each_other() const {
    return std::all_of(ends_.begin(), ends_.end(), [&](const End& e) {
      return e.network > 0 || (e.local > 0 && e.node == ends_.front().node);
    });
  }
  [[nodiscard]] TransferPath way(std::uint32_t from, std::uint32_t to) const {
    TransferPath p;
    if (from == to) return p;
    const bool local = ends_[from].node == ends_[to].node && ends_[from].local > 0;
    p.latency = local ? ends_[from].local_latency : ends_[from].network_latency;
    const std::uint32_t kind = local ? 2 : 0;
    p.uses.push_back({LinkId{first_ + 4 * from + kind}, ends_[from].copies});
    p.uses.push_back({LinkId{first_ + 4 * to + kind + 1}, ends_[to].copies});
    return p;
  }

 private:
  struct End {
    double network = 0, local = 0;  // bytes/s of all its GPUs, one way
    double copies = 1;              // of each byte of KV, on its GPUs
    Duration network_latency{}, local_latency{};
    int node = 0;
  };
  void add(const BuiltRun& part, int node, const HandoverSpec& over) {
    End e;
    e.node = node;
    const double gpus = part.parallel.gpus();
    e.network = part.node.network.bandwidth.value * part.node.nics.count * gpus /
                std::max<double>(part.node.devices, gpus);
    e.local = part.interconnect.bandwidth.value * gpus;
    e.network_latency = part.node.network.latency;
    e.local_latency = part.interconnect.latency;
    if (over.bandwidth) e.network = e.local = over.bandwidth->value;
    if (over.latency) e.network_latency = e.local_latency = *over.latency;
    // Tensor-parallel ranks hold copies where there are fewer KV heads than ranks, or latents.
    const auto shard = kv_token_bytes(part.model, part.precision.kv, part.parallel.tensor);
    const auto one = kv_token_bytes(part.model, part.precision.kv);
    e.copies = to_double(Bytes{shard}) * part.parallel.tensor / to_double(Bytes{one});
    ends_.push_back(e);
  }

  std::vector<End> ends_;
  std::uint32_t first_ = 0;
};

void add_peers(BuiltRun& run, Diagnostics& d) {
  for (const BuiltRun* part : parts_of(run)) {
    if (!part->hybrid && part->engine.forms == nullptr) continue;
    const CacheSpec& cache = part->scenario.cache;
    d.add({},
          part->forms                     ? "cache.token_policies"
          : cache.hidden_states           ? "cache.hidden_states"
          : part->engine.forms != nullptr ? "cache.placement"
                                          : "cache.hybrid",
          "between instances goes the KV of every token and layer as it was computed",
          part->engine.forms != nullptr
              ? "remove it, or what moves KV: handover, migration, copies"
              : "set allocation: uniform, or remove handover, migration, copies");
    return;
  }
  PeerLinks links(run);
  if (!links.reach_each_other()) {
    d.add(
        {}, "deployment.handover",
        fmt::format("{} has no network and no links between GPUs for KV to go over", run.node.name),
        "name a node of the catalogue (kvsim list node), or set handover: {bandwidth: 25 GB/s}");
    return;
  }
  if (!run.tiers) {
    run.tiers.emplace();
    run.tiers->block_tokens = run.engine.block_tokens;
    std::size_t ranks = 0;
    for (const BuiltRun* part : parts_of(run))
      ranks += static_cast<std::size_t>(places_of(*part) * part->parallel.data);
    run.tiers->ranks.resize(ranks);
  }
  links.add_to(run.tiers->links);
  run.peers.emplace();
  run.peers->token_bytes =
      static_cast<std::int64_t>(to_double(Bytes{kv_token_bytes(run.model, run.precision.kv)}));
  const auto& spec = run.scenario.deployment.handover;
  if (spec && spec->mode != HandoverMode::pull) run.peers->layers = run.model.layers;
  run.peers->way = [links](std::uint32_t from, std::uint32_t to) { return links.way(from, to); };
}

bool drains(const BuiltRun& run) {
  return std::any_of(run.scaling.begin(), run.scaling.end(),
                     [](const ScalingPlan& p) { return p.migrates; });
}

// The pools of the whole, spelled out.
void resolve(const LoadedScenario& all, BuiltRun& run) {
  Tree pools = Tree::list();
  const auto parts = parts_of(run);
  std::string first;
  for (const PoolSpec& p : all.value.deployment.pools)
    if (p.role == run.role && first.empty()) first = p.name;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const BuiltRun& part = *parts[i];
    PoolSpec p;
    p.name = i == 0 ? first : run.pools[i - 1].name;
    p.role = part.role;
    p.replicas = part.scenario.deployment.replicas;
    const Tree& deployment = *part.resolved.find("deployment");
    p.hardware = *deployment.find("hardware");
    p.parallel = *deployment.find("parallel");
    p.interconnect = write_fields(part.scenario.deployment.interconnect);
    p.engine = *part.resolved.find("engine");
    p.cache = *part.resolved.find("cache");
    p.cost = *part.resolved.find("cost");
    if (part.scenario.deployment.autoscaling) p.autoscaling = *deployment.find("autoscaling");
    pools.push(write_fields(p));
  }
  for (const PoolSpec& p : all.value.deployment.pools)
    if (p.role == PoolRole::encode) pools.push(write_fields(p));
  if (all.value.encoder) run.resolved.set("encoder", write_fields(*all.value.encoder));
  Tree* deployment = run.resolved.find("deployment");
  deployment->set("pools", std::move(pools));
  if (all.value.deployment.handover)
    deployment->set("handover", write_fields(*all.value.deployment.handover));
  if (all.value.deployment.roles)
    deployment->set("roles", write_fields(*all.value.deployment.roles));
  run.resolved.set("faults", *write_fields(all.value).find("faults"));
}

}  // namespace

std::vector<const BuiltRun*> parts_of(const BuiltRun& run) {
  std::vector<const BuiltRun*> all{&run};
  for (const BuiltPool& p : run.pools) all.push_back(p.run.get());
  return all;
}

int instances_of(const BuiltRun& run) {
  int n = 0;
  for (const BuiltRun* part : parts_of(run)) n += places_of(*part);
  return n;
}

void make_router(BuiltRun& run, int instances) {
  const Scenario& s = run.scenario;
  run.router = Registry::instance().make<Router>(
      s.router.name, s.router.params,
      {static_cast<std::size_t>(instances), Rng(s.seed, "router"), s.slo.ttft});
}

BuiltRun with_fleet(BuiltRun run, const Tree& scenario, Diagnostics& d) {
  if (!run.router || !d.empty()) return run;
  build_fleet(run, scenario, d);
  build_lending(run, scenario, d);
  const Router::Traits t = run.router->traits();
  const bool moves = run.lending || t.copies || t.every > Duration{0} || drains(run);
  if (moves && run.scenario.deployment.replicas > 1 && d.empty()) add_peers(run, d);
  return run;
}

BuiltRun build_pools(const LoadedScenario& all, bool with_trace, const BuildPart& build,
                     Diagnostics& d) {
  std::vector<PoolSpec> pools = all.value.deployment.pools;
  std::vector<PoolSpec> encoders;
  std::erase_if(pools, [&](const PoolSpec& p) {
    if (p.role == PoolRole::encode) encoders.push_back(p);
    return p.role == PoolRole::encode;
  });
  if (pools.empty() || encoders.size() > 1) {
    add_error(all, "deployment.pools",
              pools.empty() ? "nobody computes prompts" : "several pools encode",
              pools.empty() ? "add a pool of role mixed" : "give one pool of role encode", d);
    return {};
  }
  std::stable_partition(pools.begin(), pools.end(),
                        [](const PoolSpec& p) { return p.role != PoolRole::decode; });
  BuiltRun run;
  int entry = 0, decode = 0;
  for (std::size_t i = 0; i < pools.size(); ++i) {
    const LoadedScenario one = scenario_of(all, pools[i], d);
    BuiltRun part = build(one, with_trace && i == 0, false);
    part.role = pools[i].role;
    part.engine.hands_over = part.role == PoolRole::prefill;
    part.engine.pushes = part.engine.hands_over && all.value.deployment.handover &&
                         all.value.deployment.handover->mode == HandoverMode::push;
    (part.role == PoolRole::decode ? decode : entry) += pools[i].replicas;
    if (i == 0) {
      run = std::move(part);
    } else {
      run.pools.push_back(
          {pools[i].name, pools[i].role, std::make_unique<BuiltRun>(std::move(part))});
    }
  }
  if (!d.empty()) return run;
  check_together(all, run, d);
  if (!d.empty()) return run;
  add_roles(all, run, d);
  if (d.empty()) run.tiers = merge_tiers(all, run, d);
  if (!d.empty()) return run;
  const HandoverSpec handover = all.value.deployment.handover.value_or(HandoverSpec{});
  run.scenario.deployment.handover = all.value.deployment.handover;
  if (!encoders.empty()) {
    run.scenario.encoder = all.value.encoder;
    build_encode_stage(run, all, encoders.front(), d);
  }
  if (!d.empty()) return run;
  entry += run.spare;
  for (const BuiltPool& p : run.pools) decode += p.run->spare;
  try {
    make_router(run, entry);
    if (decode > 0)
      run.decode_router = Registry::instance().make<Router>(
          handover.router.name, handover.router.params,
          {static_cast<std::size_t>(decode), Rng(run.scenario.seed, "decode-router"),
           run.scenario.slo.ttft});
  } catch (const InputError& e) {
    add_error(all, "router", e.what(), "", d);
    return run;
  }
  const Router::Traits t = run.router->traits();
  build_fleet(run, all.tree, d);
  if (decode > 0 || t.copies || t.every > Duration{0} || drains(run)) add_peers(run, d);
  run.scenario.faults = all.value.faults;
  if (d.empty()) run.faults = build_faults(run, all.tree, d);
  resolve(all, run);
  return run;
}

}  // namespace kvsim
