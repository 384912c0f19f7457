// Pairs, parts that add up, and resampled figures against a naive twin.
#include "sim/study/paired.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "sim/base/diagnostics.h"
#include "sim/base/stats.h"
#include "sim/study/bootstrap_run.h"
#include "tests/sim/record/sample_run.h"

namespace kvsim {
namespace {

RecordedRun recorded(std::uint64_t requests) {
  RecordedRun run;
  run.requests = record_test::sample_run(requests).requests;
  return run;
}

// The same requests, each answered a little later or sooner.
RecordedRun disturbed(RecordedRun run) {
  for (RequestOutcome& r : run.requests) {
    if (r.outcome != Outcome::finished) continue;
    const auto late = static_cast<std::int64_t>(r.index % 7) * 1'000'003 - 2'000'000;
    r.ttft_ns[1] += late, r.first_token += Duration{late}, r.last_token += Duration{late};
    if (r.output_tokens > 1) {
      r.after_ns[5] += 5 * late;
      r.last_token += Duration{5 * late};
    }
    r.hit_tokens -= 16 * (r.index % 2), r.miss_tokens[2] += 16 * (r.index % 2);
  }
  return run;
}

TEST(Paired, PartsAddUpToTheDifferenceOfEveryLatency) {
  const RecordedRun a = recorded(500), b = disturbed(a);
  const Pairing pairing = pair_requests(a, b);
  ASSERT_EQ(pairing.pairs.size(), 500U);
  const Sample sa = finished_sides(pairing, false), sb = finished_sides(pairing, true);
  const auto fa = side_figures(sa, a), fb = side_figures(sb, b);
  for (const auto& [latency, name] : enum_names(Latency{})) {
    const auto pa = mean_parts(sa, latency), pb = mean_parts(sb, latency);
    double sum = 0;
    for (std::size_t k = 0; k < kIntervals; ++k) sum += pb[k].value - pa[k].value;
    const std::string metric = latency_metric(latency);
    const auto mean = [&metric](const std::vector<Figure>& all) {
      const auto is_mean = [&](const Figure& f) {
        return f.name == metric && f.statistic == "mean";
      };
      return std::ranges::find_if(all, is_mean)->value;
    };
    EXPECT_NEAR(sum, mean(fb) - mean(fa), 1e-9) << name;
  }
  double tokens = 0;
  const auto ta = mean_prompt_tokens(all_of(a)), tb = mean_prompt_tokens(all_of(b));
  for (std::size_t k = 0; k < ta.size(); ++k) tokens += tb[k].value - ta[k].value;
  EXPECT_NEAR(tokens, 0, 1e-9);
}

TEST(Paired, ChangesSayWhoGainedAndWhy) {
  const RecordedRun a = recorded(300), b = disturbed(a);
  const Changes c = changes_of(pair_requests(a, b), Latency::ttft, 4);
  std::size_t finished = 0;
  for (const RequestOutcome& r : a.requests) finished += r.outcome == Outcome::finished;
  EXPECT_EQ(c.gained + c.lost + c.same, finished);
  ASSERT_EQ(c.lost_most.size(), 4U);
  EXPECT_EQ(c.lost_most[0].index % 7, 6U);
  EXPECT_EQ(c.lost_most[0].interval.name, "queue");
  EXPECT_NEAR(c.lost_most[0].b_ms - c.lost_most[0].a_ms, 6 * 1.000003 - 2, 1e-9);
  ASSERT_EQ(c.gained_most.size(), 4U);
  EXPECT_NEAR(c.gained_most[0].interval.value, -2, 1e-9);
  EXPECT_NEAR(c.p5_ms, -2, 1e-9);
}

std::string refusal(const RecordedRun& a, const RecordedRun& b) {
  try {
    pair_requests(a, b);
  } catch (const InputError& e) {
    return e.what();
  }
  return "";
}

TEST(Paired, RefusesOtherWork) {
  const RecordedRun a = recorded(50);
  RecordedRun b = a;
  for (RequestOutcome& r : b.requests) r.session = 0;
  b.requests[7].arrival += Duration{5};
  EXPECT_NE(refusal(a, b).find("request 7 arrives at"), std::string::npos) << refusal(a, b);
  b = a;
  b.requests[3].prompt_tokens += 1;
  EXPECT_NE(refusal(a, b).find("request 3 has"), std::string::npos);
  EXPECT_NE(refusal(a, b).find("--unpaired"), std::string::npos);
  b = a;
  b.requests.resize(30);
  EXPECT_NE(refusal(a, b).find("50 in A, 30 in B"), std::string::npos);
  b.requests.clear();
  EXPECT_NE(refusal(a, b).find("no requests"), std::string::npos);
}

// In a closed loop a later turn comes when the earlier one is answered, so turns of sessions
// overtake each other, and the run ends elsewhere.
TEST(Paired, PairsTurnsOfSessionsThatOvertakeEachOther) {
  RecordedRun a = recorded(60);
  for (RequestOutcome& r : a.requests) r.session += 1;
  RecordedRun b = a;
  for (RequestOutcome& r : b.requests)
    if (r.turn > 0) r.arrival += Duration{static_cast<std::int64_t>(r.index) * 40'000'000};
  b.requests.pop_back();
  std::ranges::stable_sort(b.requests, {}, &RequestOutcome::arrival);
  for (std::size_t i = 0; i < b.requests.size(); ++i) b.requests[i].index = i;
  const Pairing pairing = pair_requests(a, b);
  EXPECT_TRUE(pairing.is_closed_loop);
  EXPECT_EQ(pairing.pairs.size(), 59U);
  EXPECT_EQ(pairing.alone_a, 1U);
  for (const Pair& p : pairing.pairs) {
    EXPECT_EQ(p.a->session, p.b->session);
    EXPECT_EQ(p.a->turn, p.b->turn);
  }
}

TEST(Paired, ParametersThatDiffer) {
  RecordedRun a, b;
  a.params = {{"x", "1"}, {"y", "2"}, {"z", "3"}};
  b.params = {{"x", "1"}, {"y", "5"}, {"w", "4"}};
  const auto changed = changed_params(a, b);
  ASSERT_EQ(changed.size(), 3U);
  EXPECT_EQ(changed[0].path + changed[0].a + changed[0].b, "y25");
  EXPECT_EQ(changed[1].path + changed[1].a + changed[1].b, "z3");
  EXPECT_EQ(changed[2].path + changed[2].a + changed[2].b, "w4");
}

// Every request as often as it was drawn, sorted.
TEST(Paired, ResampledFiguresAreThoseOfTheDrawnRequests) {
  const RecordedRun run = recorded(80);
  Sample all = all_of(run);
  std::vector<bool> is_used;
  for (const RequestOutcome* r : all)
    is_used.push_back(r->outcome == Outcome::finished && r->index % 5 != 0);
  const Slo slo{std::chrono::milliseconds(150), std::nullopt, std::nullopt};
  RunResampler resampler(all, is_used, slo, Latency::ttft);
  Rng rng(4, "twin");
  std::vector<Block> blocks;
  std::vector<double> got;
  for (int k = 0; k < 50; ++k) {
    draw_blocks(80, 6, rng, blocks);
    resampler.draw(blocks, got);
    std::vector<double> ttft, tpot;
    double good = 0, hit = 0, queried = 0, queue = 0;
    for (const Block& b : blocks)
      for (std::size_t i = b.start; i < b.start + b.length; ++i) {
        const RequestOutcome& r = *all[i % 80];
        good += meets(r, slo) / 80.0;
        hit += static_cast<double>(r.hit_tokens), queried += static_cast<double>(r.queried_tokens);
        if (!is_used[i % 80]) continue;
        ttft.push_back(*latency_ms(r, Latency::ttft));
        queue += static_cast<double>(r.ttft_ns[1]) / 1e6;
        if (const auto v = latency_ms(r, Latency::tpot)) tpot.push_back(*v);
      }
    const auto of = [&](const std::string& name, const std::string& statistic) {
      for (std::size_t i = 0; i < got.size(); ++i)
        if (resampler.keys()[i].name == name && resampler.keys()[i].statistic == statistic)
          return got[i];
      return -1.0;
    };
    const Summary first = summarize(ttft), token = summarize(tpot);
    EXPECT_NEAR(of("ttft_ms", "mean"), first.mean, 1e-9);
    EXPECT_NEAR(of("ttft_ms", "median"), first.p50, 1e-9);
    EXPECT_NEAR(of("ttft_ms", "p99"), first.p99, 1e-9);
    EXPECT_NEAR(of("tpot_ms", "p90"), token.p90, 1e-9);
    EXPECT_NEAR(of("slo_attainment", "value"), good, 1e-9);
    EXPECT_NEAR(of("prefix_hit_rate", "value"), hit / queried, 1e-9);
    EXPECT_NEAR(of("queue", "part"), queue / static_cast<double>(ttft.size()), 1e-9);
  }
}

}  // namespace
}  // namespace kvsim
