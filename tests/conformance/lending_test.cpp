// What every lending rule must keep with any fleet, order of batches and links: loans are of what
// may move and may be lent, nobody is lost, the same run twice is the same run, and both paths
// agree. That blocks lent are blocks owed, and no memory is over its capacity, is checked on the
// way (World::Options::check_often).
#include <gtest/gtest.h>

#include "tests/support/fleet_fixture.h"
#include "tests/support/variant.h"

namespace kvsim {
namespace {

using test::Variant;

std::vector<Variant> variants() {
  std::vector<Variant> all;
  for (const std::string& name : Registry::instance().names("lending")) all.push_back({name, {}});
  all.push_back({"greedy", {{"gain", "0"}}});
  all.push_back({"greedy", {{"gain", "0.5"}}});
  return all;
}

class Lending : public testing::TestWithParam<Variant> {};

TEST_P(Lending, ServesEverybodyTheSameOnBothPaths) {
  std::int64_t loans = 0, giants = 0, finished = 0;
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    Rng rng(seed, "lending-conformance");
    const auto up_to = [&](std::uint64_t n) { return static_cast<std::int64_t>(rng.below(n)); };
    test::Fleet f;
    EngineConfig& e = f.engine;
    e.prefix_caching = false;
    e.kv_blocks = 12 + up_to(60);
    e.block_tokens = std::int64_t{1} << rng.below(4);
    e.max_running = 1 + up_to(8);
    e.max_batched_tokens = e.max_running + up_to(64);
    e.async_scheduling = rng.below(2) == 0;
    e.batch.order =
        std::array{BatchOrder::running, BatchOrder::decodes, BatchOrder::prompts}[rng.below(3)];
    e.front_end = Duration{up_to(2) * 300};
    f.instances = 2 + rng.below(4);
    f.bandwidth = 1e8 * static_cast<double>(1 + rng.below(50));
    test::FleetLending& lending = f.lending.emplace();
    lending.rule = GetParam().name;
    lending.params = GetParam().params;
    lending.keep = 0.1 * static_cast<double>(rng.below(4));
    lending.chunk_blocks = 1 + up_to(8);
    lending.every = Duration{1000 + up_to(20'000)};
    lending.layers = 1 + up_to(3);
    const std::vector<std::string> routers{"round-robin", "least-requests", "least-tokens",
                                           "power-of-two"};
    f.router = routers[rng.below(routers.size())];
    const std::int64_t home = e.kv_blocks * e.block_tokens;
    const auto most = static_cast<std::uint64_t>(home + home / 2);
    std::vector<Request> requests;
    std::int64_t at = 0;
    for (std::size_t i = 0, n = 5 + rng.below(40); i < n; ++i) {
      at += static_cast<std::int64_t>(rng.exponential(4000));
      const bool is_long = rng.below(6) == 0;
      const std::int64_t prompt = 1 + up_to(is_long ? most : most / 8);
      requests.push_back(test::request(at, prompt, 1 + up_to(is_long ? most / 4 : most / 12)));
    }
    test::LinearCost cost(100, 3, 1);
    const RunOutcome fast = f.run(requests, cost), again = f.run(requests, cost),
                     exact = f.run(requests, cost, true);
    const std::string name = test::text_of(GetParam()) + " seed " + std::to_string(seed);
    ASSERT_EQ(fast.digest, again.digest) << name;
    ASSERT_EQ(fast.digest, exact.digest) << name;
    ASSERT_EQ(fast.requests.size(), requests.size()) << name;
    loans += fast.lending.loans;
    for (const RequestOutcome& r : fast.requests) {
      const bool is_giant = r.prompt_tokens + r.output_tokens > home;
      ASSERT_TRUE(r.outcome == Outcome::finished || is_giant) << name << " " << r.reason;
      finished += r.outcome == Outcome::finished;
      giants += r.outcome == Outcome::finished && is_giant;
    }
  }
  EXPECT_GT(loans, 300);
  EXPECT_GT(giants, 40);
  EXPECT_GT(finished, 1000);
}

// Prices of instances whose iterations take a nanosecond a sequence and token.
class Plain final : public LendingPrices {
 public:
  [[nodiscard]] double debtor(std::size_t, std::size_t, std::int64_t running, std::int64_t context,
                              std::int64_t remote) const override {
    return 1e-9 * static_cast<double>(1000 + running + context - std::min(context, remote) / 2);
  }
  [[nodiscard]] double creditor(std::size_t, std::int64_t running, std::int64_t context,
                                std::int64_t read) const override {
    return 1e-9 * static_cast<double>(1000 + running + context + read);
  }
};

TEST_P(Lending, LoansAreOfWhatMayMoveAndMayBeLent) {
  Tree params = Tree::map();
  for (const auto& [key, value] : GetParam().params) params.set(key, Tree::scalar(value));
  for (std::uint64_t seed = 0; seed < 2000; ++seed) {
    Rng rng(seed, "lending-bounds");
    const auto up_to = [&](std::uint64_t n) { return static_cast<std::int64_t>(rng.below(n)); };
    const auto rule =
        Registry::instance().make<LendingPolicy>(GetParam().name, params, {16, 1 + up_to(9)});
    std::vector<LendingView> views(1 + rng.below(6));
    for (LendingView& v : views) {
      v.blocks = 1 + up_to(100);
      v.free = up_to(static_cast<std::uint64_t>(v.blocks) + 1);
      v.most_running = 1 + up_to(20);
      v.running = up_to(static_cast<std::uint64_t>(v.most_running) + 1);
      v.context = 16 * (v.blocks - v.free);
      v.waiting = up_to(3) * up_to(5);
      v.wanted = v.waiting * up_to(30);
      v.borrowed = up_to(2) * up_to(10);
      v.lent = v.borrowed > 0 ? 0 : up_to(2) * up_to(10);
      v.spare = v.borrowed > 0 || v.waiting > 0 ? 0 : v.free / 2;
      v.movable = v.running > 0 ? up_to(static_cast<std::uint64_t>(v.blocks - v.free) + 1) : 0;
    }
    std::vector<Loan> loans;
    rule->plan(views, Plain{}, loans);
    for (const Loan& l : loans) {
      ASSERT_LT(l.debtor, views.size());
      ASSERT_LT(l.creditor, views.size());
      ASSERT_NE(l.debtor, l.creditor);
      ASSERT_GT(l.blocks, 0);
      ASSERT_LE(l.blocks, views[l.creditor].spare);
      ASSERT_LE(l.blocks, views[l.debtor].movable);
      ASSERT_EQ(views[l.debtor].lent, 0);
      views[l.creditor].spare -= l.blocks;
      views[l.creditor].lent += l.blocks;
      views[l.debtor].movable -= l.blocks;
      views[l.debtor].spare = 0;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, Lending, testing::ValuesIn(variants()),
                         [](const auto& v) { return test::test_name_of(v.param); });

}  // namespace
}  // namespace kvsim
