// What every autoscaling rule must keep with any bounds, start-up time, cool-down, router, faults
// and quotas: nobody is lost, the same run twice is the same run, skipping iterations changes
// nothing, nobody is served by an instance that is off, and the paid time is that of the events.
// Also of instances that only decode, which scale by themselves.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/fleet_fixture.h"
#include "tests/support/variant.h"

namespace kvsim {
namespace {

using test::text_of;
using test::Variant;

std::vector<Variant> variants() {
  std::vector<Variant> all;
  for (const std::string& name : Registry::instance().names("scaler"))
    if (name != "schedule") all.push_back({name, {}});
  for (const Variant& more : std::vector<Variant>{
           {"queue-length", {{"target", "0.3"}, {"keep", "1"}}},
           {"queue-length", {{"keep", "0"}}},
           {"concurrency", {{"target", "2"}, {"window", "1 s"}}},
           {"concurrency", {{"target", "1"}, {"panic", "1"}, {"panic_window", "1"}}},
           {"kv-usage", {{"target", "10 %"}, {"tolerance", "0"}}},
           {"slo", {{"ttft", "2 us"}, {"attainment", "1"}, {"spare", "1"}}}})
    all.push_back(more);
  return all;
}

struct Case {
  test::Fleet fleet;
  std::vector<Request> requests;
  [[nodiscard]] RunOutcome run(bool exact) const {
    test::LinearCost cost(100, 3, 1);
    return fleet.run(requests, cost, exact);
  }
};

FaultPlan draw_fault(Rng& rng, std::size_t instances) {
  FaultPlan f;
  f.kind = FaultKind::instance;
  f.targets = {static_cast<std::uint32_t>(rng.below(instances))};
  f.at = Time{Duration{static_cast<std::int64_t>(rng.below(40'000))}};
  f.down = Duration{1 + static_cast<std::int64_t>(rng.below(20'000))};
  return f;
}

Case draw_case(std::uint64_t seed, const Variant& v) {
  Rng rng(seed, "scaler-conformance");
  const auto up_to = [&](std::uint64_t n) { return static_cast<std::int64_t>(rng.below(n)); };
  Case c;
  test::Fleet& f = c.fleet;
  EngineConfig& e = f.engine;
  e.block_tokens = std::int64_t{1} << rng.below(4);
  e.max_running = 1 + up_to(8);
  e.max_batched_tokens = e.max_running + up_to(64);
  e.async_scheduling = rng.below(2) == 0;
  e.front_end = Duration{up_to(2) * 300};
  if (rng.below(6) == 0) e.request_timeout = Duration{30'000};
  f.instances = 1 + rng.below(6);
  if (rng.below(4) == 0) f.data_parallel = 2;
  const std::vector<std::string> routers = Registry::instance().names("router");
  f.router = routers[rng.below(routers.size())];
  test::FleetScaling& s = f.scaling.emplace();
  s.rule = v.name;
  s.params = v.params;
  s.least = up_to(f.instances + 1);
  s.first = s.least + up_to(f.instances + 1 - static_cast<std::uint64_t>(s.least));
  s.every = Duration{100 + up_to(5000)};
  s.start = Duration{up_to(3) * up_to(10'000)};
  s.up_cooldown = Duration{up_to(2) * up_to(8000)};
  s.down_cooldown = Duration{up_to(2) * up_to(8000)};
  s.migrates = rng.below(2) == 0;
  s.ttft = Duration{3000};
  if (s.migrates || rng.below(2) == 0) f.bandwidth = 1e8 * static_cast<double>(1 + rng.below(100));
  std::int64_t at = 0, longest = 0, most = 0;
  const std::size_t n = 5 + rng.below(60);
  for (std::size_t i = 0; i < n; ++i) {
    // Bursts, and pauses in which a fleet may go away.
    at += static_cast<std::int64_t>(rng.exponential(rng.below(8) == 0 ? 20'000 : 300));
    Request& r = c.requests.emplace_back(test::request(at, 1 + up_to(rng.below(3) == 0 ? 120 : 30),
                                                       1 + up_to(rng.below(3) == 0 ? 150 : 20)));
    r.tenant = static_cast<std::uint32_t>(rng.below(3));
    r.session = rng.below(12);
    longest = std::max(longest, r.prompt_tokens + r.output_tokens);
    most += r.prompt_tokens + r.output_tokens;
  }
  e.kv_blocks = e.blocks_for(longest) + up_to(rng.below(2) == 0 ? 20 : 200);
  if (rng.below(3) == 0) f.faults.push_back(draw_fault(rng, f.instances));
  if (rng.below(3) == 0) {  // draws in a fixed order
    std::vector<std::uint32_t> tenants;
    if (rng.below(2) == 0) tenants.push_back(1);
    const std::int64_t rate = up_to(2) * (60'000'000'000 / 400), burst = longest + up_to(200);
    const std::int64_t requests = up_to(4);
    const std::int64_t kv =
        rng.below(2) == 0 ? longest + up_to(static_cast<std::uint64_t>(most)) : 0;
    f.quotas.push_back(test::limits(tenants, rate, burst, requests, kv, true));
  }
  if (rng.below(3) == 0) {  // those that decode scale by themselves
    f.decode = 1 + rng.below(4);
    f.bandwidth = 1e8 * static_cast<double>(1 + rng.below(100));
  }
  return c;
}

// Between its events an instance is in one state; paid time is what is not off.
struct Timeline {
  explicit Timeline(const RunOutcome& run, std::size_t instances)
      : paid(instances, 0), since(instances, -1), spans(instances) {
    using Kind = ScaleEvent::Kind;
    for (const ScaleEvent& e : run.scaling) {
      std::int64_t& from = since[e.instance];
      if (from < 0) from = to_ns(e.at);
      if (e.kind != Kind::stop && e.kind != Kind::cancel) continue;
      paid[e.instance] += to_ns(e.at) - from;
      spans[e.instance].emplace_back(from, to_ns(e.at));
      from = -1;
    }
    for (std::size_t i = 0; i < instances; ++i) {
      if (since[i] < 0) continue;
      paid[i] += to_ns(run.end) - since[i];
      spans[i].emplace_back(since[i], to_ns(run.end) + 1);
    }
  }
  [[nodiscard]] bool is_on(std::size_t i, Time at) const {
    for (const auto& [from, to] : spans[i])
      if (to_ns(at) >= from && to_ns(at) <= to) return true;
    return false;
  }
  std::vector<std::int64_t> paid, since;
  std::vector<std::vector<std::pair<std::int64_t, std::int64_t>>> spans;
};

class Scalers : public testing::TestWithParam<Variant> {};

TEST_P(Scalers, ServeEverybodyTheSameOnBothPaths) {
  std::int64_t finished = 0, started = 0;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    const Case c = draw_case(seed, GetParam());
    const std::string name = text_of(GetParam()) + " seed " + std::to_string(seed);
    const RunOutcome fast = c.run(false), exact = c.run(true), again = c.run(false);
    ASSERT_EQ(fast.digest, again.digest) << name;
    ASSERT_EQ(fast.digest, exact.digest) << name;
    ASSERT_EQ(fast.requests.size(), c.requests.size()) << name;
    const std::size_t instances = c.fleet.instances + c.fleet.decode;
    const Timeline t(fast, instances);
    ASSERT_EQ(fast.instance_ns, t.paid) << name;
    for (const RequestOutcome& r : fast.requests) {
      ASSERT_TRUE(r.outcome == Outcome::finished || c.fleet.engine.request_timeout > Duration{0})
          << name << " " << r.reason;
      if (r.outcome != Outcome::finished) continue;
      ++finished;
      ASSERT_TRUE(t.is_on(r.instance, r.last_token)) << name << " request " << r.index;
    }
    for (const ScaleEvent& e : fast.scaling) {
      started += e.kind == ScaleEvent::Kind::start;
      ASSERT_LE(e.up + e.starting + e.draining, static_cast<std::int64_t>(instances));
      const auto decode = static_cast<std::int64_t>(c.fleet.decode);
      const bool decodes = e.instance >= c.fleet.instances;
      const std::int64_t least = c.fleet.scaling->least;
      ASSERT_GE(e.wanted, e.at == Time{} ? 0 : decodes ? std::min(least, decode) : least);
    }
  }
  EXPECT_GT(finished, 3000);
  EXPECT_GT(started, 20);
}

INSTANTIATE_TEST_SUITE_P(All, Scalers, testing::ValuesIn(variants()),
                         [](const auto& v) { return test::test_name_of(v.param); });

}  // namespace
}  // namespace kvsim
