// Loads from the tiers below the GPU: closed forms of when a request may go on.
#include <gtest/gtest.h>

#include "tests/support/tier_fixture.h"

namespace kvsim {
namespace {

constexpr std::int64_t kIteration = 1'000'000;  // ns, whatever is in it

EngineConfig small_engine(std::int64_t blocks) {
  EngineConfig e;
  e.block_tokens = 16;
  e.kv_blocks = blocks;
  e.max_batched_tokens = 4096;
  e.max_running = 16;
  e.async_scheduling = false;
  return e;
}

// A, then B which pushes A out of the GPU, then A's prompt again.
std::vector<Request> again(std::int64_t tokens, std::int64_t third_at) {
  return {test::request(0, tokens, 1, {{11, tokens}}),
          test::request(10 * kIteration, tokens, 1, {{22, tokens}}),
          test::request(third_at, tokens, 1, {{11, tokens}})};
}

std::int64_t part(const RequestOutcome& r, Interval i) {
  return r.ttft_ns[static_cast<std::size_t>(i)];
}

TEST(Tiers, AsyncLoadWaitsOutsideTheBatch) {
  test::LinearCost cost(kIteration, 0, 0);
  World::Options options;
  // 4 chunks of 1000 bytes at 1 GB/s: 4 us to the CPU and back.
  options.tiers = test::tier_system({}, {{test::tier("cpu", TierKind::cpu, 1000)}}, 1, 16);
  const RunOutcome out =
      test::simulate(small_engine(5), again(70, 50 * kIteration), cost, std::move(options));
  const RequestOutcome& r = out.requests[2];
  EXPECT_EQ(r.hit_tokens, 0);
  EXPECT_EQ(r.tier_tokens[0], 64);
  EXPECT_EQ(part(r, Interval::fetch_cpu), 4'000);
  EXPECT_EQ(part(r, Interval::queue), 0);
  EXPECT_EQ(to_ns(r.first_token - r.arrival), 4'000 + kIteration);
  ASSERT_EQ(out.tiers.size(), 1U);
  EXPECT_EQ(out.tiers[0].inserted, 8);
  EXPECT_EQ(out.tiers[0].read, 4);
  EXPECT_EQ(out.links[0].bytes, 4'000);
  EXPECT_EQ(out.links[1].bytes, 8'000);
}

TEST(Tiers, LoadInTheBatchStallsIt) {
  for (const LoadMode mode : {LoadMode::blocking, LoadMode::overlap}) {
    test::LinearCost cost(kIteration, 0, 0);
    World::Options options;
    OffloadConfig offload;
    offload.load = mode;
    offload.load_layers = 4;
    options.tiers =
        test::tier_system(offload, {{test::tier("cpu", TierKind::cpu, 1'000'000)}}, 1, 16);
    const RunOutcome out =
        test::simulate(small_engine(5), again(70, 50 * kIteration), cost, std::move(options));
    const RequestOutcome& r = out.requests[2];
    const std::int64_t load = 4 * kIteration, layers = mode == LoadMode::overlap ? 4 : 1;
    const std::int64_t all = std::max(load / layers + kIteration, load + kIteration / layers);
    EXPECT_EQ(to_ns(r.first_token - r.arrival), all);
    EXPECT_EQ(part(r, Interval::load_stall), all - kIteration);
    EXPECT_EQ(part(r, Interval::prefill), kIteration);
    EXPECT_EQ(r.tier_tokens[0], 64);
  }
}

// engine-semantics 14.9: a hit in a file tier is not schedulable before the third step boundary
// after the first look, although the disk is four times faster than a step.
TEST(Tiers, FileTierCostsThreeStepBoundaries) {
  const std::int64_t step = 20'000'000, disk = 5'000'000;
  test::LinearCost cost(step, 0, 0);
  World::Options options;
  test::TierSetup cpu{test::tier("cpu", TierKind::cpu, 1000)};
  cpu.capacity = 5;  // A's chunks leave it for B's
  test::TierSetup fs{test::tier("fs", TierKind::ssd, 1000, true)};
  fs.config.lookup = Duration{100'000};
  fs.latency = Duration{disk};
  options.tiers = test::tier_system({}, {cpu, fs}, 1, 16);
  // A long decode keeps the engine stepping every 20 ms; A and B come before the third.
  std::vector<Request> requests{test::request(0, 16, 200, {{1, 16}}),
                                test::request(1, 70, 1, {{11, 70}}),
                                test::request(100'000'000, 70, 1, {{22, 70}}),
                                test::request(200'000'000, 70, 1, {{33, 70}}),
                                test::request(300'000'000, 70, 1, {{44, 70}}),
                                test::request(1'005'000'000, 70, 1, {{11, 70}})};
  EngineConfig engine = small_engine(14);
  const RunOutcome out = test::simulate(engine, requests, cost, std::move(options));
  const RequestOutcome& r = out.requests[5];
  EXPECT_EQ(r.hit_tokens, 0);
  EXPECT_EQ(r.tier_tokens[1], 64);
  // Boundaries lie at multiples of 20 ms after 0.1 ms, the first look-up of all. First look at the
  // boundary at 1.02 s; the load starts 40 ms later and takes 4 us; the next boundary is the third.
  EXPECT_EQ(to_ns(r.scheduled - Time{}), 1'080'100'000);
}

// engine-semantics 14.10: 4,096 tokens may take 2 + 0.1 * 4 = 2.4 s; then the request goes on with
// what has come: two chunks of one second each.
TEST(Tiers, PrefetchFromStorageTimesOut) {
  constexpr std::int64_t kSecond = 1'000'000'000;
  test::LinearCost cost(kIteration, 0, 0);
  World::Options options;
  OffloadConfig offload;
  offload.load = LoadMode::overlap;
  test::TierSetup cpu{test::tier("cpu", TierKind::cpu, 1)};
  cpu.capacity = 300;
  test::TierSetup storage{test::tier("storage", TierKind::ssd, 1'000'000, true)};
  storage.bandwidth = 1e6;
  storage.config.prefetch = {PrefetchRule::on_arrival, 0, 256, 1, PrefetchWait::timeout,
                             Duration{2 * kSecond},   // base
                             Duration{kSecond / 10},  // for 1,024 tokens
                             Duration{30 * kSecond}};
  options.tiers = test::tier_system(offload, {cpu, storage}, 1, 16);
  // B takes A's places on the GPU and in the CPU tier.
  const std::vector<Request> requests{test::request(0, 4097, 1, {{11, 4097}}),
                                      test::request(1000 * kSecond, 4801, 1, {{22, 4801}}),
                                      test::request(3000 * kSecond, 4097, 1, {{11, 4097}})};
  EngineConfig engine = small_engine(301);
  engine.max_batched_tokens = 8192;
  const RunOutcome out = test::simulate(engine, requests, cost, std::move(options));
  const RequestOutcome& r = out.requests[2];
  EXPECT_EQ(to_ns(r.scheduled - r.arrival), 2'400'000'000);
  EXPECT_EQ(part(r, Interval::fetch_ssd), 2'400'000'000);
  EXPECT_EQ(r.tier_tokens[1], 2 * 16);
}

// Cake: the front is computed while the back is loaded; both end together, or as near as whole
// blocks allow.
TEST(Tiers, SplitComputesTheFrontWhileTheBackIsLoaded) {
  for (const bool split : {false, true}) {
    test::LinearCost cost(0, 10'000, 0);  // 10 us a token
    World::Options options;
    OffloadConfig offload;
    offload.kv_token_bytes = 10'000;
    if (split)
      offload.restore = [] {
        return Registry::instance().make<RestorePlanner>("split", Tree::map(), {});
      };
    // 16 tokens of a block: 160 us to compute, 160,000 bytes at 1 GB/s: 160 us to load.
    options.tiers =
        test::tier_system(offload, {{test::tier("cpu", TierKind::cpu, 160'000)}}, 1, 16);
    const RunOutcome out =
        test::simulate(small_engine(21), again(321, 500'000'000), cost, std::move(options));
    const RequestOutcome& r = out.requests[2];
    EXPECT_EQ(r.tier_tokens[0], split ? 160 : 320);
    EXPECT_EQ(r.miss_tokens[static_cast<std::size_t>(MissCause::not_worth_loading)],
              split ? 160 : 0);
    EXPECT_EQ(to_ns(r.first_token - r.arrival), (split ? 10 : 20) * 160'000 + 10'000);
  }
}

// A's copy takes 4 ms from 1 ms on. B comes at 2 ms and is given A's memory: its iteration begins
// when the copy has ended, unless there is other memory.
TEST(Tiers, MemoryUnderCopyIsNotOverwritten) {
  for (const std::int64_t blocks : {5, 10}) {
    test::LinearCost cost(kIteration, 0, 0);
    World::Options options;
    test::TierSetup cpu{test::tier("cpu", TierKind::cpu, 1000)};
    cpu.bandwidth = 1e6;
    options.tiers = test::tier_system({}, {cpu}, 1, 16);
    const RunOutcome out = test::simulate(
        small_engine(blocks),
        {test::request(0, 70, 1, {{11, 70}}), test::request(2 * kIteration, 70, 1, {{22, 70}})},
        cost, std::move(options));
    const RequestOutcome& b = out.requests[1];
    EXPECT_EQ(part(b, Interval::load_stall), blocks == 5 ? 3 * kIteration : 0);
    EXPECT_EQ(part(b, Interval::prefill), kIteration);
    EXPECT_EQ(to_ns(b.first_token - b.arrival), (blocks == 5 ? 4 : 1) * kIteration);
  }
}

// Written back only when it leaves: the iteration that takes the memory waits for all of the copy
// (SGLang: blocking).
TEST(Tiers, WriteBackHoldsTheIteration) {
  test::LinearCost cost(kIteration, 0, 0);
  World::Options options;
  test::TierSetup cpu{test::tier("cpu", TierKind::cpu, 1000)};
  cpu.bandwidth = 1e6;
  cpu.config.write = WriteRule::back;
  options.tiers = test::tier_system({}, {cpu}, 1, 16);
  const RunOutcome out =
      test::simulate(small_engine(5), again(70, 50 * kIteration), cost, std::move(options));
  EXPECT_EQ(part(out.requests[1], Interval::load_stall), 4 * kIteration);
  EXPECT_EQ(to_ns(out.requests[1].first_token - out.requests[1].arrival), 5 * kIteration);
  EXPECT_EQ(out.requests[2].tier_tokens[0], 64);
}

// 0.5 ns a byte to convert, 1 ns a byte to pass: 4,000 bytes take 6 us either way.
TEST(Tiers, AnotherPrecisionIsPaidForInTheTransfer) {
  test::LinearCost cost(kIteration, 0, 0);
  World::Options options;
  test::TierSetup cpu{test::tier("cpu", TierKind::cpu, 1000)};
  cpu.convert = 0.5;
  options.tiers = test::tier_system({}, {cpu}, 1, 16);
  options.record_transfers = true;
  const RunOutcome out =
      test::simulate(small_engine(5), again(70, 50 * kIteration), cost, std::move(options));
  ASSERT_EQ(out.transfers.size(), 3U);
  for (const TransferRecord& t : out.transfers) EXPECT_EQ(to_ns(t.end - t.start), 6'000);
  EXPECT_EQ(part(out.requests[2], Interval::fetch_cpu), 6'000);
}

// HCache: hidden states are half of the KV. Projecting them is computed beside the load, by the
// iteration that is planned with it: a long decode loses that time.
TEST(Tiers, HiddenStatesAreProjectedByTheBatch) {
  std::int64_t before = 0;
  for (const bool hidden : {false, true}) {
    test::LinearCost cost(kIteration, 10'000, 0);
    World::Options options;
    OffloadConfig offload;
    offload.kv_token_bytes = 20'000;
    offload.hidden_token_bytes = 10'000;
    offload.layers = 4;
    offload.project_share = 0.1;
    offload.restore = [hidden] {
      return Registry::instance().make<RestorePlanner>(hidden ? "hidden" : "always", Tree::map(),
                                                       {});
    };
    if (hidden) offload.stored = {0, 4};
    const std::int64_t token = hidden ? 10'000 : 20'000;
    options.tiers =
        test::tier_system(offload, {{test::tier("cpu", TierKind::cpu, 16 * token)}}, 1, 16);
    const RunOutcome out =
        test::simulate(small_engine(30),
                       {test::request(0, 16, 60, {{1, 16}}), test::request(1, 321, 1, {{11, 321}}),
                        test::request(12'000'000, 321, 1, {{22, 321}}),
                        test::request(24'000'000, 321, 1, {{33, 321}}),
                        test::request(36'000'000, 321, 1, {{11, 321}})},
                       cost, std::move(options));
    EXPECT_EQ(out.requests[4].tier_tokens[0], 320);
    EXPECT_EQ(out.tiers[0].read_bytes, 320 * token);
    const std::int64_t gpu = out.ranks[0].gpu_ns - out.ranks[0].iterations * kIteration;
    // A tenth of an iteration that computes 320 tokens.
    if (hidden) {
      EXPECT_EQ(gpu, before + (kIteration + 320 * 10'000) / 10);
    }
    before = gpu;
  }
}

TEST(Faults, AnInstanceIsLostAndItsRequestsGoOnElsewhere) {
  test::LinearCost cost(kIteration, 0, 0);
  World::Options options;
  FaultPlan fault;
  fault.targets = {0};
  fault.at = Time{Duration{10 * kIteration + 1}};
  fault.down = Duration{5 * kIteration};
  options.faults = {fault};
  const std::vector<Request> requests{test::request(0, 64, 40, {{1, 64}}),
                                      test::request(1, 64, 40, {{2, 64}})};
  const RunOutcome out =
      test::simulate(small_engine(50), requests, cost, std::move(options), 1, false, 2);
  const RequestOutcome& r = out.requests[0];
  EXPECT_EQ(r.outcome, Outcome::finished);
  EXPECT_EQ(r.instance, 1U);
  EXPECT_EQ(r.preemptions, 1U);
  // The iteration under way gave the eleventh token. The other instance, whose iterations begin a
  // nanosecond later, computes the prompt and those tokens again while it gives the twelfth.
  EXPECT_EQ(to_ns(r.last_token - Time{}), 40 * kIteration + 1);
  ASSERT_EQ(out.faults.size(), 1U);
  EXPECT_EQ(out.faults[0].requests_moved, 1);
  EXPECT_EQ(out.faults[0].end, fault.at + fault.down);
}

// The way from the CPU tier is down when A's prompt comes again at 50 ms: over the detour 4,000
// bytes take 8 us instead of 4; without one they wait for the repair.
TEST(Faults, TransfersGoAroundADeadLink) {
  for (const bool detour : {false, true}) {
    test::LinearCost cost(kIteration, 0, 0);
    World::Options options;
    options.tiers = test::tier_system({}, {{test::tier("cpu", TierKind::cpu, 1000)}}, 1, 16);
    options.tiers->links.push_back({"another", 5e8});
    FaultPlan fault;
    fault.kind = FaultKind::link;
    fault.targets = {0};
    fault.at = Time{Duration{40 * kIteration}};
    fault.down = Duration{30 * kIteration};
    if (detour) {
      fault.detours = options.tiers->ranks;
      fault.detours[0][0].in.uses = {{LinkId{2}, 1.0}};
    }
    options.faults = {fault};
    std::vector<Request> requests = again(70, 50 * kIteration);
    requests.push_back(test::request(80 * kIteration, 70, 1, {{22, 70}}));
    const RunOutcome out =
        test::simulate(small_engine(5), std::move(requests), cost, std::move(options));
    EXPECT_EQ(part(out.requests[2], Interval::fetch_cpu), detour ? 8'000 : 20 * kIteration + 4'000);
    EXPECT_EQ(part(out.requests[3], Interval::fetch_cpu), 4'000);  // repaired
  }
}

}  // namespace
}  // namespace kvsim
