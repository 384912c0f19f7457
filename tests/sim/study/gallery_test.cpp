// The gallery: its arithmetic, its files, and that docs/gallery.md says what the program computes.
#include "sim/study/gallery.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "sim/base/diagnostics.h"
#include "sim/base/random.h"
#include "sim/cli/gallery_page.h"
#include "sim/scenario/scenario.h"
#include "sim/study/trial.h"
#include "tests/sim/cli/cli_fixture.h"

namespace kvsim {
namespace {

using cli_test::expect_holds;
using cli_test::expect_misuse;
using cli_test::read_file;
using cli_test::TempFolder;

double value(const std::string& text) {
  return Formula::parse(text).value([](const std::string& name) -> std::optional<double> {
    if (name == "a.b") return 3;
    if (name == "x_1") return 0.5;
    return std::nullopt;
  });
}

std::string error_of(const auto& f) {
  try {
    f();
  } catch (const InputError& e) {
    return e.what();
  }
  return "";
}

TEST(GalleryFormula, BindsAsArithmeticDoes) {
  EXPECT_EQ(value("1 + 2 * 3"), 7);
  EXPECT_EQ(value("(1 + 2) * 3"), 9);
  EXPECT_EQ(value("8 - 2 - 1"), 5);
  EXPECT_EQ(value("8 / 2 / 2"), 2);
  EXPECT_EQ(value("-2 * -(3 - 1)"), 4);
  EXPECT_EQ(value("a.b / x_1\n + 1e1"), 16);
  EXPECT_EQ(value(".5"), 0.5);
  EXPECT_TRUE(std::isinf(value("1 / (a.b - 3)")));
  EXPECT_EQ(Formula::parse("a.b + x_1 * a.b").names(), (std::vector<std::string>{"a.b", "x_1"}));
}

// Random trees, printed with all their parentheses, against the value they were built with.
TEST(GalleryFormula, AgreesWithTrees) {
  Rng rng(5, "formula");
  const auto tree = [&](auto& self, int depth) -> std::pair<std::string, double> {
    if (depth == 0 || rng.below(4) == 0) {
      const double n = static_cast<double>(1 + rng.below(9));
      return {std::to_string(static_cast<int>(n)), n};
    }
    const auto [left, a] = self(self, depth - 1);
    const auto [right, b] = self(self, depth - 1);
    switch (rng.below(4)) {
      case 0:
        return {"(" + left + "+" + right + ")", a + b};
      case 1:
        return {"(" + left + " - " + right + ")", a - b};
      case 2:
        return {left + "*" + right, a * b};  // both sides are factors
      default:
        return {"(" + left + "/(" + right + "))", a / b};
    }
  };
  for (int i = 0; i < 500; ++i) {
    const auto [text, expected] = tree(tree, 5);
    const double got = value("(" + text + ")");
    if (std::isfinite(expected))
      EXPECT_NEAR(got, expected, 1e-9 * std::abs(expected)) << text;
    else
      EXPECT_FALSE(std::isfinite(got)) << text;
  }
}

TEST(GalleryFormula, RefusesWhatItDoesNotUnderstand) {
  for (const char* text : {"", " ", "1 +", "(1", "1)", "1 2", "a b", "*1", "1 ** 2", "a.b(3)",
                           "1;2", "2^3", "..", "\xff", "a + $b"})
    EXPECT_NE(error_of([&] { Formula::parse(text); }).find("column"), std::string::npos) << text;
  EXPECT_NE(error_of([] { value("a.c"); }).find("'a.c' is not known"), std::string::npos);
  // Neither a long nor a deep text can exhaust anything.
  EXPECT_NE(error_of([] { Formula::parse(std::string(1'000'000, '1')); }).find("longer"),
            std::string::npos);
  EXPECT_NE(error_of([] { Formula::parse(std::string(2000, '(')); }).find("deeply"),
            std::string::npos);
  EXPECT_NE(error_of([] { Formula::parse(std::string(2000, '-') + "1"); }).find("deeply"),
            std::string::npos);
  EXPECT_EQ(value(std::string(90, '(') + "1" + std::string(90, ')')), 1);
}

GalleryFigure figure(double claimed, double tolerance, double factor = 0,
                     FigureBound bound = FigureBound::near) {
  GalleryFigure f;
  f.claimed = claimed;
  f.tolerance = Ratio{tolerance};
  f.factor = factor;
  f.bound = bound;
  return f;
}

TEST(GalleryVerdict, IsWhatTheToleranceSays) {
  EXPECT_EQ(verdict_of(figure(10, 0.25), 12.5), Verdict::within);
  EXPECT_EQ(verdict_of(figure(10, 0.25), 12.6), Verdict::unexplained);
  EXPECT_EQ(verdict_of(figure(10, 0.25), 7.4), Verdict::unexplained);
  EXPECT_EQ(verdict_of(figure(-10, 0.25), -12), Verdict::within);
  EXPECT_EQ(verdict_of(figure(6, 0, 2), 3), Verdict::within);
  EXPECT_EQ(verdict_of(figure(6, 0, 2), 12.1), Verdict::unexplained);
  EXPECT_EQ(verdict_of(figure(1, 0, 0, FigureBound::at_least), 9), Verdict::within);
  EXPECT_EQ(verdict_of(figure(1, 0, 0, FigureBound::at_least), 0.9), Verdict::unexplained);
  EXPECT_EQ(verdict_of(figure(1, 0.5, 0, FigureBound::at_most), -7), Verdict::within);
  EXPECT_EQ(verdict_of(figure(1, 0.25), NAN), Verdict::failed);
  GalleryFigure f = figure(10, 0.25);
  f.note = "because";
  EXPECT_EQ(verdict_of(f, 20), Verdict::missed);
}

constexpr const char* kGood = R"(claim: {id: C1, system: S, source: here, statement: faster}
runs:
  m: {model: llama-2-7b}
figures:
  - {what: KV, value: m.kv_token_bytes, claimed: 524288, tolerance: 0 %}
)";

TEST(GalleryFile, AllMistakesAtOnceWithPlaceAndNearestName) {
  const TempFolder folder;
  folder.write("a.yaml", R"(claim: {id: C1, system: S, sorce: here, statement: x}
runs: {m: {model: llama-2-7b}}
figures:
  - {what: KV, value: m.kv_token_bytes +, claimed: 1}
)");
  folder.write("b.yaml", R"(claim: {id: C2, system: S, source: here}
runs:
  base: {model: llama-2-7b, scenario: x.yaml}
  2nd: {hardware: dgx-a100, set: [a=1]}
  found: {scenario: y.yaml, search: {from: 2, to: 1}}
  load: {scenario: y.yaml, sweep: {values: [2, 1]}}
figures:
  - {what: KV, value: bose.kv_token_bytes, claimed: 1, factor: 0.5}
)");
  const std::string text = error_of([&] { load_gallery(folder / ""); });
  expect_holds(
      text, {"a.yaml:1:", "claim.sorce", "did you mean 'source'",
             "a.yaml:4:", "column 19 of the formula", "b.yaml:1:", "claim.statement: missing",
             "b.yaml:3:", "exactly one of scenario, model, hardware", "runs.2nd", "for a scenario",
             "no limits", "from is not below to", "b.yaml:8:", "no run is called 'bose'",
             "did you mean 'base'", "each above the one before it", "a factor is at least 1"});
}

TEST(GalleryFile, IdsAreUniqueAndOrderedAsNumbers) {
  const TempFolder folder;
  folder.write("z.yaml", kGood);
  std::string other = kGood;
  other.replace(other.find("C1"), 2, "C12");
  folder.write("a.yaml", other);
  folder.write("scenario.yaml", "kvsim: 1\n");
  const std::vector<Claim> two = load_gallery(folder / "");
  ASSERT_EQ(two.size(), 2U);
  EXPECT_EQ(two[0].claim.id, "C1");
  EXPECT_EQ(find_claims(two, "c12").front(), &two[1]);
  EXPECT_EQ(find_claims(two, "z").front(), &two[0]);
  EXPECT_EQ(find_claims(two, "S").size(), 2U);
  EXPECT_NE(error_of([&] { find_claims(two, "C13"); }).find("C12"), std::string::npos);
  folder.write("b.yaml", kGood);
  EXPECT_NE(error_of([&] { load_gallery(folder / ""); }).find("also the id of"), std::string::npos);
  EXPECT_NE(error_of([&] { load_gallery(folder / "none"); }).find("cannot read the folder"),
            std::string::npos);
}

constexpr const char* kServer = R"(kvsim: 1
name: tiny
model: llama-3.2-1b
deployment: {hardware: a100-80}
workload:
  generate: {requests: 60, arrivals: {rate: 20 /s}, prompt: {value: 400}, output: {value: 50}}
)";

// The figures of a run are those of `run_trial`, whatever the threads; a search ends where the
// limit breaks.
TEST(GalleryRun, RunsAndSearches) {
  const TempFolder folder;
  const std::string scenario = folder.write("tiny.yaml", kServer);
  folder.write("c.yaml", R"(claim: {id: C1, system: S, source: here, statement: x}
runs:
  one: {scenario: tiny.yaml, set: [workload.generate.output.value=20]}
  same: {scenario: tiny.yaml, set: [workload.generate.output.value=20]}
  most: {scenario: tiny.yaml, search: {from: 0.01, to: 1000, precision: 1 %, at_most: {tpot_ms.mean: 5}}}
  never: {scenario: tiny.yaml, search: {from: 0.01, to: 1000, at_most: {tpot_ms.mean: 0.001}}}
  always: {scenario: tiny.yaml, search: {from: 0.01, to: 0.02, at_most: {tpot_ms.mean: 1e9}}}
  typo: {scenario: tiny.yaml, search: {from: 0.01, to: 1000, at_most: {tpot.mean: 5}}}
  broken: {scenario: tiny.yaml, set: [engine.blok_tokens=3]}
  gone: {scenario: none.yaml}
figures:
  - {what: a, value: one.ttft_ms.mean - same.ttft_ms.mean, claimed: 0}
  - {what: b, value: one.ttft_ms.mean, claimed: 1, note: any}
  - {what: c, value: most.found, claimed: 1, note: any}
  - {what: d, value: never.found, claimed: 1}
  - {what: e, value: always.found, claimed: 1}
  - {what: f, value: typo.found, claimed: 1}
  - {what: g, value: broken.ttft_ms.mean, claimed: 1}
  - {what: h, value: gone.ttft_ms.mean, claimed: 1}
  - {what: i, value: one.ttft_ms, claimed: 1}
  - {what: j, value: 1 / (one.ttft_ms.mean - same.ttft_ms.mean), claimed: 1}
)");
  const std::vector<Claim> claims = load_gallery(folder / "");
  const ClaimResult one = run_gallery({&claims[0]}, 1).front();
  const ClaimResult two = run_gallery({&claims[0]}, 3).front();
  const std::vector<std::string> sets{"workload.generate.output.value=20"};
  EXPECT_EQ(one.figures[0].verdict, Verdict::within);
  EXPECT_EQ(
      one.figures[1].simulated,
      *metric_value(run_trial(scenario, {sets, std::nullopt, false}).metrics, "ttft_ms.mean"));
  const double found = one.figures[2].simulated;
  const auto tpot_at = [&](double rate) {
    const TrialInput input{{fmt::format("workload.rate_scale={}", rate)}, std::nullopt, false};
    return *metric_value(run_trial(scenario, input).metrics, "tpot_ms.mean");
  };
  EXPECT_LE(tpot_at(found), 5);
  EXPECT_GT(tpot_at(found * 1.2), 5);
  const std::pair<std::size_t, const char*> failures[] = {{3, "the limits do not hold at 0.01"},
                                                          {4, "the limits still hold at 0.02"},
                                                          {5, "no metric 'tpot.mean'"},
                                                          {6, "did you mean 'block_tokens'"},
                                                          {7, "none.yaml"},
                                                          {8, "'one.ttft_ms' is not known"},
                                                          {9, "the formula gives no number"}};
  for (const auto& [i, text] : failures) {
    EXPECT_EQ(one.figures[i].verdict, Verdict::failed) << i;
    EXPECT_NE(one.figures[i].error.find(text), std::string::npos) << one.figures[i].error;
  }
  EXPECT_EQ(gallery_json({one}), gallery_json({two}));
}

// A curve has a point for each swept value; where a limit breaks lies on the line between two.
TEST(GalleryRun, SweepsACurve) {
  const TempFolder folder;
  folder.write("tiny.yaml", kServer);
  folder.write("c.yaml", R"(claim: {id: C1, system: S, source: here, statement: x}
runs:
  load:
    scenario: tiny.yaml
    seeds: 2
    sweep: {values: [1, 4, 16], at_most: {ttft_ms.mean: LIMIT}}
figures:
  - {what: a, value: load.at_2.ttft_ms.mean, claimed: 1, note: any}
  - {what: b, value: load.found, claimed: 1, note: any}
curves:
  - {what: load, x: rate, y: ms, lines: {one: {run: load, value: ttft_ms.mean * 2, scale: 20, at: [80], published: [7]}}}
)");
  std::string text = read_file(folder / "c.yaml");
  text.replace(text.find("LIMIT"), 5, "1e9");
  folder.write("c.yaml", text);
  const std::vector<Claim> loose = load_gallery(folder / "");
  const ClaimResult r = run_gallery({&loose[0]}, 2).front();
  const CurveResult::Line& line = r.curves.at(0).lines.at("one");
  ASSERT_EQ(line.x, (std::vector<double>{20, 80, 320}));
  EXPECT_EQ(line.y[1], 2 * r.figures[0].simulated);
  EXPECT_EQ(r.figures[1].simulated, 16);  // it never breaks
  double mean = 0;
  for (std::uint64_t seed : {0U, 1U})
    mean += *metric_value(
                run_trial(folder / "tiny.yaml", {{"workload.rate_scale=4"}, seed, false}).metrics,
                "ttft_ms.mean") /
            2;
  EXPECT_NEAR(r.figures[0].simulated, mean, 1e-9);
  const double limit = (line.y[0] + line.y[1]) / 4;  // half way from the first to the second
  text.replace(text.find("1e9"), 3, fmt::format("{}", limit));
  folder.write("c.yaml", text);
  const std::vector<Claim> tight = load_gallery(folder / "");
  EXPECT_NEAR(run_gallery({&tight[0]}, 2).front().figures[1].simulated, 2.5, 1e-6);
  expect_holds(
      cli_test::kvsim({"gallery", "C1", "--folder", folder / "", "--charts", folder / ""}).out,
      {"rate", "one, published"});
  EXPECT_NE(read_file(folder / "c1-1.svg").find("<svg"), std::string::npos);
  const std::string page = fill_gallery_page("", {r});
  expect_holds(page, {"## Load curves", "| rate | one | one, published |", " 7 |"});
  EXPECT_EQ(fill_gallery_page(page, {r}), page);
}

// A trace that does not ship is no failure where it is absent; elsewhere blocks are counted.
TEST(GalleryRun, ReplaysATraceOrSaysThatItIsAbsent) {
  const TempFolder folder;
  std::string
      trace;  // two prompts in turn, of three blocks each: one cache holds both, or thrashes
  for (int i = 0; i < 8; ++i)
    trace += fmt::format(
        "{{\"timestamp\": {}, \"input_length\": 1536, \"output_length\": 1, \"hash_ids\": [{}, {}, "
        "{}]}}\n",
        i * 1000, i % 2 * 10, i % 2 * 10 + 1, i % 2 * 10 + 2);
  folder.write("t.jsonl", trace);
  folder.write("c.yaml", R"(claim: {id: C1, system: S, source: here, statement: x}
runs:
  wide: {replay: {file: t.jsonl, capacity_tokens: 3072}}
  narrow: {replay: {file: t.jsonl, capacity_tokens: 1536}}
  two: {replay: {file: t.jsonl, capacity_tokens: 1536, nodes: 2}}
  gone: {replay: {file: none.jsonl}}
figures:
  - {what: a, value: wide.hits, claimed: 18, tolerance: 0 %}
  - {what: b, value: narrow.hits, claimed: 0, tolerance: 0 %}
  - {what: c, value: two.hits, claimed: 18, tolerance: 0 %}
  - {what: d, value: narrow.ceiling / narrow.blocks, claimed: 0.75, tolerance: 0 %}
  - {what: e, value: gone.hits, claimed: 1}
)");
  const std::vector<Claim> claims = load_gallery(folder / "");
  const ClaimResult r = run_gallery({&claims[0]}, 1).front();
  for (std::size_t i = 0; i < 4; ++i)
    EXPECT_EQ(r.figures[i].verdict, Verdict::within) << i << " " << r.figures[i].simulated;
  EXPECT_EQ(r.figures[4].verdict, Verdict::absent);
  EXPECT_EQ(cli_test::kvsim({"gallery", "--folder", folder / ""}).code, 0);
  // Its rows in a page stay.
  const std::string page =
      fill_gallery_page("<!-- kvsim gallery -->\n| C1 | S | a | 18 | 18 |\n<!-- end -->\n", {r});
  expect_holds(page, {"\n| C1 | S | a | 18 | 18 |\n"});
  EXPECT_TRUE(stale_claims("", {r}).empty());
}

TEST(GalleryPage, FillsItsBlockAndSeesWhatIsStale) {
  const TempFolder folder;
  folder.write("c.yaml", kGood);
  const std::vector<Claim> claims = load_gallery(folder / "");
  std::vector<ClaimResult> results = run_gallery({&claims[0]}, 1);
  const std::string page =
      fill_gallery_page("# A\n\n<!-- kvsim gallery -->\nold\n<!-- end -->\nrest\n", results);
  expect_holds(page,
               {"# A\n", "| C1 | S | KV | 524,288 | 524,288 | 0 % | 0 % | within |", "rest\n"});
  EXPECT_EQ(page.find("old"), std::string::npos);
  EXPECT_EQ(fill_gallery_page(page, results), page);
  EXPECT_TRUE(stale_claims(page, results).empty());
  results[0].figures[0].simulated += 1;
  EXPECT_EQ(stale_claims(page, results), std::vector<std::string>{"C1"});
  EXPECT_NE(
      error_of([&] { fill_gallery_page("<!-- kvsim gallery -->\n", results); }).find("no end"),
      std::string::npos);
}

TEST(GalleryVerb, NamesFormsAndMisuse) {
  const TempFolder folder;
  folder.write("c.yaml", kGood);
  const std::string at = folder / "";
  const auto all = cli_test::kvsim({"gallery", "--folder", at});
  EXPECT_EQ(all.code, 0);
  expect_holds(all.out, {"C1 S", "524,288", "within", "1 claims, 1 of 1 figures"});
  expect_holds(cli_test::kvsim({"gallery", "C1", "--folder", at}).out,
               {"source", "KV = m.kv_token_bytes", "metric", "kv_token_bytes", "13,476,831,232"});
  expect_holds(cli_test::kvsim({"gallery", "--list", "--folder", at}).out, {"faster"});
  expect_holds(cli_test::kvsim({"gallery", "--json", "--folder", at}).out,
               {"\"id\": \"C1\"", "\"simulated\": 524288", "\"verdict\": \"within\""});
  const std::string page = folder / "page.md";
  EXPECT_EQ(cli_test::kvsim({"gallery", "--write", page, "--folder", at}).code, 0);
  EXPECT_EQ(cli_test::kvsim({"gallery", "--check", page, "--folder", at}).code, 0);
  folder.write("page.md", "nothing\n");
  EXPECT_EQ(cli_test::kvsim({"gallery", "--check", page, "--folder", at}).code, 3);
  std::string wrong = kGood;
  wrong.replace(wrong.find("524288"), 6, "524287");
  folder.write("c.yaml", wrong);
  const auto missed = cli_test::kvsim({"gallery", "--folder", at});
  EXPECT_EQ(missed.code, 3);
  expect_holds(missed.err, {"C1: KV: missed", "note"});
  wrong.replace(wrong.find("tolerance"), 9, "note: known, tolerance");
  folder.write("c.yaml", wrong);
  EXPECT_EQ(cli_test::kvsim({"gallery", "--folder", at}).code, 0);
  expect_misuse({"gallery", "C99", "--folder", at}, {"no claim 'C99'", "C1"});
  expect_misuse({"gallery", "C1", "--write", "x.md", "--folder", at}, {"needs all claims"});
  expect_misuse({"gallery", "--folder", folder / "none"}, {"cannot read the folder"});
}

// The shipped claims.

std::vector<const Claim*> pointers(const std::vector<Claim>& all, bool exact_only) {
  std::vector<const Claim*> chosen;
  for (const Claim& c : all)
    if (!exact_only || c.claim.kind == ClaimKind::exact) chosen.push_back(&c);
  return chosen;
}

TEST(Gallery, EveryShippedScenarioIsSound) {
  const std::vector<Claim> all = load_gallery(gallery_folder());
  EXPECT_GE(all.size(), 20U);
  std::set<std::string> checked;
  for (const Claim& c : all)
    for (const auto& [name, run] : c.runs) {
      if (run.scenario.empty()) continue;
      Diagnostics d;
      load_scenario(gallery_folder() + "/" + run.scenario, run.set, d);
      EXPECT_TRUE(d.empty()) << c.file << " " << name << ": " << to_string(d.all()[0]);
    }
}

// Published arithmetic holds without exception.
TEST(Gallery, ExactClaimsAreWithin) {
  const std::vector<Claim> all = load_gallery(gallery_folder());
  for (const ClaimResult& r : run_gallery(pointers(all, true)))
    for (std::size_t i = 0; i < r.figures.size(); ++i)
      EXPECT_EQ(r.figures[i].verdict, Verdict::within)
          << r.claim->claim.id << " " << r.claim->figures[i].what << " " << r.figures[i].error;
}

// A figure that moved is a changed result: renew the page (kvsim gallery --write) and say why in
// the commit. Pensieve's policy looks at every block, which takes a third of a minute:
// kvsim gallery --check does that.
TEST(Gallery, ThePageSaysWhatIsSimulated) {
  const std::vector<Claim> all = load_gallery(gallery_folder());
  std::vector<const Claim*> quick;
  for (const Claim& c : all)
    if (c.claim.system != "Pensieve") quick.push_back(&c);
  const std::vector<ClaimResult> results = run_gallery(quick);
  const std::string page = read_file(std::string(KVSIM_SOURCE_DIR) + "/docs/gallery.md");
  for (const std::string& id : stale_claims(page, results)) ADD_FAILURE() << id << " is stale";
  for (const ClaimResult& r : results)
    for (const FigureResult& f : r.figures)
      EXPECT_TRUE(f.verdict == Verdict::within || f.verdict == Verdict::missed ||
                  f.verdict == Verdict::absent)
          << r.claim->claim.id << " " << name_of(f.verdict) << " " << f.error;
  for (const Claim& c : all)
    EXPECT_NE(page.find("- **" + c.claim.id + " "), std::string::npos) << c.claim.id;
}

}  // namespace
}  // namespace kvsim
