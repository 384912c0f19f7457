// What each autoscaling rule asks for, against sums done by hand.
#include <gtest/gtest.h>

#include "policies/scaler/scaler.h"

namespace kvsim {
namespace {

using std::chrono::seconds;

std::unique_ptr<Scaler> rule(const std::string& name,
                             const std::vector<std::pair<std::string, std::string>>& given = {},
                             std::optional<Duration> ttft = {}) {
  Tree params = Tree::map();
  for (const auto& [key, value] : given) params.set(key, Tree::scalar(value));
  return Registry::instance().make<Scaler>(name, params, {ttft});
}

FleetView view(std::int64_t up, std::int64_t waiting, std::int64_t in_flight) {
  FleetView v;
  v.up = up;
  v.waiting = waiting;
  v.in_flight = in_flight;
  return v;
}

TEST(Scalers, QueueLengthGrowsWithTheQueueAndShrinksWithoutOne) {
  const auto r = rule("queue-length", {{"target", "4"}, {"keep", "10"}});
  EXPECT_EQ(r->wanted(view(3, 12, 60)), 3);   // four each: as many as may wait
  EXPECT_EQ(r->wanted(view(3, 13, 60)), 4);   // 3 x 13 / 12, rounded up
  EXPECT_EQ(r->wanted(view(3, 500, 60)), 6);  // at most twice as many
  EXPECT_EQ(r->wanted(view(0, 1, 1)), 1 - 1);
  EXPECT_EQ(r->wanted(view(3, 0, 20)), 2);  // ten each on two
  EXPECT_EQ(r->wanted(view(3, 0, 21)), 3);
  EXPECT_EQ(r->wanted(view(3, 1, 5)), 3);  // somebody waits
  EXPECT_EQ(r->wanted(view(1, 0, 0)), 0);
}

// 60 s of one look each 10 s: the mean of the last seven, or of the last second in a panic.
TEST(Scalers, ConcurrencyAveragesAndPanics) {
  const auto r = rule("concurrency", {{"target", "10"}});
  FleetView v = view(2, 0, 20);
  for (int t = 0; t <= 60; t += 10) {
    v.now = Time{seconds(t)};
    EXPECT_EQ(r->wanted(v), 2);
  }
  v.now = Time{seconds(70)};
  v.in_flight = 30;  // three instances now are less than twice 2; the mean is 21.4
  EXPECT_EQ(r->wanted(v), 3);
  v.now = Time{seconds(80)};
  v.in_flight = 40;  // twice as many: a panic
  EXPECT_EQ(r->wanted(v), 4);
  v.up = 4;
  v.in_flight = 0;
  v.now = Time{seconds(100)};
  EXPECT_EQ(r->wanted(v), 4) << "nothing is taken away in a panic";
  v.now = Time{seconds(141)};
  EXPECT_EQ(r->wanted(v), 0) << "the last 60 s saw nobody";
}

TEST(Scalers, KvUsageIsTheFormulaOfTheHorizontalPodAutoscaler) {
  const auto r = rule("kv-usage", {{"target", "50 %"}, {"tolerance", "10 %"}});
  FleetView v = view(4, 0, 0);
  v.kv_usage = 0.75;
  EXPECT_EQ(r->wanted(v), 6);
  v.kv_usage = 0.54;
  EXPECT_EQ(r->wanted(v), 4) << "within the tolerance";
  v.kv_usage = 0.3;
  EXPECT_EQ(r->wanted(v), 3);  // 2.4, rounded up
  v.kv_usage = 0.75;
  v.starting = 2;
  EXPECT_EQ(r->wanted(v), 6) << "those that start count";
  EXPECT_EQ(r->wanted(view(0, 5, 5)), 0);
}

TEST(Scalers, SloFollowsFirstTokens) {
  EXPECT_THROW(rule("slo"), InputError);
  const auto r =
      rule("slo", {{"attainment", "0.9"}, {"step", "0.5"}, {"spare", "0.25"}}, seconds(2));
  FleetView v = view(3, 0, 10);
  v.first_tokens = 100;
  v.ttft = seconds(1);
  v.late = 10;
  EXPECT_EQ(r->wanted(v), 3);
  v.late = 11;
  EXPECT_EQ(r->wanted(v), 5);  // half as many again, rounded up
  v.late = 0;
  v.ttft = std::chrono::milliseconds(500);
  EXPECT_EQ(r->wanted(v), 2);
  v.waiting = 1;
  EXPECT_EQ(r->wanted(v), 3);
  EXPECT_EQ(r->wanted(view(3, 0, 0)), 2) << "nobody came";
  EXPECT_EQ(r->wanted(view(3, 2, 9)), 5) << "nobody is served";
}

TEST(Scalers, ScheduleGoesByTheClock) {
  EXPECT_THROW(rule("schedule"), InputError);
  Tree steps = Tree::list();
  for (const auto& [at, instances] : {std::pair{"8 h", "6"}, {"20 h", "2"}}) {
    Tree one = Tree::map();
    one.set("at", Tree::scalar(at));
    one.set("instances", Tree::scalar(instances));
    steps.push(std::move(one));
  }
  Tree params = Tree::map();
  params.set("steps", std::move(steps));
  const auto r = Registry::instance().make<Scaler>("schedule", params, {});
  FleetView v;
  for (const auto& [hour, wanted] : {std::pair{0, 2}, {7, 2}, {8, 6}, {19, 6}, {20, 2}, {32, 6}}) {
    v.now = Time{std::chrono::hours(hour)};
    EXPECT_EQ(r->wanted(v), wanted) << hour;
  }
  params.set("period", Tree::scalar("12 h"));
  EXPECT_THROW(Registry::instance().make<Scaler>("schedule", params, {}), InputError);
}

}  // namespace
}  // namespace kvsim
