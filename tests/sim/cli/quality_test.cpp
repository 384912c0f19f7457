// kvsim quality, and quality in runs and studies.
#include "sim/record/database.h"
#include "sim/scenario/yaml.h"
#include "sim/study/trial.h"
#include "tests/sim/cli/cli_fixture.h"

namespace kvsim {
namespace {

const char* const kFile = R"(kvsim: 1
name: small
quality:
  source: {kind: synthetic, layers: 2, q_heads: 2, kv_heads: 1, dim: 32}
  prompt: 64
  steps: 4
  policies: [h2o, {label: codes, pipeline: [{quantize: {bits: 4, key_axis: token}}]}]
  budgets: [100 %, 50 %]
)";

// Nothing that was measured before may answer.
class QualityVerb : public testing::Test {
 protected:
  QualityVerb() {
    if (const char* old = std::getenv("XDG_CACHE_HOME")) old_ = old;
    setenv("XDG_CACHE_HOME", (folder_ / "cache").c_str(), 1);
  }
  ~QualityVerb() override {
    old_.empty() ? unsetenv("XDG_CACHE_HOME") : setenv("XDG_CACHE_HOME", old_.c_str(), 1);
  }
  cli_test::TempFolder folder_;
  std::string old_;
};

TEST_F(QualityVerb, PrintsATableAndWritesADatabaseThatReportAndQueryRead) {
  const std::string file = folder_.write("small.yaml", kFile), db = folder_ / "q.db";
  const auto first = cli_test::kvsim({"quality", file, "-o", db});
  ASSERT_EQ(first.code, 0) << first.err;
  cli_test::expect_holds(first.out, {"synthetic: 1 sequence of 64 + 4 tokens, 2 layers", "policy",
                                     "out_err", "full", "h2o", "codes"});
  cli_test::expect_width(first.out);
  const auto again = cli_test::kvsim({"quality", file, "--no-database"});
  cli_test::expect_holds(again.out, {"5 of 5 points were measured before"});
  const auto fresh =
      cli_test::kvsim({"quality", file, "--no-database", "--fresh", "--threads", "2"});
  EXPECT_EQ(fresh.out, first.out) << "the same on any number of threads";
  const auto query = cli_test::kvsim({"query", db, "@quality"});
  EXPECT_EQ(query.code, 0) << query.err;
  cli_test::expect_holds(query.out, {"h2o", "out_err", "kept_percent"});
  const auto report = cli_test::kvsim({"report", db, "-o", folder_ / "r.html"});
  EXPECT_EQ(report.code, 0) << report.err;
  cli_test::expect_holds(cli_test::read_file(folder_ / "r.html"), {"Quality against KV bytes"});
}

TEST_F(QualityVerb, JsonHoldsEveryValue) {
  const auto r =
      cli_test::kvsim({"quality", folder_.write("small.yaml", kFile), "--no-database", "--json"});
  Diagnostics d;
  const Tree t = load_yaml(folder_.write("r.json", r.out), d);
  ASSERT_TRUE(d.empty()) << r.out;
  ASSERT_NE(t.find("points"), nullptr);
  ASSERT_EQ(t.find("points")->items().size(), 5U);
  EXPECT_GT(t.find("points")->items()[0].find("values")->items().size(), 10U);
}

TEST_F(QualityVerb, MisuseIsSaid) {
  const auto error = [&](const std::vector<std::string>& arguments) {
    const auto r = cli_test::kvsim(arguments);
    EXPECT_EQ(r.code, 2) << r.out;
    return r.err;
  };
  cli_test::expect_holds(error({"quality"}), {"no file given"});
  const std::string wrong = folder_.write("wrong.yaml", R"(kvsim: 1
qualty: {}
quality:
  source: {kind: synthetic, dims: 4}
  policies: [h3o, snapkv]
  steps: many
)");
  const std::string all = error({"quality", wrong});
  cli_test::expect_holds(all, {"wrong.yaml:2:1", "did you mean 'quality'?", "wrong.yaml:4:", "dims",
                               "did you mean 'dim'?", "wrong.yaml:5:", "did you mean 'h2o'?", "wrong.yaml:6:", "steps"});
  cli_test::expect_holds(error({"quality", folder_.write("none.yaml", "kvsim: 1\n")}),
                         {"the file does not say what to measure"});
  const std::string small = folder_.write("small.yaml", kFile);
  cli_test::expect_holds(error({"quality", small, "--threads", "0"}), {"expected 1 to 256"});
  cli_test::expect_holds(error({"quality", small, "--device", "no-such-device"}),
                         {"no-such-device"});
  cli_test::expect_holds(
      error({"quality", small, "--set", "quality.source={kind: transformer, weights: absent.bin}"}),
      {"absent.bin: cannot be read"});
}

TEST_F(QualityVerb, ARunPaysForItsPoliciesOnce) {
  const std::string db = folder_ / "run.db";
  const std::vector<std::string> run{
      "run",
      cli_test::scenario("quickstart.yaml"),
      "-o",
      db,
      "--set",
      "cache.token_policies=[{select: {policy: h2o, budget: 20 %}}]",
      "--set",
      "quality={source: {kind: synthetic, layers: 1}, prompt: 96, steps: 3, measures: [out_err]}",
      "--set",
      "workload.limit=5"};
  const auto first = cli_test::kvsim(run);
  ASSERT_EQ(first.code, 0) << first.err;
  Database file = Database::open_read_only(db);
  EXPECT_EQ(file.integer("SELECT count(*) FROM quality WHERE run_id = 1 AND layer IS NULL AND "
                         "policy LIKE 'select h2o' AND measure = 'out_err'"),
            2);
  EXPECT_EQ(file.integer("SELECT count(*) FROM metric WHERE name = 'quality' AND statistic = "
                         "'out_err' AND value > 0.01 AND value < 3"),
            1);
  EXPECT_EQ(
      std::distance(std::filesystem::directory_iterator(folder_ / "cache/kvsim/quality"), {}), 2)
      << "the policy, and the whole cache";
  auto none = run;
  none[7] = "quality=none";
  ASSERT_EQ(cli_test::kvsim(none).code, 0);
  EXPECT_EQ(Database::open_read_only(db).integer("SELECT count(*) FROM quality"), 0);
}

TEST_F(QualityVerb, ARunsMistakesArePartOfItsCheck) {
  const auto r = cli_test::kvsim({"check", cli_test::scenario("quickstart.yaml"), "--set",
                                  "cache.token_policies=[h2o]", "--set",
                                  "quality={policies: [snapkv], stepz: 3}"});
  EXPECT_EQ(r.code, 2);
  cli_test::expect_holds(r.err, {"a run measures its own cache.token_policies", "stepz"});
}

// quality.out_err of a trial, as objectives and constraints of studies and plans name it.
TEST_F(QualityVerb, TrialsHaveItAsAMetric) {
  TrialInput input;
  input.sets = {"workload.limit=3",
                "quality={source: {kind: synthetic, layers: 1}, prompt: 96, steps: 3}"};
  input.quality = is_of_quality("quality.out_err");
  ASSERT_TRUE(input.quality);
  const TrialResult whole = run_trial(cli_test::scenario("quickstart.yaml"), input);
  ASSERT_EQ(whole.error, "");
  EXPECT_LT(metric_value(whole.metrics, "quality.out_err").value_or(1), 1e-4);
  input.sets.push_back("cache.token_policies=[{select: {policy: h2o, budget: 20 %}}]");
  const TrialResult kept = run_trial(cli_test::scenario("quickstart.yaml"), input);
  ASSERT_EQ(kept.error, "");
  EXPECT_GT(metric_value(kept.metrics, "quality.out_err").value_or(0), 0.01);
  EXPECT_LT(metric_value(kept.metrics, "quality.kept_ratio").value_or(1), 0.4);
  EXPECT_TRUE(metric_value(kept.metrics, "quality.mass_p1").has_value());
}

}  // namespace
}  // namespace kvsim
