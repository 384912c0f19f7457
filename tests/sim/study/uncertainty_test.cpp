// Error bars: ranges as written, residuals as data, the same whatever the threads.
#include "sim/study/uncertainty.h"

#include <gtest/gtest.h>

#include "sim/base/diagnostics.h"
#include "sim/study/trial.h"

namespace kvsim {
namespace {

const std::string kScenario = std::string(KVSIM_SOURCE_DIR) + "/scenarios/what-if.yaml";
const std::vector<std::string> kSmall{"workload.generate.requests=40"};

std::string refusal(const std::vector<std::string>& sets, const UncertaintyOptions& options) {
  try {
    run_uncertain(kScenario, sets, options);
  } catch (const InputError& e) {
    return e.what();
  }
  return "";
}

const UncertaintyRow& row_of(const UncertaintyResult& r, const std::string& name,
                             const std::string& statistic) {
  for (const UncertaintyRow& row : r.rows)
    if (row.name == name && row.statistic == statistic) return row;
  ADD_FAILURE() << "no row " << name;
  return r.rows.front();
}

TEST(Uncertainty, RangesAreReadAsWritten) {
  const ParamRange time = parse_range("engine.overhead=100..300 us");
  EXPECT_EQ(time.path, "engine.overhead");
  EXPECT_EQ(value_at(time, 0), "100 us");
  EXPECT_EQ(value_at(time, 0.5), "200 us");
  const ParamRange whole = parse_range("engine.kv_blocks=10..12");
  EXPECT_EQ(value_at(whole, 0), "10");
  EXPECT_EQ(value_at(whole, 0.34), "11");
  EXPECT_EQ(value_at(whole, 0.999), "12");
  EXPECT_EQ(value_at(whole, 1), "12");
  EXPECT_EQ(value_at(parse_range("cost.gemm=0.5..0.7"), 0.5), "0.6");
  EXPECT_EQ(value_at(parse_range("x.0.capacity=1 GiB..3 GiB"), 0.5), "2 GiB");
  for (const char* text : {"", "x", "x=1", "x=1..", "=1..2", "x=2..1", "x=1 ms..2 us", "x=a..b"})
    EXPECT_THROW(parse_range(text), InputError) << text;
}

TEST(Uncertainty, ResidualsAreDataWithASource) {
  Diagnostics d;
  const auto residuals = load_residuals("roofline", d);
  ASSERT_TRUE(d.empty());
  ASSERT_TRUE(residuals);
  EXPECT_GE(residuals->rows.size(), 10U);
  EXPECT_NE(residuals->source.find("kvsim calibrate fleet"), std::string::npos);
  EXPECT_FALSE(load_residuals("layer-profile", d));
  EXPECT_TRUE(d.empty());
}

TEST(Uncertainty, ARangeAloneSpansTheRunsOfItsEnds) {
  UncertaintyOptions options;
  options.trials = 40;
  options.vary_seed = options.vary_calibration = false;
  options.ranges = {parse_range("engine.front_end=0..20 ms")};
  const UncertaintyResult r = run_uncertain(kScenario, kSmall, options);
  EXPECT_FALSE(r.residuals);
  EXPECT_EQ(r.failed, 0U);
  const UncertaintyRow& ttft = row_of(r, "ttft_ms", "mean");
  const auto at = [&](const char* value) {
    return *metric_value(
        run_trial(kScenario, {{kSmall[0], std::string("engine.front_end=") + value}, {}, false})
            .metrics,
        "ttft_ms.mean");
  };
  // Everything comes later by as much, so the latencies follow the range.
  const double low = at("0 ms"), high = at("20 ms");
  EXPECT_LT(ttft.p5, low + 0.25 * (high - low));
  EXPECT_GT(ttft.p95, low + 0.75 * (high - low));
  EXPECT_GT(ttft.p5, low - 1);
  EXPECT_LT(ttft.p95, high + 1);
  EXPECT_NEAR(ttft.p50, (low + high) / 2, 0.2 * (high - low));
}

// The errors of the deployments where decode was 16 % faster to 21 % slower than predicted.
TEST(Uncertainty, CalibrationMovesDecodeAsMuchAsItsResiduals) {
  UncertaintyOptions options;
  options.trials = 26;
  options.vary_seed = false;
  options.threads = 2;
  const UncertaintyResult r = run_uncertain(kScenario, kSmall, options);
  ASSERT_TRUE(r.residuals);
  const UncertaintyRow& tpot = row_of(r, "tpot_ms", "mean");
  EXPECT_LT(tpot.p5, tpot.as_given * 0.92);
  EXPECT_GT(tpot.p95, tpot.as_given * 1.08);
  EXPECT_GT(tpot.p5, tpot.as_given * 0.75);
  EXPECT_LT(tpot.p95, tpot.as_given * 1.4);
  options.threads = 1;
  const UncertaintyResult again = run_uncertain(kScenario, kSmall, options);
  for (std::size_t i = 0; i < r.rows.size(); ++i) EXPECT_EQ(r.rows[i].p95, again.rows[i].p95);
}

TEST(Uncertainty, SaysWhatIsWrong) {
  UncertaintyOptions options;
  options.trials = 5;
  EXPECT_NE(refusal(kSmall, options).find("20 to 100000"), std::string::npos);
  options.trials = 20;
  options.ranges = {parse_range("engine.kv_blok=10..20"), parse_range("engine.front_end=1..2")};
  const std::string both = refusal(kSmall, options);
  EXPECT_NE(both.find("did you mean 'kv_blocks'"), std::string::npos) << both;
  EXPECT_NE(both.find("has no unit"), std::string::npos) << both;
  options.ranges.clear();
  options.vary_seed = options.vary_calibration = false;
  EXPECT_NE(refusal(kSmall, options).find("nothing varies"), std::string::npos);
}

}  // namespace
}  // namespace kvsim
