#pragma once
// A fixed team of threads with static splits: which thread does what never depends on timing, so
// that results do not either.
#include <cstdint>
#include <memory>
#include <utility>

namespace kvsim::kernels {

class Threads {
 public:
  // `count` >= 1, the calling thread included.
  explicit Threads(int count);
  ~Threads();
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

  [[nodiscard]] int count() const;
  // Calls work(thread) for thread = 0 .. count - 1, each on its own thread (0 on the caller's), and
  // returns when all have. An exception in `work` ends the program. Between calls the team spins
  // for a short while (about 50 us), then sleeps.
  template <class Work>
  void run(Work&& work) {
    run_erased(&work, [](void* w, int thread) {
      (*static_cast<std::remove_reference_t<Work>*>(w))(thread);
    });
  }
  // The part of 0 .. n - 1 that falls to `thread`: [first, second), multiples of `grain` but for
  // the end.
  [[nodiscard]] std::pair<std::int64_t, std::int64_t> part(std::int64_t n, int thread,
                                                           std::int64_t grain = 1) const;

 private:
  void run_erased(void* work, void (*call)(void*, int));
  struct Team;
  std::unique_ptr<Team> team_;
};

}  // namespace kvsim::kernels
