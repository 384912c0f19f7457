#include "kernels/threads.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <thread>
#include <vector>

namespace kvsim::kernels {
namespace {

TEST(Threads, EveryThreadWorksOnceInEveryCall) {
  for (const int count : {1, 2, 3, 5}) {
    Threads threads(count);
    EXPECT_EQ(threads.count(), count);
    std::vector<int> calls(static_cast<std::size_t>(count));
    for (int i = 0; i < 300; ++i)
      threads.run([&](int thread) { ++calls[static_cast<std::size_t>(thread)]; });
    EXPECT_EQ(calls, std::vector<int>(static_cast<std::size_t>(count), 300));
  }
}

TEST(Threads, SleepersWakeUp) {
  Threads threads(2);
  int sum = 0;
  std::vector<int> own(2);
  for (int i = 0; i < 5; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    threads.run([&](int thread) { own[static_cast<std::size_t>(thread)] += thread + 1; });
    sum = own[0] + own[1];
  }
  EXPECT_EQ(sum, 15);
}

TEST(Threads, TheCallerIsThreadZero) {
  Threads threads(2);
  std::vector<std::thread::id> ids(2);
  threads.run(
      [&](int thread) { ids[static_cast<std::size_t>(thread)] = std::this_thread::get_id(); });
  EXPECT_EQ(ids[0], std::this_thread::get_id());
  EXPECT_NE(ids[0], ids[1]);
}

TEST(Threads, PartsCoverEverythingOnceInOrder) {
  for (const int count : {1, 2, 3, 7}) {
    const Threads threads(count);
    for (const std::int64_t n : {0, 1, 5, 64, 1000})
      for (const std::int64_t grain : {1, 16, 100}) {
        std::int64_t at = 0;
        for (int thread = 0; thread < count; ++thread) {
          const auto [first, second] = threads.part(n, thread, grain);
          EXPECT_EQ(first, at);
          EXPECT_LE(first, second);
          EXPECT_TRUE(first % grain == 0 || first == n);
          EXPECT_LE(second - first, n / count + grain);
          at = second;
        }
        EXPECT_EQ(at, n);
      }
  }
}

TEST(ThreadsDeath, AnExceptionEndsTheProgram) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        Threads threads(2);
        threads.run([](int thread) {
          if (thread == 1) throw std::runtime_error("in a worker");
        });
      },
      "in a worker");
  EXPECT_DEATH(
      {
        Threads threads(2);
        threads.run([](int thread) {
          if (thread == 0) throw std::runtime_error("in the caller");
        });
      },
      "in the caller");
}

}  // namespace
}  // namespace kvsim::kernels
