// The fast decode path and the engine's own sequence-by-sequence order give the same bytes.
#include <gtest/gtest.h>

#include "sim/run/hidden_forms.h"
#include "tests/support/node_pools.h"
#include "tests/support/random_forms.h"
#include "tests/support/tier_fixture.h"

namespace kvsim {
namespace {

struct Scenario {
  EngineConfig engine;
  std::vector<Request> requests;
  int data_parallel = 1;
  bool lockstep = false;
  Duration sample_every{};
  std::shared_ptr<MemoryManager> memory;
  double host_bandwidth = 0;  // bytes/s to host memory; 0 = no KV goes there
  Duration host_latency{};

  [[nodiscard]] RunOutcome run(bool exact) const {
    EngineConfig e = engine;
    e.exact_steps = exact;
    test::LinearCost cost(100, 3, 1);
    World::Options options;
    options.sample_every = sample_every;
    const auto ranks = static_cast<std::size_t>(data_parallel);
    if (host_bandwidth > 0)
      options.tiers = test::with_hosts({}, ranks, host_bandwidth, host_latency);
    return test::simulate(e, requests, cost, std::move(options), data_parallel, lockstep);
  }
};

// Host memory of any size and speed, from a copy in no time to one as long as fifty iterations.
void draw_host(Scenario& s, Rng& rng) {
  s.engine.host_blocks = static_cast<std::int64_t>(rng.below(rng.below(2) == 0 ? 12 : 300));
  s.engine.host_block_bytes = 1 + static_cast<std::int64_t>(rng.below(4000));
  s.host_bandwidth = 1e8 * static_cast<double>(1 + rng.below(100));
  s.host_latency = Duration{static_cast<std::int64_t>(rng.below(3) * 40)};
}

// Gives the scenario a memory manager at random; requires the engine and the requests.
void draw_memory(Scenario& s, std::int64_t longest, Rng& rng) {
  EngineConfig& e = s.engine;
  const auto coin = [&] { return rng.below(2) == 0 ? "true" : "false"; };
  MemoryManager::Context c;
  c.block_tokens = e.block_tokens;
  c.max_model_len = longest;
  c.max_batched_tokens = e.max_batched_tokens;
  c.plane = Bytes{1024};
  c.planes = 2;
  c.activation_bytes = 1 + static_cast<std::int64_t>(rng.below(60'000));
  c.block_bytes = 1 + static_cast<std::int64_t>(rng.below(4000));
  Tree params = Tree::map();
  const auto set = [&](const char* key, std::string value) {
    params.set(key, Tree::scalar(std::move(value)));
  };
  const char* name = "pooled";
  switch (rng.below(4)) {
    case 0:
      set("lent", std::to_string(rng.below(101)) + " %");
      break;
    case 1:
      name = "reserved";
      e.prefix_caching = false;
      set("by", std::array{"max", "pow2", "oracle"}[rng.below(3)]);
      set("fit", std::array{"first", "best", "buddy"}[rng.below(3)]);
      break;
    default:
      name = "virtual";
      e.prefix_caching = rng.below(3) == 0;
      set("page", std::to_string(4 << rng.below(4)) + " KiB");
      set("map", std::to_string(rng.below(300)) + " ns");
      set("unmap", std::to_string(rng.below(100)) + " ns");
      set("overlap", coin());
      set("deferred", e.prefix_caching ? "false" : coin());
      set("eager_tokens", e.prefix_caching ? "0" : std::to_string(rng.below(40)));
  }
  c.shares_prefixes = e.prefix_caching;
  s.memory = Registry::instance().make<MemoryManager>(name, params, c);
  e.memory_manager = s.memory.get();
  e.memory = s.memory->rules();
  e.block_tokens = e.memory.block_tokens;
}

Scenario random_scenario(std::uint64_t seed, bool managed) {
  Rng rng(seed, "fast-exact");
  Scenario s;
  EngineConfig& e = s.engine;
  e.block_tokens = std::int64_t{1} << rng.below(5);
  e.max_running = 1 + static_cast<std::int64_t>(rng.below(12));
  e.max_batched_tokens = e.max_running + static_cast<std::int64_t>(rng.below(64));
  e.async_scheduling = rng.below(2) == 0;
  e.prefix_caching = rng.below(4) != 0;
  e.unhashed_first = rng.below(2) == 0;
  e.full_sequence_admission = rng.below(2) == 0;
  if (rng.below(4) == 0) e.make_scheduler = test::make_scheduler("priority");
  e.watermark = rng.below(3) == 0 ? 0.05 : 0.0;
  e.overhead = Duration{static_cast<std::int64_t>(rng.below(50))};
  e.schedule_time = Duration{static_cast<std::int64_t>(rng.below(200))};
  e.front_end = Duration{static_cast<std::int64_t>(rng.below(3) * 17)};
  e.back_end = Duration{static_cast<std::int64_t>(rng.below(3) * 13)};
  if (rng.below(5) == 0) e.long_prefill_threshold = 8;
  if (rng.below(6) == 0) e.request_timeout = Duration{20'000};
  if (rng.below(3) == 0) e.windows = {24, rng.below(2) == 0 ? 60 : 0};
  if (rng.below(2) == 0) e.graph_sizes = {1, 2, 4, 8, 16};
  if (rng.below(5) == 0) s.data_parallel = 2, s.lockstep = rng.below(2) == 0;
  if (rng.below(3) == 0) s.sample_every = Duration{5'000};
  std::int64_t at = 0, longest = 0;
  const std::size_t n = 5 + rng.below(60);
  for (std::size_t i = 0; i < n; ++i) {
    at += static_cast<std::int64_t>(rng.exponential(1 + static_cast<double>(rng.below(4000))));
    const auto prompt = 1 + static_cast<std::int64_t>(rng.below(rng.below(3) == 0 ? 120 : 30));
    const auto output = 1 + static_cast<std::int64_t>(rng.below(rng.below(3) == 0 ? 200 : 20));
    std::vector<Segment> segments;
    std::uint64_t key = 5;
    std::int64_t covered = 0;
    const std::int64_t until =
        rng.below(2) == 0 ? prompt + output : prompt;  // sometimes the output is known too
    while (covered < until) {
      key = hash_combine(key, rng.below(3));
      const std::int64_t t =
          std::min<std::int64_t>(until - covered, 1 + static_cast<std::int64_t>(key % 40));
      if (t < 1 + static_cast<std::int64_t>(key % 40))
        key = hash_combine(key, 1000 + static_cast<std::uint64_t>(t));
      segments.push_back({key, t});
      covered += t;
    }
    s.requests.push_back(test::request(at, prompt, output, segments));
    s.requests.back().priority = static_cast<std::int32_t>(rng.below(3));
    longest = std::max(longest, prompt + output);
  }
  if (managed) draw_memory(s, longest, rng);
  e.kv_blocks =
      e.blocks_for(longest) + static_cast<std::int64_t>(rng.below(rng.below(2) == 0 ? 20 : 200));
  if (e.memory.contiguous) e.kv_blocks *= 2;  // room for the rounding of buddies
  e.kv_blocks += e.memory.lent_blocks;
  return s;
}

// The same requests on a pool whose nodes an eviction policy orders.
void use_node_pool(Scenario& s, std::uint64_t seed) {
  static const std::vector<std::string> kPolicies{"lru", "leaf-lru", "leaf-lfu", "s3-fifo", "ttl"};
  Rng rng(seed, "node-pool");
  EngineConfig& e = s.engine;
  e.prefix_caching = true;
  e.pool.make_policy = test::make_policy({kPolicies[rng.below(kPolicies.size())], {}});
  e.pool.index = static_cast<KvPoolConfig::Index>(rng.below(3));
  if (e.pool.index == KvPoolConfig::Index::chunks) e.pool.share_blocks = 1 + seed % 3;
  e.publish_computed = rng.below(4) != 0;
  e.publish_preempted = rng.below(2) == 0;
}

void expect_same(const RunOutcome& a, const RunOutcome& b, std::uint64_t seed) {
  ASSERT_EQ(a.digest, b.digest) << "seed " << seed;
  ASSERT_EQ(a.requests.size(), b.requests.size());
  for (std::size_t i = 0; i < a.requests.size(); ++i) {
    ASSERT_EQ(a.requests[i].ttft_ns, b.requests[i].ttft_ns) << "seed " << seed << " request " << i;
    ASSERT_EQ(a.requests[i].after_ns, b.requests[i].after_ns)
        << "seed " << seed << " request " << i;
    ASSERT_EQ(a.requests[i].miss_tokens, b.requests[i].miss_tokens)
        << "seed " << seed << " request " << i;
    ASSERT_EQ(a.requests[i].recomputed_tokens, b.requests[i].recomputed_tokens)
        << "seed " << seed << " request " << i;
  }
  ASSERT_EQ(a.itl.count(), b.itl.count()) << "seed " << seed;
  ASSERT_EQ(a.itl.mean_ns(), b.itl.mean_ns()) << "seed " << seed;
  for (std::size_t r = 0; r < a.ranks.size(); ++r) {
    const RankTotals &x = a.ranks[r], &y = b.ranks[r];
    ASSERT_EQ(x.peak_blocks, y.peak_blocks) << "seed " << seed;
    ASSERT_EQ(x.mapping_ns, y.mapping_ns) << "seed " << seed;
    ASSERT_EQ(x.shared.shared_tokens, y.shared.shared_tokens) << "seed " << seed;
    ASSERT_EQ(x.shared.read_tokens, y.shared.read_tokens) << "seed " << seed;
    ASSERT_EQ(x.swaps_in, y.swaps_in) << "seed " << seed;
    ASSERT_EQ(x.to_host_bytes, y.to_host_bytes) << "seed " << seed;
    ASSERT_EQ(x.from_host_bytes, y.from_host_bytes) << "seed " << seed;
    ASSERT_EQ(x.peak_host_blocks, y.peak_host_blocks) << "seed " << seed;
    ASSERT_EQ(x.kv.used_blocks(), y.kv.used_blocks()) << "seed " << seed;
    ASSERT_EQ(x.kv.unfilled_tokens(), y.kv.unfilled_tokens()) << "seed " << seed;
    ASSERT_EQ(x.kv.stranded_blocks(), y.kv.stranded_blocks()) << "seed " << seed;
    ASSERT_EQ(x.kv.peak_unfilled_tokens(), y.kv.peak_unfilled_tokens()) << "seed " << seed;
    ASSERT_EQ(x.kv.peak_stranded_blocks(), y.kv.peak_stranded_blocks()) << "seed " << seed;
  }
  ASSERT_EQ(a.samples.size(), b.samples.size());
  for (std::size_t i = 0; i < a.samples.size(); ++i) {
    ASSERT_EQ(a.samples[i].used_blocks, b.samples[i].used_blocks)
        << "seed " << seed << " sample " << i;
    ASSERT_EQ(a.samples[i].unfilled_tokens, b.samples[i].unfilled_tokens)
        << "seed " << seed << " sample " << i;
    ASSERT_EQ(a.samples[i].stranded_blocks, b.samples[i].stranded_blocks)
        << "seed " << seed << " sample " << i;
    ASSERT_EQ(a.samples[i].output_tokens, b.samples[i].output_tokens)
        << "seed " << seed << " sample " << i;
  }
}

void run_both(bool node_pools) {
  std::int64_t preemptions = 0, timeouts = 0, hits = 0, shared = 0;
  for (std::uint64_t seed = 0; seed < 1000; ++seed) {
    Scenario s = random_scenario(seed, false);
    if (node_pools) use_node_pool(s, seed);
    s.engine.shared_prefix_attention = seed % 2 == 0;
    const RunOutcome fast = s.run(false), exact = s.run(true);
    expect_same(fast, exact, seed);
    if (testing::Test::HasFatalFailure()) return;
    for (const RankTotals& r : fast.ranks) shared += r.shared.shared_tokens;
    for (const RequestOutcome& r : fast.requests) {
      preemptions += r.preemptions;
      timeouts += r.outcome == Outcome::timed_out ? 1 : 0;
      hits += r.hit_tokens;
      std::int64_t missed = 0;
      for (const std::int64_t m : r.miss_tokens) missed += m;
      if (r.outcome == Outcome::finished) {
        ASSERT_EQ(r.hit_tokens + missed, r.prompt_tokens) << "seed " << seed;
      }
    }
  }
  // The scenarios reach what they are meant to reach.
  EXPECT_GT(preemptions, 100);
  EXPECT_GT(timeouts, 10);
  EXPECT_GT(hits, 1000);
  EXPECT_GT(shared, 10'000);
}

TEST(FastExact, SameBytesOnRandomScenarios) { run_both(false); }
TEST(FastExact, SameBytesOnTreesOfNodes) { run_both(true); }
TEST(FastExact, SameBytesWithEveryMemoryManager) {
  std::int64_t mapping = 0, stranded = 0, preemptions = 0, finished = 0;
  for (std::uint64_t seed = 0; seed < 1500; ++seed) {
    Scenario s = random_scenario(seed, true);
    const RunOutcome fast = s.run(false), exact = s.run(true);
    expect_same(fast, exact, seed);
    if (HasFatalFailure()) return;
    for (const RankTotals& r : fast.ranks) {
      mapping += r.mapping_ns;
      stranded += r.kv.peak_stranded_blocks();
      ASSERT_TRUE(!s.engine.memory.contiguous || r.preemptions == 0) << "seed " << seed;
      preemptions += r.preemptions;
    }
    for (const RequestOutcome& r : fast.requests) finished += r.outcome == Outcome::finished;
  }
  EXPECT_GT(mapping, 100'000);
  EXPECT_GT(stranded, 100);
  EXPECT_GT(preemptions, 100);
  EXPECT_GT(finished, 30'000);
}

// Compressed KV of every kind: blocks that stay, that are given up and that are left to the cache;
// phases and loads that nobody would think of; pools of every kind, with swapping and without.
TEST(FastExact, SameBytesWithCompressedKv) {
  std::int64_t preemptions = 0, swapped = 0, hits = 0, finished = 0, unshared = 0;
  for (std::uint64_t seed = 0; seed < 1500; ++seed) {
    Scenario s = random_scenario(seed, false);
    if (seed % 3 == 1) use_node_pool(s, seed);
    Rng rng(seed, "forms");
    test::RandomForms forms(seed, s.engine.block_tokens, s.engine.prefix_caching);
    s.engine.forms = &forms;
    s.engine.kv_blocks += static_cast<std::int64_t>(rng.below(60));
    if (rng.below(3) == 0) {
      draw_host(s, rng);
      s.engine.swap = true;
    }
    const RunOutcome fast = s.run(false), exact = s.run(true);
    expect_same(fast, exact, seed);
    if (HasFatalFailure()) return;
    for (std::size_t r = 0; r < fast.ranks.size(); ++r) {
      const KvFormTotals &x = fast.ranks[r].forms, &y = exact.ranks[r].forms;
      ASSERT_EQ(x.turned, y.turned) << "seed " << seed;
      ASSERT_EQ(x.kept_tokens, y.kept_tokens) << "seed " << seed;
      ASSERT_EQ(x.read_tokens, y.read_tokens) << "seed " << seed;
      ASSERT_EQ(x.score_ns, y.score_ns) << "seed " << seed;
      ASSERT_EQ(x.prompt_ns, y.prompt_ns) << "seed " << seed;
    }
    for (const RequestOutcome& r : fast.requests) {
      preemptions += r.preemptions;
      swapped += r.swaps;
      hits += r.hit_tokens;
      finished += r.outcome == Outcome::finished;
      unshared += r.miss_tokens[static_cast<std::size_t>(MissCause::not_shareable)];
    }
  }
  EXPECT_GT(preemptions, 100);
  EXPECT_GT(swapped, 20);
  EXPECT_GT(hits, 1000);
  EXPECT_GT(unshared, 1000);
  EXPECT_GT(finished, 10'000);
}

// Requests that keep hidden states where their scheduler says so, at random prices and sizes.
TEST(FastExact, SameBytesWithHiddenStates) {
  std::int64_t hidden = 0, plain = 0, preemptions = 0, finished = 0;
  for (std::uint64_t seed = 0; seed < 1500; ++seed) {
    Scenario s = random_scenario(seed, false);
    EngineConfig& e = s.engine;
    Rng rng(seed, "hidden");
    e.prefix_caching = false;
    e.make_scheduler =
        test::make_scheduler("apt-serve", {{"ttft", rng.below(2) == 0 ? "3 us" : "1 s"},
                                           {"gap", "2 us"},
                                           {"weigh_again", rng.below(2) == 0 ? "true" : "false"}});
    HiddenForms forms(e.block_tokens,
                      e.block_tokens + static_cast<std::int64_t>(rng.below(
                                           static_cast<std::uint64_t>(2 * e.block_tokens))),
                      rng.uniform() * 3);
    e.forms = &forms;
    if (rng.below(3) == 0) {
      draw_host(s, rng);
      e.swap = true;
      e.copies = static_cast<EngineConfig::Copies>(rng.below(3));
    }
    e.batch.order = static_cast<BatchOrder>(rng.below(3));
    if (e.batch.order != BatchOrder::running) e.batch.reserve = BatchReserve::prompt;
    const RunOutcome fast = s.run(false), exact = s.run(true);
    expect_same(fast, exact, seed);
    if (HasFatalFailure()) return;
    for (std::size_t r = 0; r < fast.ranks.size(); ++r) {
      const KvFormTotals &x = fast.ranks[r].forms, &y = exact.ranks[r].forms;
      ASSERT_EQ(x.hidden, y.hidden) << "seed " << seed;
      ASSERT_EQ(x.restore_ns, y.restore_ns) << "seed " << seed;
      hidden += x.hidden;
      plain += x.turned - x.hidden;
    }
    for (const RequestOutcome& r : fast.requests) {
      preemptions += r.preemptions;
      finished += r.outcome == Outcome::finished;
    }
  }
  EXPECT_GT(hidden, 1000);
  EXPECT_GT(plain, 10'000);
  EXPECT_GT(preemptions, 100);
  EXPECT_GT(finished, 10'000);
}

// Preempted requests that keep their KV until it must go, whole or from the end, given up or copied
// when it must, at once, or ahead of need; under orders that displace and that do not.
TEST(FastExact, SameBytesWithKvThatStays) {
  static const std::vector<std::string> kOrders{"fcfs", "srtf", "mlfq", "priority-switches",
                                                "apt-serve"};
  std::int64_t preemptions = 0, swapped = 0, kept = 0, recomputed = 0, finished = 0, stalled = 0;
  for (std::uint64_t seed = 0; seed < 3000; ++seed) {
    Scenario s = random_scenario(seed, false);
    if (seed % 3 == 1) use_node_pool(s, seed);
    Rng rng(seed, "paused");
    EngineConfig& e = s.engine;
    test::RandomForms forms(seed, e.block_tokens, e.prefix_caching);
    e.swap = rng.below(3) != 0;
    if (e.swap) {
      draw_host(s, rng);
      e.copies = static_cast<EngineConfig::Copies>(1 + rng.below(2));
      e.idle_blocks = static_cast<std::int64_t>(rng.below(20));
      e.keeps_copies = rng.below(3) == 0;
      e.copy_layers = static_cast<std::int64_t>(rng.below(5));
    }
    e.gives_tails = !e.swap || (!e.keeps_copies && e.pool.share_blocks == 1 && rng.below(2) == 0);
    if (e.gives_tails && e.swap && rng.below(2) == 0) {
      e.part_layers = 1 + static_cast<std::int64_t>(rng.below(9));
      e.prefix_caching = false;
      e.pool = {};
    }
    e.make_scheduler = test::make_scheduler(kOrders[rng.below(kOrders.size())]);
    e.batch.order = static_cast<BatchOrder>(rng.below(3));
    // As engines have it that compute pieces of prompts apart: those of two might wait for ever.
    if (e.batch.order != BatchOrder::running) {
      e.batch.reserve = BatchReserve::prompt;
    } else if (!e.gives_tails && rng.below(2) == 0) {
      e.forms = &forms;
      e.kv_blocks += static_cast<std::int64_t>(rng.below(60));
    }
    const RunOutcome fast = s.run(false), exact = s.run(true);
    expect_same(fast, exact, seed);
    if (HasFatalFailure()) return;
    for (const RequestOutcome& r : fast.requests) {
      ASSERT_TRUE(r.outcome != Outcome::rejected || e.forms != nullptr) << seed;
      preemptions += r.preemptions;
      swapped += r.swaps;
      kept += r.preemptions > 0 && r.swaps == 0 && r.recomputed_tokens == 0;
      recomputed += r.recomputed_tokens;
      finished += r.outcome == Outcome::finished;
    }
    for (const RankTotals& r : fast.ranks) {
      ASSERT_LE(r.swaps_in, r.swaps_out) << "seed " << seed;  // a tail may lose its front
      ASSERT_TRUE(r.from_host_bytes <= r.to_host_bytes || e.keeps_copies) << "seed " << seed;
      stalled += r.stall_ns;
    }
  }
  EXPECT_GT(preemptions, 5000);
  EXPECT_GT(swapped, 1000);
  EXPECT_GT(kept, 1000);
  EXPECT_GT(recomputed, 1000);
  EXPECT_GT(stalled, 100'000);
  EXPECT_GT(finished, 30'000);
}

// Pools of every kind, managers of every kind, and room in host memory that runs out.
TEST(FastExact, SameBytesWithSwapping) {
  std::int64_t swapped = 0, recomputed = 0, stalled = 0;
  for (std::uint64_t seed = 0; seed < 1500; ++seed) {
    Scenario s = random_scenario(seed, seed % 3 == 2);
    if (seed % 3 == 1) use_node_pool(s, seed);
    Rng rng(seed, "swap");
    draw_host(s, rng);
    s.engine.swap = true;
    const RunOutcome fast = s.run(false), exact = s.run(true);
    expect_same(fast, exact, seed);
    if (HasFatalFailure()) return;
    for (const RequestOutcome& r : fast.requests) {
      swapped += r.swaps;
      recomputed += r.preemptions - r.swaps;
      ASSERT_LE(r.swaps, r.preemptions);
      if (r.preemptions == r.swaps) {
        ASSERT_EQ(r.recomputed_tokens, 0) << "seed " << seed;
      }
      ASSERT_NE(r.outcome, Outcome::rejected) << "seed " << seed;
    }
    for (const RankTotals& r : fast.ranks) {
      ASSERT_EQ(r.swaps_in, r.swaps_out) << "seed " << seed;
      ASSERT_LE(r.from_host_bytes, r.to_host_bytes) << "seed " << seed;
      stalled += r.stall_ns;
    }
  }
  EXPECT_GT(swapped, 300);
  EXPECT_GT(recomputed, 100);
  EXPECT_GT(stalled, 100'000);
}

// Layers that keep windows, states or everything, and snapshots to go on from.
void draw_hybrid(Scenario& s, std::uint64_t seed) {
  Rng rng(seed, "hybrid");
  EngineConfig& e = s.engine;
  const auto below = [&](std::uint64_t n) { return static_cast<std::int64_t>(rng.below(n)); };
  const std::int64_t spare = e.kv_blocks;
  HybridMemory& h = e.hybrid;
  h = {true, below(4) == 0 ? 0 : 1, below(4), 1 + below(6), below(5)};
  if (h.full + h.window_units == 0) h.state_units = 1 + below(3);
  e.kv_blocks = 0;
  for (const Request& r : s.requests)
    e.kv_blocks = std::max(e.kv_blocks, e.blocks_for(r.prompt_tokens + r.output_tokens));
  e.kv_blocks += below(static_cast<std::uint64_t>(spare) + 1);
  if (!e.prefix_caching || below(4) == 0) return;
  SnapshotRules& r = e.snapshots;
  r.slots = 1 + below(12);
  r.align = e.block_tokens * (1 + below(3));
  r.every = below(2) * r.align * (1 + below(3));
  r.outputs = below(2) == 0;
  r.cuts = below(2) == 0;
  static const std::vector<std::string> kPolicies{"lru", "fifo", "s3-fifo"};
  e.make_snapshot_policy = test::make_policy({kPolicies[rng.below(kPolicies.size())], {}});
}

TEST(FastExact, SameBytesInHybridMemory) {
  std::int64_t hits = 0, preemptions = 0, lacking = 0, swapped = 0, evicted = 0;
  for (std::uint64_t seed = 0; seed < 2000; ++seed) {
    Scenario s = random_scenario(seed, false);
    if (seed % 3 == 1) use_node_pool(s, seed);
    if (s.engine.pool.index == KvPoolConfig::Index::chunks) s.engine.pool.share_blocks = 1;
    draw_hybrid(s, seed);
    if (seed % 5 == 0) {
      Rng rng(seed, "swap");
      draw_host(s, rng);
      s.engine.swap = true;
    }
    const RunOutcome fast = s.run(false), exact = s.run(true);
    expect_same(fast, exact, seed);
    if (HasFatalFailure()) return;
    for (const RequestOutcome& r : fast.requests) {
      ASSERT_NE(r.outcome, Outcome::rejected) << "seed " << seed;
      hits += r.hit_tokens;
      preemptions += r.preemptions;
      swapped += r.swaps;
      lacking += r.miss_tokens[static_cast<std::size_t>(MissCause::no_snapshot)];
      std::int64_t missed = 0;
      for (const std::int64_t m : r.miss_tokens) missed += m;
      if (r.outcome == Outcome::finished) {
        ASSERT_EQ(r.hit_tokens + missed, r.prompt_tokens) << "seed " << seed;
      }
    }
    for (std::size_t i = 0; i < fast.ranks.size(); ++i) {
      const SnapshotTotals &a = fast.ranks[i].snapshots, &b = exact.ranks[i].snapshots;
      ASSERT_EQ(a.saved, b.saved) << "seed " << seed;
      ASSERT_EQ(a.used, b.used) << "seed " << seed;
      ASSERT_EQ(a.evicted, b.evicted) << "seed " << seed;
      evicted += a.evicted;
    }
  }
  EXPECT_GT(hits, 1000);
  EXPECT_GT(preemptions, 100);
  EXPECT_GT(lacking, 1000);
  EXPECT_GT(swapped, 30);
  EXPECT_GT(evicted, 100);
}

TEST(FastExact, SameBytesLayerByLayer) {
  std::int64_t prompts = 0, preemptions = 0;
  for (std::uint64_t seed = 0; seed < 1000; ++seed) {
    Scenario s = random_scenario(seed, false);
    Rng rng(seed, "layers");
    draw_host(s, rng);
    EngineConfig& e = s.engine;
    e.prefix_caching = false;
    MemoryManager::Context c;
    c.block_tokens = e.block_tokens;
    c.layers = 1 + static_cast<std::int64_t>(rng.below(8));
    Tree params = Tree::map();
    if (rng.below(2) == 0)
      params.set("resident",
                 Tree::scalar(std::to_string(rng.below(static_cast<std::uint64_t>(c.layers) + 1))));
    if (rng.below(2) == 0) params.set("decode", Tree::scalar("stream"));
    if (rng.below(3) == 0)
      params.set("tpot", Tree::scalar(std::to_string(100 + rng.below(900)) + " ns"));
    s.memory = Registry::instance().make<MemoryManager>("layer-wise", params, c);
    e.memory_manager = s.memory.get();
    e.memory = s.memory->rules();
    const RunOutcome fast = s.run(false), exact = s.run(true);
    expect_same(fast, exact, seed);
    if (HasFatalFailure()) return;
    for (const RequestOutcome& r : fast.requests)
      ASSERT_NE(r.outcome, Outcome::rejected) << "seed " << seed;
    for (const RankTotals& r : fast.ranks) {
      prompts += r.layered_prompts;
      preemptions += r.preemptions;
      ASSERT_EQ(r.swaps_in, r.swaps_out) << "seed " << seed;
      if (r.layered_prompts + r.swaps_out == 0) {
        ASSERT_EQ(r.to_host_bytes, 0) << "seed " << seed;
      }
    }
  }
  EXPECT_GT(prompts, 500);
  EXPECT_GT(preemptions, 100);
}

}  // namespace
}  // namespace kvsim
