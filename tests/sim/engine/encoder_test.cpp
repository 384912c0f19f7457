// Images of prompts: encoded in the iteration that computes their first tokens, or by encoders of
// their own, against queues worked out by hand.
#include "sim/engine/encoder.h"

#include <gtest/gtest.h>

#include "tests/support/engine_fixture.h"

namespace kvsim {
namespace {

EncoderRules rules(std::int64_t cache) {
  EncoderRules r;
  r.floor_ns = 100;
  r.token_ns = 2;
  r.square_ns = 0.01;
  r.launch_ns = 7;
  r.cache_tokens = cache;
  return r;
}

TEST(Encoder, TimeOfAnImage) {
  const EncoderRules r = rules(0);
  EXPECT_EQ(r.time_ns(10), 107);             // reading the weights
  EXPECT_EQ(r.time_ns(100), 200 + 100 + 7);  // products, and attention among patches
}

TEST(Encoder, CacheKeepsTheLastUsed) {
  EncoderCache c(100);
  c.insert(1, 40);
  c.insert(2, 40);
  EXPECT_TRUE(c.use(1));
  c.insert(3, 60);  // the second makes way
  EXPECT_TRUE(c.holds(1));
  EXPECT_FALSE(c.holds(2));
  EXPECT_TRUE(c.holds(3));
  EXPECT_EQ(c.free_tokens(), 0);
  c.insert(4, 200);  // larger than all: everybody leaves, it is not kept
  EXPECT_FALSE(c.holds(4));
  EXPECT_EQ(c.free_tokens(), 100);
}

// Two encoders of 207 ns an image of 50 tokens (100 + 50^2 0.04 + 7), links of a byte a nanosecond:
// 150 ns each.
TEST(Encoder, PoolIsAQueueAndALink) {
  EncodeStage s;
  s.rules = rules(1000);
  s.rules.square_ns = 0.04;  // 100 + 100 + 7
  s.encoders = 2;
  s.bytes_per_second = 1e9;
  s.latency = Duration{5};
  s.token_bytes = 3;
  EncoderPool pool(s);
  const auto at = [](std::int64_t ns) { return Time{Duration{ns}}; };
  const std::vector<Image> three{{1, 0, 50}, {2, 50, 50}, {3, 100, 50}};
  // The third waits for the first at its encoder, and follows it over the link.
  EXPECT_EQ(pool.ready(three, at(0)), at(207 + 207 + 150 + 5));
  // What is cached is only sent, behind what its link still has to do.
  const std::vector<Image> again{{2, 0, 50}};
  EXPECT_EQ(pool.ready(again, at(10)), at(207 + 150 + 150 + 5));
  EXPECT_EQ(pool.ready(again, at(5000)), at(5000 + 150 + 5));
  EXPECT_EQ(pool.ready({}, at(6000)), at(6000));
  EXPECT_EQ(pool.totals().images, 3);
  EXPECT_EQ(pool.totals().hits, 2);
  EXPECT_EQ(pool.totals().busy_ns, 3 * 207);
}

Request with_images(std::int64_t at, std::int64_t prompt, std::vector<Image> images) {
  Request r = test::request(at, prompt, 2);
  r.images = std::move(images);
  return r;
}

// 64 tokens an iteration: the second image begins in the second, the third request's is cached.
TEST(Encoder, PromptsWaitForTheirOwnImages) {
  const EncoderRules r = rules(1000);
  EngineConfig e;
  e.kv_blocks = 100;
  e.max_batched_tokens = 64;
  e.async_scheduling = false;
  e.prefix_caching = false;
  const std::vector<Request> requests{with_images(0, 100, {{1, 0, 20}, {2, 70, 30}}),
                                      with_images(1'000'000, 50, {{2, 10, 30}})};
  test::LinearCost cost(100, 1, 0);
  const RunOutcome none = [&] {
    std::vector<Request> plain = requests;
    for (Request& q : plain) q.images.clear();
    return test::simulate(e, plain, cost);
  }();
  e.encoder = &r;
  const RunOutcome o = test::simulate(e, requests, cost);
  const auto ttft = [](const RunOutcome& run, std::size_t i) {
    return to_ns(run.requests[i].first_token - run.requests[i].arrival);
  };
  EXPECT_EQ(ttft(o, 0) - ttft(none, 0), r.time_ns(20) + r.time_ns(30));
  EXPECT_EQ(ttft(o, 1), ttft(none, 1));
  EXPECT_EQ(o.ranks.front().encoder.images, 2);
  EXPECT_EQ(o.ranks.front().encoder.hits, 1);
}

// Encoders of their own: the prompt is computed when all is there, and that wait has a name.
TEST(Encoder, RequestsWaitForEncodersOfTheirOwn) {
  EngineConfig e;
  e.kv_blocks = 100;
  e.front_end = Duration{11};
  World::Options options;
  options.encode.rules = rules(1000);
  options.encode.encoders = 1;
  options.encode.bytes_per_second = 1e9;
  options.encode.token_bytes = 1;
  test::LinearCost cost(100, 1, 0);
  const RunOutcome o = test::simulate(
      e, {with_images(0, 100, {{1, 0, 20}}), test::request(0, 100, 2)}, cost, std::move(options));
  const std::int64_t wait = rules(0).time_ns(20) + 20;
  EXPECT_EQ(o.requests[0].ttft_ns[static_cast<std::size_t>(Interval::handover)], wait);
  EXPECT_EQ(o.requests[0].ttft_ns[static_cast<std::size_t>(Interval::front_end)], 11);
  EXPECT_EQ(o.requests[1].ttft_ns[static_cast<std::size_t>(Interval::handover)], 0);
  EXPECT_EQ(o.encoders.requests, 1);
}

TEST(Encoder, ImagesNeedOne) {
  EngineConfig e;
  e.kv_blocks = 100;
  test::LinearCost cost(100, 1, 0);
  EXPECT_THROW(test::simulate(e, {with_images(0, 100, {{1, 0, 20}})}, cost), InputError);
}

}  // namespace
}  // namespace kvsim
