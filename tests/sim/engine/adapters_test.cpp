// LoRA adapters: who asks for which, slots by hand, prices by formula, and random loads on both
// paths.
#include "sim/engine/adapters.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "tests/support/engine_fixture.h"

namespace kvsim {
namespace {

AdapterRules rules(std::int64_t adapters, std::int64_t slots) {
  AdapterRules r;
  r.adapters = adapters;
  r.slots = slots;
  r.load_ns = 5000;
  r.fixed_ns = 100;
  r.adapter_ns = 40;
  r.token_ns = 1;
  r.seed = 3;
  return r;
}

TEST(Adapters, PopularityFollowsZipf) {
  AdapterRules r = rules(50, 8);
  r.zipf = 1.2;
  r.share = 0.6;
  const Adapters a(r);
  std::map<std::uint32_t, double> seen;
  constexpr int kDraws = 200'000;
  for (std::uint64_t i = 0; i < kDraws; ++i) seen[a.of(i, 0)] += 1.0 / kDraws;
  double norm = 0;
  for (int i = 1; i <= 50; ++i) norm += std::pow(i, -1.2);
  EXPECT_NEAR(seen[0], 0.4, 0.005);
  for (const std::uint32_t i : {1U, 2U, 10U, 50U})
    EXPECT_NEAR(seen[i], 0.6 * std::pow(i, -1.2) / norm, 0.003) << i;
  EXPECT_EQ(seen.rbegin()->first, 50U);
  for (std::uint64_t i = 0; i < 100; ++i) EXPECT_EQ(a.of(i, 7), a.of(0, 7));  // of a session
}

TEST(Adapters, ATraceMayNameThem) {
  AdapterRules r = rules(2, 2);
  r.names = {"sql", "summary"};
  const Adapters named(r);
  Request q = test::request(0, 4, 4);
  EXPECT_EQ(named.of(q), 0U);  // the base model
  q.adapter = "summary";
  EXPECT_EQ(named.of(q), 2U);
  q.adapter = "summery";
  const auto says = [&](const Adapters& a, const char* message, const char* hint) {
    try {
      (void)a.of(q);
      ADD_FAILURE() << "accepted";
    } catch (const InputError& e) {
      EXPECT_NE(std::string(e.what()).find(message), std::string::npos) << e.what();
      EXPECT_NE(e.all()[0].hint.find(hint), std::string::npos) << e.all()[0].hint;
    }
  };
  says(named, "request 0 of the trace names adapter 'summery'", "summary");
  says(Adapters(rules(2, 2)), "but adapters are drawn", "engine.lora.names");
}

TEST(Adapters, LeastRecentlyUsedSlotIsTaken) {
  const Adapters a(rules(5, 2));
  AdapterSlots s(a.rules());
  s.join(1), s.join(2), s.join(2);
  EXPECT_EQ(s.loads(), 2);
  EXPECT_EQ(s.take_load_ns(), 2 * 5000);
  EXPECT_EQ(s.take_load_ns(), 0);
  EXPECT_TRUE(s.admits(0) && s.admits(1) && s.admits(2));
  EXPECT_FALSE(s.admits(3));
  s.leave(2);
  EXPECT_FALSE(s.admits(3));  // another request still uses it
  s.leave(2), s.leave(1);
  s.join(3);  // in the slot of 2, which nobody has used for the longest time
  s.join(1);
  EXPECT_EQ(s.loads(), 3);
  s.leave(1), s.leave(3);
  s.join(2);
  EXPECT_EQ(s.loads(), 4);
}

TEST(Adapters, StepIsTheLargerOfReadingAndArithmetic) {
  const Adapters a(rules(5, 4));
  AdapterSlots s(a.rules());
  EXPECT_EQ(s.step_ns(0), 0);
  s.join(1), s.join(2), s.join(1);
  EXPECT_EQ(s.step_ns(3), 100 + 80);
  EXPECT_EQ(s.step_ns(500), 100 + 500);
}

// Requests of different adapters share nothing, of one adapter as always.
TEST(Adapters, ContentIsKeyedByAdapter) {
  std::vector<Segment> base{{7, 16}, {8, 16}}, one = base, same = base, other = base;
  Adapters::set_apart(one, 1);
  Adapters::set_apart(same, 1);
  Adapters::set_apart(other, 2);
  for (std::size_t i = 0; i < base.size(); ++i) {
    EXPECT_EQ(one[i].key, same[i].key);
    EXPECT_NE(one[i].key, other[i].key);
    EXPECT_NE(one[i].key, base[i].key);
  }
  Adapters::set_apart(same, 0);
  EXPECT_EQ(one[0].key, same[0].key);
}

// Two requests with the same prompt: the second hits only when its adapter is the first's.
TEST(Adapters, TwoRequestsByHand) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    AdapterRules r = rules(2, 2);
    r.seed = seed;
    const Adapters a(r);
    EngineConfig e;
    e.kv_blocks = 100;
    e.async_scheduling = false;
    e.adapters = &a;
    test::LinearCost cost(1000, 1, 0);
    const std::vector<Request> two{test::request(0, 33, 2, {{7, 33}}),
                                   test::request(100'000, 33, 2, {{7, 33}})};
    const RunOutcome run = test::simulate(e, two, cost);
    const bool same = a.of(0, 0) == a.of(1, 0);
    EXPECT_EQ(run.requests[1].hit_tokens, same ? 32 : 0) << seed;
    EXPECT_EQ(run.ranks[0].adapters.loads, same ? 1 : 2) << seed;
    // Copy, prompt (33 tokens cost less than reading one adapter), one decode.
    EXPECT_EQ(to_ns(run.requests[0].last_token - Time{}),
              5000 + (1000 + 33 + 140) + (1000 + 1 + 140));
  }
}

TEST(Adapters, BothPathsAgreeAndSlotsAreNeverExceeded) {
  std::int64_t passed_over = 0, loads = 0, hits = 0;
  for (std::uint64_t seed = 0; seed < 600; ++seed) {
    Rng rng(seed, "adapters-load");
    AdapterRules r = rules(1 + static_cast<std::int64_t>(rng.below(12)),
                           1 + static_cast<std::int64_t>(rng.below(4)));
    r.zipf = rng.uniform() * 2;
    r.share = rng.below(2) == 0 ? 1 : rng.uniform();
    r.seed = seed;
    const Adapters a(r);
    EngineConfig e;
    e.block_tokens = std::int64_t{1} << rng.below(5);
    e.max_running = 1 + static_cast<std::int64_t>(rng.below(10));
    e.max_batched_tokens = e.max_running + static_cast<std::int64_t>(rng.below(64));
    e.async_scheduling = rng.below(2) == 0;
    e.full_sequence_admission = rng.below(2) == 0;
    if (rng.below(3) == 0) e.make_scheduler = test::make_scheduler("priority");
    e.batch.order = static_cast<BatchOrder>(rng.below(3));
    e.adapters = &a;
    std::vector<Request> requests;
    std::int64_t at = 0, longest = 0;
    for (std::size_t i = 0; i < 5 + rng.below(50); ++i) {
      at += static_cast<std::int64_t>(rng.exponential(3000));
      const auto prompt = 1 + static_cast<std::int64_t>(rng.below(60));
      const auto output = 1 + static_cast<std::int64_t>(rng.below(rng.below(3) == 0 ? 120 : 20));
      const auto shared = std::min<std::int64_t>(prompt, 16);
      std::vector<Segment> segments{{1 + rng.below(2), shared}};
      if (prompt > shared) segments.push_back({hash_combine(seed, 100 + i), prompt - shared});
      requests.push_back(test::request(at, prompt, output, segments));
      requests.back().session = rng.below(3);
      longest = std::max(longest, prompt + output);
    }
    e.kv_blocks = e.blocks_for(longest) + static_cast<std::int64_t>(rng.below(100));
    test::LinearCost cost(100, 3, 1);
    const RunOutcome fast = test::simulate(e, requests, cost);
    e.exact_steps = true;
    const RunOutcome exact = test::simulate(e, requests, cost);
    ASSERT_EQ(fast.digest, exact.digest) << "seed " << seed;
    ASSERT_EQ(fast.ranks[0].adapters.passed_over, exact.ranks[0].adapters.passed_over) << seed;
    ASSERT_EQ(fast.ranks[0].adapters.step_ns, exact.ranks[0].adapters.step_ns) << "seed " << seed;
    for (const RequestOutcome& q : fast.requests) {
      ASSERT_EQ(q.outcome, Outcome::finished) << "seed " << seed;
      hits += q.hit_tokens;
    }
    passed_over += fast.ranks[0].adapters.passed_over;
    loads += fast.ranks[0].adapters.loads;
  }
  EXPECT_GT(passed_over, 500);
  EXPECT_GT(loads, 1000);
  EXPECT_GT(hits, 1000);
}

}  // namespace
}  // namespace kvsim
