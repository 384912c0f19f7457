#include "sim/run/pool_tiers.h"

#include <fmt/format.h>

#include <algorithm>

#include "sim/run/build_tiers.h"
#include "sim/scenario/yaml.h"

namespace kvsim {
namespace {

// A tier as far as pools must agree on it.
std::string meaning(const TierSpec& spec) {
  Tree t = write_fields(spec);
  for (const char* own : {"capacity", "eviction", "watermark", "tenant_quota", "ttl"}) t.erase(own);
  return to_yaml(t);
}

void shift(TransferPath& path, std::uint32_t links) {
  for (FlowNetwork::Use& u : path.uses) u.link.index += links;
}

class Merger {
 public:
  Merger(const LoadedScenario& all, BuiltRun& run, Diagnostics& d) : all_(all), run_(run), d_(d) {}

  std::optional<TierSystem> merge() {
    std::vector<BuiltRun*> parts{&run_};
    for (BuiltPool& p : run_.pools) parts.push_back(p.run.get());
    for (BuiltRun* part : parts)
      if (part->tiers && (first_ == nullptr ||
                          part->scenario.cache.tiers.size() > first_->scenario.cache.tiers.size()))
        first_ = part;
    if (first_ == nullptr) return std::nullopt;
    TierSystem out;
    out.offload = first_->tiers->offload;
    out.block_tokens = first_->tiers->block_tokens;
    const std::vector<int> nodes = instance_nodes(run_);
    for (const BuiltRun* part : parts) check(*part);
    if (!d_.empty()) return std::nullopt;
    std::size_t instance = 0;
    for (BuiltRun* part : parts) {
      append(*part, nodes[instance], out);
      instance += static_cast<std::size_t>(places_of(*part));
    }
    return out;
  }

 private:
  void check(const BuiltRun& part) {
    const auto error = [&](const std::string& message, const std::string& hint) {
      const Tree* t = all_.tree.find("deployment");
      d_.add(t == nullptr ? all_.tree.place() : t->place(), "deployment.pools", message, hint);
    };
    const auto &mine = part.scenario.cache.tiers, &other = first_->scenario.cache.tiers;
    for (std::size_t k = 1; k < mine.size(); ++k) {
      if (mine[k].placement == Placement::local)
        return error(
            fmt::format("tier {}: memory of all nodes is one pool of like instances", mine[k].name),
            "remove placement: local, or deployment.pools");
      if (meaning(mine[k]) != meaning(other[k]) ||
          (part.tiers && part.tiers->offload.tiers[k - 1].chunk_bytes !=
                             first_->tiers->offload.tiers[k - 1].chunk_bytes))
        return error(fmt::format("pools disagree on tier {} ({})", k, mine[k].name),
                     "only its capacity and eviction may differ, and later tiers may be absent");
    }
    if (part.tiers && to_yaml(write_fields(part.scenario.cache.offload)) !=
                          to_yaml(write_fields(first_->scenario.cache.offload)))
      error("pools disagree on cache.offload", "set it once, for all of them");
  }

  void append(BuiltRun& part, int node, TierSystem& out) {
    const auto ranks = static_cast<std::size_t>(places_of(part) * part.parallel.data);
    if (!part.tiers) {
      out.ranks.resize(out.ranks.size() + ranks);
      if (!out.hosts.empty()) out.hosts.resize(out.ranks.size());
      return;
    }
    TierSystem t = std::move(*part.tiers);
    part.tiers.reset();
    const auto links = static_cast<std::uint32_t>(out.links.size()),
               stores = static_cast<std::uint32_t>(out.stores.size());
    for (TierSystem::Link& l : t.links) {
      l.name = fmt::format("{}.{}", pool_, l.name);
      out.links.push_back(std::move(l));
    }
    for (TierSystem::Store& s : t.stores) {
      s.node += node;
      s.drives += static_cast<std::uint32_t>(node);
      out.stores.push_back(std::move(s));
    }
    if (!t.hosts.empty() || !out.hosts.empty()) out.hosts.resize(out.ranks.size());
    for (std::vector<TierWay>& ways : t.ranks) {
      for (TierWay& w : ways) {
        w.store += stores;
        shift(w.in, links);
        shift(w.out, links);
      }
      out.ranks.push_back(std::move(ways));
    }
    for (TierSystem::HostWay& h : t.hosts) {
      shift(h.in, links);
      shift(h.out, links);
      out.hosts.push_back(std::move(h));
    }
    if (!out.hosts.empty()) out.hosts.resize(out.ranks.size());
    ++pool_;
  }

  const LoadedScenario& all_;
  BuiltRun& run_;
  Diagnostics& d_;
  const BuiltRun* first_ = nullptr;  // has the most tiers
  int pool_ = 0;
};

}  // namespace

std::vector<int> instance_nodes(const BuiltRun& run) {
  std::vector<int> nodes, own;
  int base = 0;
  const auto parts = parts_of(run);
  for (const BuiltRun* part : parts) {
    const int each = instances_per_node(*part), n = part->scenario.deployment.replicas;
    for (int i = 0; i < n; ++i) own.push_back(base + i / each);
    base += (n + each - 1) / each;
  }
  std::size_t at = 0;
  for (const BuiltRun* part : parts) {
    const auto n = static_cast<std::size_t>(part->scenario.deployment.replicas);
    for (std::size_t i = 0; i < n; ++i) nodes.push_back(own[at + i]);
    // Only a pair of pools has spare instances: those of the other one.
    const std::size_t others = at == 0 ? n : 0;
    for (int i = 0; i < part->spare; ++i)
      nodes.push_back(own[others + static_cast<std::size_t>(i)]);
    at += n;
  }
  return nodes;
}

std::optional<TierSystem> merge_tiers(const LoadedScenario& all, BuiltRun& run, Diagnostics& d) {
  return Merger(all, run, d).merge();
}

}  // namespace kvsim
