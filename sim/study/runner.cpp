#include "sim/study/runner.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "sim/base/check.h"
#include "sim/study/wire.h"

namespace kvsim {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kAlone{100}, kTogether{2};  // between two looks at what has come
// Looks with nothing to do before an idle rank runs a trial that another one may still finish: a
// second or so, so that the copies cost nothing where trials are short.
constexpr int kPatience = 20;
constexpr milliseconds kRetry{50};              // before asking again
constexpr milliseconds kSilence{30'000};        // of rank 0, which answers within milliseconds
constexpr milliseconds kFirstSilence{600'000};  // while it checks the study

// Threads that run jobs; the owner submits and collects from one thread.
class Pool {
 public:
  Pool(int threads, const RunJob& run) : run_(&run), idle_(threads) {
    for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
  }
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;
  ~Pool() {
    cancelled_ = true;
    {
      const std::lock_guard lock(mutex_);
      jobs_.clear();
      closed_ = true;
    }
    wake_.notify_all();
    for (std::thread& t : threads_) t.join();
  }

  // Threads that have nothing to do.
  [[nodiscard]] int idle() const { return idle_; }
  void submit(TrialJob job) {
    --idle_;
    {
      const std::lock_guard lock(mutex_);
      jobs_.push_back(std::move(job));
    }
    wake_.notify_one();
  }
  using Result = std::pair<std::size_t, TrialResult>;
  // What is done by now, or within `patience`.
  std::vector<Result> collect(milliseconds patience) {
    std::vector<Result> out;
    std::unique_lock lock(mutex_);
    done_.wait_for(lock, patience, [&] { return !results_.empty(); });
    out.swap(results_);
    idle_ += static_cast<int>(out.size());
    return out;
  }

 private:
  void work() {
    for (;;) {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return closed_ || !jobs_.empty(); });
      if (closed_) return;
      const TrialJob job = std::move(jobs_.front());
      jobs_.pop_front();
      lock.unlock();
      TrialResult result = (*run_)(job, cancelled_);
      lock.lock();
      results_.emplace_back(job.trial, std::move(result));
      done_.notify_one();
    }
  }

  const RunJob* run_;
  int idle_;  // of the owner
  std::atomic<bool> cancelled_{false};
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  std::deque<TrialJob> jobs_;
  std::vector<Result> results_;
  bool closed_ = false;
  std::vector<std::thread> threads_;
};

// Who has which trial.
class Ledger {
 public:
  explicit Ledger(std::span<const std::size_t> pending) : fresh_(pending.begin(), pending.end()) {
    left_ = fresh_.size();
  }
  [[nodiscard]] bool is_done() const { return left_ == 0; }
  // A trial for `rank`: a fresh one, or, after some patience, a copy of one that others have.
  std::optional<std::size_t> next(int rank) {
    if (!fresh_.empty()) {
      const std::size_t trial = fresh_.front();
      fresh_.pop_front();
      out_.push_back({trial, {rank}});
      return trial;
    }
    if (++looks_[rank] < kPatience) return std::nullopt;
    Handed* least = nullptr;
    for (Handed& h : out_)
      if (!h.ranks.contains(rank) && (least == nullptr || h.ranks.size() < least->ranks.size()))
        least = &h;
    if (least == nullptr) return std::nullopt;
    looks_[rank] = 0;
    least->ranks.insert(rank);
    return least->trial;
  }
  // Whether this is the first result of the trial.
  bool accept(std::size_t trial) {
    const auto it = std::ranges::find(out_, trial, &Handed::trial);
    if (it == out_.end()) return false;
    out_.erase(it);
    --left_;
    return true;
  }

 private:
  struct Handed {
    std::size_t trial;
    std::set<int> ranks;
  };
  std::deque<std::size_t> fresh_;
  std::vector<Handed> out_;  // in the order of handing out
  std::map<int, int> looks_;
  std::size_t left_ = 0;
};

class Head {
 public:
  Head(std::span<const std::size_t> pending, const Distribution& d)
      : d_(&d), ledger_(pending), pool_(d.threads, d.run), rank_(d.team ? d.team->rank() : 0) {}

  void run() {
    const milliseconds pause = d_->team != nullptr ? kTogether : kAlone;
    // Copies of other ranks' trials are looked for no more often than those ranks ask.
    milliseconds since_feed{kRetry}, since_idle{0};
    while (!ledger_.is_done()) {
      if (since_feed >= kRetry) {
        since_feed = milliseconds{0};
        feed();
      }
      listen();
      auto results = pool_.collect(pause);
      for (auto& [trial, result] : results) accept(trial, std::move(result));
      since_feed += results.empty() ? pause : kRetry;
      since_idle += results.empty() ? pause : milliseconds{0};
      if (since_idle < kAlone) continue;
      since_idle = milliseconds{0};
      if (d_->idle) d_->idle();
    }
  }

 private:
  void feed() {
    while (pool_.idle() > 0) {
      const auto trial = ledger_.next(rank_);
      if (!trial) return;
      pool_.submit(d_->job(*trial));
    }
  }
  void listen() {
    while (d_->team != nullptr && !ledger_.is_done()) {
      const auto frame = d_->team->receive();
      if (!frame) return;
      auto message = unpack(frame->bytes);
      if (!message) continue;
      if (message->kind == Message::Kind::result)
        accept(message->trial, std::move(message->result));
      else if (message->kind == Message::Kind::ask)
        answer(frame->from, message->slots);
    }
  }
  void answer(int rank, std::uint32_t slots) {
    Message jobs;
    jobs.kind = Message::Kind::jobs;
    while (jobs.jobs.size() < slots) {
      const auto trial = ledger_.next(rank);
      if (!trial) break;
      jobs.jobs.push_back(d_->job(*trial));
    }
    d_->team->send(rank, pack(jobs));
  }
  void accept(std::size_t trial, TrialResult&& result) {
    if (ledger_.accept(trial)) d_->done(trial, std::move(result));
  }

  const Distribution* d_;
  Ledger ledger_;
  Pool pool_;
  int rank_;
};

}  // namespace

TrialResult run_job(const TrialJob& job, const std::atomic<bool>& cancelled) {
  TrialInput input;
  input.sets = job.sets;
  input.seed = job.seed;
  input.quality = job.quality;
  input.cancelled = &cancelled;
  try {
    return run_trial(job.scenario, input);
  } catch (const std::exception& e) {  // also no memory: the next trial may need less
    TrialResult result;
    result.error = fmt::format("internal error: {}", e.what());
    return result;
  }
}

void run_trials(std::span<const std::size_t> pending, const Distribution& d) {
  KVSIM_CHECK(d.threads > 0, "{} threads", d.threads);
  Head(pending, d).run();
}

bool serve_trials(Team& team, int threads, const RunJob& run) {
  Pool pool(threads, run);
  bool asked = false, answered = false;
  milliseconds waiting{0};  // for the answer, or until the next question
  for (;;) {
    while (const auto frame = team.receive()) {
      auto message = unpack(frame->bytes);
      if (!message) continue;
      if (message->kind == Message::Kind::stop) return true;
      if (message->kind != Message::Kind::jobs) continue;
      asked = false;
      answered = true;
      waiting = message->jobs.empty() ? kRetry : milliseconds{0};
      for (TrialJob& job : message->jobs) pool.submit(std::move(job));
    }
    if (!asked && pool.idle() > 0 && waiting <= milliseconds{0}) {
      Message ask;
      ask.slots = static_cast<std::uint32_t>(pool.idle());
      team.send(0, pack(ask));
      asked = true;
      waiting = answered ? kSilence : kFirstSilence;
    }
    auto results = pool.collect(kTogether);
    if (results.empty()) waiting -= kTogether;
    if (asked && waiting <= milliseconds{0}) return false;
    for (auto& [trial, result] : results) {
      Message m;
      m.kind = Message::Kind::result;
      m.trial = trial;
      m.result = std::move(result);
      team.send(0, pack(m));
      if (!asked) waiting = milliseconds{0};
    }
  }
}

void dismiss(Team& team) {
  Message stop;
  stop.kind = Message::Kind::stop;
  for (int rank = 0; rank < team.size(); ++rank)
    if (rank != team.rank()) team.send(rank, pack(stop));
}

}  // namespace kvsim
