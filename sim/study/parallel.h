#pragma once
// Independent pieces of work on threads.
#include <cstddef>
#include <functional>

namespace kvsim {

// Calls work(0) ... work(n - 1) on so many threads, the caller's among them; rethrows the exception
// of the least index. After one, those that have not begun are left out.
void run_parallel(std::size_t n, int threads, const std::function<void(std::size_t)>& work);

}  // namespace kvsim
