// Orders of schedulers on a single server, against brute force and naive twins.
#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <numeric>
#include <set>

#include "tests/support/engine_fixture.h"

namespace kvsim {
namespace {

using Given = std::vector<std::pair<std::string, std::string>>;

double mean_latency(const RunOutcome& out) {
  double sum = 0;
  for (const RequestOutcome& r : out.requests)
    sum += static_cast<double>(to_ns(r.last_token - r.arrival));
  return sum / static_cast<double>(out.requests.size());
}

EngineConfig one_server() {
  EngineConfig e;
  e.block_tokens = 1;
  e.kv_blocks = 10'000;
  e.max_running = 1;
  e.max_batched_tokens = 1000;
  e.async_scheduling = false;
  return e;
}

// All there at once, one at a time, prefill and decode: of all orders none has a smaller mean.
TEST(Sjf, NoOrderOfABatchOfOneIsBetter) {
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    Rng rng(seed, "sjf");
    std::vector<Request> requests;
    for (int i = 0; i < 5; ++i)
      requests.push_back(test::request(0, 1 + static_cast<std::int64_t>(rng.below(200)),
                                       1 + static_cast<std::int64_t>(rng.below(20))));
    test::LinearCost cost(100, 3, 0);
    EngineConfig e = one_server();
    e.make_scheduler = test::make_scheduler("priority");
    std::vector<std::int32_t> order(requests.size());
    std::iota(order.begin(), order.end(), 0);
    double best = std::numeric_limits<double>::infinity();
    do {
      for (std::size_t i = 0; i < order.size(); ++i) requests[i].priority = order[i];
      best = std::min(best, mean_latency(test::simulate(e, requests, cost)));
    } while (std::next_permutation(order.begin(), order.end()));
    for (const char* name : {"sjf", "srtf"}) {
      e.make_scheduler = test::make_scheduler(name);
      EXPECT_EQ(mean_latency(test::simulate(e, requests, cost)), best) << name << " seed " << seed;
    }
  }
}

// Chunks of unit time, jobs of several chunks that come at any of them: the least sum of completion
// times over all schedules that may change the job after every chunk.
class Schedules {
 public:
  explicit Schedules(std::vector<std::pair<int, int>> jobs) : jobs_(std::move(jobs)) {}
  int least_sum() {
    std::vector<int> left;
    for (const auto& [at, chunks] : jobs_) left.push_back(chunks);
    return search(0, left);
  }

 private:
  int search(int t, const std::vector<int>& left) {
    const auto known = best_.find({t, left});
    if (known != best_.end()) return known->second;
    int best = std::numeric_limits<int>::max();
    bool all_done = true, served = false;
    for (std::size_t i = 0; i < left.size(); ++i) {
      if (left[i] == 0) continue;
      all_done = false;
      if (jobs_[i].first > t) continue;
      served = true;
      std::vector<int> next = left;
      --next[i];
      best = std::min(best, (next[i] == 0 ? t + 1 - jobs_[i].first : 0) + search(t + 1, next));
    }
    if (all_done) return 0;
    if (!served) best = search(t + 1, left);
    return best_[{t, left}] = best;
  }
  std::vector<std::pair<int, int>> jobs_;  // arrival, chunks
  std::map<std::pair<int, std::vector<int>>, int> best_;
};

TEST(Srtf, NoScheduleOfPrefillsIsBetter) {
  constexpr std::int64_t kChunk = 10, kUnit = 100 + 3 * kChunk;
  double fcfs = 0, srtf = 0;
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    Rng rng(seed, "srtf");
    std::vector<std::pair<int, int>> jobs;
    for (int i = 0; i < 5; ++i)
      jobs.emplace_back(static_cast<int>(rng.below(10)), 1 + static_cast<int>(rng.below(5)));
    std::sort(jobs.begin(), jobs.end());
    std::vector<Request> requests;
    for (const auto& [at, chunks] : jobs)
      requests.push_back(test::request(at * kUnit, chunks * kChunk, 1));
    test::LinearCost cost(100, 3, 0);
    EngineConfig e = one_server();
    e.max_batched_tokens = kChunk;
    const auto run = [&](const char* name) {
      e.make_scheduler = test::make_scheduler(name);
      return mean_latency(test::simulate(e, requests, cost)) * 5 / kUnit;
    };
    const double took = run("srtf");
    ASSERT_EQ(took, Schedules(jobs).least_sum()) << "seed " << seed;
    srtf += took;
    fcfs += run("fcfs");
  }
  EXPECT_LT(srtf, 0.9 * fcfs);
}

// A wrong guess costs something, a good one little.
TEST(Srtf, SuffersFromErrors) {
  Rng rng(1, "errors");
  std::vector<Request> requests;
  std::int64_t at = 0;
  for (int i = 0; i < 2000; ++i) {
    at += static_cast<std::int64_t>(rng.exponential(2600));
    requests.push_back(
        test::request(at, 1 + static_cast<std::int64_t>(rng.below(10)),
                      1 + static_cast<std::int64_t>(std::min(500.0, rng.lognormal(2, 1.3)))));
  }
  std::map<std::string, double> mean;
  for (const std::string error : {"0", "0.5", "3"}) {
    EngineConfig e = one_server();
    e.make_scheduler = test::make_scheduler("srtf", {{"error", error}});
    test::LinearCost cost(100, 3, 0);
    mean[error] = mean_latency(test::simulate(e, requests, cost));
  }
  EXPECT_LT(mean["0"], mean["0.5"]);
  EXPECT_LT(mean["0.5"], mean["3"]);
}

// C48 in kind: where outputs have a heavy tail, feedback queues that do not know them beat the
// order of arrival by far, and the oracle is better still.
TEST(Mlfq, BeatsFcfsUnderHeavyTails) {
  Rng rng(3, "tails");
  std::vector<Request> requests;
  std::int64_t at = 0;
  for (int i = 0; i < 3000; ++i) {
    at += static_cast<std::int64_t>(rng.exponential(1000));
    requests.push_back(
        test::request(at, 1 + static_cast<std::int64_t>(rng.below(30)),
                      1 + static_cast<std::int64_t>(std::min(2000.0, rng.lognormal(2.0, 1.6)))));
  }
  std::map<std::string, double> mean;
  for (const std::string name : {"fcfs", "mlfq", "srtf"}) {
    EngineConfig e;
    e.block_tokens = 4;
    e.kv_blocks = 20'000;
    e.max_running = 4;
    e.max_batched_tokens = 64;
    e.make_scheduler = test::make_scheduler(
        name, name == "mlfq" ? Given{{"quantum", "800 ns"}, {"growth", "4"}} : Given{});
    test::LinearCost cost(100, 1, 0);
    mean[name] = mean_latency(test::simulate(e, requests, cost));
  }
  EXPECT_LT(mean["mlfq"], 0.7 * mean["fcfs"]) << mean["mlfq"] << " " << mean["fcfs"];
  EXPECT_LT(mean["srtf"], mean["mlfq"]);
}

// One queue that nobody sinks in is the order of arrival.
TEST(Mlfq, OneQueueIsFcfs) {
  Rng rng(4, "one-queue");
  std::vector<Request> requests;
  std::int64_t at = 0;
  for (int i = 0; i < 300; ++i)
    requests.push_back(test::request(at += static_cast<std::int64_t>(rng.below(900)),
                                     1 + static_cast<std::int64_t>(rng.below(50)),
                                     1 + static_cast<std::int64_t>(rng.below(50))));
  EngineConfig e;
  e.kv_blocks = 1000;
  e.max_running = 3;
  test::LinearCost cost(100, 3, 1);
  const RunOutcome fcfs = test::simulate(e, requests, cost);
  e.make_scheduler = test::make_scheduler("mlfq", {{"queues", "1"}});
  EXPECT_EQ(test::simulate(e, requests, cost).digest, fcfs.digest);
}

// Batches of B from a bin of outputs uniform over w tokens end with the longest of B, a w B / (B +
// 1) into the bin on average: with k bins over [1, L] the mean batch takes L/2 - w/2 + w B / (B +
// 1) iterations, w = L / k.
TEST(MultiBin, ThroughputFollowsTheFormula) {
  constexpr std::int64_t kLongest = 400, kBatch = 8, kRequests = 8000;
  const std::map<int, std::string> edges{{1, ""}, {2, "201"}, {4, "101 201 301"}};
  for (const auto& [bins, text] : edges) {
    Tree list = Tree::list(), params = Tree::map();
    std::istringstream words(text);
    for (std::string word; words >> word;) list.push(Tree::scalar(word));
    params.set("edges", list);
    EngineConfig e;
    e.block_tokens = 16;
    e.kv_blocks = 100'000;
    e.max_running = kBatch;
    e.async_scheduling = false;
    e.make_scheduler = [&](const Scheduler::Context& c) {
      return Registry::instance().make<Scheduler>("multi-bin", params, c);
    };
    Rng rng(5, "bins");
    std::vector<Request> requests;
    for (int i = 0; i < kRequests; ++i)
      requests.push_back(test::request(0, 1, 1 + static_cast<std::int64_t>(rng.below(kLongest))));
    test::LinearCost cost(100, 0, 0);
    const RunOutcome out = test::simulate(e, requests, cost);
    const double w = static_cast<double>(kLongest) / bins, b = kBatch;
    const double iterations = kLongest / 2.0 - w / 2 + w * b / (b + 1);
    EXPECT_NEAR(static_cast<double>(to_ns(out.end - Time{})) / 100, iterations * kRequests / kBatch,
                0.02 * iterations * kRequests / kBatch)
        << bins << " bins";
  }
}

TEST(MultiBin, NobodyJoinsABatch) {
  Rng rng(6, "join");
  std::vector<Request> requests;
  std::int64_t at = 0;
  for (int i = 0; i < 200; ++i)
    requests.push_back(test::request(at += static_cast<std::int64_t>(rng.below(2000)), 5,
                                     1 + static_cast<std::int64_t>(rng.below(300))));
  EngineConfig e;
  e.kv_blocks = 10'000;
  e.max_running = 4;
  e.make_scheduler = test::make_scheduler("multi-bin");
  test::LinearCost cost(100, 3, 1);
  const RunOutcome out = test::simulate(e, requests, cost);
  const auto bin = [](const RequestOutcome& r) {
    return (r.output_tokens >= 64) + (r.output_tokens >= 256) + (r.output_tokens >= 1024);
  };
  std::map<std::int64_t, std::vector<const RequestOutcome*>> batches;  // by when they began
  for (const RequestOutcome& r : out.requests) batches[to_ns(r.scheduled - Time{})].push_back(&r);
  Time over{};
  for (const auto& [begin, batch] : batches) {
    EXPECT_GE(Time{Duration{begin}}, over);
    EXPECT_LE(batch.size(), 4U);
    for (const RequestOutcome* r : batch) {
      EXPECT_EQ(bin(*r), bin(*batch[0]));
      over = std::max(over, r->last_token);
    }
  }
  EXPECT_GT(batches.size(), 50U);
}

// The textbook loop: visit the tenants in turn, add a quantum, serve while the credit lasts.
class NaiveDrr {
 public:
  explicit NaiveDrr(double quantum) : quantum_(quantum) {}
  void arrive(std::uint32_t tenant, std::uint32_t id, double cost) {
    if (queues_[tenant].empty()) {
      active_.push_back(tenant);
      credit_[tenant] = 0;
    }
    queues_[tenant].push_back({id, cost});
  }
  std::uint32_t serve() {
    for (;;) {
      const std::uint32_t t = active_.front();
      if (!visiting_) credit_[t] += quantum_;
      visiting_ = true;
      auto& queue = queues_[t];
      if (queue.front().second <= credit_[t]) {
        const std::uint32_t id = queue.front().first;
        credit_[t] -= queue.front().second;
        queue.pop_front();
        if (queue.empty()) {
          active_.pop_front();
          visiting_ = false;
        }
        return id;
      }
      active_.pop_front();
      active_.push_back(t);
      visiting_ = false;
    }
  }

 private:
  double quantum_;
  bool visiting_ = false;
  std::map<std::uint32_t, std::deque<std::pair<std::uint32_t, double>>> queues_;
  std::map<std::uint32_t, double> credit_;
  std::deque<std::uint32_t> active_;
};

TEST(Drr, ServesAsTheTextbookLoop) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    Rng rng(seed, "drr");
    const std::int64_t quantum = 1 + static_cast<std::int64_t>(rng.below(300));
    Tree params = Tree::map();
    params.set("quantum", Tree::scalar(std::to_string(quantum)));
    const auto drr = Registry::instance().make<Scheduler>("drr", params, {});
    NaiveDrr naive(static_cast<double>(quantum));
    std::vector<SchedulerRequest> waiting;
    std::uint32_t id = 0;
    for (int step = 0; step < 400; ++step) {
      if (waiting.empty() || rng.below(100) < 55) {
        SchedulerRequest r;
        r.slot = id;
        r.index = id++;
        r.tenant = static_cast<std::uint32_t>(rng.below(4));
        r.prompt = 1 + static_cast<std::int64_t>(rng.below(200));
        r.output = 1 + static_cast<std::int64_t>(rng.below(200));
        naive.arrive(r.tenant, r.slot, static_cast<double>(r.prompt + r.output));
        drr->arrived(r, {});
        waiting.push_back(r);
        continue;
      }
      const auto best =
          std::min_element(waiting.begin(), waiting.end(), [&](const auto& a, const auto& b) {
            const Standing x = drr->standing(a, {}), y = drr->standing(b, {});
            return x < y || (!(y < x) && a.index < b.index);
          });
      ASSERT_EQ(best->slot, naive.serve()) << "seed " << seed << " step " << step;
      drr->admitted(*best, {});
      waiting.erase(best);
    }
  }
}

}  // namespace
}  // namespace kvsim
