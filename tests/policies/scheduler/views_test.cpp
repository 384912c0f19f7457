// What schedulers make of what they see: prefixes, deadlines, guesses; and admission control.
#include <gtest/gtest.h>

#include <cmath>

#include "policies/scheduler/fluid.h"
#include "policies/scheduler/job_size.h"
#include "tests/support/engine_fixture.h"

namespace kvsim {
namespace {

using namespace std::chrono_literals;

class Hits final : public SchedulerRank {
 public:
  explicit Hits(std::vector<std::int64_t> tokens) : tokens_(std::move(tokens)) {}
  std::int64_t hit_tokens(std::uint32_t slot) override { return tokens_.at(slot); }
  [[nodiscard]] std::int64_t running() const override { return 1; }
  [[nodiscard]] std::optional<Duration> host_copy(std::int64_t) const override { return {}; }
  [[nodiscard]] Room room_of(std::uint32_t) const override { return {}; }
  [[nodiscard]] std::int64_t free_blocks() const override { return 0; }

 private:
  std::vector<std::int64_t> tokens_;
};

// Computing takes a microsecond a token.
class Linear final : public StepEstimator {
 public:
  [[nodiscard]] Duration prefill(std::int64_t from, std::int64_t to) const override {
    return Duration{1000 * (to - from)};
  }
  [[nodiscard]] Duration project(std::int64_t tokens) const override { return Duration{tokens}; }
  [[nodiscard]] Duration decode(std::int64_t) const override { return Duration{1000}; }
};

Tree params_of(const std::vector<std::pair<std::string, std::string>>& given) {
  Tree t = Tree::map();
  for (const auto& [key, value] : given) t.set(key, Tree::scalar(value));
  return t;
}

// Slots in the order in which they would be admitted.
std::vector<std::uint32_t> order_of(Scheduler& s, std::vector<SchedulerRequest> waiting, Time now) {
  s.prepare(waiting, now);
  std::vector<std::pair<Standing, std::uint32_t>> all;
  for (const SchedulerRequest& r : waiting) all.emplace_back(s.standing(r, now), r.slot);
  std::stable_sort(all.begin(), all.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<std::uint32_t> slots;
  for (const auto& [standing, slot] : all) slots.push_back(slot);
  return slots;
}

std::vector<SchedulerRequest> queue_of(const std::vector<std::vector<ContentChunk>>& contents) {
  std::vector<SchedulerRequest> all;
  for (std::uint32_t i = 0; i < contents.size(); ++i) {
    SchedulerRequest r;
    r.slot = i;
    r.index = i;
    r.arrival = Time{Duration{i}};
    r.prompt = contents[i].empty() ? 100 : contents[i].back().end * 16;
    r.output = 10;
    r.content = contents[i];
    all.push_back(r);
  }
  return all;
}

// engine-semantics section 9: by matched prefix; who shares much with an earlier one of the queue
// while little of both is cached lets that one go first; by arrival when many wait.
TEST(Lpm, LongestMatchFirst) {
  const std::vector<std::vector<ContentChunk>> contents{
      {{1, 4}, {2, 9}}, {{1, 4}, {3, 9}}, {{7, 9}}, {{8, 1}, {9, 9}}, {{8, 1}, {10, 9}}};
  Hits hits({0, 0, 64, 32, 48});
  Scheduler::Context c;
  c.rank = &hits;
  const auto lpm = Registry::instance().make<Scheduler>("lpm", Tree::map(), c);
  EXPECT_EQ(order_of(*lpm, queue_of(contents), {}), (std::vector<std::uint32_t>{2, 4, 3, 0, 1}));
  const auto short_queue =
      Registry::instance().make<Scheduler>("lpm", params_of({{"fall_back", "4"}}), c);
  EXPECT_EQ(order_of(*short_queue, queue_of(contents), {}),
            (std::vector<std::uint32_t>{0, 1, 2, 3, 4}));
  const auto aged =
      Registry::instance().make<Scheduler>("lpm", params_of({{"max_wait", "7 ns"}}), c);
  EXPECT_EQ(order_of(*aged, queue_of(contents), Time{Duration{9}}),
            (std::vector<std::uint32_t>{0, 1, 2, 4, 3}));
}

// Tree: 1 -> {2, 3}, 5. Below 1 wait four, two of them below 2; below 5 waits one; one has nothing.
TEST(DfsWeight, FollowsTheHeaviestBranch) {
  const std::vector<std::vector<ContentChunk>> contents{
      {{4, 9}},         {{5, 9}},         {{1, 4}, {3, 9}},
      {{1, 4}, {2, 9}}, {{1, 4}, {6, 9}}, {{1, 4}, {2, 9}, {7, 12}}};
  Hits hits({0, 144, 144, 144, 64, 144});
  Scheduler::Context c;
  c.rank = &hits;
  const auto dfs = Registry::instance().make<Scheduler>("dfs-weight", Tree::map(), c);
  EXPECT_EQ(order_of(*dfs, queue_of(contents), {}), (std::vector<std::uint32_t>{3, 5, 2, 4, 1, 0}));
}

// Two below prefix 1 (64 tokens) share 320 with each other, two others 320 as well: 2 * 256 more
// are saved by two groups of two than by one of four. The pair below 2 decodes the most, so it is
// first; a group that has begun goes on.
TEST(PrefixGroups, GroupWhatSavesMostDecodeHeavyFirst) {
  const std::vector<std::vector<ContentChunk>> contents{
      {{1, 4}, {11, 20}}, {{1, 4}, {12, 20}}, {{2, 6}}, {{1, 4}, {11, 20}},
      {{1, 4}, {12, 20}}, {{2, 6}},           {{9, 6}}};
  std::vector<SchedulerRequest> waiting = queue_of(contents);
  waiting[2].output = waiting[5].output = 100;
  waiting[1].output = 11;
  const auto s = Registry::instance().make<Scheduler>("prefix-groups", Tree::map(), {});
  for (const SchedulerRequest& r : waiting) s->arrived(r, {});
  EXPECT_EQ(order_of(*s, waiting, {}), (std::vector<std::uint32_t>{2, 5, 6, 1, 4, 0, 3}));
  s->admitted(waiting[0], {});
  waiting.erase(waiting.begin());
  EXPECT_EQ(order_of(*s, waiting, {}), (std::vector<std::uint32_t>{3, 2, 5, 6, 1, 4}));
}

TEST(Deadlines, EarliestAndLeastSlack) {
  std::vector<SchedulerRequest> waiting = queue_of({{}, {}, {}});
  waiting[0].prompt = 5000;
  waiting[1].prompt = 100;
  waiting[2].prompt = 4000;
  Linear steps;
  Scheduler::Context c;
  c.ttft = 6ms;
  c.steps = &steps;
  const auto edf = Registry::instance().make<Scheduler>("edf", Tree::map(), c);
  EXPECT_EQ(order_of(*edf, waiting, {}), (std::vector<std::uint32_t>{0, 1, 2}));
  Tree per_token = Tree::map(), deadline = params_of({{"per_token", "1 us"}});
  per_token.set("deadline", deadline);
  per_token.set("late_last", Tree::scalar("true"));
  const auto scaled = Registry::instance().make<Scheduler>("edf", per_token, c);
  EXPECT_EQ(order_of(*scaled, waiting, {}), (std::vector<std::uint32_t>{1, 2, 0}));
  EXPECT_EQ(order_of(*scaled, waiting, Time{10500us}), (std::vector<std::uint32_t>{0, 1, 2}));
  // Prompts take 5, 0.1 and 4 ms: the last instants to begin are 1, 5.9 and 2 ms.
  const auto slack = Registry::instance().make<Scheduler>("least-slack", Tree::map(), c);
  EXPECT_EQ(order_of(*slack, waiting, {}), (std::vector<std::uint32_t>{0, 2, 1}));
  const auto hopeless =
      Registry::instance().make<Scheduler>("least-slack", params_of({{"late_last", "true"}}), c);
  EXPECT_EQ(order_of(*hopeless, waiting, Time{1500us}), (std::vector<std::uint32_t>{2, 1, 0}));
  Scheduler::Context none;
  EXPECT_THROW(Registry::instance().make<Scheduler>("edf", Tree::map(), none), InputError);
}

// The factor has median 1 and the logarithm's deviation that was asked for, and belongs to the
// request.
TEST(LengthGuess, ErrsAsStated) {
  const LengthGuess guess(7, 0.6), again(7, 0.6), oracle(7, 0);
  double sum = 0, squares = 0;
  constexpr int kRequests = 20'000;
  for (int i = 0; i < kRequests; ++i) {
    SchedulerRequest r;
    r.index = static_cast<std::uint64_t>(i);
    r.output = 1'000'000;
    EXPECT_EQ(guess.output(r), again.output(r));
    EXPECT_EQ(oracle.output(r), r.output);
    const double log = std::log(static_cast<double>(guess.output(r)) / 1e6);
    sum += log;
    squares += log * log;
    r.sampled = 50'000'000;
    EXPECT_GE(guess.left(r), 1);
  }
  EXPECT_NEAR(sum / kRequests, 0, 0.02);
  EXPECT_NEAR(std::sqrt(squares / kRequests), 0.6, 0.02);
}

EngineConfig small_engine() {
  EngineConfig e;
  e.kv_blocks = 1000;
  e.max_running = 1;
  e.async_scheduling = false;
  return e;
}

// Who waits takes the place of a less urgent one that runs, if that is allowed and by the margin.
TEST(Priority, DisplacesByTheMargin) {
  const auto first_of = [](std::vector<std::pair<std::string, std::string>> params) {
    std::vector<Request> requests{test::request(0, 10, 50), test::request(500, 10, 5)};
    requests[0].priority = 10;
    EngineConfig e = small_engine();
    e.make_scheduler = test::make_scheduler("priority", std::move(params));
    test::LinearCost cost(100, 0, 0);
    const RunOutcome out = test::simulate(e, requests, cost);
    EXPECT_LE(out.requests[0].preemptions, 1U);
    return out.requests[0].last_token < out.requests[1].last_token ? 0 : 1;
  };
  EXPECT_EQ(first_of({}), 0);
  EXPECT_EQ(first_of({{"preempt", "true"}}), 1);
  EXPECT_EQ(first_of({{"preempt", "true"}, {"margin", "9"}}), 1);
  EXPECT_EQ(first_of({{"preempt", "true"}, {"margin", "10"}}), 0);
}

MakeAdmission make_admission(const std::string& name, const Tree& params) {
  return [=](const Admission::Context& c) {
    return Registry::instance().make<Admission>(name, params, c);
  };
}

// One runs, two may wait: of five at once two are refused, on the spot and with a reason.
TEST(Admission, QueueLimitRefusesTheRest) {
  EngineConfig e = small_engine();
  e.make_admission = make_admission("queue-limit", params_of({{"requests", "2"}}));
  std::vector<Request> requests{test::request(0, 10, 50)};
  for (int i = 0; i < 4; ++i) requests.push_back(test::request(500, 10, 5));
  test::LinearCost cost(100, 0, 0);
  const RunOutcome out = test::simulate(e, requests, cost);
  int refused = 0;
  for (const RequestOutcome& r : out.requests) {
    if (r.outcome == Outcome::finished) continue;
    EXPECT_EQ(r.outcome, Outcome::rejected);
    EXPECT_STREQ(r.reason, "too many requests wait");
    EXPECT_EQ(r.last_token, r.arrival);
    ++refused;
  }
  EXPECT_EQ(refused, 2);
}

// Prompts of 100 tokens take 1.1 us each; with 5 us to the first token the queue never holds more
// than four, and who was taken in is in time but for the iteration under way, which is not counted.
TEST(Admission, EarlyRejectionKeepsTheRestInTime) {
  EngineConfig e = small_engine();
  e.ttft_objective = 5us;
  std::vector<Request> requests;
  for (int i = 0; i < 200; ++i) requests.push_back(test::request(400 * i, 100, 1));
  test::LinearCost cost(100, 10, 0);
  const auto late = [&](const RunOutcome& out) {
    std::int64_t n = 0;
    for (const RequestOutcome& r : out.requests)
      n += r.outcome == Outcome::finished && r.first_token - r.arrival > 6100ns;
    return n;
  };
  EXPECT_GT(late(test::simulate(e, requests, cost)), 100);
  e.make_admission = make_admission("predicted-ttft", Tree::map());
  const RunOutcome out = test::simulate(e, requests, cost);
  EXPECT_EQ(late(out), 0);
  std::int64_t served = 0;
  for (const RequestOutcome& r : out.requests) served += r.outcome == Outcome::finished;
  EXPECT_GT(served, 60);  // 200 * 0.4 / 1.1 = 73 at full speed
  Admission::Context none;
  EXPECT_THROW(Registry::instance().make<Admission>("predicted-ttft", Tree::map(), none),
               InputError);
}

// FastServe's estimate: what is left of the quantum of its queue, and of the wait for promotion.
TEST(Mlfq, TellsWhenItsTurnEnds) {
  const Linear steps;
  Scheduler::Context c;
  c.steps = &steps;
  const auto mlfq = Registry::instance().make<Scheduler>(
      "mlfq", params_of({{"quantum", "10 us"}, {"growth", "2"}, {"promote_after", "1 ms"}}), c);
  SchedulerRequest r;
  r.prompt = 4;
  mlfq->arrived(r, Time{});
  r.computed = 4;
  r.attained = 13us;  // 10 in the first queue, 3 of 20 in the second
  r.running = true;
  (void)mlfq->standing(r, Time{Duration{13us}});
  EXPECT_EQ(mlfq->turn(r, Time{Duration{13us}}).length, 17us);
  EXPECT_EQ(mlfq->turn(r, Time{Duration{13us}}).promotion, Duration::max());
  mlfq->preempted(r, Time{Duration{13us}});
  r.running = false;
  r.sampled = 1;
  const Scheduler::Turn turn = mlfq->turn(r, Time{Duration{513us}});
  EXPECT_EQ(turn.length, 17us);
  EXPECT_EQ(turn.promotion, 500us);
}

// Ten requests a second with prompts of 1,000 tokens; half of the outputs have 100 tokens, half
// 300. An iteration takes 10 ms, 1 us more for a token of KV, and a prompt 15 ms more than one of
// no tokens: b = 10 ms + b 10/s (1 us (200 * 1000 + 50,000 / 2) + 15 ms) has no solution; at 2/s it
// is 10 ms / 0.52.
TEST(Fluid, EquilibriumByHand) {
  class Steps final : public StepEstimator {
   public:
    [[nodiscard]] Duration prefill(std::int64_t, std::int64_t to) const override {
      return 10ms + Duration{15'000 * to};
    }
    [[nodiscard]] Duration project(std::int64_t) const override { return {}; }
    [[nodiscard]] Duration decode(std::int64_t context) const override {
      return 10ms + Duration{1000 * (context - 1)};
    }
  } steps;
  const auto model = [&](std::int64_t gap_ms) {
    FluidModel m({200, 1000}, &steps);
    for (std::int64_t i = 0; i < 101; ++i) m.arrived(1000, Time{Duration{i * gap_ms * 1'000'000}});
    for (int i = 0; i < 100; ++i) m.ended(i % 2 == 0 ? 100 : 300);
    return m;
  };
  EXPECT_NEAR(model(500).iteration(), 0.010 / (1 - 2 * (1e-6 * 225'000 + 0.015)), 1e-9);
  EXPECT_NEAR(model(100).iteration(), 20 * 0.010, 1e-9);
  EXPECT_EQ(model(500).group(0, 64), 1);
  // 1,000 a second enter 200 at a time, half of them the second segment, nobody the third.
  EXPECT_EQ(model(1).group(0, 1000), 200);
  EXPECT_EQ(model(1).group(1, 1000), 100);
  EXPECT_EQ(model(1).group(2, 1000), 1);
  EXPECT_EQ(model(1).group(0, 64), 64);
}

}  // namespace
}  // namespace kvsim
