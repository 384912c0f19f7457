// The bound of virtual token counters (Sheng et al., OSDI 2024, theorem 4.4): while two tenants
// both have waiting requests, their service drifts apart by at most 2 max(w_p L_in, w_q M).
#include <gtest/gtest.h>

#include "tests/support/engine_fixture.h"
#include "tests/support/service_meter.h"

namespace kvsim {
namespace {

struct Mix {
  std::int64_t memory = 0, longest_prompt = 0;
  std::vector<SchedulerRequest> requests;  // by arrival, in iterations
};

// Tenants that send steadily, in bursts or from late on, with lengths of their own.
Mix draw_mix(std::uint64_t seed, double flood) {
  Rng rng(seed, "vtc-mix");
  Mix m;
  const std::uint32_t tenants = 2 + static_cast<std::uint32_t>(rng.below(3));
  for (std::uint32_t t = 0; t < tenants; ++t) {
    const std::int64_t prompt = 1 + static_cast<std::int64_t>(rng.below(30));
    const std::int64_t output = 1 + static_cast<std::int64_t>(rng.below(30));
    const double gap = (0.5 + 8 * rng.uniform()) / (t == 0 ? flood : 1);
    const std::uint64_t burst = 1 + rng.below(6), n = 10 + rng.below(30);
    double at = rng.below(2) == 0 ? 0 : 60 * rng.uniform();
    for (std::uint64_t i = 0; i < n; ++i) {
      if (i % burst == 0) at += rng.exponential(gap * static_cast<double>(burst));
      SchedulerRequest r;
      r.tenant = t;
      r.arrival = Time{Duration{static_cast<std::int64_t>(at)}};
      r.prompt = 1 + static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(prompt)));
      r.output = 1 + static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(output)));
      m.longest_prompt = std::max(m.longest_prompt, r.prompt);
      m.memory = std::max(m.memory, r.prompt + r.output);
      m.requests.push_back(r);
    }
  }
  m.memory += static_cast<std::int64_t>(rng.below(150));
  std::stable_sort(m.requests.begin(), m.requests.end(),
                   [](const auto& a, const auto& b) { return a.arrival < b.arrival; });
  for (std::uint32_t i = 0; i < m.requests.size(); ++i)
    m.requests[i].index = m.requests[i].slot = i;
  return m;
}

// Continuous batching in its plainest form: a request holds prompt + output tokens of memory, every
// iteration gives each in the batch one token.
void serve(Mix m, Scheduler& s) {
  std::vector<std::uint32_t> waiting, running;
  std::int64_t used = 0;
  std::size_t next = 0;
  for (std::int64_t now = 0; next < m.requests.size() || !waiting.empty() || !running.empty();
       ++now) {
    const Time at{Duration{now}};
    for (; next < m.requests.size() && m.requests[next].arrival <= at; ++next) {
      s.arrived(m.requests[next], at);
      waiting.push_back(static_cast<std::uint32_t>(next));
    }
    while (!waiting.empty()) {
      std::vector<SchedulerRequest> views;
      for (const std::uint32_t i : waiting) views.push_back(m.requests[i]);
      s.prepare(views, at);
      const auto best =
          std::min_element(waiting.begin(), waiting.end(), [&](std::uint32_t a, std::uint32_t b) {
            const Standing x = s.standing(m.requests[a], at), y = s.standing(m.requests[b], at);
            return x < y || (!(y < x) && a < b);
          });
      SchedulerRequest& r = m.requests[*best];
      if (used + r.prompt + r.output > m.memory) break;
      used += r.prompt + r.output;
      r.running = true;
      s.admitted(r, at);
      running.push_back(*best);
      waiting.erase(best);
    }
    for (const std::uint32_t i : running) {
      ++m.requests[i].sampled;
      s.served(m.requests[i], 1);
    }
    std::erase_if(running, [&](std::uint32_t i) {
      const SchedulerRequest& r = m.requests[i];
      if (r.sampled < r.output) return false;
      used -= r.prompt + r.output;
      s.left(r);
      return true;
    });
  }
}

std::unique_ptr<Scheduler> make(const std::string& name, const Tree& params = Tree::map()) {
  return Registry::instance().make<Scheduler>(name, params, {});
}

TEST(Vtc, BoundHoldsOverTenThousandMixes) {
  int broken_by_fcfs = 0;
  double tightest = 0;
  for (std::uint64_t seed = 0; seed < 10'000; ++seed) {
    const Mix m = draw_mix(seed, seed % 2 == 0 ? 1 : 8);
    test::ServiceMeter::Account fair, fcfs;
    test::ServiceMeter vtc(make("vtc"), fair);
    serve(m, vtc);
    const double bound = 2 * std::max(fair.input_weight * static_cast<double>(m.longest_prompt),
                                      fair.output_weight * static_cast<double>(m.memory));
    ASSERT_LE(fair.widest, bound) << "seed " << seed;
    tightest = std::max(tightest, fair.widest / bound);
    if (seed % 10 != 1) continue;
    test::ServiceMeter first(make("fcfs"), fcfs);
    serve(m, first);
    broken_by_fcfs += fcfs.widest > bound ? 1 : 0;
  }
  EXPECT_GT(broken_by_fcfs, 50);
  EXPECT_GT(tightest, 0.5);  // the mixes come near it
}

// In the engine: pages, preemptions, budgets, two iterations in flight.
TEST(Vtc, BoundHoldsInTheEngine) {
  int broken_by_fcfs = 0;
  std::int64_t preemptions = 0;
  for (std::uint64_t seed = 0; seed < 400; ++seed) {
    const Mix m = draw_mix(seed, 8);
    std::vector<Request> requests;
    for (const SchedulerRequest& r : m.requests) {
      requests.push_back(test::request(to_ns(r.arrival - Time{}) * 150, r.prompt, r.output));
      requests.back().tenant = r.tenant;
    }
    EngineConfig e;
    e.block_tokens = 4;
    e.kv_blocks = m.memory / 4 + 2;
    e.max_running = 64;
    e.max_batched_tokens = 64 + static_cast<std::int64_t>(seed % 40);
    e.async_scheduling = seed % 2 == 0;
    e.full_sequence_admission = seed % 3 == 0;
    const double bound = 2 * std::max(static_cast<double>(m.longest_prompt),
                                      2.0 * static_cast<double>(e.kv_blocks * e.block_tokens));
    const auto widest = [&](const std::string& name) {
      test::ServiceMeter::Account account;
      EngineConfig with = e;
      with.make_scheduler = [&](const Scheduler::Context& c) {
        return std::make_unique<test::ServiceMeter>(
            Registry::instance().make<Scheduler>(name, Tree::map(), c), account);
      };
      test::LinearCost cost(100, 3, 1);
      for (const RequestOutcome& r : test::simulate(with, requests, cost).requests)
        preemptions += r.preemptions;
      return account.widest;
    };
    ASSERT_LE(widest("vtc"), bound) << "seed " << seed;
    broken_by_fcfs += widest("fcfs") > bound ? 1 : 0;
  }
  EXPECT_GT(broken_by_fcfs, 10);
  EXPECT_GT(preemptions, 100);
}

SchedulerRequest of_tenant(std::uint32_t tenant, std::uint32_t slot, std::int64_t prompt) {
  SchedulerRequest r;
  r.tenant = tenant;
  r.slot = slot;
  r.index = slot;
  r.prompt = prompt;
  r.output = 10;
  return r;
}

// An idle tenant is lifted to the least counter of those that wait; without lifting its idle time
// is made up for.
TEST(Vtc, LiftsWhoComesBack) {
  for (const bool lift : {true, false}) {
    Tree params = Tree::map();
    params.set("lift", Tree::scalar(lift ? "true" : "false"));
    const auto s = make("vtc", params);
    const SchedulerRequest a = of_tenant(0, 0, 100), b = of_tenant(0, 1, 100),
                           c = of_tenant(1, 2, 100);
    s->arrived(a, {});
    s->arrived(b, {});
    s->admitted(a, {});
    s->served(a, 7);
    s->arrived(c, {});
    EXPECT_EQ(s->standing(b, {}).value, 100 + 2 * 7);
    EXPECT_EQ(s->standing(c, {}).value, lift ? 114 : 0);
    s->admitted(b, {});
    s->admitted(c, {});  // nobody waits; tenant 1 was the last who did
    const SchedulerRequest d = of_tenant(2, 3, 1);
    s->arrived(d, {});
    EXPECT_EQ(s->standing(d, {}).value, lift ? 214 : 0);
  }
}

TEST(Vtc, WeightsDivideService) {
  Tree params = Tree::map(), weights = Tree::list();
  weights.push(Tree::scalar("4"));
  params.set("weights", weights);
  const auto s = make("vtc", params);
  for (std::uint32_t t = 0; t < 2; ++t) {
    s->arrived(of_tenant(t, t, 100), {});
    s->arrived(of_tenant(t, t + 2, 100), {});
  }
  for (std::uint32_t t = 0; t < 2; ++t) s->admitted(of_tenant(t, t, 100), {});
  EXPECT_EQ(s->standing(of_tenant(0, 2, 100), {}).value, 25);
  EXPECT_EQ(s->standing(of_tenant(1, 3, 100), {}).value, 100);
}

// The whole output is charged ahead, and what did not come is given back.
TEST(Vtc, ChargesPredictionsAhead) {
  Tree params = Tree::map();
  params.set("predict", Tree::scalar("true"));
  const auto s = make("vtc", params);
  const SchedulerRequest a = of_tenant(0, 0, 100), b = of_tenant(0, 1, 1);
  s->arrived(a, {});
  s->arrived(b, {});
  s->admitted(a, {});
  EXPECT_EQ(s->standing(b, {}).value, 100 + 2 * 10);
  s->served(a, 4);
  EXPECT_EQ(s->standing(b, {}).value, 100 + 2 * 10);
  s->left(a);
  EXPECT_EQ(s->standing(b, {}).value, 100 + 2 * 4);
}

}  // namespace
}  // namespace kvsim
