#pragma once
// A tier system of a few tiers on links of their own, for every instance the same.
#include "sim/engine/world.h"
#include "tests/support/engine_fixture.h"

namespace kvsim::test {

struct TierSetup {
  TierConfig config;
  std::int64_t capacity = 1000;  // chunks
  double bandwidth = 1e9;        // bytes/s, each direction
  Duration latency{};
  bool shared = false;       // one store for all instances
  double far_bandwidth = 0;  // > 0: a pool; a rank reads other ranks' stores over a link of its own
  Duration far_latency{};
  double convert = 0;  // ns per byte
  std::string eviction = "lru";
  TierStore::Options store{};
};

inline TierConfig tier(const char* name, TierKind kind, std::int64_t chunk_bytes,
                       bool staged = false) {
  TierConfig t;
  t.name = name;
  t.kind = kind;
  t.chunk_bytes = chunk_bytes;
  t.staged = staged;
  return t;
}

inline TierSystem tier_system(OffloadConfig offload, const std::vector<TierSetup>& tiers,
                              std::size_t ranks, std::int64_t block_tokens) {
  TierSystem system;
  system.block_tokens = block_tokens;
  system.ranks.resize(ranks);
  const auto link = [&](TransferPath& path, const std::string& name, double bandwidth) {
    path.uses = {{LinkId{static_cast<std::uint32_t>(system.links.size())}, 1.0}};
    system.links.push_back({name, bandwidth});
  };
  for (std::uint32_t k = 0; k < tiers.size(); ++k) {
    offload.tiers.push_back(tiers[k].config);
    const bool pooled = tiers[k].far_bandwidth > 0;
    offload.tiers.back().pooled = pooled;
    for (std::size_t r = 0; r < ranks; ++r) {
      if (r == 0 || !tiers[k].shared || pooled) {
        TierStore::Options o = tiers[k].store;
        o.capacity = tiers[k].capacity;
        o.make_policy = [name = tiers[k].eviction](const EvictionPolicy::Context& c) {
          return Registry::instance().make<EvictionPolicy>(name, Tree::map(), c);
        };
        system.stores.push_back({k, 0, 0, o});
      }
      TierWay way;
      way.store = static_cast<std::uint32_t>(system.stores.size() - 1);
      for (TransferPath* path : {&way.in, &way.out}) {
        link(*path, tiers[k].config.name + (path == &way.in ? "-in" : "-out"), tiers[k].bandwidth);
        path->latency = tiers[k].latency;
        path->convert = tiers[k].convert;
      }
      if (pooled) {
        way.pool.assign(ranks, {});
        TransferPath far;
        link(far, tiers[k].config.name + "-far", tiers[k].far_bandwidth);
        far.latency = tiers[k].far_latency;
        far.convert = tiers[k].convert;
        for (std::size_t m = 0; m < ranks; ++m) way.pool[m] = m == r ? way.in : far;
      }
      system.ranks[r].push_back(std::move(way));
    }
  }
  system.offload = std::move(offload);
  return system;
}

// Links of their own from each rank to host memory, for KV of admitted requests.
inline TierSystem with_hosts(TierSystem system, std::size_t ranks, double bandwidth,
                             Duration latency = {}) {
  system.ranks.resize(ranks);
  for (std::size_t r = 0; r < ranks; ++r) {
    TierSystem::HostWay way;
    for (TransferPath* path : {&way.in, &way.out}) {
      path->uses = {{LinkId{static_cast<std::uint32_t>(system.links.size())}, 1.0}};
      path->latency = latency;
      system.links.push_back({path == &way.in ? "from-host" : "to-host", bandwidth});
    }
    system.hosts.push_back(std::move(way));
  }
  return system;
}

}  // namespace kvsim::test
