// Steady state allocates nothing: twice the iterations cost no further allocation.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "tests/support/engine_fixture.h"

namespace {
std::atomic<std::int64_t> g_allocations{0};
}

namespace {
void* counted(void* p) {
  g_allocations.fetch_add(1, std::memory_order_relaxed);
  return p;
}
void* required(void* p) {
  if (p == nullptr) throw std::bad_alloc();
  return p;
}
}  // namespace

// Counting replacements; memory comes from malloc, so that sanitizers still see it. Every form of
// `new` that may end in one of these `delete`s: a sanitizer has its own of those left out. Not
// inlined: g++ 12 takes the free() of one for a mistake beside the call of another.
void* operator new(std::size_t size) { return required(counted(std::malloc(size > 0 ? size : 1))); }
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return counted(std::malloc(size > 0 ? size : 1));
}
void* operator new(std::size_t size, std::align_val_t to) {
  const auto step = static_cast<std::size_t>(to);
  return required(counted(std::aligned_alloc(step, (size + step - 1) / step * step)));
}
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t, std::align_val_t) noexcept {
  std::free(p);
}

namespace kvsim {
namespace {

EngineConfig engine(std::int64_t blocks, bool exact) {
  EngineConfig e;
  e.kv_blocks = blocks;
  e.max_running = 64;
  e.max_batched_tokens = 2048;
  e.exact_steps = exact;
  return e;
}

// Allocations of a whole run of 64 requests with `output` tokens each.
std::int64_t allocations(const EngineConfig& e, std::int64_t output) {
  std::vector<Request> requests;
  for (int i = 0; i < 64; ++i) requests.push_back(test::request(i, 100, output));
  test::LinearCost cost(1000, 1, 0);
  const std::int64_t before = g_allocations.load();
  const auto out = test::simulate(e, std::move(requests), cost);
  EXPECT_EQ(out.requests.size(), 64U);
  return g_allocations.load() - before;
}

TEST(Allocation, DecodingAllocatesNothing) {
  for (const bool exact : {false, true}) {
    const EngineConfig e = engine(100'000, exact);
    allocations(e, 1000);  // warm the statics
    const std::int64_t once = allocations(e, 1000), twice = allocations(e, 2000),
                       long_run = allocations(e, 8000);
    EXPECT_LE(std::abs(twice - once), 8) << "exact " << exact;
    EXPECT_LE(std::abs(long_run - once), 16) << "exact " << exact;
  }
}

// Requests that come and go reuse slots, runs and lists: what grows is the list of outcomes and the
// index of contents.
TEST(Allocation, RequestsReuseWhatWasAllocated) {
  const auto run = [](int n) {
    std::vector<Request> requests;
    for (int i = 0; i < n; ++i) requests.push_back(test::request(i * 3'000, 40, 20));
    test::LinearCost cost(1000, 1, 0);
    const std::int64_t before = g_allocations.load();
    test::simulate(engine(2'000, false), std::move(requests), cost);
    return g_allocations.load() - before;
  };
  run(1000);
  const std::int64_t few = run(1000), many = run(5000);
  // ListTrace copies a request's segments: one allocation each, outside the engine; vectors double:
  // a few dozen.
  EXPECT_LE(many - few, 4000 + 200);
}

}  // namespace
}  // namespace kvsim
