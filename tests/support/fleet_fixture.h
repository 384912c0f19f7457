#pragma once
// Several instances behind a router, with links between them, on a list of requests.
#include "tests/support/engine_fixture.h"

namespace kvsim::test {

using RouterParams = std::vector<std::pair<std::string, std::string>>;

inline std::unique_ptr<Router> make_router(const std::string& name, std::size_t instances,
                                           const RouterParams& given = {}) {
  Tree params = Tree::map();
  for (const auto& [key, value] : given) params.set(key, Tree::scalar(value));
  return Registry::instance().make<Router>(name, params, {instances, Rng(1, "r"), std::nullopt});
}

// Autoscaling; the rule is made anew for each run.
struct FleetScaling {
  std::string rule = "queue-length";
  RouterParams params{};
  std::int64_t least = 1, first = 1;
  Duration every{1000}, start{}, up_cooldown{}, down_cooldown{};
  bool migrates = false;
  std::optional<Duration> ttft{};
  // Of `count` instances from `from` on, as far as there are as many.
  [[nodiscard]] ScalingPlan plan(std::size_t from, std::size_t count) const {
    Tree tree = Tree::map();
    for (const auto& [key, value] : params) tree.set(key, Tree::scalar(value));
    const auto most = static_cast<std::int64_t>(count);
    return {Registry::instance().make<Scaler>(rule, tree, {ttft}),
            static_cast<std::uint32_t>(from),
            static_cast<std::uint32_t>(count),
            std::min(least, most),
            std::min(first, most),
            every,
            start,
            up_cooldown,
            down_cooldown,
            migrates,
            Duration{700},
            ttft};
  }
};

// The quota `limits`, 0 = none of each.
inline QuotaPlan limits(std::vector<std::uint32_t> tenants, std::int64_t per_minute,
                        std::int64_t burst, std::int64_t requests, std::int64_t kv_tokens,
                        bool delays) {
  Tree tree = Tree::map();
  tree.set("tokens_per_minute", Tree::scalar(std::to_string(per_minute)));
  tree.set("burst", Tree::scalar(std::to_string(per_minute > 0 ? burst : 0)));
  tree.set("requests", Tree::scalar(std::to_string(requests)));
  tree.set("kv_share", Tree::scalar(kv_tokens > 0 ? "50 %" : "100 %"));
  return {std::move(tenants),
          [tree, kv_tokens] {
            return Registry::instance().make<Quota>("limits", tree, {2 * kv_tokens});
          },
          delays};
}

// Memory that instances lend each other over the fleet's links.
struct FleetLending {
  std::string rule = "on-demand";
  RouterParams params{};
  Duration every{10'000};
  double keep = 0.1, query_bytes = 1, answer_bytes = 1;
  std::int64_t chunk_blocks = 4, layers = 1;
  [[nodiscard]] LendingPlan plan(std::int64_t block_tokens) const {
    return {
        Registry::instance().make<LendingPolicy>(rule, Tree::map(), {block_tokens, chunk_blocks}),
        every,
        keep,
        chunk_blocks,
        layers,
        query_bytes,
        answer_bytes};
  }
};

struct Fleet {
  EngineConfig engine;
  std::size_t instances = 2;
  std::size_t decode = 0;  // more, that only decode; the others then only compute prompts
  std::string router = "round-robin";
  RouterParams params{};
  int data_parallel = 1;
  double bandwidth = 0;  // bytes/s into each instance; 0 = there are no links
  std::int64_t token_bytes = 100, layers = 1, local_prefill = 0;
  std::int64_t decisions = 0;
  std::vector<FaultPlan> faults{};
  std::optional<FleetScaling> scaling{};
  std::optional<FleetLending> lending{};
  std::vector<QuotaPlan> quotas{};
  bool pushes = false;  // KV goes as it is computed
  std::optional<RoleRules>
      roles{};  // of twins: its `prefill` and `decode` are instances that are up

  [[nodiscard]] RunOutcome run(std::vector<Request> requests, CostModel& cost,
                               bool exact = false) const {
    std::vector<InstanceSpec> specs;
    for (std::size_t i = 0; i < instances + decode; ++i) {
      specs.push_back({engine, data_parallel, false, false, &cost});
      specs.back().engine.exact_steps = exact;
      specs.back().engine.hands_over = decode > 0 && i < instances;
      specs.back().engine.pushes = pushes && specs.back().engine.hands_over;
    }
    World::Options options;
    options.check_often = true;
    options.record_decisions = decisions;
    options.faults = faults;
    options.quotas = quotas;
    if (scaling) options.scaling.push_back(scaling->plan(0, instances));
    if (scaling && decode > 0) options.scaling.push_back(scaling->plan(instances, decode));
    if (lending) options.lending = lending->plan(engine.block_tokens);
    options.roles = roles;
    if (decode > 0) options.decode = {decode, make_router("least-requests", decode), local_prefill};
    if (bandwidth > 0) {
      options.tiers.emplace();
      options.tiers->ranks.resize(specs.size() * static_cast<std::size_t>(data_parallel));
      for (std::size_t i = 0; i < specs.size(); ++i)
        options.tiers->links.push_back({"into instance", bandwidth});
      options.peers = PeerSystem{[](std::uint32_t, std::uint32_t to) {
                                   TransferPath p;
                                   p.uses.push_back({LinkId{to}, 1});
                                   return p;
                                 },
                                 token_bytes, layers};
    }
    ListTrace trace(std::move(requests));
    World world(std::move(specs), make_router(router, instances, params), trace,
                std::move(options));
    RunOutcome out = world.run();
    std::sort(out.requests.begin(), out.requests.end(),
              [](const auto& a, const auto& b) { return a.index < b.index; });
    return out;
  }
};

}  // namespace kvsim::test
