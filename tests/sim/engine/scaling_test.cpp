// Instances that start, drain and stop, on times that can be done by hand: an iteration takes
// 100 ns and 3 a token.
#include <gtest/gtest.h>

#include "tests/support/fleet_fixture.h"

namespace kvsim {
namespace {

using Kind = ScaleEvent::Kind;

RunOutcome run(const test::Fleet& fleet, const std::vector<Request>& requests) {
  test::LinearCost cost(100, 3, 0);
  return fleet.run(requests, cost);
}

test::Fleet fleet_of(std::size_t instances, test::FleetScaling scaling) {
  test::Fleet f;
  f.instances = instances;
  f.router = "least-requests";
  f.engine.kv_blocks = 1000;
  f.engine.async_scheduling = false;
  f.scaling = std::move(scaling);
  return f;
}

std::vector<std::pair<Kind, std::int64_t>> events(const RunOutcome& o) {
  std::vector<std::pair<Kind, std::int64_t>> all;
  for (const ScaleEvent& e : o.scaling) all.emplace_back(e.kind, to_ns(e.at));
  return all;
}

// Nobody is up: the first request starts an instance, whatever the rule and the cool-down say, and
// waits for it; when all is over the rule takes it away.
TEST(Scaling, ToZeroAndBack) {
  test::FleetScaling s;
  s.least = s.first = 0;
  s.start = Duration{5000};
  s.up_cooldown = Duration{1'000'000};
  const RunOutcome o =
      run(fleet_of(2, s), {test::request(2000, 10, 1), test::request(20'000, 10, 1)});
  EXPECT_EQ(events(o), (std::vector<std::pair<Kind, std::int64_t>>{{Kind::start, 2000},
                                                                   {Kind::up, 7000},
                                                                   {Kind::drain, 8000},
                                                                   {Kind::stop, 8000},
                                                                   {Kind::start, 20'000},
                                                                   {Kind::up, 25'000}}));
  EXPECT_EQ(to_ns(o.requests[0].first_token), 7000 + 130);
  EXPECT_EQ(to_ns(o.requests[1].first_token), 25'000 + 130);
  // The second is paid for until the last request is over.
  EXPECT_EQ(o.instance_ns, (std::vector<std::int64_t>{6000 + 5130, 0}));
}

// The queue grows past the target at the first look; one more instance is asked for, comes after
// its start-up time, and takes what arrives then.
TEST(Scaling, StartUpTakesTime) {
  test::FleetScaling s;
  s.params = {{"target", "1"}, {"keep", "0"}};
  s.start = Duration{2500};
  test::Fleet f = fleet_of(2, s);
  f.engine.max_running = 1;
  std::vector<Request> requests;
  for (int i = 0; i < 4; ++i) requests.push_back(test::request(0, 10, 30));
  requests.push_back(test::request(4000, 10, 1));
  const RunOutcome o = run(f, requests);
  ASSERT_GE(o.scaling.size(), 3U);
  EXPECT_EQ(o.scaling[1].kind, Kind::start);
  EXPECT_EQ(to_ns(o.scaling[1].at), 1000);
  EXPECT_EQ(o.scaling[1].wanted, 2);
  EXPECT_EQ(o.scaling[1].waiting, 3);
  EXPECT_EQ(o.scaling[2].kind, Kind::up);
  EXPECT_EQ(to_ns(o.scaling[2].at), 3500);
  EXPECT_EQ(o.requests[4].instance, 1U);
  EXPECT_EQ(to_ns(o.requests[4].first_token), 4000 + 130);
}

TEST(Scaling, CoolDownHoldsInstances) {
  test::FleetScaling s;
  s.least = 1;
  s.first = 4;
  s.down_cooldown = Duration{2500};
  const RunOutcome o = run(fleet_of(4, s), {test::request(0, 10, 100)});
  std::vector<std::int64_t> drained;
  for (const ScaleEvent& e : o.scaling)
    if (e.kind == Kind::drain) drained.push_back(to_ns(e.at));
  // Looks come each 1,000 ns; the first takes one, then each third one.
  EXPECT_EQ(drained, (std::vector<std::int64_t>{1000, 4000, 7000}));
}

// Two instances, one long request each; then the rule wants one.
TEST(Scaling, DrainingServesOrMoves) {
  for (const bool migrates : {false, true}) {
    test::FleetScaling s;
    s.params = {{"keep", "100"}};
    s.least = 1;
    s.first = 2;
    s.migrates = migrates;
    test::Fleet f = fleet_of(2, s);
    f.bandwidth = 1e9;  // 100 bytes a token: 100 ns each
    const RunOutcome o = run(f, {test::request(0, 20, 400), test::request(1, 20, 200)});
    const RequestOutcome& moved = o.requests[1];
    EXPECT_EQ(moved.handovers, migrates ? 1U : 0U);
    EXPECT_EQ(moved.instance, migrates ? 0U : 1U);
    EXPECT_EQ(moved.recomputed_tokens, 0);
    ASSERT_EQ(o.scaling.size(), 4U);
    EXPECT_EQ(o.scaling[2].kind, Kind::drain);
    EXPECT_EQ(o.scaling[2].instance, 1U);
    EXPECT_EQ(o.scaling[3].kind, Kind::stop);
    if (migrates) {
      EXPECT_LT(o.scaling[3].at, moved.last_token);
    } else {
      EXPECT_EQ(o.scaling[3].at, moved.last_token);
    }
  }
}

// What a stopped instance had cached is gone, and the router's index knows.
TEST(Scaling, StoppingLosesTheCache) {
  test::FleetScaling s;
  s.least = s.first = 0;
  test::Fleet f = fleet_of(1, s);
  f.router = "prefix-aware";
  f.decisions = 1;
  const std::vector<Segment> same{{77, 64}};
  const RunOutcome o = run(f, {test::request(0, 64, 1, same), test::request(100, 64, 1, same),
                               test::request(50'000, 64, 1, same)});
  EXPECT_EQ(o.requests[1].hit_tokens, 48);
  EXPECT_EQ(o.requests[2].hit_tokens, 0);
  EXPECT_EQ(o.requests[2].miss_tokens[static_cast<std::size_t>(MissCause::reset)], 64);
  for (const DecisionRecord& d : o.decisions)
    EXPECT_EQ(d.chosen.promised_tokens, d.chosen.cached_tokens);
}

TEST(Scaling, AFaultOfTheOnlyInstanceStartsAnother) {
  test::FleetScaling s;
  s.start = Duration{1000};
  test::Fleet f = fleet_of(2, s);
  FaultPlan fault;
  fault.kind = FaultKind::instance;
  fault.targets = {0};
  fault.at = Time{Duration{500}};
  f.faults = {fault};
  const RunOutcome o = run(f, {test::request(0, 10, 50)});
  EXPECT_EQ(o.requests[0].outcome, Outcome::finished);
  EXPECT_EQ(o.requests[0].instance, 1U);
}

}  // namespace
}  // namespace kvsim
