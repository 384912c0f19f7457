// Memory managers in the engine: closed forms for waste, holes, mapping times and loans.
#include <gtest/gtest.h>

#include "tests/support/engine_fixture.h"

namespace kvsim {
namespace {

constexpr std::int64_t kStep = 1000;  // ns of an iteration, whatever it does

struct Managed {
  EngineConfig engine;
  std::shared_ptr<MemoryManager> manager;
  RunOutcome run(std::vector<Request> requests, World::Options options = {}) {
    engine.memory_manager = manager.get();
    test::LinearCost cost(kStep, 0, 0);
    return test::simulate(engine, std::move(requests), cost, std::move(options));
  }
};

using Params = std::vector<std::pair<const char*, const char*>>;

Managed managed(const char* name, const Params& params, std::int64_t blocks) {
  Managed m;
  m.engine.block_tokens = 16;
  m.engine.max_batched_tokens = 1024;
  m.engine.prefix_caching = false;
  m.engine.async_scheduling = false;
  MemoryManager::Context c;
  c.block_tokens = 16;
  c.max_model_len = m.engine.max_model_len = 256;
  c.max_batched_tokens = 1024;
  c.plane = Bytes{256};
  c.planes = 2;
  c.activation_bytes = 1024 * 100;
  c.block_bytes = 1000;
  Tree tree = Tree::map();
  for (const auto& [key, value] : params) tree.set(key, Tree::scalar(value));
  m.manager = Registry::instance().make<MemoryManager>(name, tree, c);
  m.engine.memory = m.manager->rules();
  m.engine.block_tokens = m.engine.memory.block_tokens;
  m.engine.kv_blocks = blocks + m.engine.memory.lent_blocks;
  return m;
}

// One request of 20 + 30 tokens: iteration i leaves 20 + i tokens, i = 0..29.
TEST(Memory, PagedWasteIsTheRestOfTheLastBlock) {
  const RunOutcome out = managed("paged", {}, 100).run({test::request(0, 20, 30)});
  double used = 0, unfilled = 0;
  for (std::int64_t tokens = 20; tokens < 50; ++tokens) {
    const std::int64_t blocks = (tokens + 15) / 16;
    used += static_cast<double>(blocks) / 30;
    unfilled += static_cast<double>(blocks * 16 - tokens) / 30;
  }
  const KvUse& kv = out.ranks[0].kv;
  EXPECT_NEAR(kv.used_blocks(), used, 1e-9);
  EXPECT_NEAR(kv.unfilled_tokens(), unfilled, 1e-9);
  EXPECT_EQ(kv.peak_unfilled_tokens(), 15);
  EXPECT_EQ(kv.peak_stranded_blocks(), 0);
}

// Shared blocks are counted once, and are full.
TEST(Memory, SharedBlocksAreNoWaste) {
  Managed m = managed("paged", {}, 100);
  m.engine.prefix_caching = true;
  const std::vector<Segment> same{{7, 64}};
  const RunOutcome out =
      m.run({test::request(0, 64, 100, same), test::request(5000, 64, 100, same)});
  EXPECT_EQ(out.requests[1].hit_tokens, 48);
  EXPECT_EQ(out.ranks[0].peak_blocks, 11 + 10 - 3);  // the first ends 5 tokens ahead
  EXPECT_LE(out.ranks[0].kv.peak_unfilled_tokens(), 30);
}

TEST(Memory, ReservationsHoldTheirLengthFromTheStart) {
  for (const auto& [by, blocks] : {std::pair{"max", 16}, {"pow2", 6}, {"oracle", 4}}) {
    // 20 + 40 tokens; pow2: 20 + 64.
    const RunOutcome out = managed("reserved", {{"by", by}}, 40).run({test::request(0, 20, 40)});
    const KvUse& kv = out.ranks[0].kv;
    EXPECT_NEAR(kv.used_blocks(), blocks, 1e-9) << by;
    EXPECT_NEAR(kv.unfilled_tokens(), blocks * 16 - (20 + 59) / 2.0, 1e-9) << by;
    EXPECT_EQ(out.ranks[0].peak_blocks, blocks) << by;
  }
}

TEST(Memory, ReservationsBoundTheBatch) {
  std::vector<Request> requests;
  for (int i = 0; i < 20; ++i) requests.push_back(test::request(0, 20, 40));
  const auto most = [&](const char* by) {
    World::Options options;
    options.sample_every = Duration{10 * kStep};
    std::int64_t running = 0;
    for (const InstanceSample& s :
         managed("reserved", {{"by", by}}, 40).run(requests, std::move(options)).samples)
      running = std::max(running, s.running);
    return running;
  };
  EXPECT_EQ(most("max"), 40 / 16);
  EXPECT_EQ(most("pow2"), 40 / 6);
  EXPECT_EQ(most("oracle"), 40 / 4);
}

// Regions of 3, 2 and 3 blocks of 10; when the first ends, 5 blocks are free in holes of 3 and 2,
// and who needs 5 waits until the second ends too.
TEST(Memory, HolesStrandFreeBlocks) {
  const std::vector<Request> requests{test::request(0, 28, 20), test::request(0, 2, 30),
                                      test::request(0, 8, 40), test::request(10, 40, 40)};
  const RunOutcome out = managed("reserved", {{"by", "oracle"}}, 10).run(requests);
  EXPECT_EQ(out.requests[0].last_token, Time{Duration{20 * kStep}});
  EXPECT_EQ(out.requests[3].scheduled, Time{Duration{30 * kStep}});
  EXPECT_EQ(out.requests[3].ttft_ns[static_cast<std::size_t>(Interval::blocked_memory)],
            29 * kStep);
  const KvUse& kv = out.ranks[0].kv;
  EXPECT_EQ(kv.peak_stranded_blocks(), 5);
  // 10 iterations strand 5 blocks; the last request's 40 end the run.
  EXPECT_NEAR(kv.stranded_blocks(), 10 * 5 / 70.0, 1e-9);
  EXPECT_EQ(out.ranks[0].preemptions, 0);
}

// A page holds 4096 / 256 = 16 tokens; a block is two of them: 2 * 300 ns.
Params pages(Params more) {
  Params all{{"page", "4 KiB"}, {"map", "300 ns"}, {"unmap", "100 ns"}, {"deferred", "false"}};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

std::int64_t mapping(const Params& params, std::vector<Request> requests,
                     std::int64_t blocks = 100) {
  const RunOutcome out = managed("virtual", params, blocks).run(std::move(requests));
  const RankTotals& r = out.ranks[0];
  EXPECT_EQ(r.busy_ns, r.iterations * kStep + r.mapping_ns);
  EXPECT_EQ(r.host_ns, r.mapping_ns);
  return r.mapping_ns;
}

TEST(Memory, MappingCostsUnlessItIsHidden) {
  const std::vector<Request> one{test::request(0, 40, 40)};  // 3 blocks, then 2 more
  EXPECT_EQ(mapping(pages({{"overlap", "false"}}), one), 5 * 600);
  EXPECT_EQ(mapping(pages({}), one), 3 * 600);  // the two hide behind the iterations before
  EXPECT_EQ(mapping(pages({{"map", "700 ns"}}), one), 3 * 1400 + 2 * 400);
}

TEST(Memory, PagesOfTheLastRequestServeTheNext) {
  const std::vector<Request> two{test::request(0, 40, 40), test::request(1'000'000, 60, 10),
                                 test::request(2'000'000, 100, 1)};
  const Params eager = pages({{"overlap", "false"}, {"deferred", "false"}});
  EXPECT_EQ(mapping(eager, two), (5 + 5 + 7) * 600);
  // It leaves 5 mapped blocks; 60 + 9 tokens need no more, 100 tokens two more.
  EXPECT_EQ(mapping(pages({{"overlap", "false"}, {"deferred", "true"}}), two), (5 + 0 + 2) * 600);
}

// Two requests end with 5 blocks each and leave two free ones; one of 7 blocks takes the pages of
// one slot and the two. With one block less it must unmap a page of the other slot.
TEST(Memory, IdlePagesAreUnmappedWhenNoneIsLeft) {
  const std::vector<Request> requests{test::request(0, 40, 40), test::request(0, 40, 40),
                                      test::request(1'000'000, 100, 1)};
  const Params params = pages({{"overlap", "false"}, {"deferred", "true"}});
  EXPECT_EQ(mapping(params, requests, 12), (5 + 5 + 2) * 600);
  EXPECT_EQ(mapping(params, requests, 11), (5 + 5 + 2) * 600 + 200);
}

// The background thread had time for one block before the first request, for both before the
// second.
TEST(Memory, EagerPagesAreMappedBeforeTheyAreAskedFor) {
  const std::vector<Request> requests{test::request(900, 40, 1), test::request(1'000'000, 40, 1)};
  EXPECT_EQ(mapping(pages({{"eager_tokens", "32"}}), requests), (3 - 1) * 600 + (3 - 2) * 600);
}

// A cached page is mapped into the second range too.
TEST(Memory, SharedPagesAreMappedAgain) {
  Managed m = managed("virtual", pages({{"overlap", "false"}}), 100);
  m.engine.prefix_caching = true;
  const std::vector<Segment> same{{7, 64}};
  const RunOutcome out = m.run({test::request(0, 64, 2, same), test::request(50'000, 64, 2, same)});
  EXPECT_EQ(out.requests[1].hit_tokens, 48);
  EXPECT_EQ(out.ranks[0].mapping_ns, (5 + 5) * 600);
}

// 100 bytes of activations a token, 1024 tokens, blocks of 1000 bytes: 102 blocks are lent.
TEST(Memory, ActivationsAndKvShareThePool) {
  EXPECT_EQ(managed("pooled", {}, 100).engine.kv_blocks, 202);
  EXPECT_EQ(managed("pooled", {{"lent", "50 %"}}, 100).engine.kv_blocks, 151);
  std::vector<Request> requests;
  for (int i = 0; i < 40; ++i) requests.push_back(test::request(i * 700, 100 + i, 120));
  World::Options options;
  options.record_iterations = true;
  Managed m = managed("pooled", {}, 100);
  const RunOutcome out = m.run(requests, std::move(options));
  bool lent = false, cut = false;
  for (const IterationRecord& i : out.iterations) {
    const std::int64_t tokens = i.decodes + i.prefill_tokens;
    lent = lent || m.engine.kv_blocks - i.free_blocks > 102;
    cut = cut || (i.prefill_tokens > 0 && i.prefill_tokens < 100);
    // Blocks that ended requests gave back since are counted as free here.
    ASSERT_GE(i.free_blocks, activation_blocks(m.engine.memory, tokens));
  }
  EXPECT_TRUE(lent);
  EXPECT_TRUE(cut);
  for (const RequestOutcome& r : out.requests) EXPECT_EQ(r.outcome, Outcome::finished);
}

// More KV at once than without the loan, and so fewer preemptions.
TEST(Memory, ALoanRaisesTheBatch) {
  std::vector<Request> requests;
  for (int i = 0; i < 40; ++i) requests.push_back(test::request(0, 64, 120));
  const RunOutcome paged = managed("paged", {}, 100).run(requests);
  const RunOutcome pooled = managed("pooled", {}, 100).run(requests);
  EXPECT_EQ(paged.ranks[0].peak_blocks, 100);
  EXPECT_GT(pooled.ranks[0].peak_blocks, 180);
  EXPECT_LT(pooled.end, paged.end);
}

TEST(Memory, WhatCanNeverFitIsRejected) {
  EXPECT_STREQ(
      managed("reserved", {{"by", "max"}}, 15).run({test::request(0, 4, 4)}).requests[0].reason,
      "needs a larger region of KV memory than the instance has");
  // 12 + 102 blocks hold 253 tokens (16 blocks), but without chunks 253 tokens at once need 26.
  Managed m = managed("pooled", {{"lent", "3 %"}}, 15);
  EXPECT_EQ(m.engine.kv_blocks, 18);
  m.engine.chunked_prefill = false;
  EXPECT_EQ(m.run({test::request(0, 230, 20)}).requests[0].outcome, Outcome::finished);
}

}  // namespace
}  // namespace kvsim
