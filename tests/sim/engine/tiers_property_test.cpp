// Random tiers, links and faults: no request and no reference is lost, every prompt token is
// accounted for, and the fast path gives the same bytes as the exact one.
#include <gtest/gtest.h>

#include "tests/support/tier_fixture.h"

namespace kvsim {
namespace {

struct Case {
  EngineConfig engine;
  std::vector<Request> requests;
  OffloadConfig offload;
  std::vector<test::TierSetup> tiers;
  std::vector<FaultPlan> faults;
  int instances = 1;
  double host_bandwidth = 0;  // bytes/s; 0 = nobody is swapped out
};

std::vector<Request> random_requests(Rng& rng, std::int64_t& longest) {
  std::vector<Request> out;
  std::int64_t at = 0;
  const std::size_t n = 5 + rng.below(50);
  for (std::size_t i = 0; i < n; ++i) {
    at += static_cast<std::int64_t>(rng.exponential(1 + static_cast<double>(rng.below(4000))));
    const auto prompt = 1 + static_cast<std::int64_t>(rng.below(rng.below(3) == 0 ? 160 : 40));
    const auto output = 1 + static_cast<std::int64_t>(rng.below(rng.below(3) == 0 ? 150 : 15));
    const std::int64_t until = rng.below(2) == 0 ? prompt + output : prompt;
    std::vector<Segment> segments;
    std::uint64_t key = 5;
    for (std::int64_t covered = 0; covered < until;) {
      key = hash_combine(key, rng.below(3));
      const std::int64_t whole = 1 + static_cast<std::int64_t>(key % 40);
      const std::int64_t t = std::min(until - covered, whole);
      if (t < whole) key = hash_combine(key, 1000 + static_cast<std::uint64_t>(t));
      segments.push_back({key, t});
      covered += t;
    }
    out.push_back(test::request(at, prompt, output, segments));
    out.back().priority = static_cast<std::int32_t>(rng.below(3));
    out.back().tenant = static_cast<std::uint32_t>(rng.below(3));
    longest = std::max(longest, prompt + output);
  }
  return out;
}

test::TierSetup random_tier(Rng& rng, std::size_t number) {
  constexpr TierKind kKinds[] = {TierKind::cpu, TierKind::ssd, TierKind::remote};
  test::TierSetup t;
  const std::string name = "tier" + std::to_string(number);
  t.config = test::tier("", kKinds[number], 100 + static_cast<std::int64_t>(rng.below(5000)),
                        number > 0 && rng.below(3) != 0);
  t.config.name = name;
  t.config.track_queue = rng.below(4) == 0;
  t.config.write = static_cast<WriteRule>(rng.below(3));
  t.config.write_after = 1 + static_cast<std::int64_t>(rng.below(3) == 0);
  t.config.contiguous = rng.below(4) == 0;
  if (rng.below(5) == 0) t.config.pin_tokens = 16;
  if (rng.below(3) == 0) t.config.lookup = Duration{static_cast<std::int64_t>(1 + rng.below(900))};
  if (t.config.staged && rng.below(2) == 0) {
    PrefetchConfig& p = t.config.prefetch;
    p.rule = rng.below(2) == 0 ? PrefetchRule::on_arrival : PrefetchRule::look_ahead;
    p.look_ahead = p.rule == PrefetchRule::look_ahead ? 3 : 0;
    p.wait = static_cast<PrefetchWait>(rng.below(3));
    p.wait_base = Duration{500};
    p.wait_per_1024 = Duration{200};
    p.wait_most = Duration{2000};
  }
  t.capacity = 1 + static_cast<std::int64_t>(rng.below(rng.below(2) == 0 ? 12 : 200));
  t.bandwidth = 1e8 * static_cast<double>(1 + rng.below(50));
  t.latency = Duration{static_cast<std::int64_t>(rng.below(2000))};
  t.shared = rng.below(2) == 0;
  if (rng.below(3) == 0) {
    t.far_bandwidth = t.bandwidth / static_cast<double>(1 + rng.below(20));
    t.far_latency = Duration{static_cast<std::int64_t>(rng.below(3000))};
    t.config.replicate_after = static_cast<std::int64_t>(rng.below(3));
    t.config.most_copies = static_cast<std::int64_t>(rng.below(4));
  }
  if (rng.below(4) == 0) t.convert = 0.5 * static_cast<double>(rng.below(5));
  const std::vector<std::string> policies = Registry::instance().names("eviction");
  do {
    t.eviction = policies[rng.below(policies.size())];
  } while (t.eviction == "belady");
  if (rng.below(4) == 0) t.store.watermark = 0.7;
  if (rng.below(4) == 0) t.store.tenant_quota = 0.5;
  if (rng.below(4) == 0) t.store.ttl = Duration{9000};
  if (rng.below(4) == 0) t.store.lease = Duration{3000};
  if (rng.below(3) == 0) t.store.lag = Duration{2500};
  return t;
}

Case random_case(std::uint64_t seed, bool with_faults) {
  Rng rng(seed, "tiers-property");
  Case c;
  EngineConfig& e = c.engine;
  std::int64_t longest = 0;
  c.requests = random_requests(rng, longest);
  e.block_tokens = std::int64_t{1} << rng.below(5);
  e.max_running = 1 + static_cast<std::int64_t>(rng.below(12));
  e.max_batched_tokens = e.max_running + static_cast<std::int64_t>(rng.below(64));
  e.async_scheduling = rng.below(2) == 0;
  e.full_sequence_admission = rng.below(3) != 0;
  if (rng.below(4) == 0) e.make_scheduler = test::make_scheduler("priority");
  e.overhead = Duration{static_cast<std::int64_t>(rng.below(50))};
  e.front_end = Duration{static_cast<std::int64_t>(rng.below(3) * 17)};
  if (rng.below(6) == 0) e.request_timeout = Duration{20'000};
  e.kv_blocks =
      e.blocks_for(longest) + static_cast<std::int64_t>(rng.below(rng.below(2) == 0 ? 20 : 200));
  c.instances = 1 + static_cast<int>(rng.below(3));
  c.offload.load = static_cast<LoadMode>(rng.below(3));
  c.offload.load_layers = 1 + static_cast<std::int64_t>(rng.below(8));
  c.offload.chunk_blocks = 1 + static_cast<std::int64_t>(rng.below(3));
  if (rng.below(4) == 0) c.offload.min_load_tokens = 10;
  c.offload.whole_prompts = rng.below(2) == 0;
  c.offload.outputs = rng.below(2) == 0;
  const std::size_t tiers = 1 + rng.below(3);
  for (std::size_t k = 0; k < tiers; ++k) {
    c.tiers.push_back(random_tier(rng, k));
    c.offload.look_ahead =
        std::max(c.offload.look_ahead, c.tiers.back().config.prefetch.look_ahead);
  }
  if (!with_faults) return c;
  std::size_t stores = 0;
  for (const test::TierSetup& t : c.tiers)
    stores += t.shared && t.far_bandwidth == 0 ? 1 : static_cast<std::size_t>(c.instances);
  for (std::size_t f = 0; f < 1 + rng.below(3); ++f) {
    FaultPlan p;
    constexpr FaultKind kKinds[] = {FaultKind::instance, FaultKind::tier, FaultKind::link,
                                    FaultKind::directory};
    p.kind = kKinds[rng.below(4)];
    const bool of_store = p.kind == FaultKind::tier || p.kind == FaultKind::directory;
    const std::size_t most = p.kind == FaultKind::instance ? static_cast<std::size_t>(c.instances)
                             : of_store                    ? stores
                                                           : 1;
    p.targets = {static_cast<std::uint32_t>(rng.below(most))};
    p.at = Time{Duration{static_cast<std::int64_t>(rng.below(40'000))}};
    p.down = Duration{static_cast<std::int64_t>(1 + rng.below(30'000))};
    if (rng.below(2) == 0) p.mean_between = Duration{15'000};
    if (rng.below(2) == 0) p.left = 0.2;
    p.forgets = rng.below(2) == 0;
    p.stream = seed * 10 + f;
    c.faults.push_back(p);
  }
  return c;
}

RunOutcome run(const Case& c, bool exact) {
  EngineConfig engine = c.engine;
  engine.exact_steps = exact;
  test::LinearCost cost(100, 3, 1);
  World::Options options;
  options.tiers = test::tier_system(c.offload, c.tiers, static_cast<std::size_t>(c.instances),
                                    engine.block_tokens);
  if (c.host_bandwidth > 0)
    options.tiers = test::with_hosts(std::move(*options.tiers),
                                     static_cast<std::size_t>(c.instances), c.host_bandwidth);
  options.faults = c.faults;
  return test::simulate(engine, c.requests, cost, std::move(options), 1, false, c.instances);
}

struct Sums {
  std::int64_t loaded = 0, moved = 0, far = 0, copied = 0, dropped = 0, stalled = 0, swapped = 0;
};

// The same with preempted requests swapped out.
void draw_swap(Case& c, std::uint64_t seed) {
  Rng rng(seed, "swap");
  c.engine.swap = true;
  c.engine.host_blocks = static_cast<std::int64_t>(rng.below(200));
  c.engine.host_block_bytes = 1 + static_cast<std::int64_t>(rng.below(3000));
  c.host_bandwidth = 1e8 * static_cast<double>(1 + rng.below(50));
}

void check_case(std::uint64_t seed, bool with_faults, Sums& sums, bool with_swap = false) {
  Case c = random_case(seed, with_faults);
  if (with_swap) draw_swap(c, seed);
  const RunOutcome fast = run(c, false), exact = run(c, true);
  ASSERT_EQ(fast.requests.size(), c.requests.size()) << "seed " << seed;
  ASSERT_EQ(fast.digest, exact.digest) << "seed " << seed;
  for (std::size_t i = 0; i < fast.requests.size(); ++i) {
    const RequestOutcome& r = fast.requests[i];
    ASSERT_EQ(r.index, i);
    ASSERT_EQ(r.ttft_ns, exact.requests[i].ttft_ns) << "seed " << seed << " request " << i;
    if (r.outcome != Outcome::finished) continue;
    std::int64_t tokens = r.hit_tokens;
    for (std::size_t k = 0; k < kMaxTiers; ++k) {
      tokens += r.tier_tokens[k];
      sums.loaded += r.tier_tokens[k];
      sums.far += r.far_tokens[k];
      ASSERT_LE(r.far_tokens[k], r.tier_tokens[k]) << "seed " << seed << " request " << i;
    }
    for (const std::int64_t m : r.miss_tokens) tokens += m;
    ASSERT_EQ(tokens, r.prompt_tokens) << "seed " << seed << " request " << i;
    sums.swapped += r.swaps;
  }
  for (const FaultRecord& f : fast.faults) sums.moved += f.requests_moved;
  for (const TierTotals& t : fast.tiers) {
    sums.copied += t.copied;
    sums.dropped += t.dropped;
    ASSERT_LE(t.far_read, t.read) << "seed " << seed;
  }
  for (const RankTotals& r : fast.ranks) sums.stalled += r.stall_ns;
}

TEST(TiersProperty, NothingIsLostAndFastEqualsExact) {
  Sums sums;
  for (std::uint64_t seed = 0; seed < 600 && !HasFatalFailure(); ++seed)
    check_case(seed, false, sums);
  EXPECT_GT(sums.loaded, 3'000);
  EXPECT_GT(sums.far, 500);
  EXPECT_GT(sums.copied, 50);
  EXPECT_GT(sums.dropped, 20);
  EXPECT_GT(sums.stalled, 0);
}

TEST(TiersProperty, FaultsLoseNoRequestAndNoReference) {
  Sums sums;
  for (std::uint64_t seed = 0; seed < 600 && !HasFatalFailure(); ++seed)
    check_case(seed, true, sums);
  EXPECT_GT(sums.loaded, 3'000);
  EXPECT_GT(sums.moved, 100);
}

TEST(TiersProperty, SwappingBesideTiersAndFaults) {
  Sums sums;
  for (std::uint64_t seed = 0; seed < 600 && !HasFatalFailure(); ++seed)
    check_case(seed, seed % 2 == 0, sums, true);
  EXPECT_GT(sums.swapped, 100);
}

}  // namespace
}  // namespace kvsim
