// The engine as a queue with a known answer. One request at a time (max_running 1) with a service
// time that the cost model fixes makes M/D/1 and M/M/1; Little's law holds whatever happens.
#include <gtest/gtest.h>

#include <cmath>

#include "sim/base/stats.h"
#include "tests/support/engine_fixture.h"

namespace kvsim {
namespace {

constexpr double kServiceNs = 1000;

EngineConfig single_server() {
  EngineConfig e;
  e.kv_blocks = 1'000'000;
  e.block_tokens = 1024;
  e.max_batched_tokens = 1'000'000;
  e.max_running = 1;
  e.async_scheduling = false;
  e.prefix_caching = false;
  return e;
}

struct Waits {
  double mean = 0, half_width = 0;  // of a 99.9 % confidence interval over independent runs
};

// `prompt` gives the service time: LinearCost(0, 1, 0) takes 1 ns per prompt token.
template <class Prompt>
Waits mean_wait(double load, Prompt prompt) {
  constexpr int kRuns = 20, kRequests = 20'000, kWarm = 2'000;
  std::vector<double> means;
  for (int run = 0; run < kRuns; ++run) {
    Rng rng(static_cast<std::uint64_t>(run), "queue");
    std::vector<Request> requests;
    double at = 0;
    for (int i = 0; i < kRequests; ++i) {
      at += rng.exponential(kServiceNs / load);
      requests.push_back(test::request(static_cast<std::int64_t>(at), prompt(rng), 1));
    }
    test::LinearCost cost(0, 1, 0);
    const auto out = test::simulate(single_server(), std::move(requests), cost);
    double sum = 0;
    for (int i = kWarm; i < kRequests; ++i) {
      const RequestOutcome& r = out.requests[static_cast<std::size_t>(i)];
      sum += static_cast<double>(to_ns(r.scheduled - r.arrival));
    }
    means.push_back(sum / (kRequests - kWarm));
  }
  const Summary s = summarize(means);
  return {s.mean, 3.88 * s.std / std::sqrt(kRuns - 1.0)};  // t quantile for 19 degrees of freedom
}

// M/D/1 (Pollaczek-Khinchine): W = rho / (2 (1 - rho)) service times.
TEST(Queueing, MD1) {
  for (const double rho : {0.3, 0.6, 0.8}) {
    const Waits w = mean_wait(rho, [](Rng&) { return std::int64_t{1000}; });
    EXPECT_NEAR(w.mean, kServiceNs * rho / (2 * (1 - rho)), w.half_width) << "load " << rho;
    EXPECT_LT(w.half_width, 0.15 * w.mean);
  }
}

// M/M/1: W = rho / (1 - rho) service times. Whole nanoseconds: a service of 1000 ns is exponential
// to 0.1 %.
TEST(Queueing, MM1) {
  for (const double rho : {0.3, 0.6, 0.8}) {
    const Waits w = mean_wait(
        rho, [](Rng& r) { return 1 + static_cast<std::int64_t>(r.exponential(kServiceNs)); });
    // Rounding up adds 0.5 ns to the mean service: half a per mille of the load.
    EXPECT_NEAR(w.mean, kServiceNs * rho / (1 - rho), w.half_width + 0.01 * w.mean)
        << "load " << rho;
    EXPECT_LT(w.half_width, 0.15 * w.mean);
  }
}

// Little's law, exactly: the integral of the number inside equals the sum of the times inside.
TEST(Queueing, LittleIsExact) {
  EngineConfig e;
  e.kv_blocks = 40;
  e.max_batched_tokens = 128;
  e.max_running = 16;
  Rng rng(3, "little");
  std::vector<Request> requests;
  std::int64_t at = 0;
  for (int i = 0; i < 500; ++i) {
    at += static_cast<std::int64_t>(rng.exponential(3000));
    requests.push_back(test::request(at, 1 + static_cast<std::int64_t>(rng.below(200)),
                                     1 + static_cast<std::int64_t>(rng.below(60))));
  }
  test::LinearCost cost(100, 2, 1);
  const auto out = test::simulate(e, requests, cost);
  std::int64_t inside_time = 0;
  std::vector<std::pair<std::int64_t, int>> changes;
  for (const RequestOutcome& r : out.requests) {
    std::int64_t told = 0;
    for (std::size_t k = 0; k < kIntervals; ++k) told += r.ttft_ns[k] + r.after_ns[k];
    EXPECT_EQ(told, to_ns(r.last_token - r.arrival));
    inside_time += told;
    changes.emplace_back(to_ns(r.arrival), 1);
    changes.emplace_back(to_ns(r.last_token), -1);
  }
  std::sort(changes.begin(), changes.end());
  std::int64_t integral = 0, inside = 0, since = 0;
  for (const auto& [when, step] : changes) {
    integral += inside * (when - since);
    since = when;
    inside += step;
  }
  EXPECT_EQ(inside, 0);
  EXPECT_EQ(integral, inside_time);
}

// A batch of n decodes: n tokens per step of base + n per_token; the makespan is the closed sum.
TEST(Queueing, BatchDecodeClosedForm) {
  EngineConfig e;
  e.kv_blocks = 100'000;
  e.max_running = 64;
  e.max_batched_tokens = 64 * 32;
  e.prefix_caching = false;
  test::LinearCost cost(1000, 10, 1);
  constexpr std::int64_t kBatch = 64, kPrompt = 32, kOutput = 400;
  std::vector<Request> requests(kBatch, test::request(0, kPrompt, kOutput));
  const auto out = test::simulate(e, requests, cost);
  // Prefill: 1000 + 10 n P. Decode k = 1..O-1: 1000 + 10 n + n (P + k), the context with the token
  // itself.
  std::int64_t expected = 1000 + 10 * kBatch * kPrompt;
  for (std::int64_t k = 1; k < kOutput; ++k)
    expected += 1000 + 10 * kBatch + kBatch * (kPrompt + k);
  for (const RequestOutcome& r : out.requests) EXPECT_EQ(to_ns(r.last_token), expected);
  EXPECT_EQ(out.itl.count(), kBatch * (kOutput - 1));
}

}  // namespace
}  // namespace kvsim
