// Comparisons of scenarios and recorded runs: nothing changed, something changed, and how often the
// intervals hold the truth.
#include "sim/study/compare.h"

#include <gtest/gtest.h>

#include <cmath>

#include "sim/base/diagnostics.h"
#include "sim/run/simulate.h"
#include "sim/study/compare_coverage.h"
#include "tests/sim/record/sample_run.h"

namespace kvsim {
namespace {

const std::string kScenario = std::string(KVSIM_SOURCE_DIR) + "/scenarios/what-if.yaml";
const std::vector<std::string> kFifo{"cache.tiers=[{name: gpu, eviction: fifo}]"};

CompareSide side(std::vector<std::string> sets = {}) {
  sets.insert(sets.begin(), "workload.generate.requests=60");
  return {kScenario, std::move(sets)};
}

// The same run in a database.
std::string database(const record_test::Folder& folder, const char* name,
                     const std::vector<std::string>& sets) {
  Diagnostics d;
  BuiltRun run = build_run(load_scenario(kScenario, side(sets).sets, d), true, d);
  d.throw_if_any();
  SimulateOptions options;
  options.database = folder / name;
  options.reproducible = true;
  simulate(run, options);
  return options.database;
}

std::string refusal(const CompareSide& a, const CompareSide& b, const CompareOptions& options) {
  try {
    compare_sides(a, b, options);
  } catch (const InputError& e) {
    return e.what();
  }
  return "";
}

TEST(Compare, NothingChangedIsSaid) {
  const CompareResult r = compare_sides(side(), side({"name=other"}), {});
  EXPECT_EQ(r.method, CompareMethod::same);
  EXPECT_TRUE(verdict(r).starts_with("No difference: both sides have the same events"))
      << verdict(r);
  ASSERT_EQ(r.params.size(), 1U);
  EXPECT_EQ(r.params[0].path, "name");
  for (const CompareRow& row : r.rows) EXPECT_EQ(row.a, row.b);
}

TEST(Compare, TheSameRunInTwoDatabasesHasNoDifference) {
  const record_test::Folder folder;
  const std::string a = database(folder, "a.db", {}), b = database(folder, "b.db", {"name=b"});
  const CompareResult r = compare_sides({a, {}}, {b + ":1", {}}, {});
  EXPECT_EQ(r.method, CompareMethod::same);
  EXPECT_NE(verdict(r).find("the same events (digest "), std::string::npos) << verdict(r);
}

TEST(Compare, PartsOfTheDifferenceAddUpWithIntervalsForAll) {
  CompareOptions options;
  options.seeds = 8;
  for (const Latency by : {Latency::ttft, Latency::tpot, Latency::e2e}) {
    options.by = by;
    const CompareResult r = compare_sides(side(), side(kFifo), options);
    EXPECT_EQ(r.method, CompareMethod::seeds);
    const CompareRow& whole = headline(r);
    double sum = 0;
    for (const CompareRow& part : r.parts) sum += part.b - part.a;
    EXPECT_NEAR(sum, whole.b - whole.a, 1e-9);
    ASSERT_TRUE(whole.difference && whole.relative);
    EXPECT_LE(whole.difference->low, whole.b - whole.a);
    EXPECT_GE(whole.difference->high, whole.b - whole.a);
    double tokens = 0;
    for (const CompareRow& row : r.tokens) tokens += row.b - row.a;
    EXPECT_NEAR(tokens, 0, 1e-9);
  }
}

TEST(Compare, ThreadsChangeNothing) {
  CompareOptions options;
  options.seeds = 6;
  const CompareResult one = compare_sides(side(), side(kFifo), options);
  options.threads = 3;
  const CompareResult three = compare_sides(side(), side(kFifo), options);
  EXPECT_EQ(verdict(one), verdict(three));
  ASSERT_EQ(one.rows.size(), three.rows.size());
  for (std::size_t i = 0; i < one.rows.size(); ++i) {
    EXPECT_EQ(one.rows[i].b, three.rows[i].b);
    if (one.rows[i].difference) {
      EXPECT_EQ(one.rows[i].difference->low, three.rows[i].difference->low);
    }
  }
}

TEST(Compare, ARecordedRunAndItsScenarioAreOneRunEach) {
  const record_test::Folder folder;
  const std::string a = database(folder, "a.db", {"seed=77"});
  const CompareResult r = compare_sides({a, {}}, side(kFifo), {});  // takes the run's seed
  EXPECT_EQ(r.method, CompareMethod::blocks);
  EXPECT_EQ(r.requests_a, 60U);
  EXPECT_GE(r.block_requests, 1);
  const CompareRow& whole = headline(r);
  ASSERT_TRUE(whole.difference);
  EXPECT_LE(whole.difference->low, whole.difference->high);
  double sum = 0;
  for (const CompareRow& part : r.parts) sum += part.b - part.a;
  EXPECT_NEAR(sum, whole.b - whole.a, 1e-9);
}

TEST(Compare, RefusesWhatCannotBeCompared) {
  const record_test::Folder folder;
  const std::string a = database(folder, "a.db", {}), c = database(folder, "c.db", {"seed=9"});
  EXPECT_NE(refusal({a, {}}, {c, {}}, {}).find("did not face the same requests"),
            std::string::npos);
  EXPECT_NE(refusal({a, {}}, {a + ":4", {}}, {}).find("no run 4"), std::string::npos);
  EXPECT_NE(refusal({a, {"seed=1"}}, {c, {}}, {}).find("--set cannot change"), std::string::npos);
  CompareOptions few;
  few.seeds = 3;
  EXPECT_NE(refusal(side(), side(kFifo), few).find("3 seeds are too few"), std::string::npos);
  const std::string both = refusal(side({"engine.blok=1"}), side({"cache.dtipe=bf16"}), {});
  EXPECT_NE(both.find("engine.blok"), std::string::npos);
  EXPECT_NE(both.find("cache.dtipe"), std::string::npos);
  CompareOptions unpaired;
  unpaired.is_paired = false;
  EXPECT_EQ(refusal({a, {}}, {c, {}}, unpaired), "");
}

TEST(Compare, ATraceIsOneRunWhateverTheSeed) {
  const std::string quick = std::string(KVSIM_SOURCE_DIR) + "/scenarios/quickstart.yaml";
  const CompareResult r = compare_sides({quick, {"workload.limit=100"}},
                                        {quick, {"workload.limit=100", "router=least-loaded"}}, {});
  EXPECT_TRUE(r.seeds_change_nothing);
  EXPECT_EQ(r.method, CompareMethod::blocks);
  EXPECT_EQ(r.seeds_a.size(), 1U);
}

TEST(Compare, BinomialRange) {
  EXPECT_EQ(binomial_range(1, 0.5), (std::pair<std::size_t, std::size_t>{0, 1}));
  EXPECT_EQ(binomial_range(10, 0.5), (std::pair<std::size_t, std::size_t>{2, 8}));
  EXPECT_EQ(binomial_range(200, 0.95), (std::pair<std::size_t, std::size_t>{184, 196}));
}

const CoverageRow& row_of(const CoverageResult& r, const std::string& name) {
  for (const CoverageRow& row : r.rows)
    if (row.name == name && (row.statistic == "mean" || row.statistic == "value")) return row;
  ADD_FAILURE() << "no row " << name;
  return r.rows.front();
}

// A known difference: eviction policy, block size. Of 50 intervals of the right level fewer than 42
// hold the truth once in a thousand times.
TEST(Compare, IntervalsHoldTheTruthOfAKnownDifference) {
  CompareOptions options;
  options.seeds = 8;
  options.threads = 2;
  CoverageOptions coverage;
  coverage.repetitions = 50;
  coverage.truth_seeds = 400;
  const std::vector<std::string> changes[] = {kFifo,
                                              {"engine.block_tokens=128", "engine.kv_blocks=375"}};
  for (const auto& change : changes) {
    const CoverageResult r = measure_coverage(side(), side(change), options, coverage);
    for (const char* name : {"ttft_ms", "e2el_ms", "prefix_hit_rate"})
      EXPECT_GE(row_of(r, name).held, 42U) << change[0] << " " << name;
  }
}

// Two sides that differ in nothing but their seeds: hardly ever "clear".
TEST(Compare, NoClearDifferenceWhereThereIsNone) {
  CompareOptions options;
  options.seeds = 8;
  options.threads = 2;
  options.is_paired = false;
  CoverageOptions coverage;
  coverage.repetitions = 50;
  coverage.truth_seeds = 100;
  const CoverageResult r = measure_coverage(side(), side({"name=other"}), options, coverage);
  for (const char* name : {"ttft_ms", "tpot_ms", "prefix_hit_rate"})
    EXPECT_LE(row_of(r, name).clear, 8U) << name;
}

}  // namespace
}  // namespace kvsim
