#include "kernels/threads.h"

#include <time.h>

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "sim/base/check.h"

namespace kvsim::kernels {

namespace {

constexpr std::int64_t kSpinNs = 50'000;

std::int64_t now_ns() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return std::int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}

void relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#endif
}

// Returns when `word` is no longer `old`: spins first, because calls of kernels follow each other
// within microseconds and waking a sleeper costs about 50 us.
void wait_for_change(const std::atomic<std::uint32_t>& word, std::uint32_t old) {
  const std::int64_t end = now_ns() + kSpinNs;
  do {
    for (int i = 0; i < 64; ++i) {
      if (word.load(std::memory_order_acquire) != old) return;
      relax();
    }
  } while (now_ns() < end);
  while (word.load(std::memory_order_acquire) == old) word.wait(old, std::memory_order_acquire);
}

}  // namespace

struct Threads::Team {
  int count = 1;
  void* work = nullptr;
  void (*call)(void*, int) = nullptr;
  std::atomic<std::uint32_t> calls{0};     // counts up with every call; workers start on a change
  std::atomic<std::uint32_t> finished{0};  // counts up with every call; the caller waits for it
  std::atomic<int> running{0};
  std::atomic<bool> stop{false};
  std::vector<std::thread> workers;

  void serve(int thread) noexcept {
    for (std::uint32_t seen = 0;;) {
      wait_for_change(calls, seen);
      ++seen;
      if (stop.load(std::memory_order_relaxed)) return;
      call(work, thread);
      if (running.fetch_sub(1, std::memory_order_acq_rel) == 1) {
        finished.fetch_add(1, std::memory_order_release);
        finished.notify_one();
      }
    }
  }
};

Threads::Threads(int count) : team_(std::make_unique<Team>()) {
  KVSIM_CHECK(count >= 1, "a team of {} threads", count);
  team_->count = count;
  for (int thread = 1; thread < count; ++thread)
    team_->workers.emplace_back([team = team_.get(), thread] { team->serve(thread); });
}

Threads::~Threads() {
  team_->stop.store(true, std::memory_order_relaxed);
  team_->calls.fetch_add(1, std::memory_order_release);
  team_->calls.notify_all();
  for (std::thread& worker : team_->workers) worker.join();
}

int Threads::count() const { return team_->count; }

void Threads::run_erased(void* work, void (*call)(void*, int)) {
  // An exception may not leave: the other threads still use what it would unwind.
  const auto own = [&]() noexcept { call(work, 0); };
  if (team_->count == 1) return own();
  team_->work = work;
  team_->call = call;
  team_->running.store(team_->count - 1, std::memory_order_relaxed);
  const std::uint32_t before = team_->finished.load(std::memory_order_relaxed);
  team_->calls.fetch_add(1, std::memory_order_release);
  team_->calls.notify_all();
  own();
  wait_for_change(team_->finished, before);
}

std::pair<std::int64_t, std::int64_t> Threads::part(std::int64_t n, int thread,
                                                    std::int64_t grain) const {
  const std::int64_t grains = (n + grain - 1) / grain;
  const auto edge = [&](int k) { return std::min(n, grains * k / team_->count * grain); };
  return {edge(thread), edge(thread + 1)};
}

}  // namespace kvsim::kernels
