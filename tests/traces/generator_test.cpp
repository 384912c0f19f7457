// Drawn workloads: moments against their formulas, the structure of sessions, and that equal seeds
// give equal requests.
#include "traces/generator.h"

#include <cmath>
#include <map>

#include "sim/base/diagnostics.h"
#include "tests/traces/trace_fixture.h"
#include "traces/trace_tools.h"

namespace kvsim {
namespace {

using namespace std::chrono_literals;
using test::drain;

TraceSource::Context seeded(std::uint64_t seed) {
  TraceSource::Context c;
  c.seed = seed;
  return c;
}

std::vector<double> gaps_of(const ArrivalParams& p, int n) {
  Arrivals arrivals(p, 1.0, 7);
  std::vector<double> gaps;
  double last = arrivals.next();
  for (int i = 0; i < n; ++i) {
    const double at = arrivals.next();
    gaps.push_back(at - last);
    last = at;
  }
  return gaps;
}

// Mean within five standard errors; cv within a bound that covers its own error at this n.
void expect_gaps(const ArrivalParams& p, double mean, double cv, double cv_error) {
  constexpr int kCount = 200'000;
  double sum = 0, squares = 0;
  const auto gaps = gaps_of(p, kCount);
  for (const double g : gaps) sum += g;
  const double m = sum / kCount;
  for (const double g : gaps) squares += (g - m) * (g - m);
  EXPECT_NEAR(m, mean, 5 * cv * mean / std::sqrt(kCount) + 1e-12);
  EXPECT_NEAR(std::sqrt(squares / kCount) / m, cv, cv_error);
}

TEST(Arrivals, PoissonGammaWeibullConstant) {
  ArrivalParams p;
  p.rate = Rate{4};
  expect_gaps(p, 0.25, 1.0, 0.02);
  p.process = ArrivalKind::gamma;
  p.cv = 3;
  expect_gaps(p, 0.25, 3.0, 0.15);
  p.cv = 0.5;
  expect_gaps(p, 0.25, 0.5, 0.01);
  p.process = ArrivalKind::weibull;
  p.shape = 0.7;  // cv^2 = Gamma(1 + 2/k) / Gamma(1 + 1/k)^2 - 1
  expect_gaps(p, 0.25,
              std::sqrt(std::tgamma(1 + 2 / 0.7) / std::pow(std::tgamma(1 + 1 / 0.7), 2) - 1),
              0.05);
  p.process = ArrivalKind::constant;
  expect_gaps(p, 0.25, 0.0, 1e-9);
  p.process = ArrivalKind::all_at_once;
  for (const double g : gaps_of(p, 10)) EXPECT_EQ(g, 0.0);
}

int count_between(const ArrivalParams& p, double from, double to) {
  Arrivals arrivals(p, 1.0, 3);
  int n = 0;
  for (double at = arrivals.next(); at < to; at = arrivals.next()) n += at >= from ? 1 : 0;
  return n;
}

TEST(Arrivals, SpikeMultipliesTheRateInsideOnly) {
  ArrivalParams p;
  p.process = ArrivalKind::spike;
  p.rate = Rate{100};
  p.at = 50s;
  p.duration = 20s;
  p.factor = 5;
  EXPECT_NEAR(count_between(p, 0, 50), 5000, 5 * std::sqrt(5000));
  EXPECT_NEAR(count_between(p, 50, 70), 10'000, 5 * 100);
  EXPECT_NEAR(count_between(p, 70, 170), 10'000, 5 * 100);
}

// Rate r (1 - a cos(w t)): a quarter around the trough expects r P (1/4 - a sqrt(2) / (2 pi)),
// around the peak the sum.
TEST(Arrivals, DiurnalPeakAndTrough) {
  ArrivalParams p;
  p.process = ArrivalKind::diurnal;
  p.rate = Rate{50};
  p.period = 1000s;
  p.peak_to_trough = 3;  // a = 1/2
  const double swing = 0.5 * std::sqrt(2.0) / (2 * std::acos(-1.0));
  EXPECT_NEAR(count_between(p, 875, 1125), 50'000 * (0.25 - swing),
              5 * std::sqrt(50'000 * (0.25 - swing)));
  EXPECT_NEAR(count_between(p, 375, 625), 50'000 * (0.25 + swing),
              5 * std::sqrt(50'000 * (0.25 + swing)));
  EXPECT_NEAR(count_between(p, 0, 10'000), 500'000, 5 * std::sqrt(500'000.0));
}

TEST(Lengths, ANumberIsShortForItsConstant) {
  Diagnostics d;
  Reader r(d);
  LengthParams number, map;
  EXPECT_TRUE(Codec<LengthParams>::read(Tree::scalar("700"), number, r));
  Tree whole = Tree::map();
  whole.set("value", Tree::scalar("700"));
  EXPECT_TRUE(Codec<LengthParams>::read(whole, map, r));
  EXPECT_EQ(to_json(Codec<LengthParams>::write(number)), to_json(Codec<LengthParams>::write(map)));
  for (const char* wrong : {"0", "many", "1.5"})
    EXPECT_FALSE(Codec<LengthParams>::read(Tree::scalar(wrong), number, r)) << wrong;
}

double mean_of(const LengthParams& p) {
  const LengthLaw law(p, "test", "", TraceLength::prompt);
  const Rng rng(5, "lengths");
  double sum = 0;
  for (std::uint64_t i = 0; i < 100'000; ++i)
    sum += static_cast<double>(law.draw(rng.at(i), rng.at(i)));
  return sum / 100'000;
}

TEST(Lengths, MeansFollowTheLaws) {
  LengthParams p;
  p.law = LengthKind::lognormal;
  p.mean = 1000;
  p.cv = 0.8;
  EXPECT_NEAR(mean_of(p), 1000, 5 * 800 / std::sqrt(100'000.0));
  p.mean.reset();
  p.median = 1000;
  p.sigma = 0.5;
  EXPECT_NEAR(mean_of(p), 1000 * std::exp(0.125), 5 * 600 / std::sqrt(100'000.0));
  p.law = LengthKind::uniform;
  p.min = 10;
  p.max = 20;
  EXPECT_NEAR(mean_of(p), 15, 0.06);
  p.law = LengthKind::zipf;
  p.min = 1;
  p.max = 3;
  p.exponent = 1;  // weights 1, 1/2, 1/3: mean 3 / (11/6)
  EXPECT_NEAR(mean_of(p), 18.0 / 11, 0.015);
  p.law = LengthKind::empirical;
  p.max = 1000;
  p.values = {100, 200};
  p.weights = {3, 1};
  EXPECT_NEAR(mean_of(p), 125, 0.8);
}

TEST(Lengths, OfATraceComeInPairsOfOneRow) {
  const test::TempFile file(
      "arrived_at,num_prefill_tokens,num_decode_tokens\n0,100,1\n1,200,2\n2,300,3\n");
  GeneratorParams p;
  p.prompt = p.output = LengthParams{};
  p.prompt.law = p.output.law = LengthKind::trace;
  p.prompt.file = p.output.file = file.path();
  p.prompt.format = p.output.format = "vidur";
  p.requests = 300;
  for (const Request& r : drain(*make_generator(p, seeded(1))))
    EXPECT_EQ(r.prompt_tokens, 100 * r.output_tokens);
}

TEST(Generator, EqualSeedsEqualRequestsOtherSeedsOthers) {
  GeneratorParams p;
  p.prompt.law = LengthKind::lognormal;
  p.prompt.mean = 500;
  p.prefixes.count = 10;
  p.requests = 200;
  const auto a = drain(*make_generator(p, seeded(1))), b = drain(*make_generator(p, seeded(1))),
             c = drain(*make_generator(p, seeded(2)));
  ASSERT_EQ(a.size(), 200U);
  int same_length = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].arrival, b[i].arrival);
    EXPECT_EQ(a[i].prompt_tokens, b[i].prompt_tokens);
    EXPECT_EQ(a[i].segments.back().key, b[i].segments.back().key);
    same_length += a[i].prompt_tokens == c[i].prompt_tokens ? 1 : 0;
  }
  EXPECT_LT(same_length, 20);
}

// What a request is does not depend on when the ones before it end.
TEST(Generator, ServiceTimeDoesNotChangeTheRequests) {
  GeneratorParams p;
  p.sessions.turns.value = 4;
  p.sessions.think_time = 3s;
  p.prompt.law = LengthKind::lognormal;
  p.prompt.mean = 500;
  p.requests = 400;
  std::map<std::pair<std::uint64_t, std::uint32_t>, std::int64_t> lengths;
  for (const Request& r : drain(*make_generator(p, seeded(4)), 10s))
    lengths[{r.session, r.turn}] = r.prompt_tokens;
  int common = 0;
  for (const Request& r : drain(*make_generator(p, seeded(4)), 1s)) {
    const auto at = lengths.find({r.session, r.turn});
    if (at == lengths.end()) continue;  // the limit cuts other sessions off
    ++common;
    EXPECT_EQ(at->second, r.prompt_tokens);
  }
  EXPECT_GT(common, 300);
}

TEST(Generator, TurnsCarryTheirHistoryAndWait) {
  GeneratorParams p;
  p.prompt.value = 100;
  p.output.value = 10;
  p.sessions.turns.value = 3;
  p.sessions.message = SessionParams::constant(20);
  p.sessions.think_time = 2s;
  p.sessions.think_cv = 0;
  p.prefixes.count = 1;
  p.prefixes.tokens.value = 50;
  p.requests = 3;
  p.sessions.concurrency = 1;
  const auto r = drain(*make_generator(p, seeded(1)), 5s);
  ASSERT_EQ(r.size(), 3U);
  EXPECT_EQ(r[0].prompt_tokens, 150);
  EXPECT_EQ(r[1].prompt_tokens, 150 + 10 + 20);
  EXPECT_EQ(r[2].prompt_tokens, 180 + 10 + 20);
  EXPECT_EQ(r[1].arrival - r[0].arrival, 7s);
  EXPECT_EQ(r[2].arrival - r[1].arrival, 7s);
  ASSERT_EQ(r[2].segments.size(), 7U);  // prefix, then message and answer three times
  for (std::size_t i = 0; i < r[1].segments.size(); ++i)
    EXPECT_EQ(r[1].segments[i].key, r[2].segments[i].key);
  std::int64_t covered = 0;
  for (const Segment& s : r[2].segments) covered += s.tokens;
  EXPECT_EQ(covered, r[2].prompt_tokens + r[2].output_tokens);
}

TEST(Generator, AgentStepsAddToolResultsAfterPauses) {
  GeneratorParams p;
  p.prompt.value = 100;
  p.output.value = 10;
  p.agent.steps.value = 3;
  p.agent.result.value = 40;
  p.agent.output = SessionParams::constant(5);
  p.agent.pause = 1s;
  p.agent.pause_cv = 0;
  p.sessions.concurrency = 1;
  p.requests = 3;
  const auto r = drain(*make_generator(p, seeded(1)), 1s);
  ASSERT_EQ(r.size(), 3U);
  EXPECT_EQ(r[1].prompt_tokens, 100 + 5 + 40);
  EXPECT_EQ(r[1].output_tokens, 5);
  EXPECT_EQ(r[2].prompt_tokens, 145 + 5 + 40);
  EXPECT_EQ(r[2].output_tokens, 10);
  EXPECT_EQ(r[2].arrival - r[1].arrival, 2s);
}

TEST(Generator, ToolsAreCalledWhileARequestIsServed) {
  GeneratorParams p;
  p.prompt.value = 100;
  p.output.value = 10;
  p.sessions.turns.value = 2;
  p.sessions.message = SessionParams::constant(20);
  p.sessions.concurrency = 1;
  p.tools.calls = SessionParams::constant(3);
  p.tools.after.value = 7;
  p.tools.result.value = 40;
  p.tools.pause = 2s;
  p.tools.pause_cv = 0;
  p.requests = 2;
  const auto r = drain(*make_generator(p, seeded(1)), 1s);
  ASSERT_EQ(r.size(), 2U);
  EXPECT_EQ(r[0].output_tokens, 3 * 7 + 10);
  ASSERT_EQ(r[0].calls.size(), 3U);
  EXPECT_EQ(r[0].calls[2].after, 7);
  EXPECT_EQ(r[0].calls[2].pause, 2s);
  EXPECT_EQ(returned_tokens(r[0].calls), 120);
  // The next turn knows what the tools have returned.
  EXPECT_EQ(r[1].prompt_tokens, 100 + 31 + 120 + 20);
  std::int64_t covered = 0;
  for (const Segment& s : r[0].segments) covered += s.tokens;
  EXPECT_EQ(covered, 100 + 31 + 120);
  // A half of the requests, and none that would grow too long.
  p.tools.share = Ratio{0.5};
  p.sessions.turns.value = 1;
  p.requests = 1000;
  std::int64_t callers = 0;
  for (const Request& q : drain(*make_generator(p, seeded(1)), 1s)) callers += !q.calls.empty();
  EXPECT_NEAR(static_cast<double>(callers), 500, 80);
  p.sessions.max_context = Tokens{200};
  for (const Request& q : drain(*make_generator(p, seeded(1)), 1s)) EXPECT_TRUE(q.calls.empty());
}

TEST(Generator, ConcurrencyKeepsSoManySessionsRunning) {
  GeneratorParams p;
  p.sessions.concurrency = 3;
  p.sessions.turns.value = 2;
  p.requests = 60;
  const auto source = make_generator(p, seeded(1));
  const auto all = drain(*source, 10s);
  ASSERT_EQ(all.size(), 60U);
  std::map<std::int64_t, int> at;
  for (const Request& r : all) ++at[to_ns(r.arrival)];
  for (const auto& [when, n] : at) EXPECT_EQ(n, 3) << when;
}

TEST(Generator, PopularPrefixesFollowZipf) {
  GeneratorParams p;
  p.prefixes.count = 4;
  p.prefixes.zipf = 1;  // weights 12 : 6 : 4 : 3 of 25
  p.prefixes.share = Ratio{0.5};
  p.requests = 50'000;
  std::map<std::uint64_t, int> uses;
  int with = 0;
  for (const Request& r : drain(*make_generator(p, seeded(1)))) {
    if (r.segments.size() < 3) continue;
    ++with;
    ++uses[r.segments[0].key];
  }
  EXPECT_NEAR(with, 25'000, 5 * std::sqrt(12'500.0));
  std::vector<int> counts;
  for (const auto& [key, n] : uses) counts.push_back(n);
  std::sort(counts.rbegin(), counts.rend());
  ASSERT_EQ(counts.size(), 4U);
  EXPECT_NEAR(counts[0], with * 12 / 25.0, 400);
  EXPECT_NEAR(counts[3], with * 3 / 25.0, 250);
}

TEST(Generator, ReadsNaturallyFromATree) {
  Tree lengths = Tree::map();
  lengths.set("law", Tree::scalar("lognormal"));
  lengths.set("median", Tree::scalar("800"));
  Tree arrivals = Tree::map();
  arrivals.set("process", Tree::scalar("poisson"));
  arrivals.set("rate", Tree::scalar("4 /s"));
  Tree t = Tree::map();
  t.set("arrivals", arrivals);
  t.set("prompt", lengths);
  t.set("requests", Tree::scalar("50"));
  Diagnostics d;
  Reader reader(d);
  GeneratorParams p;
  EXPECT_TRUE(read_fields(p, t, reader));
  EXPECT_EQ(drain(*make_generator(p, seeded(1))).size(), 50U);
}

TEST(Generator, SaysWhichParameterIsMissing) {
  const auto message = [](const GeneratorParams& p) -> std::string {
    try {
      make_generator(p, {});
    } catch (const InputError& e) {
      return e.what();
    }
    return "";
  };
  GeneratorParams p;
  p.prompt.law = LengthKind::lognormal;
  EXPECT_NE(message(p).find("generate.prompt: law 'lognormal' needs either 'mean'"),
            std::string::npos)
      << message(p);
  p.prompt.law = LengthKind::empirical;
  EXPECT_NE(message(p).find("needs 'values'"), std::string::npos);
  p.prompt.law = LengthKind::trace;
  p.prompt.file = "x";
  p.prompt.format = "moncake";
  EXPECT_NE(message(p).find("did you mean 'mooncake'?"), std::string::npos) << message(p);
  p.prompt.law = LengthKind::uniform;
  p.prompt.min = 5;
  p.prompt.max = 4;
  EXPECT_NE(message(p).find("min 5 is above max 4"), std::string::npos);
}

}  // namespace
}  // namespace kvsim

namespace kvsim {
namespace {

// Sessions without end that all begin at once: as many are begun as requests are wanted, not more.
TEST(Generator, AllAtOnceEnds) {
  GeneratorParams p;
  p.arrivals.process = ArrivalKind::all_at_once;
  p.requests = 50;
  const auto source = make_generator(p, {});
  Request r;
  int delivered = 0;
  while (source->next_arrival()) {
    source->pop(r);
    EXPECT_EQ(to_ns(r.arrival), 0);
    ++delivered;
  }
  EXPECT_EQ(delivered, 50);
}

}  // namespace
}  // namespace kvsim
