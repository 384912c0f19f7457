// However an iteration is composed: everybody who came in is served, nothing is lost or idle while
// work waits (the world checks its invariants), the same run twice is the same run, and skipping
// iterations changes nothing.
#include <gtest/gtest.h>

#include "tests/support/node_pools.h"
#include "tests/support/tier_fixture.h"

namespace kvsim {
namespace {

struct Case {
  EngineConfig engine;
  std::vector<Request> requests;
  double host_bandwidth = 0;

  [[nodiscard]] RunOutcome run(bool exact) const {
    EngineConfig e = engine;
    e.exact_steps = exact;
    test::LinearCost cost(100, 3, 1);
    World::Options options;
    if (host_bandwidth > 0) options.tiers = test::with_hosts({}, 1, host_bandwidth, Duration{20});
    return test::simulate(e, requests, cost, std::move(options));
  }
};

// Any combination, as the engines have them and beyond.
BatchRules draw_rules(Rng& rng, BatchOrder order, BatchReserve reserve) {
  BatchRules b;
  b.order = order;
  b.reserve = reserve;
  const auto coin = [&] { return rng.below(2) == 0; };
  b.victim = coin() ? BatchVictim::last : BatchVictim::fewest_outputs;
  b.estimate = 0.1 * static_cast<double>(rng.below(10));
  b.estimate_floor = b.estimate * 0.2;
  b.estimate_steps = 1 + static_cast<std::int64_t>(rng.below(60));
  b.output_limit = rng.below(3) == 0 ? 60 : 0;
  b.alternates = order == BatchOrder::prompts && coin();
  b.pads_prompts = order == BatchOrder::prompts && rng.below(4) == 0;
  b.needs_free_block = order != BatchOrder::running && coin();
  b.idle_watermark = coin();
  b.displaced_last = coin();
  b.restarts_shorter = order != BatchOrder::running && rng.below(3) == 0;
  b.carries_fractions = coin();
  return b;
}

std::vector<Request> draw_requests(Rng& rng, std::int64_t& longest) {
  std::vector<Request> all;
  std::int64_t at = 0;
  const std::size_t n = 5 + rng.below(50);
  for (std::size_t i = 0; i < n; ++i) {
    at += static_cast<std::int64_t>(rng.exponential(1 + static_cast<double>(rng.below(4000))));
    const auto prompt = 1 + static_cast<std::int64_t>(rng.below(rng.below(3) == 0 ? 120 : 30));
    const auto output = 1 + static_cast<std::int64_t>(rng.below(rng.below(3) == 0 ? 150 : 20));
    const std::uint64_t shared = rng.below(4);
    const std::int64_t common = std::min<std::int64_t>(prompt, 12);
    std::vector<Segment> segments{{shared + 1, common}};
    if (prompt > common) segments.push_back({hash_combine(shared, 100 + i), prompt - common});
    all.push_back(test::request(at, prompt, output, segments));
    longest = std::max(longest, prompt + output);
  }
  return all;
}

Case draw_case(std::uint64_t seed, BatchOrder order, BatchReserve reserve) {
  Rng rng(seed, "batch-conformance");
  Case c;
  EngineConfig& e = c.engine;
  e.batch = draw_rules(rng, order, reserve);
  e.block_tokens = std::int64_t{1} << rng.below(4);
  e.max_running = 1 + static_cast<std::int64_t>(rng.below(8));
  e.chunked_prefill = rng.below(3) != 0;
  e.max_batched_tokens =
      (e.chunked_prefill ? e.max_running : 300) + static_cast<std::int64_t>(rng.below(64));
  e.async_scheduling = rng.below(2) == 0;
  e.prefix_caching = rng.below(3) != 0;
  e.full_sequence_admission = rng.below(4) != 0;
  e.watermark = rng.below(2) == 0 ? 0.05 : 0.0;
  if (rng.below(6) == 0) e.request_timeout = Duration{30'000};
  e.ttft_objective = Duration{2000 + static_cast<std::int64_t>(rng.below(20'000))};
  e.tpot_objective = Duration{200};
  std::int64_t longest = 0;
  c.requests = draw_requests(rng, longest);
  if (rng.below(4) == 0) {
    const std::vector<std::string> names = Registry::instance().names("scheduler");
    e.make_scheduler = test::make_scheduler(names[rng.below(names.size())]);
  }
  e.kv_blocks = (e.blocks_for(longest + e.batch.output_limit) + 2) * 20 / 19 + 3 +
                static_cast<std::int64_t>(rng.below(rng.below(2) == 0 ? 20 : 200));
  if (rng.below(3) == 0) {
    e.pool.index = KvPoolConfig::Index::radix;
    e.pool.make_policy = test::make_policy({"leaf-lru", {}});
    e.publish_computed = true;
    e.prefix_caching = true;
  }
  if (rng.below(3) == 0) {
    e.swap = true;
    e.host_blocks = static_cast<std::int64_t>(rng.below(300));
    e.host_block_bytes = 1 + static_cast<std::int64_t>(rng.below(4000));
    c.host_bandwidth = 1e8 * static_cast<double>(1 + rng.below(100));
  }
  return c;
}

class Batches : public testing::TestWithParam<std::tuple<BatchOrder, BatchReserve>> {};

TEST_P(Batches, ServeEverybodyTheSameOnBothPaths) {
  std::int64_t preemptions = 0, finished = 0;
  const auto [order, reserve] = GetParam();
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    const Case c = draw_case(seed, order, reserve);
    const RunOutcome fast = c.run(false), exact = c.run(true), again = c.run(false);
    ASSERT_EQ(fast.digest, exact.digest) << "seed " << seed;
    ASSERT_EQ(fast.digest, again.digest) << "seed " << seed;
    ASSERT_EQ(fast.requests.size(), c.requests.size());
    for (const RequestOutcome& r : fast.requests) {
      ASSERT_NE(r.outcome, Outcome::rejected) << "seed " << seed;
      ASSERT_TRUE(r.outcome == Outcome::finished || c.engine.request_timeout > Duration{0});
      preemptions += r.preemptions;
      finished += r.outcome == Outcome::finished;
    }
    // Nobody has to make way whose memory was promised, unless others displace it.
    const bool promised = reserve == BatchReserve::output && !c.engine.make_scheduler &&
                          !c.engine.batch.needs_free_block;
    for (const RequestOutcome& r : fast.requests)
      ASSERT_TRUE(!promised || r.preemptions == 0) << "seed " << seed;
  }
  EXPECT_TRUE(reserve == BatchReserve::output || preemptions > 50) << preemptions;
  EXPECT_GT(finished, 5000);
}

// Two prompts that go on side by side hold five blocks of ten each and need eight: the later one
// gives its blocks up, and both are served.
TEST(BatchesStuck, PromptsThatHoldAllBlocksBeginAnew) {
  for (const BatchOrder order : {BatchOrder::decodes, BatchOrder::prompts}) {
    Case c;
    c.engine.batch.order = order;
    c.engine.block_tokens = 16;
    c.engine.kv_blocks = 10;
    c.engine.max_running = 4;
    c.engine.max_batched_tokens = 64;
    c.engine.long_prefill_threshold = 16;
    c.engine.full_sequence_admission = false;
    c.engine.prefix_caching = false;
    c.requests = {test::request(0, 120, 2), test::request(0, 120, 2)};
    const RunOutcome fast = c.run(false), exact = c.run(true);
    EXPECT_EQ(fast.digest, exact.digest);
    ASSERT_EQ(fast.requests.size(), 2U);
    std::int64_t preemptions = 0;
    for (const RequestOutcome& r : fast.requests) {
      EXPECT_EQ(r.outcome, Outcome::finished);
      preemptions += r.preemptions;
    }
    EXPECT_EQ(preemptions, 1);
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, Batches,
    testing::Combine(testing::Values(BatchOrder::running, BatchOrder::decodes, BatchOrder::prompts),
                     testing::Values(BatchReserve::none, BatchReserve::prompt, BatchReserve::output,
                                     BatchReserve::estimate)));

}  // namespace
}  // namespace kvsim
