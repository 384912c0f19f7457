// The real decode loop on a tiny model. What a clock says is not asserted, only what follows from
// it.
#include "sim/run/kernel_loop.h"

#include <gtest/gtest.h>

#include <cmath>

#include "sim/base/diagnostics.h"
#include "tests/support/engine_fixture.h"

namespace kvsim {
namespace {

ModelSpec tiny() {
  ModelSpec m;
  m.name = "tiny";
  m.layers = 2, m.hidden = 64, m.heads = 4, m.kv_heads = 2;
  m.intermediate = 96, m.vocab = 128;
  return m;
}

TEST(KernelLoop, EveryIterationIsTriedAndTheQuietOnesAreCompared) {
  test::LinearCost profile(2'000'000, 0, 0);
  int timed = 0;
  const TimeKernels time_kernels = [&] {
    ++timed;
    return std::make_unique<test::LinearCost>(1'000'000, 0, 0);
  };
  const LoopShape shape{.batch = 3, .context = 20, .steps = 7, .threads = 1};
  const LoopReport report = run_kernel_loop(tiny(), profile, time_kernels, shape, {});
  EXPECT_EQ(timed, 5);  // once a round
  EXPECT_LE(report.quiet, shape.steps);
  EXPECT_GE(report.quiet + report.disturbed, shape.steps);
  EXPECT_GT(report.read_rate, 0);
  if (report.quiet == 0) {
    EXPECT_TRUE(std::isnan(report.measured));
    return;
  }
  EXPECT_DOUBLE_EQ(report.simulated, 0.002);
  EXPECT_DOUBLE_EQ(report.difference(), 0.002 / report.measured - 1);
  EXPECT_GT(report.law_difference, -1);
  EXPECT_TRUE(std::isfinite(report.law_difference));
}

TEST(KernelLoop, RefusesWhatItCannotRun) {
  test::LinearCost cost(1, 0, 0);
  const TimeKernels none = [] { return std::unique_ptr<CostModel>(); };
  ModelSpec m = tiny();
  m.gated = false;
  EXPECT_THROW(run_kernel_loop(m, cost, none, {}, {}), InputError);
  m = tiny();
  m.vocab = std::int64_t{1} << 40;
  EXPECT_THROW(run_kernel_loop(m, cost, none, {}, {}), InputError);
}

}  // namespace
}  // namespace kvsim
