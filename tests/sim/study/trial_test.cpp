#include "sim/study/trial.h"

#include <gtest/gtest.h>

#include "sim/base/hash.h"
#include "sim/run/simulate.h"

namespace kvsim {
namespace {

const std::string kQuickstart = std::string(KVSIM_SOURCE_DIR) + "/scenarios/quickstart.yaml";

TEST(Trial, IsTheRunOfTheScenarioUnderItsOverrides) {
  const std::vector<std::string> sets{"workload.limit=40"};
  Diagnostics d;
  BuiltRun run = build_run(load_scenario(kQuickstart, {sets[0], "seed=5"}, d), true, d);
  ASSERT_TRUE(d.empty());
  const SimulateResult direct = simulate(run, {});

  const TrialResult trial = run_trial(kQuickstart, {sets, 5, true});
  ASSERT_EQ(trial.error, "");
  EXPECT_EQ(trial.event_digest, digest_text(direct.outcome.digest));
  EXPECT_EQ(trial.scenario_digest, digest_text(hash_text(to_yaml(run.resolved))));
  ASSERT_EQ(trial.requests.size(), 40U);
  for (std::size_t i = 0; i < 40; ++i) EXPECT_EQ(trial.requests[i].index, i);
  EXPECT_EQ(metric_value(trial.metrics, "ttft_ms.p99"),
            metric_value(direct.metrics, "ttft_ms.p99"));
  EXPECT_EQ(metric_value(trial.metrics, "completed"), 40.0);
  EXPECT_EQ(metric_value(trial.metrics, "ttft_ms"), std::nullopt);
  EXPECT_TRUE(run_trial(kQuickstart, {sets, 5}).requests.empty());
}

TEST(Trial, KeepsEveryMistakeInItsError) {
  const TrialResult trial =
      run_trial(kQuickstart, {{"engine.block_tokens=0", "cache.dtyp=bf16"}, std::nullopt});
  EXPECT_NE(trial.error.find("engine.block_tokens"), std::string::npos) << trial.error;
  EXPECT_NE(trial.error.find("did you mean 'dtype'"), std::string::npos) << trial.error;
  EXPECT_TRUE(trial.metrics.empty());
}

}  // namespace
}  // namespace kvsim
