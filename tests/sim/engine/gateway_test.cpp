// Quotas of tenants: the bucket to the nanosecond, and what must hold of every run.
#include <gtest/gtest.h>

#include "tests/support/fleet_fixture.h"

namespace kvsim {
namespace {

Request of_tenant(std::uint32_t tenant, std::int64_t at, std::int64_t prompt, std::int64_t output) {
  Request r = test::request(at, prompt, output);
  r.tenant = tenant;
  return r;
}

RunOutcome run(test::Fleet fleet, const std::vector<Request>& requests, bool exact = false) {
  fleet.engine.kv_blocks = 10'000;
  test::LinearCost cost(100, 3, 1);
  return fleet.run(requests, cost, exact);
}

// 60 tokens a minute, a burst of 100: 70 pass at once, 40 more when 10 have come, which takes 10 s.
TEST(Gateway, TheBucketFillsEvenly) {
  test::Fleet f;
  f.quotas = {test::limits({}, 60, 100, 0, 0, true)};
  const RunOutcome o = run(f, {of_tenant(0, 0, 60, 10), of_tenant(0, 5, 30, 10),
                               of_tenant(0, 6, 1, 1), of_tenant(0, 7, 100, 1)});
  EXPECT_EQ(o.requests[0].held_ns, 0);
  EXPECT_EQ(o.requests[1].held_ns, 10'000'000'000 - 5);
  EXPECT_EQ(o.requests[2].held_ns, 12'000'000'000 - 6) << "in order, though it would fit";
  EXPECT_EQ(o.requests[1].ttft_ns[static_cast<std::size_t>(Interval::front_end)],
            o.requests[1].held_ns);
  EXPECT_EQ(o.requests[3].outcome, Outcome::rejected);
  EXPECT_STREQ(o.requests[3].reason, "asks for more tokens than its tenant's burst");
}

TEST(Gateway, RejectsWhoIsOver) {
  test::Fleet f;
  f.quotas = {test::limits({1}, 60, 100, 0, 0, false), test::limits({2}, 0, 0, 1, 0, false),
              test::limits({3}, 0, 0, 0, 50, false)};
  const RunOutcome o =
      run(f, {of_tenant(1, 0, 60, 10), of_tenant(1, 5, 30, 10), of_tenant(2, 6, 10, 10),
              of_tenant(2, 7, 10, 10), of_tenant(3, 8, 30, 10), of_tenant(3, 9, 30, 10),
              of_tenant(9, 10, 500, 500)});
  const std::vector<const char*> reasons{"", "its tenant has used its tokens per minute",
                                         "", "its tenant has too many requests inside",
                                         "", "its tenant uses its share of the KV memory",
                                         ""};
  for (std::size_t i = 0; i < reasons.size(); ++i)
    EXPECT_STREQ(o.requests[i].reason, reasons[i]) << i;
}

// Random tenants under random quotas: nobody ever has more inside than allowed, no interval lets in
// more than a burst and what filled meanwhile, and those held back go on in order.
TEST(Gateway, KeepsEveryQuota) {
  std::int64_t held = 0, refused = 0;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    Rng rng(seed, "gateway");
    test::Fleet f;
    f.instances = 1 + rng.below(3);
    const std::int64_t per_minute = 60'000'000'000 / static_cast<std::int64_t>(10 + rng.below(400));
    const std::int64_t most_requests = 1 + static_cast<std::int64_t>(rng.below(4));
    const bool delays = rng.below(2) == 0;
    f.quotas = {test::limits({0, 1}, per_minute, 250, most_requests, 300, delays)};
    std::vector<Request> requests;
    std::int64_t at = 0;
    for (int i = 0; i < 60; ++i) {
      at += static_cast<std::int64_t>(rng.exponential(2000));
      requests.push_back(of_tenant(static_cast<std::uint32_t>(rng.below(3)), at,
                                   1 + static_cast<std::int64_t>(rng.below(150)),
                                   1 + static_cast<std::int64_t>(rng.below(90))));
    }
    const RunOutcome o = run(f, requests), exact = run(f, requests, true);
    ASSERT_EQ(o.digest, exact.digest) << seed;
    ASSERT_EQ(o.requests.size(), 60U);
    for (const std::uint32_t tenant : {0U, 1U}) {
      std::vector<std::pair<std::int64_t, const RequestOutcome*>> in;  // by when they were let in
      for (const RequestOutcome& r : o.requests) {
        if (r.tenant != tenant) continue;
        refused += r.outcome == Outcome::rejected;
        held += r.held_ns > 0;
        if (r.outcome == Outcome::finished) in.emplace_back(to_ns(r.arrival) + r.held_ns, &r);
      }
      ASSERT_TRUE(std::is_sorted(in.begin(), in.end(), [](const auto& a, const auto& b) {
        return a.first < b.first;
      })) << seed;
      for (std::size_t i = 0; i < in.size(); ++i) {
        std::int64_t tokens = 0, inside = 0, kv = 0;
        for (std::size_t k = 0; k <= i; ++k) {
          const RequestOutcome& r = *in[k].second;
          if (to_ns(r.last_token) <= in[i].first && k != i) continue;
          ++inside;
          kv += r.prompt_tokens + r.output_tokens;
        }
        ASSERT_LE(inside, most_requests) << seed;
        ASSERT_LE(kv, 300) << seed;
        for (std::size_t k = i; k < in.size(); ++k) {
          tokens += in[k].second->prompt_tokens + in[k].second->output_tokens;
          const double filled = static_cast<double>(per_minute) / 6e10 *
                                static_cast<double>(in[k].first - in[i].first);
          ASSERT_LE(static_cast<double>(tokens), 250 + filled + 1e-6) << seed;
        }
      }
    }
    for (const RequestOutcome& r : o.requests) {
      if (r.tenant == 2 || delays) {
        ASSERT_EQ(r.outcome, Outcome::finished) << seed;
      }
    }
  }
  EXPECT_GT(held, 500);
  EXPECT_GT(refused, 300);
}

// 100 tokens a millisecond: what is left of one window is lost, and the next begins anew.
TEST(Gateway, WindowsBeginAnew) {
  Tree tree = Tree::map();
  tree.set("tokens", Tree::scalar("100"));
  tree.set("window", Tree::scalar("1 ms"));
  test::Fleet f;
  f.quotas = {{{}, [tree] { return Registry::instance().make<Quota>("window", tree, {}); }, true}};
  const RunOutcome o = run(f, {of_tenant(0, 900'000, 60, 10), of_tenant(0, 900'005, 30, 10),
                               of_tenant(0, 900'006, 50, 10), of_tenant(0, 900'007, 10, 10),
                               of_tenant(0, 900'008, 100, 1)});
  EXPECT_EQ(o.requests[0].held_ns, 0);
  EXPECT_EQ(o.requests[1].held_ns, 1'000'000 - 900'005);
  EXPECT_EQ(o.requests[2].held_ns, 1'000'000 - 900'006) << "40 and 60 tokens fill the second";
  EXPECT_EQ(o.requests[3].held_ns, 2'000'000 - 900'007);
  EXPECT_STREQ(o.requests[4].reason, "asks for more tokens than its tenant has in a window");
}

}  // namespace
}  // namespace kvsim
