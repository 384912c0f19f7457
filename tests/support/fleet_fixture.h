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
  [[nodiscard]] ScalingPlan plan() const {
    Tree tree = Tree::map();
    for (const auto& [key, value] : params) tree.set(key, Tree::scalar(value));
    return {Registry::instance().make<Scaler>(rule, tree, {ttft}),
            least,
            first,
            every,
            start,
            up_cooldown,
            down_cooldown,
            migrates,
            Duration{700},
            ttft};
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
    if (scaling) options.scaling = scaling->plan();
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
