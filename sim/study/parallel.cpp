#include "sim/study/parallel.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <thread>
#include <vector>

namespace kvsim {

void run_parallel(std::size_t n, int threads, const std::function<void(std::size_t)>& work) {
  std::vector<std::exception_ptr> failed(n);
  std::atomic<std::size_t> next{0};
  std::atomic<bool> stop{false};
  // Taken in order, so that every index below one that failed has run.
  const auto loop = [&] {
    for (std::size_t i = next++; i < n && !stop; i = next++) {
      try {
        work(i);
      } catch (...) {
        failed[i] = std::current_exception();
        stop = true;
      }
    }
  };
  std::vector<std::thread> others;
  const std::size_t most = std::min(n, static_cast<std::size_t>(std::max(threads, 1)));
  for (std::size_t i = 1; i < most; ++i) others.emplace_back(loop);
  loop();
  for (std::thread& t : others) t.join();
  for (const std::exception_ptr& e : failed)
    if (e) std::rethrow_exception(e);
}

}  // namespace kvsim
