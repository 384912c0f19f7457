// Apt-Serve's composition against every possible one, and hidden states in the engine by formula.
#include <gtest/gtest.h>

#include <cmath>

#include "sim/run/hidden_forms.h"
#include "tests/support/engine_fixture.h"

namespace kvsim {
namespace {

// A rank whose rooms are given.
class Rooms final : public SchedulerRank {
 public:
  std::vector<Room> rooms;
  std::int64_t free = 0, batch = 0;
  std::int64_t hit_tokens(std::uint32_t) override { return 0; }
  [[nodiscard]] std::int64_t running() const override { return batch; }
  [[nodiscard]] std::optional<Duration> host_copy(std::int64_t) const override { return {}; }
  [[nodiscard]] Room room_of(std::uint32_t slot) const override { return rooms.at(slot); }
  [[nodiscard]] std::int64_t free_blocks() const override { return free; }
};

struct Composer {
  Rooms rank;
  std::unique_ptr<Scheduler> policy;
  std::vector<SchedulerRequest> waiting;

  explicit Composer(std::optional<Duration> ttft = {}) {
    Scheduler::Context c;
    c.rank = &rank;
    c.ttft = ttft;
    policy = Registry::instance().make<Scheduler>("apt-serve", Tree::map(), c);
  }
  void add(std::int64_t arrival_ns, SchedulerRank::Room room) {
    SchedulerRequest r;
    r.slot = static_cast<std::uint32_t>(waiting.size());
    r.index = r.slot;
    r.arrival = Time{Duration{arrival_ns}};
    waiting.push_back(r);
    rank.rooms.push_back(room);
    policy->arrived(r, r.arrival);
  }
  // Worth of whom it lets in, which must fit.
  double compose(Time now) {
    policy->prepare(waiting, now);
    double sum = 0;
    std::int64_t blocks = 0;
    for (const SchedulerRequest& r : waiting) {
      if (policy->standing(r, now).is_held()) continue;
      const SchedulerRank::Room& room = rank.rooms[r.slot];
      const bool hidden = policy->keeps_hidden(r);
      blocks += hidden ? room.hidden : room.kv;
      sum += worth(r, now, hidden);
    }
    EXPECT_LE(blocks, rank.free);
    return sum;
  }
  [[nodiscard]] double worth(const SchedulerRequest& r, Time now, bool hidden) const {
    return to_seconds(now - r.arrival) -
           (hidden ? static_cast<double>(waiting.size()) * to_seconds(rank.rooms[r.slot].projection)
                   : 0.0);
  }
  // The same of the best set, over all of them.
  [[nodiscard]] double best(Time now, std::size_t from, std::int64_t free) const {
    if (from == waiting.size()) return 0;
    double most = best(now, from + 1, free);
    const SchedulerRank::Room& room = rank.rooms[from];
    for (const bool hidden : {false, true}) {
      const std::int64_t blocks = hidden ? room.hidden : room.kv;
      if (blocks > free || (hidden && blocks == 0)) continue;
      most = std::max(most, worth(waiting[from], now, hidden) + best(now, from + 1, free - blocks));
    }
    return most;
  }
};

TEST(AptServe, IsWorthHalfOfTheBestSet) {
  double ratio = 0;
  for (std::uint64_t seed = 0; seed < 2000; ++seed) {
    Rng rng(seed, "apt-serve");
    Composer c;
    const auto below = [&](std::uint64_t n) { return static_cast<std::int64_t>(rng.below(n)); };
    for (int i = 0; i < 8; ++i) {
      const std::int64_t kv = 1 + below(20);
      c.add(below(1'000'000), {kv, (kv + 1) / 2, Duration{below(60'000)}});
    }
    c.rank.free = 20 + below(60);
    const Time now{Duration{1'000'001}};
    const double best = c.best(now, 0, c.rank.free), got = c.compose(now);
    ASSERT_GE(got * (2 + 1e-9), best) << "seed " << seed;
    ratio += got / best;
  }
  EXPECT_GT(ratio / 2000, 0.9);
}

// Dense ones first; hidden states where these end more waiting per block than they cost.
TEST(AptServe, ComposesByHand) {
  Composer c;
  c.add(0, {10, 5, Duration{100}});         // 1,000 ns waited
  c.add(500, {2, 1, Duration{1'000'000}});  // too dear
  c.add(900, {10, 5, Duration{1}});
  c.rank.free = 8;
  const Time now{Duration{1000}};
  c.compose(now);
  EXPECT_TRUE(c.policy->keeps_hidden(c.waiting[0]));
  EXPECT_FALSE(c.policy->keeps_hidden(c.waiting[1]));
  EXPECT_LT(c.policy->standing(c.waiting[1], now), c.policy->standing(c.waiting[0], now));
  EXPECT_TRUE(c.policy->standing(c.waiting[2], now).is_held());
  c.rank.free = 20;  // now the first has keys and values
  c.compose(now);
  EXPECT_FALSE(c.policy->keeps_hidden(c.waiting[0]));
  EXPECT_TRUE(c.policy->keeps_hidden(c.waiting[2]));
}

TEST(AptServe, WhoIsLateGoesLast) {
  Composer c(Duration{500});
  c.add(0, {2, 0, {}});
  c.add(900, {8, 0, {}});
  c.rank.free = 8;
  const Time now{Duration{1000}};
  c.compose(now);
  EXPECT_TRUE(c.policy->standing(c.waiting[0], now).is_held());
  EXPECT_FALSE(c.policy->standing(c.waiting[1], now).is_held());
}

EngineConfig engine(std::int64_t blocks, KvForms* forms, bool weigh_again = false) {
  EngineConfig e;
  e.block_tokens = 16;
  e.kv_blocks = blocks;
  e.max_batched_tokens = 4096;
  e.max_running = 16;
  e.async_scheduling = false;
  e.prefix_caching = false;
  e.forms = forms;
  e.make_scheduler =
      test::make_scheduler("apt-serve", {{"weigh_again", weigh_again ? "true" : "false"}});
  return e;
}

// Hidden states as large as keys and values: nobody keeps them, and the run is the one without.
TEST(HiddenStates, AreNotKeptWhereTheyGainNothing) {
  std::vector<Request> requests;
  Rng rng(5, "hidden");
  for (int i = 0; i < 60; ++i)
    requests.push_back(test::request(static_cast<std::int64_t>(rng.below(200'000)),
                                     1 + static_cast<std::int64_t>(rng.below(90)),
                                     1 + static_cast<std::int64_t>(rng.below(90))));
  test::LinearCost cost(1000, 30, 2);
  HiddenForms forms(16, 16, 50);
  const RunOutcome with = test::simulate(engine(40, &forms), requests, cost);
  const RunOutcome without = test::simulate(engine(40, nullptr), requests, cost);
  std::int64_t preemptions = 0;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    EXPECT_EQ(with.requests[i].last_token, without.requests[i].last_token);
    EXPECT_EQ(with.requests[i].ttft_ns, without.requests[i].ttft_ns);
    preemptions += with.requests[i].preemptions;
  }
  EXPECT_EQ(with.digest, without.digest);
  EXPECT_EQ(with.ranks[0].forms.hidden, 0);
  EXPECT_GT(preemptions, 0);
}

// Six blocks hold 96 tokens of keys and values, 192 of hidden states. The second request finds
// three, too few for its 64 tokens; as hidden states they take two. That is worth it once it has
// waited for twice what the two requests then wait longer, 4 * 7 * 64 ns, which is after the third
// iteration. Each of its steps projects the tokens before it.
TEST(HiddenStates, CostAProjectionAStep) {
  constexpr std::int64_t kStep = 1000, kProject = 7;
  test::LinearCost cost(kStep, 0, 0);
  HiddenForms forms(16, 32, kProject);
  const std::vector<Request> requests{test::request(0, 40, 8), test::request(500, 64, 5)};
  const RunOutcome out = test::simulate(engine(6, &forms), requests, cost);
  ASSERT_EQ(out.ranks[0].forms.hidden, 1);
  // Its prompt in the fourth iteration, then four steps over 64 to 67 tokens.
  const std::int64_t projections = kProject * (64 + 65 + 66 + 67);
  EXPECT_EQ(to_ns(out.requests[1].last_token - Time{}), 8 * kStep + projections);
  EXPECT_EQ(out.ranks[0].forms.restore_ns, projections);
  EXPECT_EQ(out.ranks[0].peak_blocks, 3 + 3);
}

// The same, weighed again: it makes way after each token that it gets so, until there is room for
// its keys and values; nothing is ever projected.
TEST(HiddenStates, MakeWayForKeysAndValues) {
  test::LinearCost cost(1000, 0, 0);
  HiddenForms forms(16, 32, 7);
  const std::vector<Request> requests{test::request(0, 40, 8), test::request(500, 64, 5)};
  const RunOutcome out = test::simulate(engine(6, &forms, true), requests, cost);
  EXPECT_GT(out.ranks[0].forms.hidden, 0);
  EXPECT_LT(out.ranks[0].forms.hidden, out.ranks[0].forms.turned);
  EXPECT_EQ(out.ranks[0].forms.restore_ns, 0);
  EXPECT_EQ(out.requests[1].preemptions, static_cast<std::uint32_t>(out.ranks[0].forms.hidden));
  EXPECT_GT(out.requests[1].recomputed_tokens, 0);
}

}  // namespace
}  // namespace kvsim
