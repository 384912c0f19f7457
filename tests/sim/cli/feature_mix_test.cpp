// Features that were built apart, together: random scenarios either are refused with a message or
// run to the end, the same on the fast and the exact path.
#include <algorithm>
#include <map>
#include <set>

#include "sim/base/random.h"
#include "sim/run/simulate.h"
#include "tests/sim/cli/cli_fixture.h"

namespace kvsim {
namespace {

// A feature, and the settings of which one is taken; "" of them: nothing is set.
struct Feature {
  const char* name;
  double chance;
  std::vector<std::string> settings;
};

#define SCALES "startup: 2 s, every: 1 s, down_cooldown: 2 s"
const std::vector<Feature>& features() {
  static const std::vector<Feature> kAll{
      {"form", 0.2, {"cache.hidden_states=true", "cache.placement=alisa"}},
      {"preset",
       1,
       {"engine.preset=vllm-v1", "engine.preset=sglang", "engine.preset=vllm-0.15",
        "engine.preset=tensorrt-llm", "engine.preset=tensorrt-llm-max-utilization"}},
      {"memory", 1, {"engine.kv_blocks=150", "engine.kv_blocks=300", "engine.kv_blocks=3000"}},
      {"rate",
       1,
       {"workload.generate.arrivals.rate=2 /s", "workload.generate.arrivals.rate=20 /s"}},
      {"speculation",
       0.25,
       {"engine.speculative={tokens: 3, acceptance: 0.6}",
        "engine.speculative={tokens: 4, acceptance: [0.9, 0.5], draft: llama-3.2-1b}",
        "engine.speculative={tree: [3, 2], acceptance: [[0.6, 0.2], 0.5]}",
        "engine.speculative={tree: [2, 2], acceptance: 0.5, draft: llama-3.2-1b}"}},
      {"adapters",
       0.25,
       {"engine.lora={adapters: 5, rank: 16, slots: 1}",
        "engine.lora={adapters: 20, rank: 16, slots: 8}"}},
      {"shared reads", 0.25, {"engine.shared_prefix_attention=true"}},
      {"calls",
       0.4,
       {"workload.generate.tools={calls: {value: 2}, after: {value: 5}, pause: 500 ms, result: "
        "{value: 20}}"}},
      {"pause", 0.4, {"engine.tools.policy=keep", "engine.tools.policy=min-waste"}},
      {"scheduler",
       0.4,
       {"engine.scheduler.policy=priority", "engine.scheduler.policy=srtf",
        "engine.scheduler.policy=mlfq", "engine.scheduler.policy=lamps",
        "engine.scheduler.policy=priority-switches", "engine.scheduler.policy=vtc",
        "engine.scheduler.policy=apt-serve"}},
      {"swap",
       0.3,
       {"engine.preemption={mode: swap, space: 20 GiB}",
        "engine.preemption={mode: swap, space: 20 GiB, copies: beside, part: tail}",
        "engine.preemption={mode: swap, space: 20 GiB, copies: beside, part: layers}",
        "engine.preemption={mode: swap, space: 20 GiB, copies: ahead, idle: 10 %}",
        "engine.preemption={mode: recompute, part: tail}",
        "engine.preemption={mode: swap, space: 20 GiB, keeps_copies: true, by_layer: true}"}},
      {"index", 0.7, {"cache.prefix.index=hash", "cache.prefix.index=radix"}},
      {"tiers", 0.2, {"cache.tiers=[{name: gpu}, {name: cpu, capacity: 8 GiB}]"}},
      {"router",
       0.6,
       {"router.policy=prefix-aware", "router.policy=llumnix", "router.policy=mell",
        "router.policy=kv-cost"}},
      {"pools",
       0.3,
       {"deployment.pools=[{name: p, role: prefill, replicas: 2}, {name: d, role: decode, "
        "replicas: 2}]",
        "deployment.pools=[{name: p, role: prefill, replicas: 2, autoscaling: {min: 0, " SCALES
        "}}, {name: d, role: decode, replicas: 2, autoscaling: {policy: concurrency, " SCALES
        ", drain: migrate}}]"}},
      {"handover", 0.2, {"deployment.handover.mode=layers", "deployment.handover.mode=push"}},
      {"roles", 0.1, {"deployment.roles={every: 2 s}"}},
      {"scaling",
       0.3,
       {"deployment.autoscaling={policy: concurrency, min: 0, " SCALES ", drain: migrate}",
        "deployment.autoscaling={policy: queue-length, " SCALES "}"}},
      {"stages", 0.4, {"deployment.parallel={pipeline: 2}", "deployment.parallel={pipeline: 4}"}},
      {"batches in flight",
       0.5,
       {"engine.pipeline_batches=0", "engine.pipeline_batches=1", "engine.pipeline_batches=0"}},
      {"shared contexts", 0.15, {"deployment.parallel={context: 2}"}},
      {"images",
       0.3,
       {"encoder={layers: 24, hidden: 1024, intermediate: 4096}",
        "encoder={layers: 4, hidden: 64, intermediate: 128, cache: 256}"}},
      {"quota",
       0.3,
       {"tenants=[{name: a, ids: [0], quota: {requests: 3, over: reject}}]",
        "tenants=[{name: a, ids: [0], quota: {requests: 3, over: delay}}]",
        "tenants=[{name: a, ids: [0], quota: {policy: window, tokens: 4000, window: 2 s, over: "
        "delay}}]"}},
      {"faults", 0.2, {"faults=[{kind: instance, target: 0, at: 3 s, down: 4 s}]"}}};
  return kAll;
}
#undef SCALES

RunOutcome run(const std::string& file, const std::vector<std::string>& sets, bool exact,
               Diagnostics& d) {
  const LoadedScenario loaded = load_scenario(file, sets, d);
  if (!d.empty()) return {};
  BuiltRun built = build_run(loaded, true, d);
  if (!d.empty()) return {};
  SimulateOptions options;
  options.check_often = true;
  options.exact_steps = exact;
  return simulate(built, options).outcome;
}

const std::vector<std::string>& small_load() {
  static const std::vector<std::string> kSets{
      "workload.trace=", "cache.prefix.index=none", "deployment.hardware=dgx-h100",
      "deployment.replicas=4",
      "workload.generate={requests: 50, arrivals: {rate: 10 /s}, prompt: {law: lognormal, mean: "
      "200, cv: 0.8}, output: {law: lognormal, mean: 50, cv: 0.8}, tenants: {count: 3}, "
      "prefixes: {count: 4, share: 60 %, tokens: {value: 96}}}"};
  return kSets;
}

// What goes with memory that instances lend each other, together.
TEST(FeatureMix, LentMemoryRunsTheSameOnBothPaths) {
  const std::string file = cli_test::scenario("quickstart.yaml");
  const std::set<std::string> with{"rate", "adapters", "scheduler", "quota", "stages", "images"};
  const Rng seeds(20261123, "lending mix");
  std::int64_t loans = 0;
  for (std::uint64_t i = 0; i < 40; ++i) {
    Rng random = seeds.at(i);
    std::vector<std::string> sets = small_load();
    for (const char* more :
         {"workload.generate.prompt={law: empirical, values: [100, 400, 1500], weights: [6, 2, 1]}",
          "engine.kv_blocks=100", "deployment.lending={every: 200 ms, chunk: 64, keep: 5 %}"})
      sets.emplace_back(more);
    if (random.below(2) == 0) sets.emplace_back("deployment.lending.policy=on-demand");
    for (const Feature& f : features()) {
      if (!with.contains(f.name) || random.uniform() >= 0.5) continue;
      sets.push_back(f.settings[random.below(f.settings.size())]);
      if (std::string_view(f.name) == "images")
        sets.emplace_back(
            "workload.generate.images={count: {value: 2}, tokens: {value: 64}, distinct: 20}");
    }
    std::string mix;
    for (const std::string& s : sets) mix += "\n  --set '" + s + "'";
    Diagnostics d;
    const RunOutcome fast = run(file, sets, false, d);
    if (!d.empty()) continue;
    EXPECT_EQ(fast.requests.size(), 50U) << mix;
    EXPECT_EQ(fast.digest, run(file, sets, true, d).digest) << mix;
    loans += fast.lending.loans;
  }
  EXPECT_GT(loans, 100);
}

TEST(FeatureMix, IsRefusedOrRunsTheSameOnBothPaths) {
  const std::string file = cli_test::scenario("quickstart.yaml");
  const Rng seeds(20261122, "feature mix");
  constexpr int kMixes = 120;
  constexpr std::size_t kRequests = 50;
  const std::set<std::string> excluded{"scheduler", "swap",        "index",
                                       "tiers",     "pools",       "handover",
                                       "roles",     "speculation", "batches in flight"};
  std::map<std::string, int> ran;
  int runs = 0;
  for (std::uint64_t i = 0; i < kMixes; ++i) {
    Rng random = seeds.at(i);
    std::vector<std::string> sets = small_load();
    std::vector<const char*> chosen;
    bool has_form = false;  // most mixes with one would be refused for the same few reasons
    for (const Feature& f : features()) {
      if (random.uniform() >= f.chance || (has_form && excluded.contains(f.name))) continue;
      sets.push_back(f.settings[random.below(f.settings.size())]);
      if (std::string_view(f.name) == "images")
        sets.push_back(
            "workload.generate.images={count: {value: 2}, tokens: {value: 64}, distinct: 20}");
      has_form = has_form || std::string_view(f.name) == "form";
      if (std::string_view(f.name) == "form")
        for (const char* more : {"cache.prefix.index=none", "engine.scheduler.policy=apt-serve",
                                 "model=opt-6.7b", "engine.max_running=16"})
          sets.push_back(more);
      chosen.push_back(f.name);
    }
    std::string mix;
    for (const std::string& s : sets) mix += "\n  --set '" + s + "'";
    Diagnostics d;
    const RunOutcome fast = run(file, sets, false, d);
    if (!d.empty()) continue;
    ++runs;
    for (const char* name : chosen) ++ran[name];
    EXPECT_EQ(fast.requests.size(), kRequests) << mix;
    EXPECT_EQ(fast.digest, run(file, sets, true, d).digest) << mix;
  }
  EXPECT_GT(runs, kMixes / 3);
  for (const Feature& f : features()) EXPECT_GT(ran[f.name], 0) << f.name << " is always refused";
}

}  // namespace
}  // namespace kvsim
