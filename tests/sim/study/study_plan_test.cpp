#include "sim/study/study_plan.h"

#include <set>

#include "sim/scenario/yaml.h"
#include "tests/sim/study/study_fixture.h"

namespace kvsim {
namespace {

using study_test::expect_holds;
using study_test::mistakes;
using study_test::sets;

TEST(StudyPlan, GridTakesEveryCombinationTheLastAxisFastest) {
  const study_test::Folder folder;
  const StudyPlan plan =
      prepare_study(
          folder.study("axes:\n"
                       "  - {path: engine.max_running, values: [8, 16]}\n"
                       "  - {path: router, values: [round-robin, {policy: least-loaded}]}\n"
                       "seeds: {first: 3, count: 2}\n"))
          .plan;
  ASSERT_EQ(plan.points(), 4U);
  ASSERT_EQ(plan.trials(), 8U);
  EXPECT_EQ(sets(plan, 0), "engine.max_running=8 router=round-robin");
  EXPECT_EQ(sets(plan, 1), "engine.max_running=8 router={\"policy\": \"least-loaded\"}");
  EXPECT_EQ(sets(plan, 2), "engine.max_running=16 router=round-robin");
  EXPECT_EQ(plan.input(5).seed, 4U);
  EXPECT_EQ(plan.point_of(5), 2U);
  EXPECT_EQ(plan.input(5).sets,
            (std::vector<std::string>{"engine.max_running=16", "router=round-robin"}));
}

TEST(StudyPlan, PathsOfOneAxisMoveTogether) {
  const study_test::Folder folder;
  const StudyPlan plan =
      prepare_study(
          folder.study("axes:\n"
                       "  - path: [deployment.hardware, deployment.replicas]\n"
                       "    values: [[h100-sxm, 2], [dgx-h100, 4]]\n"
                       "  - {path: [slo.ttft, slo.e2e], range: {from: 1 s, to: 3 s, steps: 3}}\n"))
          .plan;
  EXPECT_EQ(plan.points(), 6U);
  EXPECT_EQ(sets(plan, 4),
            "deployment.hardware=dgx-h100 deployment.replicas=4 slo.ttft=2 s slo.e2e=2 s");
  EXPECT_EQ(plan.axes()[0].name(), "hardware+replicas");
}

std::string range_values(const std::string& range) {
  Diagnostics d;
  const Tree t = parse_yaml("{path: x, range: " + range + "}", "test", d);
  Reader r(d);
  AxisSpec spec;
  Codec<AxisSpec>::read(t, spec, r);
  const Axis axis(spec, t, true, r);
  d.throw_if_any();
  std::string out;
  for (std::size_t i = 0; i < axis.levels(); ++i) out += (i ? ", " : "") + axis.at_level(i)[0];
  return out;
}

TEST(Axes, RangesKeepTheirUnitsAndEnds) {
  EXPECT_EQ(range_values("{from: 64 GiB, to: 4 TiB, steps: 4, scale: log}"),
            "64 GiB, 256 GiB, 1 TiB, 4 TiB");
  EXPECT_EQ(range_values("{from: 1, to: 64, steps: 7, scale: log}"), "1, 2, 4, 8, 16, 32, 64");
  EXPECT_EQ(range_values("{from: 1, to: 4, steps: 3}"), "1, 3, 4");
  EXPECT_EQ(range_values("{from: 1.0, to: 4, steps: 3}"), "1.0, 2.5, 4");
  EXPECT_EQ(range_values("{from: 10 %, to: 0.3, steps: 3}"), "10 %, 0.2, 0.3");
  EXPECT_EQ(range_values("{from: 0, to: 1 s, steps: 3}"), "0, 500 ms, 1 s");
  EXPECT_EQ(range_values("{from: 100 us, to: 1 ms, steps: 3, scale: log}"),
            "100 us, 316228 ns, 1 ms");
  EXPECT_EQ(range_values("{from: 2 GB/s, to: 1 TB/s, steps: 2}"), "2 GB/s, 1 TB/s");
}

TEST(Axes, RangesThatMakeNoSense) {
  const auto error = [](const std::string& range) -> std::string {
    try {
      return range_values(range);
    } catch (const InputError& e) {
      return e.what();
    }
  };
  expect_holds(error("{from: 1 s, to: 1 GiB, steps: 2}"), {"test:1:", "not two numbers"});
  expect_holds(error("{from: 2, to: 1, steps: 2}"), {"'from' is not below 'to'"});
  expect_holds(error("{from: 0, to: 1, steps: 2, scale: log}"), {"begins above 0"});
  expect_holds(error("{from: 0, to: 1}"), {"needs 'steps'"});
  expect_holds(error("{from: 1, to: 3, steps: 9}"), {"twice", "fewer steps"});
}

TEST(StudyPlan, SampledDesignsStayInTheirRanges) {
  const study_test::Folder folder;
  for (const char* design : {"{latin-hypercube: 32}", "{sobol: 32}", "{saltelli: 8}",
                             "{morris: {trajectories: 8, levels: 4}}"}) {
    const StudyPlan plan =
        prepare_study(folder.study(std::string("design: ") + design +
                                   "\naxes:\n"
                                   "  - {path: engine.max_running, range: {from: 8, to: 64}}\n"
                                   "  - {path: router, values: [round-robin, least-loaded]}\n"
                                   "objectives: [{metric: ttft_ms.mean}]\n"))
            .plan;
    EXPECT_EQ(plan.points(),
              32U - (std::string(design).find("morris") != std::string::npos ? 8 : 0));
    std::set<std::string> routers;
    for (std::size_t i = 0; i < plan.points(); ++i) {
      const auto params = plan.params(i);
      EXPECT_GE(std::stoi(params[0].value), 8);
      EXPECT_LE(std::stoi(params[0].value), 64);
      routers.insert(params[1].value);
    }
    EXPECT_EQ(routers.size(), 2U) << design;
  }
}

TEST(StudyPlan, AllMistakesOfAFileComeAtOnceWithTheirPlaces) {
  const study_test::Folder folder;
  const std::string text = mistakes(
      folder.study("axes:\n"
                   "  - {path: engine.max_runing, values: [8]}\n"     // line 4
                   "  - {path: cache.dtype, values: [bf16, bf17]}\n"  // line 5
                   "  - {path: slo.ttft, values: [1 s, 2]}\n"         // line 6
                   "  - {path: engine.block_tokens, range: {from: 0, to: 4, steps: 2}}\n"));
  expect_holds(text,
               {"study.yaml:4:", "did you mean 'max_running'?", "study.yaml:5:40: error: ", "bf17",
                "study.yaml:6:", "'2' has no unit", "study.yaml:7:", "out of bounds: 1 to 65536"});
  const std::string file =
      mistakes(folder.study("axis: []\n"  // line 3
                            "axes:\n"
                            "  - {path: engine.max_running}\n"                     // line 5
                            "  - {path: [a, b], values: [[1, 2], [1], [1, 2]]}\n"  // line 6
                            "  - {paht: x, values: [1]}\n"                         // line 7
                            "  - {path: seed, values: [1]}\n"                      // line 8
                            "design: {sobool: 3}\n"
                            "constraints: [{metric: ttft_ms.p99}]\n"));
  expect_holds(file, {"study.yaml:3:1", "unknown key", "study.yaml:5:", "neither 'values' nor",
                      "study.yaml:6:", "one value for each path", "is there twice",
                      "study.yaml:7:", "did you mean 'path'?", "study.yaml:8:", "seeds: [1, 2, 3]",
                      "study.yaml:9:", "sobol", "study.yaml:10:", "neither 'at_most'"});
}

TEST(StudyPlan, MistakesOfOneKind) {
  const study_test::Folder folder;
  const std::string axes = "axes: [{path: engine.max_running, values: [8, 16]}]\n";
  expect_holds(mistakes(folder.study(axes + "objectives: [{metric: ttft_ms.p98}]\n")),
               {"study.yaml:4:", "no metric 'ttft_ms.p98'", "ttft_ms.p9"});
  expect_holds(mistakes(folder.study(axes + "objectives: [{metric: ttft_ms}]\n")),
               {"ttft_ms.mean"});
  expect_holds(mistakes(folder.study(axes + "design: {saltelli: 4}\n")), {"there are none"});
  expect_holds(mistakes(folder.study(axes + "seeds: [1, 2, 1]\n")), {"seed 1 is there twice"});
  expect_holds(mistakes(folder.study("axes: []\n")), {"at least one axis"});
  expect_holds(mistakes(folder.study(axes + "set: [engine.max_batched_tokens=x]\n")),
               {"study.yaml:4:", "set.0", "whole number"});
  expect_holds(mistakes(folder.study("axes:\n"
                                     "  - {path: engine.max_running, range: {from: 1, to: 2000, "
                                     "steps: 2000}}\n"
                                     "  - {path: engine.block_tokens, range: {from: 1, to: 2000, "
                                     "steps: 2000}}\n")),
               {"4000000 trials, at most 1000000"});
  std::ofstream(folder / "bare.yaml") << "axes: [{path: a, values: [1]}]\nworkload: {}\n";
  expect_holds(mistakes(folder / "bare.yaml"), {"this looks like a scenario"});
  std::ofstream(folder / "gone.yaml") << "base: nothing.yaml\n" << axes;
  expect_holds(mistakes(folder / "gone.yaml"), {"gone.yaml:1:7", "there is no file"});
}

TEST(StudyPlan, TheTextOfAStudyGivesTheSamePlan) {
  const study_test::Folder folder;
  const StudyPlan plan =
      prepare_study(folder.study("axes:\n"
                                 "  - {path: engine.max_running, range: {from: 8, to: "
                                 "64, scale: log}}\n"
                                 "  - {path: router, values: [round-robin, {policy: "
                                 "least-loaded}]}\n"
                                 "design: {latin-hypercube: 9, seed: 4}\n"
                                 "seeds: [7, 9]\n"))
          .plan;
  const std::string text = to_yaml(write_fields(plan.spec()));
  Diagnostics d;
  const LoadedStudy again = read_study(parse_yaml(text, "text", d), d);
  const StudyPlan same(again, d);
  d.throw_if_any();
  ASSERT_EQ(same.trials(), plan.trials());
  for (std::size_t i = 0; i < plan.points(); ++i) EXPECT_EQ(sets(same, i), sets(plan, i));
  EXPECT_EQ(same.input(3).seed, plan.input(3).seed);
}

}  // namespace
}  // namespace kvsim
