// Who runs which trial must not show; ranks that die must not matter.
#include "sim/study/runner.h"

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <mutex>
#include <numeric>
#include <set>
#include <thread>

#include "sim/base/diagnostics.h"
#include "sim/study/wire.h"

namespace kvsim {
namespace {

// Frames between threads that play ranks.
class Net {
 public:
  explicit Net(int size) : boxes_(static_cast<std::size_t>(size)) {}
  class Seat final : public Team {
   public:
    Seat(Net& net, int rank) : net_(&net), rank_(rank) {}
    [[nodiscard]] int rank() const override { return rank_; }
    [[nodiscard]] int size() const override { return static_cast<int>(net_->boxes_.size()); }
    void send(int to, std::string_view bytes) override {
      const std::lock_guard lock(net_->mutex_);
      net_->boxes_[static_cast<std::size_t>(to)].push_back({rank_, std::string(bytes)});
    }
    std::optional<Frame> receive() override {
      const std::lock_guard lock(net_->mutex_);
      auto& box = net_->boxes_[static_cast<std::size_t>(rank_)];
      if (box.empty()) return std::nullopt;
      Frame f = std::move(box.front());
      box.pop_front();
      return f;
    }

   private:
    Net* net_;
    int rank_;
  };

 private:
  std::mutex mutex_;
  std::vector<std::deque<Team::Frame>> boxes_;
};

TrialResult square(const TrialJob& job, const std::atomic<bool>&) {
  TrialResult r;
  r.event_digest = std::to_string(job.trial * job.trial);
  return r;
}

Distribution distribution(std::map<std::size_t, std::string>& results, int threads) {
  Distribution d;
  d.threads = threads;
  d.job = [](std::size_t trial) { return TrialJob{trial, "s", {}, std::nullopt}; };
  d.done = [&results](std::size_t trial, TrialResult&& r) {
    EXPECT_TRUE(results.emplace(trial, r.event_digest).second) << "trial " << trial << " twice";
  };
  d.run = square;
  return d;
}

std::vector<std::size_t> first(std::size_t n) {
  std::vector<std::size_t> all(n);
  std::iota(all.begin(), all.end(), std::size_t{0});
  return all;
}

void expect_squares(const std::map<std::size_t, std::string>& results, std::size_t n) {
  ASSERT_EQ(results.size(), n);
  for (const auto& [trial, text] : results) EXPECT_EQ(text, std::to_string(trial * trial));
}

TEST(Runner, ThreadsRunEachTrialOnce) {
  for (const int threads : {1, 2, 7}) {
    std::map<std::size_t, std::string> results;
    run_trials(first(100), distribution(results, threads));
    expect_squares(results, 100);
  }
}

TEST(Runner, OnlyWhatIsPendingRuns) {
  std::map<std::size_t, std::string> results;
  const std::vector<std::size_t> pending{3, 17};
  run_trials(pending, distribution(results, 2));
  EXPECT_EQ(results, (std::map<std::size_t, std::string>{{3, "9"}, {17, "289"}}));
  run_trials({}, distribution(results, 2));
}

TEST(Runner, AFullDiskEndsItAndCancelsWhatRuns) {
  std::map<std::size_t, std::string> results;
  Distribution d = distribution(results, 2);
  d.run = [](const TrialJob& job, const std::atomic<bool>& cancelled) {
    while (job.trial == 1 && !cancelled) std::this_thread::yield();  // for ever, but for the flag
    return TrialResult{};
  };
  d.done = [](std::size_t, TrialResult&&) { throw InputError("no space left"); };
  EXPECT_THROW(run_trials(first(50), d), InputError);
}

TEST(Runner, RanksShareTheTrials) {
  Net net(3);
  std::map<std::size_t, std::string> results;
  std::set<int> workers;
  std::mutex mutex;
  std::vector<std::thread> ranks;
  for (int rank = 1; rank < 3; ++rank)
    ranks.emplace_back([&, rank] {
      Net::Seat seat(net, rank);
      EXPECT_TRUE(serve_trials(seat, 1, [&](const TrialJob& job, const std::atomic<bool>& c) {
        const std::lock_guard lock(mutex);
        workers.insert(rank);
        return square(job, c);
      }));
    });
  Net::Seat head(net, 0);
  Distribution d = distribution(results, 1);
  d.team = &head;
  d.run = [](const TrialJob& job, const std::atomic<bool>& c) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    return square(job, c);
  };
  run_trials(first(60), d);
  dismiss(head);
  for (std::thread& t : ranks) t.join();
  expect_squares(results, 60);
  EXPECT_EQ(workers.size(), 2U);
}

// Rank 1 takes a job and is never heard of again; rank 2 answers everything, twice.
TEST(Runner, TrialsOfDeadRanksAreRunAgainAndSecondAnswersDropped) {
  Net net(3);
  Net::Seat dead(net, 1), echo(net, 2), head(net, 0);
  Message ask;
  ask.slots = 4;
  dead.send(0, pack(ask));
  std::thread second([&] {
    Message one;
    one.slots = 1;
    echo.send(0, pack(one));
    for (;;) {
      const auto frame = echo.receive();
      if (!frame) {
        std::this_thread::yield();
        continue;
      }
      const auto message = unpack(frame->bytes);
      ASSERT_TRUE(message);
      if (message->kind == Message::Kind::stop) return;
      for (const TrialJob& job : message->jobs) {
        Message result;
        result.kind = Message::Kind::result;
        result.trial = job.trial;
        result.result = square(job, false);
        echo.send(0, pack(result));
        echo.send(0, pack(result));
      }
      echo.send(0, pack(one));
    }
  });
  std::map<std::size_t, std::string> results;
  Distribution d = distribution(results, 1);
  d.team = &head;
  run_trials(first(20), d);
  dismiss(head);
  second.join();
  expect_squares(results, 20);
}

TEST(Runner, AFailureOfAnyKindIsTheTrialsOwn) {
  const std::atomic<bool> never{false}, at_once{true};
  EXPECT_NE(run_job({0, "/nowhere.yaml", {}, std::nullopt}, never).error, "");
  const std::string quick = std::string(KVSIM_SOURCE_DIR) + "/scenarios/quickstart.yaml";
  EXPECT_NE(run_job({0, quick, {}, std::nullopt}, at_once).error.find("cancelled"),
            std::string::npos);
  EXPECT_EQ(run_job({0, quick, {"workload.limit=5"}, 3}, never).error, "");
}

TEST(Wire, MessagesSurvive) {
  Message m;
  m.kind = Message::Kind::result;
  m.trial = 77;
  m.jobs.push_back({5, "a.yaml", {"x=1", "y={a: b}"}, 9});
  m.jobs.push_back({6, "b.yaml", {}, std::nullopt});
  m.result.error = "line\nline";
  m.result.metrics = {{"run", "ttft_ms", "p99", 1.0 / 3, "ms"},
                      {"instance:0", "x", "value", 1, ""}};
  const std::string bytes = pack(m);
  const auto back = unpack(bytes);
  ASSERT_TRUE(back);
  EXPECT_EQ(back->trial, 77U);
  ASSERT_EQ(back->jobs.size(), 2U);
  EXPECT_EQ(back->jobs[0].sets, m.jobs[0].sets);
  EXPECT_EQ(back->jobs[0].seed, 9U);
  EXPECT_EQ(back->jobs[1].seed, std::nullopt);
  EXPECT_EQ(back->result.error, "line\nline");
  ASSERT_EQ(back->result.metrics.size(), 1U);
  EXPECT_EQ(back->result.metrics[0].value, 1.0 / 3);
  for (std::size_t n = 0; n < bytes.size(); ++n) EXPECT_FALSE(unpack(bytes.substr(0, n)));
  EXPECT_FALSE(unpack(bytes + "x"));
}

}  // namespace
}  // namespace kvsim
