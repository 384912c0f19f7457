// Hidden states and placed tokens from a scenario: what cannot be is refused with a cure, what
// gains nothing is said and changes nothing.
#include <gtest/gtest.h>

#include "sim/run/simulate.h"
#include "sim/scenario/yaml.h"
#include "tests/sim/cli/cli_fixture.h"

namespace kvsim {
namespace {

BuiltRun built(const char* file, const std::vector<std::string>& sets, Diagnostics& d) {
  const LoadedScenario loaded = load_scenario(cli_test::scenario(file), sets, d);
  return d.empty() ? build_run(loaded, true, d) : BuiltRun{};
}

// The message under the path, or nothing.
std::string complaint(const char* file, const std::vector<std::string>& sets, const char* path) {
  Diagnostics d;
  (void)built(file, sets, d);
  for (const Diagnostic& one : d.all())
    if (one.path == path) return one.message + " | " + one.hint;
  return "";
}

TEST(HiddenStates, GroupedHeadsLeaveNothingToGain) {
  std::vector<std::uint64_t> digests;
  for (const char* hidden : {"true", "false"}) {
    Diagnostics d;
    BuiltRun run = built("schedulers/apt-serve.yaml",
                         {"model=llama-3.1-8b", "workload.limit=200", "engine.kv_blocks=600",
                          std::string("cache.hidden_states=") + hidden},
                         d);
    d.throw_if_any();
    const bool is_said = std::any_of(run.notes.begin(), run.notes.end(), [](const std::string& n) {
      return n.find("8192 bytes a layer, keys and values 4096") != std::string::npos;
    });
    EXPECT_EQ(is_said, std::string(hidden) == "true");
    digests.push_back(simulate(run, {}).outcome.digest);
  }
  EXPECT_EQ(digests[0], digests[1]);
}

TEST(HiddenStates, AreRefusedWhereTheyCannotBe) {
  const char* file = "schedulers/apt-serve.yaml";
  const char* key = "cache.hidden_states";
  const auto says = [&](const std::string& set) { return complaint(file, {set}, key); };
  EXPECT_NE(says("cache.prefix.index=hash").find("serve no other request"), std::string::npos);
  EXPECT_NE(says("engine.preemption=swap").find("computed again"), std::string::npos);
  EXPECT_NE(says("cache.token_policies=[kivi]").find("token policies"), std::string::npos);
  EXPECT_NE(says("cache.memory=pooled").find("set cache.memory: paged"), std::string::npos);
  EXPECT_EQ(says("model=opt-6.7b"), "");
  EXPECT_NE(complaint(file, {"engine.scheduler.policy=fcfs"}, "engine.scheduler")
                .find("set engine.scheduler.policy: apt-serve"),
            std::string::npos);
}

TEST(Alisa, IsRefusedWhereItCannotBe) {
  const char* file = "schedulers/alisa.yaml";
  const auto says = [&](const std::string& set) {
    return complaint(file, {set}, "cache.placement");
  };
  EXPECT_NE(says("cache.prefix.index=hash").find("set cache.prefix.index: none"),
            std::string::npos);
  EXPECT_NE(says("engine.max_running=1000").find("lower engine.max_running"), std::string::npos);
  EXPECT_NE(says("engine.preemption=swap").find("computed again"), std::string::npos);
  EXPECT_NE(says("cost=flexgen").find("places KV by itself"), std::string::npos);
  EXPECT_EQ(says("engine.max_running=16"), "");
}

TEST(Layers, AreRefusedWhereTheyCannotLeaveAlone) {
  const char* file = "schedulers/layers.yaml";
  EXPECT_NE(complaint(file, {"cache.prefix.index=hash"}, "engine.preemption.part"), "");
  EXPECT_NE(complaint(file, {"engine.preemption.mode=recompute", "engine.preemption.copies=waited"},
                      "engine.preemption.part"),
            "");
  EXPECT_EQ(complaint(file, {}, "engine.preemption.part"), "");
}

}  // namespace
}  // namespace kvsim
