// Capacity plans: the search against exhaustive runs, bounds against formulas, mistakes of files.
#include "sim/study/plan.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "sim/base/diagnostics.h"
#include "sim/cli/plan_report.h"
#include "sim/study/plan_bounds.h"
#include "tests/sim/cli/cli_fixture.h"

namespace kvsim {
namespace {

const std::string kBase = std::string(KVSIM_SOURCE_DIR) + "/scenarios/quickstart.yaml";

// Two accelerators, with and without host memory, one to five replicas; 120 requests.
constexpr const char* kSmall = R"(
set: {workload.limit: 120, workload.rate_scale: 20, record.sample_every: 0 s}
choices:
  hardware:
    A100: {deployment.hardware: dgx-a100}
    H100: {deployment.hardware: dgx-h100}
  tiers:
    none: {}
    cpu: {cache.tiers: [{name: gpu}, {name: cpu, scope: node, capacity: 32 GiB}]}
replicas: {min: 1, max: 5}
objectives: [ttft.p99 <= 2 s, tpot.p99 <= 45 ms]
minimise: price
)";

class Plans : public testing::Test {
 protected:
  PlanFile plan(const std::string& text, const std::string& base = kBase) {
    return load_plan(folder_.write("plan.yaml", "kvsim: 1\nbase: " + base + "\n" + text), {});
  }
  PlanResult run(const std::string& text, int threads = 1, bool exhaustive = false) {
    return run_plan(plan(text), {threads, exhaustive, {}});
  }
  std::string error(const std::string& text, const std::string& base = kBase) {
    try {
      run_plan(plan(text, base), {});
    } catch (const InputError& e) {
      return e.what();
    }
    return "";
  }
  cli_test::TempFolder folder_;
};

TEST_F(Plans, SearchFindsWhatRunningEverythingFinds) {
  const PlanResult r = run(kSmall, 2, true);
  ASSERT_TRUE(r.answer);
  ASSERT_TRUE(r.exhaustive);
  EXPECT_TRUE(r.exhaustive->agrees) << r.exhaustive->remarks.front();
  EXPECT_TRUE(r.bound_holds);
  EXPECT_EQ(r.pairs, 20U);
  EXPECT_EQ(r.evaluations.size(), 20U);
  EXPECT_LT(r.runs, 20);
  // By hand over everything that was run: the cheapest of all, and the cheapest of the others.
  const PlanEvaluation* best = nullptr;
  for (const PlanEvaluation& e : r.evaluations)
    if (e.met && (best == nullptr || e.worth < best->worth)) best = &e;
  ASSERT_NE(best, nullptr);
  EXPECT_EQ(best->candidate, *r.answer);
  EXPECT_EQ(best->level, r.candidates[*r.answer].found);
  const PlanEvaluation* next = nullptr;
  for (const PlanEvaluation& e : r.evaluations)
    if (e.met && e.candidate != *r.answer && (next == nullptr || e.worth < next->worth)) next = &e;
  ASSERT_NE(next, nullptr);
  ASSERT_TRUE(r.alternative);
  EXPECT_EQ(next->candidate, *r.alternative);
}

TEST_F(Plans, ThreadsAndBatchesDoNotChangeTheAnswer) {
  const std::string one = plan_json(run(kSmall, 1));
  EXPECT_EQ(one, plan_json(run(kSmall, 3)));
  const PlanResult alone = run(std::string(kSmall) + "batch: 1\n");
  const PlanResult wide = run(std::string(kSmall) + "batch: 16\n");
  EXPECT_EQ(alone.answer, wide.answer);
  EXPECT_EQ(alone.candidates[*alone.answer].found, wide.candidates[*wide.answer].found);
  EXPECT_EQ(alone.alternative, wide.alternative);
}

TEST_F(Plans, OtherGoals) {
  std::string text = kSmall;
  const std::size_t at = text.find("minimise: price");
  for (const char* goal : {"minimise: energy", "minimise: replicas"}) {
    const PlanResult r = run(text.substr(0, at) + goal + "\n", 2, true);
    ASSERT_TRUE(r.answer) << goal;
    EXPECT_TRUE(r.exhaustive->agrees) << goal;
    for (const PlanEvaluation& e : r.evaluations) {
      EXPECT_TRUE(!e.met || r.at(*r.answer).worth <= e.worth) << goal;
    }
  }
}

TEST_F(Plans, HighestRate) {
  const PlanResult r = run(R"(
set: {workload.limit: 100, deployment.hardware: h100-sxm}
choices: {deployment.replicas: [1, 2]}
rate: {min: 2, max: 64, tolerance: 20 %}
objectives: [ttft.p99 <= 2 s, tpot.p99 <= 30 ms]
maximise: rate
)",
                           2, true);
  ASSERT_TRUE(r.answer);
  EXPECT_TRUE(r.exhaustive->agrees) << r.exhaustive->remarks.front();
  EXPECT_EQ(r.candidates[*r.answer].options[0], "2");
  const std::size_t level = *r.candidates[*r.answer].found;
  ASSERT_GT(level, 0U);
  EXPECT_FALSE(r.find(*r.answer, level - 1)->met);  // a fifth faster is too fast
  EXPECT_NEAR(*plan_rate(r.plan.spec, 0), 64, 1e-9);
  EXPECT_NEAR(*plan_rate(r.plan.spec, plan_levels(r.plan.spec) - 1), 2, 1e-9);
  EXPECT_LE(*plan_rate(r.plan.spec, 0) / *plan_rate(r.plan.spec, 1), 1.2);
}

// A generated workload is drawn anew by every seed: repetitions, not blocks of requests.
TEST_F(Plans, RepetitionsStopWhenDecided) {
  constexpr const char* kText = R"(
set:
  workload: {generate: {requests: 60, arrivals: {rate: 10 /s}, prompt: {value: 500}, output: {value: 40}}}
  deployment.hardware: h100-sxm
replicas: {min: 1, max: 3}
minimise: price
seeds: {min: 3, max: 6}
)";
  const PlanResult easy = run(std::string(kText) + "objectives: [tpot.mean <= 1 s]\n");
  ASSERT_TRUE(easy.answer);
  EXPECT_EQ(easy.at(*easy.answer).repetitions, 3);
  EXPECT_TRUE(easy.at(*easy.answer).findings[0].interval);
  // A limit in the middle of the spread of the repetitions cannot be decided, and is not met.
  const double mean = easy.at(*easy.answer).findings[0].value;
  const PlanResult hard =
      run(std::string(kText) + fmt::format("objectives: [tpot.mean <= {} ms]\n", mean) +
          "confidence: 99 %\n");
  const PlanEvaluation* first = hard.find(0, 0);
  ASSERT_NE(first, nullptr);
  EXPECT_EQ(first->repetitions, 6);
  EXPECT_EQ(first->findings[0].verdict, PlanVerdict::undecided);
  EXPECT_FALSE(first->met);
}

TEST_F(Plans, JitterRepeatsATraceAtOtherRates) {
  const PlanResult r = run(std::string(kSmall) + "jitter: 5 %\nseeds: {min: 2, max: 4}\n");
  for (const PlanEvaluation& e : r.evaluations) EXPECT_GE(e.repetitions, 2);
  EXPECT_FALSE(r.candidates[0].replay);
}

TEST_F(Plans, WhatCannotRunIsInfeasibleAndSaysWhy) {
  const PlanResult r = run(R"(
set: {workload.limit: 40, model: llama-3.1-70b}
choices:
  hardware:
    too small: {deployment.hardware: dgx-a100}
    too wide: {deployment.hardware: dgx-h100, deployment.parallel.tensor: 16}
    fits: {deployment.hardware: dgx-h100, deployment.parallel.tensor: 4}
objectives: [ttft.p99 <= 60 s]
minimise: price
)");
  EXPECT_NE(r.candidates[0].infeasible.find("no room for the KV cache"), std::string::npos)
      << r.candidates[0].infeasible;
  EXPECT_NE(r.candidates[1].infeasible.find("parallel"), std::string::npos)
      << r.candidates[1].infeasible;
  EXPECT_EQ(r.answer, 2U);
  EXPECT_NE(plan_text(r, {true}).find("infeasible: "), std::string::npos);
}

TEST_F(Plans, NoneFitsIsAnError) {
  EXPECT_NE(error(R"(
set: {model: llama-3.1-405b}
choices: {deployment.hardware: [l4, a10g]}
objectives: [ttft.p99 <= 60 s]
minimise: price
)")
                .find("none of the 2 candidates can run"),
            std::string::npos);
}

// Faster than light: refuted without a run, and the report says so.
TEST_F(Plans, BoundsRefuteWithoutARun) {
  const PlanResult r = run(R"(
choices: {deployment.hardware: [h100-sxm]}
replicas: {min: 1, max: 4}
objectives: [ttft.p99 <= 1 ms]
minimise: price
)");
  EXPECT_FALSE(r.answer);
  EXPECT_EQ(r.runs, 0);
  EXPECT_NE(r.candidates[0].infeasible.find("bound: ttft_ms.p99"), std::string::npos);
}

TEST_F(Plans, BudgetLeavesOutWhatCostsMore) {
  const PlanResult r = run(std::string(kSmall) + "budget: 6.5 USD/h\n");
  EXPECT_EQ(r.candidates[0].levels, 3U);  // A100 at 1.79 USD/h
  EXPECT_EQ(r.candidates[2].levels, 2U);  // H100 at 2.99 USD/h
}

TEST_F(Plans, MistakesComeTogetherWithPlaces) {
  const std::string path =
      folder_.write("plan.yaml",
                    "kvsim: 1\nbase: x.yaml\nminimize: price\n"
                    "objectives: [ttft.p99 < 2 s, tpot.p99 <= 2, queue <= 1 s]\n"
                    "choices: {two words: [1]}\nreplicas: {min: 4, max: 2}\n");
  try {
    load_plan(path, {});
    FAIL();
  } catch (const InputError& e) {
    cli_test::expect_holds(
        e.what(), {"plan.yaml:3:1: error: minimize: unknown key", "did you mean 'minimise'?",
                   "plan.yaml:4:14", "expected METRIC <= LIMIT", "'2' has no unit",
                   "'queue' names no statistic", "queue.p99", "choices.two words",
                   "min is above max", "neither this nor maximise is given"});
  }
}

// A path or a name that the scenario does not know is shown where the plan says it.
TEST_F(Plans, MistakesInValuesPointIntoThePlan) {
  const std::string text = error(R"(
choices:
  hardware:
    a: {deployment.hardware: h100-sxn}
    b: {engine.max_runing: 3}
objectives: [ttft.p99 <= 2 s]
minimise: price
)");
  cli_test::expect_holds(text, {"plan.yaml:6:", "unknown hardware 'h100-sxn'", "h100-sxm",
                                "plan.yaml:7:", "did you mean 'max_running'?"});
}

TEST_F(Plans, UnknownMetricsHaveANearestName) {
  cli_test::expect_holds(error(R"(
set: {workload.limit: 5}
choices: {deployment.replicas: [1]}
objectives: [prefix_hit_rat >= 0.5]
minimise: price
)"),
                         {"no metric 'prefix_hit_rat'", "prefix_hit_rate"});
}

// 400 requests of 1,000 tokens, one every 10 ms, first tokens all due in a second: all work but the
// one or two that rounding lets off must be done in 4.99 s. Llama 3.1 8B has 6.98e9 weights in
// matrices besides the head (which only samples), and attention of 4 x 4096 x 32 x 1000^2 / 2
// flops.
TEST_F(Plans, BoundOnReplicasByHand) {
  Diagnostics d;
  const LoadedScenario s = load_scenario(
      kBase,
      {"workload={generate: {requests: 400, arrivals: {process: constant, rate: 100 /s}, "
       "prompt: {value: 1000}, output: {value: 1}}}",
       "deployment.hardware=h100-sxm"},
      d);
  BuiltRun run = build_run(s, true, d);
  d.throw_if_any();
  const PlanWorkload w = read_workload(*run.trace, true);
  ASSERT_EQ(w.requests.size(), 400U);
  EXPECT_EQ(w.requests[7].fresh, 1000);
  EXPECT_FALSE(w.closed);
  PlanSpec spec;
  spec.objectives = {{"", "ttft_ms.max", true, 1000}};
  const PlanBounds bounds(run, w, spec, 1);
  const double linear = 2 * 6.979e9 * 1000 / (989.4e12 * 0.689);
  const double attention = 4.0 * 4096 * 32 * 1000 * 1000 / 2 / (989.4e12 * 0.5);
  EXPECT_NEAR(bounds.replicas(1).busy, 399 * (linear + attention) / 4.99,
              0.01 * 399 * linear / 4.99);
  // At twice the rate the same work is due in 2.995 s.
  EXPECT_NEAR(bounds.replicas(2).busy / bounds.replicas(1).busy, 4.99 / 2.995, 0.01);
  // Alone, a request takes at least the arithmetic of its prompt.
  EXPECT_GT(*bounds.best(0), linear * 1e3);
  EXPECT_LT(*bounds.best(0), 2 * linear * 1e3);
}

// The plans that come with the program. The conversation's trace does not.
TEST(ShippedPlans, ChatAgreesWithRunningEverything) {
  const std::string file = std::string(KVSIM_SOURCE_DIR) + "/scenarios/studies/plan-chat.yaml";
  const PlanResult r = run_plan(load_plan(file, {}), {2, true, {}});
  ASSERT_TRUE(r.answer);
  EXPECT_TRUE(r.exhaustive->agrees);
  EXPECT_TRUE(r.bound_holds);
  cli_test::expect_width(plan_text(r, {}).substr(0, plan_text(r, {}).find("run it")));
}

TEST(ShippedPlans, ConversationHasFortyCandidates) {
  const std::string root = KVSIM_SOURCE_DIR;
  if (!std::filesystem::exists(root + "/../shared/traces/mooncake_conversation.jsonl.gz"))
    GTEST_SKIP() << "the conversation trace is not here";
  const PlanFile plan =
      load_plan(root + "/scenarios/studies/plan-conversation.yaml", {"workload.limit=150"});
  const PlanResult r = run_plan(plan, {2, false, {}});
  EXPECT_GE(r.candidates.size(), 40U);
  ASSERT_TRUE(r.answer);
  EXPECT_TRUE(r.bound_holds);
}

// What an earlier request brought may be found; the rest is fresh.
TEST(PlanWorkloads, CountWhatNobodyBroughtBefore) {
  class Source final : public TraceSource {
   public:
    std::optional<Time> next_arrival() override {
      return given_ < 3 ? std::optional(Time{Duration{given_ * 1'000'000'000}}) : std::nullopt;
    }
    void pop(Request& q) override {
      static const std::vector<std::vector<Segment>> kSegments{
          {{1, 512}, {2, 100}}, {{1, 512}, {3, 300}}, {{1, 512}, {3, 300}}};
      q.index = static_cast<std::uint64_t>(given_);
      q.arrival = Time{Duration{given_ * 1'000'000'000}};
      q.segments = kSegments[q.index];
      q.prompt_tokens = q.segments[0].tokens + q.segments[1].tokens;
      q.output_tokens = 10;
      ++given_;
    }

   private:
    std::int64_t given_ = 0;
  };
  Source with, without;
  const PlanWorkload a = read_workload(with, true), b = read_workload(without, false);
  EXPECT_EQ(a.requests[0].fresh, 612);
  EXPECT_EQ(a.requests[1].fresh, 300);
  EXPECT_EQ(a.requests[2].fresh, 1);  // the last token is always computed
  EXPECT_EQ(b.requests[2].fresh, 812);
  EXPECT_EQ(a.tokens, 612 + 812 + 812 + 30);
}

}  // namespace
}  // namespace kvsim
