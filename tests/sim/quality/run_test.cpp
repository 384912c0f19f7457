// Equal bytes, the store, and what must not change results.
#include "sim/quality/run.h"

#include <gtest/gtest.h>

#include <fstream>

#include "policies/token/system.h"
#include "sim/quality/fit.h"
#include "tests/sim/quality/file_fixture.h"
#include "tests/sim/quality/quality_fixture.h"

namespace kvsim::quality {
namespace {

const std::string kSmall = R"(
source: {kind: synthetic, layers: 2, q_heads: 4, kv_heads: 2, dim: 32, needles: 3}
prompt: 96
steps: 6
top: 8
detail: [layer, head, step]
policies: [random, h2o, {policy: kivi, quantize: {residual: 8}}, palu-16]
budgets: [100 %, 60 %, 30 %]
)";

TEST(QualityFit, StaysWithinItsShareAndTakesWhatItMay) {
  const token::KvShape shape{4, 8, 4, 64, 64, 16, 16};
  int fitted = 0;
  for (const token::TokenSystem* s : token::token_systems()) {
    if (knob_of(s->policies) == Knob::none) continue;
    token::Surroundings around;
    around.shape = shape;
    const auto findings = check_composition(s->policies, around);
    if (std::any_of(findings.begin(), findings.end(), [](const auto& f) { return f.error; }))
      continue;
    double last = 0;
    for (const double share : {0.1, 0.3, 0.5, 0.8}) {
      const auto p = fit_to_share(s->policies, shape, 512, 32, share);
      if (!p) {
        EXPECT_EQ(last, 0) << s->info.name << ": what fits into less fits into more";
        continue;
      }
      ++fitted;
      const double got = byte_share(*p, shape, 512, 32);
      EXPECT_LE(got, share * (1 + 1e-6)) << s->info.name;
      EXPECT_GE(got, last) << s->info.name;
      last = got;
    }
  }
  EXPECT_GT(fitted, 100);
}

TEST(QualityRun, MoreBytesAreNoWorseAndAllAreExact) {
  const QualityResult r = measure_quality(question_of(kSmall), {});
  EXPECT_EQ(r.points.size(), 12U) << "4 x 3 and the whole cache, but 30 % of kivi";
  ASSERT_EQ(r.notes.size(), 1U);
  EXPECT_NE(r.notes[0].find("kivi"), std::string::npos);
  for (const Measure m : {Measure::out_err, Measure::attn_kl})
    EXPECT_LT(value_of(point_of(r, "full"), m), 1e-5);
  for (const char* policy : {"random", "palu-16"}) {
    EXPECT_LT(value_of(point_of(r, policy, 1), Measure::out_err), 1e-4) << policy;
    EXPECT_LE(value_of(point_of(r, policy, 1), Measure::out_err),
              value_of(point_of(r, policy, 0.6), Measure::out_err));
    EXPECT_LE(value_of(point_of(r, policy, 0.6), Measure::out_err),
              value_of(point_of(r, policy, 0.3), Measure::out_err));
  }
  EXPECT_GE(value_of(point_of(r, "h2o", 0.6), Measure::mass),
            value_of(point_of(r, "h2o", 0.3), Measure::mass));
  for (const PointResult& p : r.points)
    if (p.budget) {
      EXPECT_LE(p.measured.kv_bytes, (*p.budget * 1.02) * r.full_bytes) << p.policy;
    }
}

TEST(QualityRun, ThreadsAndRepetitionsGiveTheSameBytes) {
  const auto text = [](int threads, std::uint64_t seed) {
    Question q = question_of(kSmall);
    q.seed = seed;
    MeasureOptions o;
    o.threads = threads;
    std::string all;
    for (const PointResult& p : measure_quality(q, o).points) all += to_text(p.policy, p.measured);
    return all;
  };
  const std::string one = text(1, 1);
  EXPECT_EQ(one, text(1, 1));
  EXPECT_EQ(one, text(3, 1));
  EXPECT_NE(one, text(1, 2));
}

TEST(QualityRun, WhatWasMeasuredIsNotMeasuredAgain) {
  const Folder f;
  MeasureOptions o;
  o.folder = f.path();
  const QualityResult first = measure_quality(question_of(kSmall), o);
  int sequences = 0;
  o.progress = [&](const std::string&) { ++sequences; };
  const QualityResult second = measure_quality(question_of(kSmall), o);
  EXPECT_EQ(sequences, 0);
  ASSERT_EQ(first.points.size(), second.points.size());
  for (std::size_t i = 0; i < first.points.size(); ++i) {
    EXPECT_TRUE(second.points[i].was_kept);
    EXPECT_EQ(first.points[i].measured, second.points[i].measured);
  }
  // A policy more costs that policy; another source or length costs all.
  std::string more = kSmall;
  more.replace(more.find("palu-16"), 7, "palu-16, tova");
  std::size_t kept = 0;
  for (const PointResult& p : measure_quality(question_of(more), o).points) kept += p.was_kept;
  EXPECT_EQ(kept, first.points.size());
  EXPECT_EQ(sequences, 1);
  for (const char* change : {"steps: 6", "needles: 3", "top: 8"}) {
    std::string other = kSmall;
    const std::size_t at = other.find(change) + std::string_view(change).size() - 1;
    other[at] = '5';
    for (const PointResult& p : measure_quality(question_of(other), o).points)
      EXPECT_FALSE(p.was_kept) << change;
  }
}

TEST(QualityStore, BrokenFilesCountAsAbsent) {
  const Folder f;
  const Store store(f.path());
  const Measured m{
      10,
      5,
      4,
      {{Measure::mass, "mean", -1, -1, -1, 0.25}, {Measure::out_err, "p99", 1, 2, -1, 1e-9}}};
  store.keep("question\nof two lines", m);
  ASSERT_TRUE(store.find("question\nof two lines").has_value());
  EXPECT_EQ(*store.find("question\nof two lines"), m);
  EXPECT_FALSE(store.find("question").has_value());
  const std::string good = to_text("question", m);
  for (std::size_t n = 0; n < good.size(); ++n)
    EXPECT_FALSE(from_text(good.substr(0, n), "question").has_value()) << n;
  EXPECT_FALSE(from_text(good, "another question").has_value()) << "a collision of digests";
  EXPECT_FALSE(Store({}).find("question").has_value());
}

TEST(QualityQuestion, MistakesComeAtOnceWithPlaceAndName) {
  const std::string all = mistakes_of(
      "{policies: [h3o, {label: x, pipeline: [h2o, snapkv]}, h2o, h2o], measures: [perplexity]}");
  for (const char* part :
       {"policies.0", "unknown token policy 'h3o'", "did you mean 'h2o'", "policies.1",
        "'select' is set by an item before", "a second policy is called 'h2o'"})
    EXPECT_NE(all.find(part), std::string::npos) << part << "\n" << all;
  EXPECT_NE(mistakes_of("{measures: [perplexity]}").find("needs a source with a model"),
            std::string::npos);
  EXPECT_NE(mistakes_of("{source: synthetik}").find("synthetic"), std::string::npos);
  EXPECT_NE(mistakes_of("{source: {kind: transformer, weights: /nonexistent.bin}}")
                .find("/nonexistent.bin: cannot be read"),
            std::string::npos);
  EXPECT_NE(mistakes_of("{source: {kind: synthetic, q_heads: 5, kv_heads: 2}}")
                .find("not a multiple of kv_heads"),
            std::string::npos);
  EXPECT_NE(mistakes_of("{prompt: 1000000, steps: 100}").find("2 GiB"), std::string::npos);
}

// Tensors that a user saved give what they give when they come from anywhere else.
TEST(QualityTensors, DumpsInBothFormatsAreOneSource) {
  const Folder f;
  Rng rng(3, "dump");
  const auto draw = [&](std::int64_t heads) {
    std::vector<float> v;
    for (std::int64_t i = 0; i < 2 * 40 * heads * 16; ++i)
      v.push_back(static_cast<float>(rng.normal()));
    return v;
  };
  const std::vector<float> q = draw(4), k = draw(2), v = draw(2);
  f.write("q.npy", npy("(2, 40, 4, 16)", q));
  f.write("k.npy", npy("(2, 40, 2, 16)", k));
  f.write("v.npy", npy("(2, 40, 2, 16)", v));
  f.write(
      "all.safetensors",
      safetensors({{"q", {2, 40, 4, 16}, q}, {"k", {2, 40, 2, 16}, k}, {"v", {2, 40, 2, 16}, v}}));
  const std::string rest =
      ", queries: q, keys: k, values: v}, policies: [h2o], budgets: [50 %], steps: 8}";
  const auto error = [&](const std::string& source) {
    const QualityResult r =
        measure_quality(question_of("{source: {kind: tensors" + source + rest, f.path()), {});
    EXPECT_EQ(r.prompt, 32);
    EXPECT_LT(value_of(point_of(r, "full"), Measure::out_err), 1e-5);
    return value_of(point_of(r, "h2o", 0.5), Measure::out_err);
  };
  EXPECT_EQ(error(""), error(", file: all.safetensors"));
  f.write("k.npy", npy("(2, 40, 3, 16)", std::vector<float>(2 * 40 * 3 * 16)));
  EXPECT_NE(mistakes_of("{source: {kind: tensors" + rest, f.path()).find("[2, 40, 2, 16]"),
            std::string::npos);
}

}  // namespace
}  // namespace kvsim::quality
