// Prompts that come in with some of their layers: room, iteration times, pace of decodes.
#include <gtest/gtest.h>

#include "tests/support/tier_fixture.h"

namespace kvsim {
namespace {

constexpr std::int64_t kStep = 1'000'000;  // ns of an iteration, and of copying a block
constexpr std::int64_t kLayers = 4;

struct Layered {
  EngineConfig engine;
  std::shared_ptr<MemoryManager> manager;
};

Layered layered(const char* name, std::vector<std::pair<const char*, const char*>> params = {}) {
  Layered l;
  EngineConfig& e = l.engine;
  e.block_tokens = 16;
  e.kv_blocks = 10;
  e.max_batched_tokens = 4096;
  e.prefix_caching = false;
  e.async_scheduling = false;
  MemoryManager::Context c;
  c.layers = kLayers;
  Tree tree = Tree::map();
  for (const auto& [key, value] : params) tree.set(key, Tree::scalar(value));
  l.manager = Registry::instance().make<MemoryManager>(name, tree, c);
  e.memory = l.manager->rules();
  e.memory_manager = l.manager.get();
  e.host_blocks = 1000;
  e.host_block_bytes = 1'000'000;
  return l;
}

RunOutcome run(const Layered& l, std::vector<Request> requests, CostModel& cost, int instances = 1,
               std::vector<FaultPlan> faults = {}) {
  World::Options options;
  options.tiers = test::with_hosts({}, static_cast<std::size_t>(instances), 1e9);
  options.faults = std::move(faults);
  return test::simulate(l.engine, std::move(requests), cost, std::move(options), 1, false,
                        instances);
}

std::int64_t at(Time t) { return to_ns(t - Time{}); }

// A holds 7 blocks of 10. B's 8 blocks of 4 layers do not fit; with one layer they take 2, and 6
// blocks' worth goes out: 6 ms in 3 layers beside 1 ms of computing, max(1, 6/3 + 3/4, 6 + 1/4).
// Every iteration after it reads the 6 again, until A is gone and they stay.
std::vector<Request> two() {
  return {test::request(0, 96, 10), test::request(5 * kStep / 2, 128, 20)};
}

TEST(LayerWise, LayersComeForEveryIteration) {
  const std::vector<Request> requests = two();
  test::LinearCost cost(kStep, 0, 0);
  const RunOutcome out =
      run(layered("layer-wise", {{"resident", "1"}, {"decode", "stream"}}), requests, cost);
  const RequestOutcome &a = out.requests[0], &b = out.requests[1];
  constexpr std::int64_t kStalled = 6 * kStep + kStep / 4;
  EXPECT_EQ(at(b.scheduled), 3 * kStep);
  EXPECT_EQ(at(b.first_token), 3 * kStep + kStalled);
  EXPECT_EQ(at(a.last_token), 3 * kStep + 7 * kStalled);
  // One more that waits, as the layers come to stay; then 12 that do not.
  EXPECT_EQ(at(b.last_token), 3 * kStep + 8 * kStalled + 12 * kStep);
  EXPECT_EQ(b.ttft_ns[static_cast<std::size_t>(Interval::load_stall)], kStalled - kStep);
  EXPECT_EQ(b.ttft_ns[static_cast<std::size_t>(Interval::blocked_memory)], 0);
  const RankTotals& r = out.ranks[0];
  EXPECT_EQ(r.layered_prompts, 1);
  EXPECT_EQ(r.to_host_bytes, 6'000'000);
  EXPECT_EQ(r.from_host_bytes, 7 * 6'000'000);
  EXPECT_EQ(r.peak_host_blocks, 6);
  EXPECT_EQ(r.preemptions, 0);
  // The same under paging: B waits for A.
  test::LinearCost same(kStep, 0, 0);
  const RunOutcome paged = run(layered("paged"), requests, same);
  EXPECT_EQ(at(paged.requests[1].scheduled), 10 * kStep);
}

// As before until B's first token. Then its other layer leaves too, 2 blocks beside 1 ms of A's:
// max(1, 2/4 + 1, 2 + 1/4). At A's end all of it comes back: max(1, 8/4 + 1, 8 + 1/4).
TEST(LayerWise, ItWaitsInHostMemoryUntilAllHasRoom) {
  test::LinearCost cost(kStep, 0, 0);
  const RunOutcome out = run(layered("layer-wise", {{"resident", "1"}}), two(), cost);
  const RequestOutcome &a = out.requests[0], &b = out.requests[1];
  const std::int64_t first = 3 * kStep + 6 * kStep + kStep / 4;
  EXPECT_EQ(at(b.first_token), first);
  const std::int64_t last = first + 2 * kStep + kStep / 4 + 5 * kStep;
  EXPECT_EQ(at(a.last_token), last);
  EXPECT_EQ(b.after_ns[static_cast<std::size_t>(Interval::preempted)], last - first);
  EXPECT_EQ(at(b.last_token), last + 8 * kStep + kStep / 4 + 18 * kStep);
  const RankTotals& r = out.ranks[0];
  EXPECT_EQ(r.to_host_bytes, 8'000'000);
  EXPECT_EQ(r.from_host_bytes, 8'000'000);
  EXPECT_EQ(r.peak_host_blocks, 8);
  EXPECT_EQ(r.layered_prompts, 1);
  EXPECT_EQ(r.preemptions + r.swaps_out + r.swaps_in, 0);
}

// What has room at once comes home without waiting: A has ended meanwhile.
TEST(LayerWise, ItStaysWhereThereIsRoom) {
  test::LinearCost cost(kStep, 0, 0);
  const RunOutcome out =
      run(layered("layer-wise", {{"resident", "1"}}),
          {test::request(0, 96, 4), test::request(5 * kStep / 2, 128, 20)}, cost);
  const std::int64_t first = 3 * kStep + 6 * kStep + kStep / 4;
  EXPECT_EQ(at(out.requests[0].last_token), first);
  EXPECT_EQ(at(out.requests[1].last_token), first + 6 * kStep + kStep / 4 + 18 * kStep);
  EXPECT_EQ(out.ranks[0].from_host_bytes, 6'000'000);
}

// A prompt needs ceil(blocks * x / L) blocks: it is admitted with them, and not with one less.
TEST(LayerWise, RoomOfTheResidentLayers) {
  for (const auto& [resident, needs] : {std::pair{"1", 2}, {"2", 4}, {"3", 6}, {"4", 8}}) {
    for (const int free : {needs, needs - 1}) {
      Layered l = layered("layer-wise", {{"resident", resident}});
      l.engine.kv_blocks = 8 + 7;  // A's, when B comes, leave `free`
      const std::int64_t tokens = (15 - free) * 16 - 8;
      test::LinearCost cost(kStep, 0, 0);
      const RunOutcome out =
          run(l, {test::request(0, tokens, 6), test::request(5 * kStep / 2, 128, 2)}, cost);
      EXPECT_EQ(at(out.requests[1].scheduled), (free == needs ? 3 : 6) * kStep)
          << resident << " layers, " << free << " blocks free";
    }
  }
}

// B comes in two pieces of 64 tokens, 3 of 4 blocks away. The second reads the 3 of the first while
// its own 3 leave: 3 ms each way at once, max(1, 3/3 + 3/4, 3 + 1/4) both times.
TEST(LayerWise, LaterPiecesReadTheEarlierOnes) {
  Layered l = layered("layer-wise", {{"resident", "1"}});
  l.engine.max_batched_tokens = 65;
  test::LinearCost cost(kStep, 0, 0);
  const RunOutcome out = run(l, {test::request(0, 64, 16), test::request(kStep / 2, 128, 1)}, cost);
  EXPECT_EQ(at(out.requests[1].scheduled), kStep);
  EXPECT_EQ(at(out.requests[1].first_token), kStep + 2 * (3 * kStep + kStep / 4));
  EXPECT_EQ(out.ranks[0].to_host_bytes, 6'000'000);
  EXPECT_EQ(out.ranks[0].from_host_bytes, 3'000'000);
}

TEST(LayerWise, EqualsPagedWhereMemoryIsAmple) {
  std::vector<Request> requests;
  for (int i = 0; i < 30; ++i) requests.push_back(test::request(i * 700'000, 50 + i, 30));
  Layered paged = layered("paged"), layers = layered("layer-wise");
  paged.engine.kv_blocks = layers.engine.kv_blocks = 500;
  paged.engine.async_scheduling = layers.engine.async_scheduling = true;
  test::LinearCost cost(kStep, 0, 0);
  EXPECT_EQ(run(paged, requests, cost).digest, run(layers, requests, cost).digest);
}

// A decode takes 1.1 ms and may take 3.1; B's 40 tokens take 5. After A's s-th token it is ahead by
// 3.1 s - 1.1 (s - 1) ms: 3.1, then 5.1.
TEST(LayerWise, DecodesKeepTheirPace) {
  const std::vector<Request> requests{test::request(0, 10, 40),
                                      test::request(3 * kStep / 2, 40, 2)};
  test::LinearCost cost(kStep, kStep / 10, 0);
  EXPECT_EQ(at(run(layered("layer-wise"), requests, cost).requests[1].scheduled), 2 * kStep);
  const RunOutcome out = run(layered("layer-wise", {{"tpot", "3100 us"}}), requests, cost);
  EXPECT_EQ(at(out.requests[1].scheduled), 2 * kStep + 11 * kStep / 10);
}

// B waits in host memory of instance 0 when that is lost, or (earlier) its layers are on the way.
TEST(LayerWise, AFaultLosesWhatIsInHostMemory) {
  for (const std::int64_t at_ns : {5 * kStep, 11 * kStep, 13 * kStep}) {
    FaultPlan fault;
    fault.targets = {0};
    fault.at = Time{Duration{at_ns}};
    fault.down = Duration{1000 * kStep};
    std::vector<Request> requests = two();
    requests.insert(requests.begin() + 1, test::request(1, 16, 1));  // to the other instance
    test::LinearCost cost(kStep, 0, 0);
    const RunOutcome out =
        run(layered("layer-wise", {{"resident", "1"}}), requests, cost, 2, {fault});
    for (const RequestOutcome& r : out.requests) EXPECT_EQ(r.outcome, Outcome::finished);
    EXPECT_EQ(out.requests[2].preemptions, 1U) << at_ns;
    EXPECT_GE(out.requests[2].recomputed_tokens, 128) << at_ns;
    EXPECT_EQ(out.requests[2].instance, 1U);
  }
}

// Without room in host memory it is paging.
TEST(LayerWise, HostMemoryIsBounded) {
  Layered l = layered("layer-wise", {{"resident", "1"}});
  l.engine.host_blocks = 5;
  test::LinearCost cost(kStep, 0, 0);
  const RunOutcome out =
      run(l, {test::request(0, 96, 10), test::request(5 * kStep / 2, 128, 20)}, cost);
  EXPECT_EQ(at(out.requests[1].scheduled), 10 * kStep);
  EXPECT_EQ(out.ranks[0].layered_prompts, 0);
}

}  // namespace
}  // namespace kvsim
