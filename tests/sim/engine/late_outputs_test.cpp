// Outputs that are published late are found as if they had been published in time: a fleet that may
// send KV between its instances publishes in time, and is the twin of one that may not.
#include "sim/engine/late_outputs.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>

#include "tests/support/fleet_fixture.h"

namespace kvsim {
namespace {

using test::Fleet;

struct Heard final : LateOutputs::Owner {
  void publish_in_time(std::uint32_t slot) override { slots.push_back(slot); }
  std::vector<std::uint32_t> slots;
};

TEST(LateOutputs, WhoLooksForAKeyWakesItsOwnerOnce) {
  LateOutputs late;
  Heard a, b;
  const std::vector<ContentChunk> one{{7, 2}, {8, 4}}, other{{9, 1}}, both{{1, 1}, {9, 2}, {8, 5}};
  EXPECT_TRUE(late.enter(one, a, 3));
  EXPECT_TRUE(late.enter(other, b, 0));
  late.look(both);
  late.look(both);
  EXPECT_EQ(a.slots, std::vector<std::uint32_t>{3});
  EXPECT_EQ(b.slots, std::vector<std::uint32_t>{0});
}

TEST(LateOutputs, NobodyIsLateWithWhatAnotherGenerates) {
  LateOutputs late;
  Heard a, b;
  const std::vector<ContentChunk> key{{7, 2}};
  EXPECT_TRUE(late.enter(key, a, 1));
  EXPECT_FALSE(late.enter(key, b, 2));
  EXPECT_EQ(a.slots, std::vector<std::uint32_t>{1});
  late.leave(key, a, 1);
  EXPECT_FALSE(late.enter(key, a, 4));  // b still generates it
  late.leave(key, b, 2);
  late.leave(key, a, 4);
  EXPECT_TRUE(late.enter(key, a, 5));
  late.leave(key, a, 5);
  late.look(key);
  EXPECT_EQ(a.slots.size(), 1U);
  EXPECT_TRUE(b.slots.empty());
}

// Sessions whose turns come whether the one before is over or not, some of them twice.
std::vector<Request> chats(Rng& rng, std::size_t count) {
  struct Session {
    std::vector<Segment> segments;
    std::int64_t tokens = 0;
  };
  std::vector<Session> sessions;
  std::vector<Request> all;
  std::int64_t at = 0;
  std::uint64_t key = 100;
  while (all.size() < count) {
    at += static_cast<std::int64_t>(rng.below(4000));
    if (!all.empty() && rng.below(8) == 0) {  // the same once more
      all.push_back(all[all.size() - 1 - rng.below(std::min<std::size_t>(all.size(), 4))]);
      all.back().arrival = Time{Duration{at}};
      continue;
    }
    Session fresh{{{1 + rng.below(3), 20}}, 20};
    const bool goes_on = !sessions.empty() && rng.below(3) > 0;
    Session& s =
        goes_on
            ? sessions[sessions.size() - 1 - rng.below(std::min<std::size_t>(sessions.size(), 5))]
            : sessions.emplace_back(fresh);
    const auto user = 1 + static_cast<std::int64_t>(rng.below(30)),
               output = 1 + static_cast<std::int64_t>(rng.below(60));
    if (s.tokens > 300) continue;
    s.segments.push_back({++key, user});
    const std::int64_t prompt = s.tokens + user;
    s.segments.push_back({++key, output});
    s.tokens = prompt + output;
    all.push_back(test::request(at, prompt, output, s.segments));
  }
  return all;
}

void expect_equal(const RunOutcome& a, const RunOutcome& b) {
  ASSERT_EQ(a.requests.size(), b.requests.size());
  for (std::size_t i = 0; i < a.requests.size(); ++i) {
    const RequestOutcome &x = a.requests[i], &y = b.requests[i];
    EXPECT_EQ(x.instance, y.instance) << i;
    EXPECT_EQ(x.hit_tokens, y.hit_tokens) << i;
    EXPECT_EQ(x.promised_tokens, y.promised_tokens) << i;
    EXPECT_TRUE(x.miss_tokens == y.miss_tokens) << i;
    EXPECT_TRUE(x.ttft_ns == y.ttft_ns && x.after_ns == y.after_ns) << i;
    EXPECT_EQ(to_ns(x.last_token), to_ns(y.last_token)) << i;
    EXPECT_EQ(x.preemptions, y.preemptions) << i;
  }
  for (std::size_t r = 0; r < a.ranks.size(); ++r) {
    EXPECT_EQ(a.ranks[r].evicted_blocks, b.ranks[r].evicted_blocks);
    EXPECT_EQ(a.ranks[r].iterations, b.ranks[r].iterations);
    EXPECT_EQ(a.ranks[r].peak_blocks, b.ranks[r].peak_blocks);
  }
  EXPECT_EQ(to_ns(a.end), to_ns(b.end));
  ASSERT_EQ(a.decisions.size(), b.decisions.size());
  for (std::size_t i = 0; i < a.decisions.size(); ++i)
    EXPECT_EQ(a.decisions[i].chosen.cached_tokens, b.decisions[i].chosen.cached_tokens) << i;
}

TEST(LateOutputs, AreFoundAsIfTheyHadBeenPublishedInTime) {
  std::int64_t preempted = 0, early = 0;  // hits of what somebody still generated
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    Rng rng(seed, "late-outputs");
    test::LinearCost cost(1000, 3, 1);
    Fleet f;
    f.instances = 1 + rng.below(3);
    const char* routers[] = {"round-robin", "prefix-aware", "prefix-events", "least-requests"};
    f.router = routers[rng.below(4)];
    if (f.router == "prefix-events") f.params = {{"every", "20 us"}, {"lag", "10 us"}};
    f.decisions = rng.below(2) == 0 ? 2 : 0;
    f.engine.block_tokens = rng.below(2) == 0 ? 4 : 16;
    f.engine.kv_blocks = 700 / f.engine.block_tokens;
    f.engine.max_batched_tokens = 64 + static_cast<std::int64_t>(rng.below(200));
    f.engine.max_running = 3 + static_cast<std::int64_t>(rng.below(12));
    f.engine.async_scheduling = rng.below(2) == 0;
    f.engine.publish_preempted = rng.below(2) == 0;
    f.engine.full_sequence_admission = rng.below(2) == 0;
    const std::vector<Request> requests = chats(rng, 150);
    Fleet in_time = f;
    in_time.bandwidth = 1e9;
    SCOPED_TRACE(fmt::format("seed {}, {}", seed, f.router));
    const RunOutcome late = f.run(requests, cost);
    expect_equal(late, in_time.run(requests, cost));
    expect_equal(late, f.run(requests, cost, true));
    std::map<std::uint64_t, Time> over;  // by the last key of a request
    for (const RequestOutcome& o : late.requests) {
      preempted += o.preemptions;
      const std::vector<Segment>& s = requests[o.index].segments;
      if (s.size() > 3)
        if (const auto at = over.find(s[s.size() - 3].key);
            at != over.end() && o.scheduled < at->second)
          early += o.hit_tokens > requests[o.index].prompt_tokens - s[s.size() - 2].tokens -
                                      s[s.size() - 3].tokens + f.engine.block_tokens;
      over[s.back().key] = o.last_token;
    }
  }
  EXPECT_GT(preempted, 100);
  EXPECT_GT(early, 20);
}

}  // namespace
}  // namespace kvsim
