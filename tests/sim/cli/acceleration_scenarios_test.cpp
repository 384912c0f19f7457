// The folder of accelerations: every example runs, keeps the invariants, gives the same on both
// paths and the same twice, and does what it is meant to show.
#include "sim/run/simulate.h"
#include "sim/scenario/yaml.h"
#include "tests/sim/cli/cli_fixture.h"

namespace kvsim {
namespace {

SimulateResult run(const std::string& name, const std::vector<std::string>& sets = {},
                   bool exact = false) {
  Diagnostics d;
  const LoadedScenario loaded =
      load_scenario(cli_test::scenario("acceleration/" + name + ".yaml"), sets, d);
  d.throw_if_any();
  EXPECT_EQ(loaded.value.name, name);
  BuiltRun built = build_run(loaded, true, d);
  d.throw_if_any();
  SimulateOptions options;
  options.check_often = true;
  options.exact_steps = exact;
  return simulate(built, options);
}

double value(const SimulateResult& r, const std::string& metric,
             const std::string& statistic = "value") {
  for (const Metric& m : r.metrics)
    if (m.scope == "run" && m.name == metric && m.statistic == statistic) return m.value;
  ADD_FAILURE() << "no metric " << metric;
  return 0;
}

std::vector<std::string> examples() {
  std::vector<std::string> names;
  for (const auto& e : std::filesystem::directory_iterator(cli_test::scenario("acceleration")))
    if (e.path().extension() == ".yaml") names.push_back(e.path().stem().string());
  std::sort(names.begin(), names.end());
  return names;
}

TEST(AccelerationScenarios, RunTheSameOnBothPaths) {
  for (const std::string& name : examples()) {
    const SimulateResult fast = run(name), exact = run(name, {}, true);
    EXPECT_GT(fast.outcome.injected, 0U) << name;
    EXPECT_EQ(fast.outcome.injected, fast.outcome.requests.size()) << name;
    EXPECT_EQ(fast.outcome.digest, exact.outcome.digest) << name;
    cli_test::expect_holds(
        cli_test::read_file(cli_test::scenario("acceleration/" + name + ".yaml")),
        {"kvsim run scenarios/acceleration/" + name + ".yaml"});
  }
}

TEST(AccelerationScenarios, DraftsShortenTheTimePerToken) {
  const SimulateResult with = run("speculative-draft"),
                       without = run("speculative-draft", {"engine.speculative=null"});
  EXPECT_LT(value(with, "tpot_ms", "mean"), value(without, "tpot_ms", "mean"));
  EXPECT_EQ(value(with, "total_output_tokens"), value(without, "total_output_tokens"));
  // 1 + 0.8 + 0.8 0.75 + 0.8 0.75 0.7 + 0.8 0.75 0.7 0.65, less what falls behind the last token.
  EXPECT_NEAR(value(with, "tokens_per_verification"), 3.093, 0.05);
}

TEST(AccelerationScenarios, OnePrefixIsReadOnce) {
  const SimulateResult shared = run("shared-prefix"),
                       each = run("shared-prefix", {"engine.shared_prefix_attention=false"});
  EXPECT_GT(value(shared, "sharers_per_prefix_token"), 10);
  EXPECT_GT(value(shared, "output_throughput"), 1.5 * value(each, "output_throughput"));
}

// Four stages with one batch are idle for three quarters; with four, no more than unequal batches
// leave.
TEST(AccelerationScenarios, BatchesInFlightFillThePipeline) {
  const SimulateResult four = run("pipeline-batches"),
                       one = run("pipeline-batches", {"engine.pipeline_batches=1"}),
                       none = run("pipeline-batches",
                                  {"engine.pipeline_batches=null", "engine.scheduler.async=false"});
  EXPECT_NEAR(value(one, "pipeline_bubble_share"), 0.75, 1e-6);
  EXPECT_LT(value(four, "pipeline_bubble_share"), 0.4);
  EXPECT_GT(value(four, "output_throughput"), 2 * value(one, "output_throughput"));
  // One batch in four stages is an iteration: the same times, to the nanosecond.
  ASSERT_EQ(one.outcome.requests.size(), none.outcome.requests.size());
  for (std::size_t i = 0; i < one.outcome.requests.size(); ++i)
    ASSERT_EQ(one.outcome.requests[i].last_token, none.outcome.requests[i].last_token);
}

TEST(AccelerationScenarios, GroupsThatShareTheContextHoldMoreOfIt) {
  const SimulateResult eight = run("context-parallel"),
                       one = run("context-parallel", {"deployment.parallel={context: 1}"}),
                       ring = run("context-parallel", {"deployment.parallel.context_decode=ring"});
  EXPECT_GT(value(eight, "kv_blocks"), 7.9 * value(one, "kv_blocks"));
  EXPECT_LT(value(eight, "ttft_ms", "mean"), value(one, "ttft_ms", "mean") / 4);
  EXPECT_GT(value(ring, "tpot_ms", "mean"), 4 * value(eight, "tpot_ms", "mean"));
}

// More drafts a verification bring more tokens: by formula 1 + 0.82 (1 + 0.57 (1 + 0.35)) and
// 1 + 0.6 (1 + 0.45 (1 + 0.35)).
TEST(AccelerationScenarios, ATreeBringsMoreThanAChain) {
  const SimulateResult tree = run("draft-tree"),
                       chain = run("draft-tree", {"engine.speculative={tokens: 3, acceptance: "
                                                  "[0.6, 0.45, 0.35], draft_time: 300 us}"});
  EXPECT_NEAR(value(tree, "tokens_per_verification"), 1 + 0.82 * (1 + 0.57 * 1.35), 0.03);
  EXPECT_NEAR(value(chain, "tokens_per_verification"), 1 + 0.6 * (1 + 0.45 * 1.35), 0.03);
}

TEST(AccelerationScenarios, AdaptersOfATraceAreLoaded) {
  const SimulateResult two = run("lora-trace"), three = run("lora-trace", {"engine.lora.slots=3"});
  EXPECT_EQ(value(three, "adapter_loads"), 3);
  EXPECT_GT(value(two, "adapter_loads"), 3);
}

TEST(AccelerationScenarios, WhatCannotBePricedIsRefused) {
  const auto says = [](const std::string& name, const std::vector<std::string>& sets,
                       const std::string& what) {
    try {
      run(name, sets);
      ADD_FAILURE() << "accepted: " << what;
    } catch (const InputError& e) {
      EXPECT_NE(std::string(e.what()).find(what), std::string::npos) << e.what();
    }
  };
  says("shared-prefix", {"cache.prefix.index=none"}, "engine.shared_prefix_attention");
  says("speculative-ngram", {"engine.speculative.acceptance=1.5"}, "out of bounds: 0 to 1");
  says("speculative-ngram", {"engine.speculative.acceptance=[]"}, "an empty list");
  says("speculative-draft", {"engine.speculative.draft_time=1 ms"}, "the draft model says");
  says("speculative-draft", {"engine.speculative.draft=llama-3.2-1bb"}, "llama-3.2-1b");
  says("speculative-ngram", {"engine.speculative.token=3"}, "tokens");
  says("speculative-ngram", {"cache.token_policies=[h2o]"}, "token policies change");
  says("speculative-ngram", {"engine.speculative.acceptance=[0.5, [0.4, 0.7]]"},
       "sum to 1 or less");
  says("speculative-ngram", {"engine.speculative.acceptance=[0.5, [0.4, 0.1]]"}, "no branches");
  says("draft-tree", {"engine.speculative.tree=[8, 8]"}, "more than 64 drafts");
  says("draft-tree", {"engine.speculative.tokens=3"}, "the tree has 20");
  says("lora-trace", {"engine.lora.names=[sql, sumary, support]"}, "did you mean 'sumary'?");
  says("lora-trace", {"engine.lora.names=[sql, sql]"}, "stands there twice");
  says("lora-trace", {"engine.lora.names=[]"}, "adapters are drawn");
  says("draft-tree", {"engine.speculative=null", "engine.lora={names: [a]}"}, "generate names no");
  says("pipeline-batches", {"cost.model=pipelined"}, "cuts every batch up itself");
  says("pipeline-batches", {"deployment.parallel={tensor: 4}", "engine.pipeline_batches=4"},
       "4 batches in flight need stages");
  says("pipeline-batches", {"engine.preemption=swap"}, "KV in host memory");
  says("pipeline-batches", {"engine.preset=sglang"}, "batch.reserve estimate");
  says("context-parallel", {"model=gemma-3-27b"}, "only such a context is shared");
  says("context-parallel", {"engine.shared_prefix_attention=true"}, "deployment.parallel.context");
  says("context-parallel",
       {"cost.model=pipelined", "deployment.parallel={context: 2, pipeline: 2}"},
       "knows no shared context");
}

}  // namespace
}  // namespace kvsim
