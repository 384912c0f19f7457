// The folder of model-level scenarios: each runs, the same on both paths, and shows what it says;
// mistakes of hybrid memory are errors with their place.
#include "sim/record/metrics.h"
#include "sim/run/simulate.h"
#include "sim/scenario/yaml.h"
#include "tests/sim/cli/cli_fixture.h"

namespace kvsim {
namespace {

std::string model_level(const std::string& name) {
  return cli_test::scenario("model-level/" + name + ".yaml");
}

RunOutcome outcome(const std::string& file, const std::vector<std::string>& overrides,
                   bool exact = false) {
  Diagnostics d;
  BuiltRun built = build_run(load_scenario(file, overrides, d), true, d);
  d.throw_if_any();
  SimulateOptions options;
  options.check_often = true;
  options.exact_steps = exact;
  return simulate(built, options).outcome;
}

struct Sums {
  double hit = 0, prompts = 0, ttft = 0;
  std::int64_t preemptions = 0;
};
Sums sums(const RunOutcome& out) {
  Sums s;
  for (const RequestOutcome& r : out.requests) {
    s.hit += static_cast<double>(r.hit_tokens);
    s.prompts += static_cast<double>(r.prompt_tokens);
    for (const std::int64_t ns : r.ttft_ns) s.ttft += static_cast<double>(ns);
    s.preemptions += r.preemptions;
  }
  return s;
}

TEST(ModelLevel, RunsTheSameOnBothPaths) {
  for (const auto& e : std::filesystem::directory_iterator(cli_test::scenario("model-level"))) {
    const std::string file = e.path().string(), name = e.path().stem().string();
    const RunOutcome fast = outcome(file, {"workload.limit=100"});
    EXPECT_EQ(fast.requests.size(), 100U) << name;
    EXPECT_EQ(fast.digest, outcome(file, {"workload.limit=100"}, true).digest) << name;
    cli_test::expect_holds(cli_test::read_file(file),
                           {"name: " + name, "kvsim run scenarios/model-level/" + name + ".yaml"});
  }
}

TEST(ModelLevel, SnapshotsAreWhatHybridsHit) {
  const Sums with = sums(outcome(model_level("hybrid-snapshots"), {}));
  const Sums without =
      sums(outcome(model_level("hybrid-snapshots"), {"cache.hybrid.snapshots.room=0%"}));
  EXPECT_GT(with.hit, 0.6 * with.prompts);
  EXPECT_EQ(without.hit, 0);
  EXPECT_LT(with.ttft, without.ttft);
}

TEST(ModelLevel, WindowsGiveMemoryBack) {
  const std::vector<std::string> uniform{"cache.hybrid.allocation=uniform"};
  const Sums grouped = sums(outcome(model_level("grouped-windows"), {}));
  const Sums plain = sums(outcome(model_level("grouped-windows"), uniform));
  EXPECT_EQ(grouped.preemptions, 0);
  EXPECT_GT(plain.preemptions, 0);
  EXPECT_LT(grouped.ttft, plain.ttft);
}

TEST(ModelLevel, SharedCachesHoldMoreRequests) {
  const Sums paired = sums(outcome(model_level("paired-layers"), {}));
  const Sums own = sums(outcome(model_level("paired-layers"), {"model=llama-3.1-8b"}));
  EXPECT_EQ(paired.preemptions, 0);
  EXPECT_LT(paired.ttft, own.ttft);
  const std::string gqa =
      "model={base: yoco-3b, attention: [full], kv_source: [], prefill_layers: 0}";
  const Sums one = sums(outcome(model_level("one-cache"), {}));
  const Sums all = sums(outcome(model_level("one-cache"), {gqa, "cache.hybrid.allocation=auto"}));
  EXPECT_LT(2 * one.ttft, all.ttft);
}

TEST(ModelLevel, MistakesHaveTheirPlace) {
  const auto check = [](const std::vector<std::string>& set) {
    std::vector<std::string> args{"check", model_level("hybrid-snapshots")};
    for (const std::string& s : set) args.insert(args.end(), {"--set", s});
    return cli_test::kvsim(args);
  };
  const std::pair<std::string, std::string> cases[] = {
      {"cache.hybrid.allocation=uniform", "states take room"},
      {"cache.hybrid.snapshots.align=24", "no multiple of the block"},
      {"cache.hybrid.snapshots.every=100", "no multiple of align"},
      {"cache.prefix.index=chunk-tree", "a chunk tree shares more"},
      {"cache.prefix.index=none", "without a prefix index"},
      {"cache.memory=pooled", "need paged memory"},
      {"engine.scheduler.chunked_prefill=false", "prompts must be cut there"},
      {"cache.token_policies=[h2o]", "token policies act on layers"},
      {"cache.tiers=[{name: gpu}, {name: cpu, capacity: 10 GiB}]", "no states"},
      {"model=llama-3.1-8b", "every layer of the model keeps every token"}};
  for (const auto& [set, message] : cases) {
    const auto r = check({set});
    EXPECT_EQ(r.code, 2) << set;
    EXPECT_NE(r.err.find(message), std::string::npos) << set << "\n" << r.err;
  }
}

}  // namespace
}  // namespace kvsim
