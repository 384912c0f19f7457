#include "kernels/bandwidth.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

#include "kernels/arena.h"
#include "kernels/probe_loops.h"
#include "kernels/threads.h"

namespace kvsim::kernels {

namespace {

// What the loops compute goes here, so that no compiler drops them.
std::atomic<std::uint64_t> sink{0};

constexpr std::size_t kGrain = 4096;

TimingRules rules_for(const Threads& threads, const ProbeRules& rules) {
  return {.threads = threads.count(), .calls = rules.calls, .budget = rules.budget};
}
Rate rate_of(const Timing& t, double amount) { return {amount / t.median, amount / t.best, t}; }

// A call touches one of `kSlices` parts of the array: short enough to stay quiet on a busy machine,
// and the other parts push it out of the caches.
constexpr std::size_t kSlices = 64;
struct Slice {
  std::size_t first = 0, bytes = 0;
};
Slice slice_of(std::size_t total, std::int64_t call) {
  const std::size_t bytes = std::max<std::size_t>(total / kSlices / kGrain, 1) * kGrain;
  return {static_cast<std::size_t>(call) % kSlices * bytes, bytes};
}
std::size_t whole_slices(std::size_t total) { return slice_of(total, 0).bytes * kSlices; }

void read_all(Threads& threads, std::span<const std::byte> data) {
  threads.run([&](int thread) {
    const auto [first, end] = threads.part(static_cast<std::int64_t>(data.size()), thread, kGrain);
    sink += cpu::read_streams(data.data() + first, static_cast<std::size_t>(end - first));
  });
}

}  // namespace

Rate probe_read(Threads& threads, const ProbeRules& rules) {
  const Arena arena(whole_slices(rules.bytes));
  const Slice slice = slice_of(rules.bytes, 0);
  const Timing t = time_calls(rules_for(threads, rules), [&](std::int64_t call) {
    read_all(threads, arena.bytes().subspan(slice_of(rules.bytes, call).first, slice.bytes));
  });
  return rate_of(t, static_cast<double>(slice.bytes));
}

CopyRates probe_copy(Threads& threads, const ProbeRules& rules) {
  const Arena from(whole_slices(rules.bytes)), to(whole_slices(rules.bytes));
  const double moved = 2.0 * static_cast<double>(slice_of(rules.bytes, 0).bytes);
  // The two kinds take turns on slices far from each other: what one has read would be near for the
  // other.
  const auto copy = [&](std::int64_t first_slice, auto&& one) {
    return [&, first_slice, one](std::int64_t call) {
      const Slice slice = slice_of(rules.bytes, first_slice + call);
      threads.run([&](int thread) {
        const auto [first, end] =
            threads.part(static_cast<std::int64_t>(slice.bytes), thread, kGrain);
        const std::size_t at = slice.first + static_cast<std::size_t>(first);
        one(from.bytes().data() + at, to.bytes().data() + at,
            static_cast<std::size_t>(end - first));
      });
    };
  };
  const std::vector<Timing> t = time_in_turn(
      rules_for(threads, rules),
      {copy(0, [](const std::byte* a, std::byte* b, std::size_t n) { std::memcpy(b, a, n); }),
       copy(kSlices / 2, [](const std::byte* a, std::byte* b, std::size_t n) {
         cpu::copy_non_temporal(a, b, n);
       })});
  return {rate_of(t[0], moved), rate_of(t[1], moved)};
}

std::vector<SweepPoint> probe_sweep(Threads& threads, std::size_t largest,
                                    double budget_per_point) {
  const auto team = static_cast<std::size_t>(threads.count());
  const std::size_t smallest = (std::size_t{16} << 10) * team;
  const Arena arena(std::max(largest, smallest));
  std::vector<SweepPoint> points;
  for (std::size_t bytes = smallest; bytes <= arena.bytes().size(); bytes *= 2) {
    // Small sets are read several times within a call, which otherwise would be shorter than the
    // start of the team.
    const std::size_t repeats = std::max<std::size_t>(1, (std::size_t{32} << 20) * team / bytes);
    const std::span<const std::byte> data = arena.bytes().first(bytes);
    const TimingRules rules{.threads = threads.count(), .calls = 15, .budget = budget_per_point};
    const Timing t = time_calls(rules, [&](std::int64_t) {
      threads.run([&](int thread) {
        const auto [first, end] = threads.part(static_cast<std::int64_t>(bytes), thread, kGrain);
        for (std::size_t i = 0; i < repeats; ++i)
          sink += cpu::read_streams(data.data() + first, static_cast<std::size_t>(end - first));
      });
    });
    points.push_back({bytes, rate_of(t, static_cast<double>(bytes * repeats))});
  }
  return points;
}

MemoryLevels levels_of(const std::vector<SweepPoint>& points, std::size_t l2_bytes) {
  MemoryLevels found;
  std::vector<SweepPoint> beyond;
  for (const SweepPoint& p : points) {
    if (!std::isfinite(p.rate.median)) continue;
    if (p.bytes <= l2_bytes)
      found.l2 = p.rate.median;  // the largest that fits
    else if (p.bytes >= 2 * l2_bytes)
      beyond.push_back(p);
  }
  if (beyond.empty()) return found;
  found.dram = beyond.back().rate.median;
  // A level of its own: clearly faster than memory at four times the L2, where the L2 no longer
  // helps much.
  constexpr double kClearly = 1.25, kNearly = 0.75;
  const auto first = std::find_if(beyond.begin(), beyond.end(),
                                  [&](const SweepPoint& p) { return p.bytes >= 4 * l2_bytes; });
  if (first == beyond.end() || first->rate.median < kClearly * found.dram) return found;
  found.llc = first->rate.median;
  for (auto p = first; p != beyond.end() && p->rate.median >= kNearly * found.llc; ++p)
    found.llc_bytes = static_cast<double>(p->bytes);
  return found;
}

std::size_t l2_cache_bytes() {
  long bytes = 0;
#ifdef _SC_LEVEL2_CACHE_SIZE
  bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
#endif
  return bytes > 0 ? static_cast<std::size_t>(bytes) : std::size_t{1} << 20;
}

Rate probe_fma(Threads& threads, const ProbeRules& rules) {
  constexpr std::int64_t kRounds = 400'000;  // about a millisecond
  const Timing t = time_calls(rules_for(threads, rules), [&](std::int64_t) {
    threads.run([&](int) { sink += static_cast<std::uint64_t>(cpu::multiply_add(kRounds)); });
  });
  return rate_of(t, static_cast<double>(kRounds) * cpu::multiply_add_flops() * threads.count());
}

}  // namespace kvsim::kernels
