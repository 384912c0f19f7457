// What every scheduler must keep: everybody who came in is served (progress; the rank stops the
// test when somebody is preempted for ever), nothing is lost or idle while work waits (the world
// checks its invariants), the same run twice is the same run, and skipping iterations changes
// nothing.
#include <gtest/gtest.h>

#include <set>
#include <sstream>

#include "tests/support/node_pools.h"
#include "tests/support/random_requests.h"
#include "tests/support/tier_fixture.h"
#include "tests/support/variant.h"

namespace kvsim {
namespace {

using test::text_of;
using test::Variant;

// Every scheduler of the program as it comes, and some at other parameters.
std::vector<Variant> variants() {
  std::vector<Variant> all = test::variants_of("scheduler");
  for (const Variant& more : std::vector<Variant>{
           {"priority", {{"preempt", "true"}}},
           {"priority", {{"preempt", "true"}, {"margin", "1"}}},
           {"sjf", {{"by", "output"}, {"error", "1"}}},
           {"srtf", {{"by", "tokens"}, {"error", "0.7"}}},
           {"srtf", {{"by", "output"}, {"margin", "0.3"}}},
           {"mlfq", {{"quantum", "300 ns"}, {"promote_after", "2 us"}}},
           {"mlfq", {{"skip_join", "false"}, {"growth", "1"}, {"promote_after", "0"}}},
           {"multi-bin", {{"batch", "2"}, {"error", "0.5"}}},
           {"vtc", {{"bound", "40"}}},
           {"vtc", {{"predict", "true"}, {"error", "0.5"}}},
           {"vtc", {{"lift", "false"}}},
           {"drr", {{"quantum", "7"}, {"error", "0.5"}}},
           {"edf", {{"preempt", "true"}}},
           {"edf", {{"preempt", "true"}, {"late_last", "true"}}},
           {"least-slack", {{"late_last", "true"}}},
           {"lpm", {{"fall_back", "3"}, {"warm_below", "4"}, {"warm_shared", "4"}}},
           {"lpm", {{"max_wait", "3 us"}}},
           {"lamps", {{"error", "0.5"}, {"pause_error", "1"}, {"starve_after", "5 us"}}},
           {"nested-wait", {{"segments", "3 9 30"}, {"groups", "1 3 2 2"}, {"max_wait", "9 us"}}},
           {"nested-wait", {{"segments", "5 20"}, {"groups", ""}, {"max_wait", "20 us"}}},
           {"priority-switches", {{"every", "2 us"}, {"stays", "0.5"}}},
           {"apt-serve", {{"ttft", "3 us"}, {"gap", "1 us"}}},
       })
    all.push_back(more);
  return all;
}

// Numbers apart are a list.
MakeScheduler make_scheduler(const Variant& v) {
  Tree params = Tree::map();
  for (const auto& [key, value] : v.params) {
    std::istringstream words(value);
    Tree list = Tree::list();
    for (std::string word; words >> word;) list.push(Tree::scalar(word));
    params.set(key, key == "segments" || key == "groups" ? list : Tree::scalar(value));
  }
  return [name = v.name, params](const Scheduler::Context& c) {
    return Registry::instance().make<Scheduler>(name, params, c);
  };
}

struct Case {
  EngineConfig engine;
  std::vector<Request> requests;
  double host_bandwidth = 0;
  int data_parallel = 1;

  [[nodiscard]] RunOutcome run(bool exact) const {
    EngineConfig e = engine;
    e.exact_steps = exact;
    test::LinearCost cost(100, 3, 1);
    World::Options options;
    if (host_bandwidth > 0)
      options.tiers = test::with_hosts({}, static_cast<std::size_t>(data_parallel), host_bandwidth,
                                       Duration{20});
    return test::simulate(e, requests, cost, std::move(options), data_parallel);
  }
};

Request draw_request(Rng& rng, std::int64_t at) {
  Request r = test::draw_request(rng, at);
  r.priority = static_cast<std::int32_t>(rng.below(4));
  r.tenant = static_cast<std::uint32_t>(rng.below(3));
  return r;
}

Case draw_case(std::uint64_t seed, const Variant& v) {
  Rng rng(seed, "scheduler-conformance");
  Case c;
  EngineConfig& e = c.engine;
  e.block_tokens = std::int64_t{1} << rng.below(4);
  e.max_running = 1 + static_cast<std::int64_t>(rng.below(8));
  e.max_batched_tokens = e.max_running + static_cast<std::int64_t>(rng.below(64));
  e.async_scheduling = rng.below(2) == 0;
  e.prefix_caching = rng.below(4) != 0;
  e.full_sequence_admission = rng.below(2) == 0;
  e.watermark = rng.below(3) == 0 ? 0.05 : 0.0;
  e.schedule_time = Duration{static_cast<std::int64_t>(rng.below(200))};
  if (rng.below(6) == 0) e.request_timeout = Duration{30'000};
  if (rng.below(5) == 0) e.long_prefill_threshold = 8;
  if (rng.below(6) == 0) c.data_parallel = 2;
  e.ttft_objective = Duration{2000 + static_cast<std::int64_t>(rng.below(20'000))};
  e.tpot_objective = Duration{200};
  e.make_scheduler = make_scheduler(v);
  std::int64_t at = 0, longest = 0;
  const std::size_t n = 5 + rng.below(50);
  for (std::size_t i = 0; i < n; ++i) {
    at += static_cast<std::int64_t>(rng.exponential(1 + static_cast<double>(rng.below(4000))));
    c.requests.push_back(draw_request(rng, at));
    longest = std::max(longest, c.requests[i].prompt_tokens + c.requests[i].output_tokens);
  }
  e.kv_blocks =
      e.blocks_for(longest) + static_cast<std::int64_t>(rng.below(rng.below(2) == 0 ? 20 : 200));
  if (rng.below(3) == 0) {
    e.pool.index = KvPoolConfig::Index::radix;
    e.pool.make_policy = test::make_policy({"leaf-lru", {}});
    e.publish_computed = true;
    e.prefix_caching = true;
  }
  if (rng.below(3) == 0) {
    e.swap = true;
    e.keeps_copies = rng.below(2) == 0;
    e.host_blocks = static_cast<std::int64_t>(rng.below(300));
    e.host_block_bytes = 1 + static_cast<std::int64_t>(rng.below(4000));
    c.host_bandwidth = 1e8 * static_cast<double>(1 + rng.below(100));
    e.copies = static_cast<EngineConfig::Copies>(rng.below(3));
    e.idle_blocks = static_cast<std::int64_t>(rng.below(20));
  }
  if (!e.keeps_copies && (!e.swap || e.copies != EngineConfig::Copies::waited))
    e.gives_tails = rng.below(3) == 0;
  if (e.gives_tails && e.swap && !e.prefix_caching)
    e.part_layers = static_cast<std::int64_t>(rng.below(9));
  return c;
}

class Schedulers : public testing::TestWithParam<Variant> {};

TEST_P(Schedulers, ServeEverybodyTheSameOnBothPaths) {
  std::int64_t preemptions = 0, finished = 0;
  for (std::uint64_t seed = 0; seed < 250; ++seed) {
    const Case c = draw_case(seed, GetParam());
    const RunOutcome fast = c.run(false), exact = c.run(true), again = c.run(false);
    ASSERT_EQ(fast.digest, exact.digest) << text_of(GetParam()) << " seed " << seed;
    ASSERT_EQ(fast.digest, again.digest) << text_of(GetParam()) << " seed " << seed;
    ASSERT_EQ(fast.requests.size(), c.requests.size());
    for (std::size_t i = 0; i < c.requests.size(); ++i) {
      const RequestOutcome &r = fast.requests[i], &x = exact.requests[i];
      ASSERT_NE(r.outcome, Outcome::rejected) << "seed " << seed;
      ASSERT_TRUE(r.outcome == Outcome::finished || c.engine.request_timeout > Duration{0});
      ASSERT_EQ(r.ttft_ns, x.ttft_ns) << text_of(GetParam()) << " seed " << seed;
      ASSERT_EQ(r.after_ns, x.after_ns) << text_of(GetParam()) << " seed " << seed;
      ASSERT_EQ(r.recomputed_tokens, x.recomputed_tokens) << "seed " << seed;
      preemptions += r.preemptions;
      finished += r.outcome == Outcome::finished;
    }
  }
  EXPECT_GT(preemptions, 50);
  EXPECT_GT(finished, 5000);
}

INSTANTIATE_TEST_SUITE_P(All, Schedulers, testing::ValuesIn(variants()),
                         [](const auto& v) { return test::test_name_of(v.param); });

// Who displaces others does so, and the orders differ at all.
TEST(Schedulers, OrdersDiffer) {
  std::set<std::uint64_t> digests;
  for (const Variant& v : variants()) {
    Case c = draw_case(77, v);
    c.engine.max_running = 2;
    c.engine.max_batched_tokens = 64;
    digests.insert(c.run(false).digest);
  }
  EXPECT_GE(digests.size(), Registry::instance().names("scheduler").size() - 1);
}

}  // namespace
}  // namespace kvsim
