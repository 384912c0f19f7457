// Prompts computed in one place and decoded in another: times by formula, bytes conserved.
#include <gtest/gtest.h>

#include "tests/support/fleet_fixture.h"

namespace kvsim {
namespace {

test::Fleet pair(std::int64_t layers = 1) {
  test::Fleet f;
  f.engine.block_tokens = 4;
  f.engine.kv_blocks = 100;
  f.engine.async_scheduling = false;
  f.instances = 1;
  f.decode = 1;
  f.bandwidth = 1e9;  // a byte a nanosecond
  f.token_bytes = 50;
  f.layers = layers;
  return f;
}

// An iteration takes 1000 ns and 10 for each token. The prompt of 20: 1200 ns, then 20 x 50 bytes
// in 1000 ns, then nine more tokens of 1010 ns each.
TEST(Handover, TakesThePromptTheTransferAndTheRest) {
  test::LinearCost cost(1000, 10, 0);
  const RunOutcome out = pair().run({test::request(0, 20, 10)}, cost);
  const RequestOutcome& r = out.requests.at(0);
  EXPECT_EQ(to_ns(r.first_token), 1200);
  EXPECT_EQ(to_ns(r.last_token), 1200 + 1000 + 9 * 1010);
  EXPECT_EQ(r.after_ns[static_cast<std::size_t>(Interval::handover)], 1000);
  EXPECT_EQ(r.first_instance, 0U);
  EXPECT_EQ(r.instance, 1U);
  EXPECT_EQ(r.handovers, 1U);
  EXPECT_EQ(out.peer_bytes, 1000);
  EXPECT_EQ(out.ranks.at(0).decode_tokens, 0);
  EXPECT_EQ(out.ranks.at(1).prefill_tokens, 1);  // the first token, whose KV nobody had computed
}

// Four layers: three quarters of the prompt's 1200 ns carry KV while the rest computes, so that the
// last layer is all that is left.
TEST(Handover, LayerByLayerLeavesTheLastLayer) {
  test::LinearCost cost(1000, 10, 0);
  const RunOutcome out = pair(4).run({test::request(0, 20, 10)}, cost);
  EXPECT_EQ(out.requests.at(0).after_ns[static_cast<std::size_t>(Interval::handover)],
            std::max(1000 / 4, 1000 - 1200 * 3 / 4));
}

// Pushed, the prompt of 20 in pieces of 8, 8 and 4: each piece of 1080, 1080 and 1040 ns has sent
// what it computed when the next one has, and of the last a quarter of its 200 bytes is left.
TEST(Handover, PushedPiecesTravelWhileTheNextIsComputed) {
  test::LinearCost cost(1000, 10, 0);
  test::Fleet f = pair(4);
  f.pushes = true;
  f.engine.max_batched_tokens = 8;
  const RunOutcome out = f.run({test::request(0, 20, 10)}, cost);
  const RequestOutcome& r = out.requests.at(0);
  EXPECT_EQ(to_ns(r.first_token), 1080 + 1080 + 1040);
  EXPECT_EQ(r.after_ns[static_cast<std::size_t>(Interval::handover)], 200 / 4);
  EXPECT_EQ(to_ns(r.last_token), to_ns(r.first_token) + 50 + 9 * 1010);
  EXPECT_EQ(r.instance, 1U);
  EXPECT_EQ(r.first_instance, 0U);
  EXPECT_EQ(out.peer_bytes, 1000);
}

// Room for one request only where tokens are computed: the second prompt is not begun before the
// first request is over, and the wait is named.
TEST(Handover, PushWaitsForRoomBeforeThePromptIsComputed) {
  test::LinearCost cost(1000, 10, 0);
  test::Fleet f = pair(4);
  f.pushes = true;
  f.engine.kv_blocks = 10;
  const RunOutcome out = f.run({test::request(0, 20, 10), test::request(10, 20, 10)}, cost);
  const RequestOutcome &a = out.requests.at(0), &b = out.requests.at(1);
  EXPECT_EQ(to_ns(b.first_token), to_ns(a.last_token) + 1200);
  EXPECT_EQ(b.ttft_ns[static_cast<std::size_t>(Interval::handover)], to_ns(a.last_token) - 10);
}

// A request that needs no second token gives its room back.
TEST(Handover, PushGivesRoomBackWhenNothingIsLeftToDo) {
  test::LinearCost cost(1000, 10, 0);
  test::Fleet f = pair(4);
  f.pushes = true;
  const RunOutcome out = f.run({test::request(0, 20, 1), test::request(0, 20, 2)}, cost);
  EXPECT_EQ(out.requests.at(0).handovers, 0U);
  EXPECT_EQ(out.requests.at(1).handovers, 1U);
}

// What is cached where it is decoded is not sent again.
TEST(Handover, LeavesOutWhatIsCachedThere) {
  test::LinearCost cost(1000, 10, 0);
  const std::vector<Segment> same{{77, 20}};
  const RunOutcome out =
      pair().run({test::request(0, 20, 10, same), test::request(100'000, 20, 10, same)}, cost);
  EXPECT_EQ(out.peer_bytes, 1000 + 0);  // 5 blocks of 4 are there
  EXPECT_EQ(out.requests.at(1).after_ns[static_cast<std::size_t>(Interval::handover)], 0);
}

TEST(Handover, ShortPromptsStayWhereTheyAreDecoded) {
  test::LinearCost cost(1000, 10, 0);
  test::Fleet f = pair();
  f.local_prefill = 16;
  const RunOutcome out = f.run({test::request(0, 16, 5), test::request(0, 17, 5)}, cost);
  EXPECT_EQ(out.requests.at(0).handovers, 0U);
  EXPECT_EQ(out.requests.at(0).instance, 1U);
  EXPECT_EQ(out.requests.at(1).handovers, 1U);
}

// One instance is full, the other empty: a request moves with its KV, nothing is computed again.
TEST(Handover, MigrationMovesLiveRequests) {
  test::LinearCost cost(1000, 10, 0);
  test::Fleet f;
  f.engine.block_tokens = 4;
  f.engine.kv_blocks = 8000;
  f.bandwidth = 1e9;
  f.token_bytes = 50;
  f.router = "llumnix";
  f.params = {{"every", "1 ms"}, {"from_below", "11000"}, {"to_above", "12000"}};
  // Both instances get three; those of the second end early.
  std::vector<Request> requests;
  for (int i = 0; i < 6; ++i) requests.push_back(test::request(i, 100, i % 2 == 0 ? 5000 : 20));
  const RunOutcome out = f.run(requests, cost);
  EXPECT_EQ(out.handovers, 1);  // then two and one are even enough
  for (const RequestOutcome& r : out.requests) {
    EXPECT_EQ(r.outcome, Outcome::finished);
    EXPECT_EQ(r.recomputed_tokens, 0);
  }
  EXPECT_GT(out.peer_bytes, 100 * 50);
}

// Two of 900 do not fit beside each other; when the first is over, the third goes to the second. A
// token takes 50 ns on the links and 10 to compute, and an iteration 1000: what is cheaper depends
// on the links alone.
TEST(Handover, WhoMovesIsCopiedOrComputedAgainWhicheverIsCheaper) {
  test::LinearCost cost(1000, 10, 0);
  test::Fleet f;
  f.engine.block_tokens = 4;
  f.engine.kv_blocks = 2000;
  f.token_bytes = 50;
  f.router = "mell";
  const std::vector<Request> requests{test::request(0, 900, 20), test::request(1, 900, 3000),
                                      test::request(2, 100, 3000)};
  const auto run = [&](const char* by, double bandwidth) {
    f.bandwidth = bandwidth;
    f.params = {{"every", "1 ms"}, {"full", "20 %"}, {"growth", "0"}, {"by", by}};
    RunOutcome out = f.run(requests, cost);
    EXPECT_EQ(out.handovers, 1) << by;
    EXPECT_EQ(out.requests.at(2).first_instance, 0U) << by;
    EXPECT_EQ(out.requests.at(2).instance, 1U) << by;
    for (const RequestOutcome& r : out.requests) EXPECT_EQ(r.outcome, Outcome::finished) << by;
    return out;
  };
  for (const auto& [by, bandwidth] :
       {std::pair{"copy", 1e9}, std::pair{"cheaper", 1e10}, std::pair{"cheaper", 1e11}}) {
    const RunOutcome out = run(by, bandwidth);
    EXPECT_EQ(out.requests.at(2).recomputed_tokens, 0) << by;
    EXPECT_GE(out.peer_bytes, 100 * 50) << by;
  }
  for (const char* by : {"recompute", "cheaper"}) {
    const RunOutcome out = run(by, 1e9);
    const std::int64_t again = out.requests.at(2).recomputed_tokens;
    EXPECT_GT(again, 100) << by;
    EXPECT_EQ(out.peer_bytes, 0) << by;
    // Every prompt once, the moved one twice with what it had decoded, and its last token, whose KV
    // nobody had computed.
    EXPECT_EQ(out.ranks.at(0).prefill_tokens + out.ranks.at(1).prefill_tokens,
              900 + 900 + 100 + again + 1)
        << by;
  }
}

// Iterations of a few lengths end together again and again: who leaves in one instant is seen by
// the others' plans of that instant, or by none, whether their iterations were skipped or not.
TEST(Handover, LeavingAtAnInstantThatOthersPlanForIsTheSameOnBothPaths) {
  std::int64_t moved = 0, again = 0;
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    Rng rng(seed, "departures");
    test::LinearCost cost(250'000, rng.below(2) == 0 ? 0 : 250'000, 0);
    test::Fleet f;
    f.engine.block_tokens = 4;
    f.engine.kv_blocks = 400;
    f.engine.max_running = 2 + static_cast<std::int64_t>(rng.below(6));
    f.engine.async_scheduling = rng.below(3) == 0;
    f.instances = 2 + rng.below(3);
    f.bandwidth = 1e9;
    f.token_bytes = static_cast<std::int64_t>(rng.below(3) * 250'000);
    f.router = seed % 2 == 0 ? "llumnix" : "mell";
    if (seed % 2 == 0)
      f.params = {{"every", "1 ms"}, {"from_below", "1e9"}, {"to_above", "-1e9"}};
    else
      f.params = {{"every", "1 ms"},
                  {"full", "10 %"},
                  {"growth", "0"},
                  {"ease", "1"},
                  {"by", seed % 4 == 1 ? "recompute" : "cheaper"}};
    std::vector<Request> requests;
    std::int64_t at = 0;
    for (int i = 0; i < 24; ++i) {
      at += 250'000 * static_cast<std::int64_t>(rng.below(8));
      requests.push_back(test::request(at, 4 + static_cast<std::int64_t>(rng.below(40)),
                                       2 + static_cast<std::int64_t>(rng.below(120))));
    }
    const RunOutcome fast = f.run(requests, cost), exact = f.run(requests, cost, true);
    ASSERT_EQ(fast.digest, exact.digest) << "seed " << seed;
    moved += fast.handovers;
    for (const RequestOutcome& r : fast.requests) again += seed % 2 == 1 ? r.recomputed_tokens : 0;
  }
  EXPECT_GT(moved, 300);
  EXPECT_GT(again, 300);
}

// Random fleets that push: nothing is lost, both paths agree, every byte of KV is sent once.
TEST(Handover, PushedFleetsServeEverybodyTheSameOnBothPaths) {
  std::int64_t handed = 0;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    Rng rng(seed, "pushes");
    test::LinearCost cost(100, 3, 1);
    test::Fleet f;
    f.pushes = true;
    f.engine.block_tokens = std::int64_t{1} << rng.below(4);
    f.engine.max_running = 1 + static_cast<std::int64_t>(rng.below(8));
    f.engine.max_batched_tokens = f.engine.max_running + static_cast<std::int64_t>(rng.below(40));
    f.engine.async_scheduling = rng.below(2) == 0;
    f.engine.front_end = Duration{static_cast<std::int64_t>(rng.below(2) * 300)};
    if (rng.below(5) == 0) f.engine.request_timeout = Duration{30'000};
    f.instances = 1 + rng.below(3);
    f.decode = 1 + rng.below(3);
    if (rng.below(4) == 0) f.data_parallel = 2;
    f.bandwidth = 1e8 * static_cast<double>(1 + rng.below(100));
    f.layers = 1 + static_cast<std::int64_t>(rng.below(2) * 7);
    f.local_prefill = static_cast<std::int64_t>(rng.below(2) * 10);
    std::vector<Request> requests;
    std::int64_t at = 0;
    for (int i = 0; i < 40; ++i) {
      at += static_cast<std::int64_t>(rng.exponential(1 + static_cast<double>(rng.below(2000))));
      const auto prompt = 1 + static_cast<std::int64_t>(rng.below(rng.below(3) == 0 ? 120 : 30));
      requests.push_back(test::request(at, prompt, 1 + static_cast<std::int64_t>(rng.below(60)),
                                       {{1 + rng.below(4), std::min<std::int64_t>(8, prompt)},
                                        {hash_combine(seed, static_cast<std::uint64_t>(i)),
                                         std::max<std::int64_t>(0, prompt - 8)}}));
      if (prompt <= 8) requests.back().segments.pop_back();
    }
    f.engine.kv_blocks = f.engine.blocks_for(190) + static_cast<std::int64_t>(rng.below(60));
    const RunOutcome fast = f.run(requests, cost), exact = f.run(requests, cost, true);
    ASSERT_EQ(fast.digest, exact.digest) << "seed " << seed;
    ASSERT_EQ(fast.requests.size(), requests.size());
    for (const RequestOutcome& r : fast.requests)
      ASSERT_TRUE(r.outcome == Outcome::finished || f.engine.request_timeout > Duration{0});
    handed += fast.handovers;
  }
  EXPECT_GT(handed, 2000);
}

// Long prompts first, long answers then: an instance goes to the prompts and comes back.
TEST(Handover, InstancesChangeRolesByLoad) {
  test::LinearCost cost(1000, 10, 0);
  test::Fleet f;
  f.engine.block_tokens = 4;
  f.engine.kv_blocks = 400;
  f.engine.max_batched_tokens = 64;
  f.bandwidth = 1e10;
  f.token_bytes = 1;
  f.router = "least-requests";
  f.instances = f.decode = 4;  // two and two, each also in the other stage
  RoleRules rules;
  rules.prefill = rules.decode = 2;
  rules.twin = {6, 7, 4, 5, 2, 3, 0, 1};
  rules.every = Duration{5'000};
  rules.switching = Duration{1'000};
  rules.to_prefill = 300;
  rules.to_decode = 0.5;
  f.roles = rules;
  std::vector<Request> requests;
  for (int i = 0; i < 40; ++i) requests.push_back(test::request(i * 1000, 200, 2));
  for (int i = 0; i < 40; ++i) requests.push_back(test::request(400'000 + i * 15'000, 8, 200));
  const RunOutcome out = f.run(requests, cost), exact = f.run(requests, cost, true);
  EXPECT_EQ(out.digest, exact.digest);
  EXPECT_GE(out.role_switches, 2);
  for (const RequestOutcome& r : out.requests) EXPECT_EQ(r.outcome, Outcome::finished);
  // Spare instances have worked on both sides.
  std::int64_t spare_prompts = 0, spare_tokens = 0;
  for (const RankTotals& t : out.ranks) {
    if (t.instance == 2 || t.instance == 3) spare_prompts += t.prefill_tokens;
    if (t.instance == 6 || t.instance == 7) spare_tokens += t.decode_tokens;
  }
  EXPECT_GT(spare_prompts, 0);
  EXPECT_GT(spare_tokens, 0);
}

// A prefix that one instance has is copied to another, where only the rest is computed.
TEST(Handover, ConductorCopiesHotPrefixes) {
  test::LinearCost cost(1000, 100, 0);
  test::Fleet f;
  f.engine.block_tokens = 4;
  f.engine.kv_blocks = 1000;
  f.bandwidth = 1e10;
  f.token_bytes = 50;
  f.router = "mooncake-conductor";
  std::vector<Request> requests{test::request(0, 404, 400, {{5, 400}, {6, 4}})};
  for (std::uint64_t i = 0; i < 6; ++i)
    requests.push_back(
        test::request(100'000 + static_cast<std::int64_t>(i), 404, 400, {{5, 400}, {100 + i, 4}}));
  const RunOutcome out = f.run(requests, cost);
  EXPECT_GE(out.copies, 1);
  std::int64_t copied = 0;
  for (const RequestOutcome& r : out.requests) copied += r.peer_tokens;
  EXPECT_EQ(copied, 400 * out.copies);
  EXPECT_EQ(out.peer_bytes, copied * 50);
}

}  // namespace
}  // namespace kvsim
