// Speculative decoding: tokens an iteration by formula, a single request by a naive twin, random
// loads by conservation and by what must not change when nothing is ever drafted.
#include "sim/engine/speculation.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/engine_fixture.h"
#include "tests/support/node_pools.h"

namespace kvsim {
namespace {

SpeculationRules rules(std::int64_t tokens, std::vector<double> acceptance) {
  SpeculationRules r;
  r.tokens = tokens;
  r.acceptance = std::move(acceptance);
  r.seed = 5;
  return r;
}

TEST(Speculation, TokensOfAnIterationAreTheGeometricSum) {
  for (const double a : {0.0, 0.3, 0.7, 0.95})
    for (const std::int64_t k : {1, 2, 4, 8}) {
      const Speculation s(rules(k, {a}));
      EXPECT_NEAR(s.expected_tokens(k), (1 - std::pow(a, k + 1)) / (1 - a), 1e-12);
      double sum = 0, squares = 0;
      constexpr int kDraws = 20'000;
      for (int i = 0; i < kDraws; ++i) {
        const auto n =
            static_cast<double>(1 + s.accepted(static_cast<std::uint64_t>(i % 50), i / 50, k));
        sum += n, squares += n * n;
      }
      const double mean = sum / kDraws, deviation = std::sqrt(squares / kDraws - mean * mean);
      EXPECT_NEAR(mean, s.expected_tokens(k), 4 * deviation / std::sqrt(kDraws) + 1e-12)
          << a << " " << k;
    }
  const Speculation all(rules(5, {1}));
  EXPECT_DOUBLE_EQ(all.expected_tokens(5), 6);
}

TEST(Speculation, AcceptanceByPosition) {
  const Speculation s(rules(4, {1, 0.5, 0}));
  EXPECT_DOUBLE_EQ(s.expected_tokens(4), 2.5);
  for (int i = 0; i < 200; ++i) {
    const std::int64_t n = s.accepted(3, i, 4);
    EXPECT_TRUE(n == 1 || n == 2);
    EXPECT_EQ(s.accepted(3, i, 1), 1);  // fewer drafts, the same luck
  }
}

// Levels of 3, 6 and 6 drafts: those that follow each other count, in whole levels.
TEST(Speculation, OfATreeEveryLevelBringsOneAtMost) {
  SpeculationRules r = rules(15, {0.9, 0.6, 0.5});
  r.levels = {3, 6, 6};
  const Speculation s(r);
  EXPECT_DOUBLE_EQ(s.expected_tokens(15), 1 + 0.9 + 0.9 * 0.6 + 0.9 * 0.6 * 0.5);
  EXPECT_DOUBLE_EQ(s.expected_tokens(14), 1 + 0.9 + 0.9 * 0.6);
  EXPECT_DOUBLE_EQ(s.expected_tokens(3), 1.9);
  EXPECT_DOUBLE_EQ(s.expected_tokens(2), 1);
  constexpr int kDraws = 40'000;
  double sum = 0;
  for (int i = 0; i < kDraws; ++i) {
    const std::int64_t n = s.accepted(static_cast<std::uint64_t>(i % 50), i / 50, 15);
    ASSERT_LE(n, 3);
    ASSERT_EQ(s.accepted(static_cast<std::uint64_t>(i % 50), i / 50, 8),
              std::min<std::int64_t>(n, 1));
    sum += static_cast<double>(1 + n);
  }
  EXPECT_NEAR(sum / kDraws, s.expected_tokens(15), 0.03);
}

// Everything right: a request alone takes a level's tokens each iteration, and all drafts are paid.
TEST(Speculation, ATreeIsVerifiedAsAWhole) {
  SpeculationRules r = rules(6, {1});
  r.levels = {2, 4};
  r.draft_time = Duration{7};
  const Speculation s(r);
  EngineConfig e;
  e.kv_blocks = 100;
  e.async_scheduling = false;
  e.speculation = &s;
  test::LinearCost cost(1000, 10, 1);
  const RunOutcome run = test::simulate(e, {test::request(0, 40, 10)}, cost);
  std::int64_t ns = 1000 + 10 * 40;
  for (const std::int64_t context : {41, 44, 47}) ns += 1000 + 10 * (1 + 6) + context + 2 * 7;
  EXPECT_EQ(to_ns(run.requests[0].last_token), ns);
  EXPECT_EQ(run.ranks[0].speculation.drafted, 18);
  EXPECT_EQ(run.ranks[0].speculation.accepted, 6);
}

TEST(Speculation, NothingIsDraftedInLargeBatchesOrWithoutAProposal) {
  SpeculationRules r = rules(3, {0.5});
  r.most_running = 4;
  r.proposes = 0.25;
  const Speculation s(r);
  std::int64_t proposals = 0;
  for (int i = 0; i < 4000; ++i) {
    EXPECT_EQ(s.drafts(1, i, 5), 0);
    proposals += s.drafts(1, i, 4) > 0 ? 1 : 0;
  }
  EXPECT_NEAR(static_cast<double>(proposals) / 4000, 0.25, 0.03);
}

// One request alone: every iteration brings one token and those drafts that the draws let pass.
TEST(Speculation, OneRequestByHand) {
  const Speculation s(rules(4, {0.8, 0.6}));
  EngineConfig e;
  e.kv_blocks = 100;
  e.async_scheduling = false;
  e.speculation = &s;
  const std::int64_t prompt = 40, output = 100;
  test::LinearCost cost(1000, 10, 1);
  const RunOutcome run = test::simulate(e, {test::request(0, prompt, output)}, cost);
  std::int64_t ns = 1000 + 10 * prompt, sampled = 1, steps = 0, accepted = 0;
  while (sampled < output) {
    const std::int64_t context = prompt + sampled;
    ns += 1000 + 10 * 5 + context;
    const std::int64_t right = std::min(s.accepted(0, sampled, 4), output - sampled - 1);
    sampled += 1 + right;
    accepted += right;
    ++steps;
  }
  ASSERT_EQ(run.requests.size(), 1U);
  EXPECT_EQ(to_ns(run.requests[0].last_token - Time{}), ns);
  EXPECT_EQ(run.ranks[0].iterations, steps + 1);
  EXPECT_EQ(run.ranks[0].speculation.verifications, steps);
  EXPECT_EQ(run.ranks[0].speculation.drafted, 4 * steps);
  EXPECT_EQ(run.ranks[0].speculation.accepted, accepted);
  EXPECT_EQ(run.ranks[0].decode_tokens, output - 1);
  EXPECT_EQ(run.itl.count(), output - 1);
  // The places of the last drafts were taken although most of them were wrong.
  EXPECT_GE(run.ranks[0].peak_blocks, e.blocks_for(prompt + output - 1));
  EXPECT_LE(run.ranks[0].peak_blocks, e.blocks_for(prompt + output - 1 + 4));
}

TEST(Speculation, DraftTimeIsPaidForEveryDraft) {
  SpeculationRules r = rules(3, {0});
  r.draft_time = Duration{70};
  const Speculation s(r);
  EngineConfig e;
  e.kv_blocks = 100;
  e.async_scheduling = false;
  e.speculation = &s;
  test::LinearCost cost(1000, 0, 0);
  const RunOutcome run = test::simulate(e, {test::request(0, 16, 11)}, cost);
  EXPECT_EQ(to_ns(run.requests[0].last_token - Time{}), 11 * 1000 + 10 * 3 * 70);
  EXPECT_EQ(run.ranks[0].speculation.draft_ns, 10 * 3 * 70);
}

// A draft model is priced step by step: prompts in its first, then a token a step.
TEST(Speculation, DraftModelStepByStep) {
  const Speculation s(rules(3, {0}), nullptr, std::make_unique<test::LinearCost>(100, 1, 2));
  StepShape shape;
  shape.decodes = 4;
  shape.decode_context_sum = 400;
  shape.decode_context_max = 150;
  shape.draft_tokens = 12;
  EXPECT_EQ(s.draft_ns(shape, 3), 3 * (100 + 4) + 2 * (400 + 404 + 408));
  const PrefillPiece piece{50, 10, true};
  shape.prefills = {&piece, 1};
  EXPECT_EQ(s.draft_ns(shape, 3), (100 + 54 + 2 * (400 + 10)) + 2 * (100 + 4) + 2 * (400 + 404));
  EXPECT_EQ(s.draft_ns(shape, 0), 100 + 50 + 2 * 10);
}

struct Load {
  EngineConfig engine;
  std::vector<Request> requests;
};

Load random_load(std::uint64_t seed) {
  Rng rng(seed, "speculation-load");
  Load l;
  EngineConfig& e = l.engine;
  e.block_tokens = std::int64_t{1} << rng.below(5);
  e.max_running = 1 + static_cast<std::int64_t>(rng.below(12));
  e.max_batched_tokens = e.max_running + static_cast<std::int64_t>(rng.below(64));
  e.async_scheduling = rng.below(2) == 0;
  e.prefix_caching = rng.below(4) != 0;
  e.full_sequence_admission = rng.below(2) == 0;
  if (rng.below(4) == 0) e.make_scheduler = test::make_scheduler("priority");
  if (rng.below(3) == 0) e.windows = {24, 0};
  if (rng.below(2) == 0) e.graph_sizes = {1, 2, 4, 8, 16};
  e.batch.order = static_cast<BatchOrder>(rng.below(3));
  if (rng.below(3) == 0) {
    e.prefix_caching = true;
    e.pool.make_policy = test::make_policy({"lru", {}});
    e.pool.index = KvPoolConfig::Index::radix;
    e.publish_computed = rng.below(2) == 0;
  }
  e.shared_prefix_attention = e.prefix_caching && rng.below(2) == 0;
  std::int64_t at = 0, longest = 0;
  const std::size_t n = 5 + rng.below(40);
  for (std::size_t i = 0; i < n; ++i) {
    at += static_cast<std::int64_t>(rng.exponential(1 + static_cast<double>(rng.below(4000))));
    const auto prompt = 1 + static_cast<std::int64_t>(rng.below(60));
    const auto output = 1 + static_cast<std::int64_t>(rng.below(rng.below(3) == 0 ? 150 : 20));
    const auto shared = std::min<std::int64_t>(prompt, 16);
    std::vector<Segment> segments{{1 + rng.below(2), shared}};
    if (prompt > shared) segments.push_back({hash_combine(seed, 100 + i), prompt - shared});
    l.requests.push_back(test::request(at, prompt, output, segments));
    l.requests.back().priority = static_cast<std::int32_t>(rng.below(3));
    longest = std::max(longest, prompt + output);
  }
  if (rng.below(4) == 0) e.max_model_len = longest;
  e.kv_blocks =
      e.blocks_for(longest) + static_cast<std::int64_t>(rng.below(rng.below(2) == 0 ? 12 : 200));
  return l;
}

// Progress, conservation, determinism; invariants are checked after every event.
TEST(Speculation, RandomLoads) {
  std::int64_t preemptions = 0, accepted = 0, wasted = 0;
  for (std::uint64_t seed = 0; seed < 600; ++seed) {
    Load l = random_load(seed);
    Rng rng(seed, "speculation-rules");
    SpeculationRules r = rules(1 + static_cast<std::int64_t>(rng.below(7)), {0.9, rng.uniform()});
    r.proposes = rng.below(2) == 0 ? 1 : rng.uniform();
    r.most_running = rng.below(3) == 0 ? 3 : 0;
    r.draft_time = Duration{static_cast<std::int64_t>(rng.below(100))};
    r.seed = seed;
    const Speculation s(r);
    l.engine.speculation = &s;
    test::LinearCost cost(100, 3, 1);
    const RunOutcome once = test::simulate(l.engine, l.requests, cost);
    const RunOutcome again = test::simulate(l.engine, l.requests, cost);
    ASSERT_EQ(once.digest, again.digest) << "seed " << seed;
    std::int64_t tokens = 0, resumed = 0;
    for (const RequestOutcome& q : once.requests) {
      ASSERT_EQ(q.outcome, Outcome::finished) << "seed " << seed;
      tokens += q.output_tokens;
      resumed += q.preemptions;
    }
    preemptions += resumed;
    const RankTotals& t = once.ranks[0];
    // Every token of every request is sampled once: the first by its prompt, others by decodes or,
    // after a preemption, by the tokens that are computed again.
    if (resumed == 0) {
      ASSERT_EQ(t.decode_tokens, tokens - std::ssize(once.requests)) << seed;
    }
    ASSERT_LE(t.decode_tokens, tokens) << "seed " << seed;
    ASSERT_EQ(once.itl.count(), tokens - std::ssize(once.requests)) << "seed " << seed;
    ASSERT_LE(t.speculation.accepted, t.speculation.drafted);
    accepted += t.speculation.accepted;
    wasted += t.speculation.drafted - t.speculation.accepted;
  }
  EXPECT_GT(preemptions, 50);
  EXPECT_GT(accepted, 10'000);
  EXPECT_GT(wasted, 10'000);
}

// When nothing is ever proposed, the run is the one without speculation, to the last nanosecond.
TEST(Speculation, WithoutProposalsNothingChanges) {
  std::int64_t preemptions = 0;
  for (std::uint64_t seed = 0; seed < 400; ++seed) {
    Load l = random_load(seed);
    test::LinearCost cost(100, 3, 1);
    const RunOutcome plain = test::simulate(l.engine, l.requests, cost);
    SpeculationRules r = rules(4, {0.9});
    r.proposes = 0;
    const Speculation s(r);
    l.engine.speculation = &s;
    const RunOutcome idle = test::simulate(l.engine, l.requests, cost);
    ASSERT_EQ(plain.digest, idle.digest) << "seed " << seed;
    ASSERT_EQ(plain.ranks[0].peak_blocks, idle.ranks[0].peak_blocks) << "seed " << seed;
    ASSERT_EQ(plain.ranks[0].kv.used_blocks(), idle.ranks[0].kv.used_blocks()) << "seed " << seed;
    ASSERT_EQ(plain.itl.mean_ns(), idle.itl.mean_ns()) << "seed " << seed;
    for (const RequestOutcome& q : plain.requests) preemptions += q.preemptions;
  }
  EXPECT_GT(preemptions, 50);
}

}  // namespace
}  // namespace kvsim
