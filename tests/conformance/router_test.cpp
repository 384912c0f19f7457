// What every router must keep: everybody who came in is served, nothing is lost, the same run twice
// is the same run, skipping iterations changes nothing, and it never names an instance that is
// down.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/fleet_fixture.h"
#include "tests/support/random_requests.h"
#include "tests/support/variant.h"

namespace kvsim {
namespace {

using test::text_of;
using test::Variant;

std::vector<Variant> variants() {
  std::vector<Variant> all = test::variants_of("router");
  for (const Variant& more : std::vector<Variant>{
           {"least-loaded", {{"by", "tokens"}}},
           {"session-affinity", {{"most", "1.5"}}},
           {"consistent-hash", {{"by", "session"}, {"slack", "0"}}},
           {"consistent-hash", {{"prefix_tokens", "8"}, {"virtual_nodes", "1"}}},
           {"prefix-aware", {{"imbalance", "0"}, {"ratio", "1"}}},
           {"prefix-approximate", {{"most_tokens", "64"}, {"threshold", "0"}}},
           {"prefix-events", {{"every", "1 us"}, {"lag", "3 us"}}},
           {"kv-cost", {{"temperature", "0.3"}}},
           {"kv-cost", {{"every", "2 us"}, {"lag", "0 ns"}}},
           {"weighted-scores", {{"every", "5 us"}}},
           {"preble", {{"window", "1 ms"}, {"imbalance", "1"}}},
           {"mooncake-conductor", {{"threshold", "1"}}},
           {"mell", {{"every", "1 ms"}, {"full", "1 %"}, {"growth", "0"}, {"ease", "1"}}},
           {"mell",
            {{"every", "1 ms"},
             {"full", "1 %"},
             {"growth", "0"},
             {"ease", "1"},
             {"by", "recompute"}}},
           {"llumnix", {{"every", "1 ms"}, {"from_below", "1e9"}, {"to_above", "-1e9"}}}})
    all.push_back(more);
  return all;
}

Request draw_request(Rng& rng, std::int64_t at) {
  Request r = test::draw_request(rng, at);
  r.session = rng.below(12);
  return r;
}

struct Case {
  test::Fleet fleet;
  std::vector<Request> requests;
  [[nodiscard]] RunOutcome run(bool exact) const {
    test::LinearCost cost(100, 3, 1);
    return fleet.run(requests, cost, exact);
  }
};

Case draw_case(std::uint64_t seed, const Variant& v) {
  Rng rng(seed, "router-conformance");
  Case c;
  EngineConfig& e = c.fleet.engine;
  e.block_tokens = std::int64_t{1} << rng.below(4);
  e.max_running = 1 + static_cast<std::int64_t>(rng.below(8));
  e.max_batched_tokens = e.max_running + static_cast<std::int64_t>(rng.below(64));
  e.async_scheduling = rng.below(2) == 0;
  e.full_sequence_admission = rng.below(2) == 0;
  e.front_end = Duration{static_cast<std::int64_t>(rng.below(2) * 300)};
  if (rng.below(6) == 0) e.request_timeout = Duration{30'000};
  c.fleet.instances = 1 + rng.below(6);
  c.fleet.decode = rng.below(3) == 0 ? 1 + rng.below(3) : 0;
  if (rng.below(4) == 0) c.fleet.data_parallel = 2;
  c.fleet.bandwidth = 1e8 * static_cast<double>(1 + rng.below(100));
  c.fleet.layers = 1 + static_cast<std::int64_t>(rng.below(2) * 7);
  c.fleet.local_prefill = static_cast<std::int64_t>(rng.below(2) * 10);
  c.fleet.decisions = rng.below(2) == 0 ? 2 : 0;
  c.fleet.router = v.name;
  c.fleet.params = v.params;
  std::int64_t at = 0, longest = 0;
  const std::size_t n = 5 + rng.below(60);
  for (std::size_t i = 0; i < n; ++i) {
    at += static_cast<std::int64_t>(rng.exponential(1 + static_cast<double>(rng.below(2000))));
    c.requests.push_back(draw_request(rng, at));
    longest = std::max(longest, c.requests[i].prompt_tokens + c.requests[i].output_tokens);
  }
  e.kv_blocks =
      e.blocks_for(longest) + static_cast<std::int64_t>(rng.below(rng.below(2) == 0 ? 20 : 200));
  if (rng.below(3) == 0) {
    FaultPlan f;
    f.kind = FaultKind::instance;
    f.targets = {static_cast<std::uint32_t>(rng.below(c.fleet.instances + c.fleet.decode))};
    f.at = Time{Duration{static_cast<std::int64_t>(rng.below(30'000))}};
    f.down = Duration{1 + static_cast<std::int64_t>(rng.below(20'000))};
    c.fleet.faults.push_back(f);
  }
  return c;
}

class Routers : public testing::TestWithParam<Variant> {};

TEST_P(Routers, ServeEverybodyTheSameOnBothPaths) {
  std::int64_t finished = 0;
  for (std::uint64_t seed = 0; seed < 150; ++seed) {
    const Case c = draw_case(seed, GetParam());
    const RunOutcome fast = c.run(false), exact = c.run(true), again = c.run(false);
    ASSERT_EQ(fast.digest, again.digest) << text_of(GetParam()) << " seed " << seed;
    ASSERT_EQ(fast.digest, exact.digest) << text_of(GetParam()) << " seed " << seed;
    ASSERT_EQ(fast.requests.size(), c.requests.size());
    for (const RequestOutcome& r : fast.requests) {
      ASSERT_TRUE(r.outcome == Outcome::finished || c.fleet.engine.request_timeout > Duration{0})
          << "seed " << seed;
      finished += r.outcome == Outcome::finished;
    }
    for (const DecisionRecord& d : fast.decisions) {
      ASSERT_GE(d.chosen.cost_ns, d.best_ns);
      for (const auto& a : d.others) ASSERT_GE(a.cost_ns, d.best_ns);
    }
  }
  EXPECT_GT(finished, 3000);
}

INSTANTIATE_TEST_SUITE_P(All, Routers, testing::ValuesIn(variants()),
                         [](const auto& v) { return test::test_name_of(v.param); });

}  // namespace
}  // namespace kvsim
