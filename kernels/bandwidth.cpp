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

constexpr std::size_t kSlices = 64;

void read_all(Threads& threads, std::span<const std::byte> data) {
  threads.run([&](int thread) {
    const auto [first, end] = threads.part(static_cast<std::int64_t>(data.size()), thread, kGrain);
    sink += cpu::read_streams(data.data() + first, static_cast<std::size_t>(end - first));
  });
}

}  // namespace

MemoryProbe::MemoryProbe(Threads& threads, std::size_t bytes, bool reads_only)
    : threads_(threads),
      slice_(std::max<std::size_t>(bytes / kSlices / kGrain, 1) * kGrain),
      from_(slice_ * kSlices),
      to_(reads_only ? 0 : slice_ * kSlices) {}

std::size_t MemoryProbe::first_byte(std::int64_t call) const {
  return static_cast<std::size_t>(call) % kSlices * slice_;
}

void MemoryProbe::read(std::int64_t call) {
  read_all(threads_, from_.bytes().subspan(first_byte(call), slice_));
}

template <class Copy>
void MemoryProbe::copy(std::int64_t call, const Copy& one) {
  threads_.run([&](int thread) {
    const auto [first, end] = threads_.part(static_cast<std::int64_t>(slice_), thread, kGrain);
    const std::size_t at = first_byte(call) + static_cast<std::size_t>(first);
    one(from_.bytes().data() + at, to_.bytes().data() + at, static_cast<std::size_t>(end - first));
  });
}
void MemoryProbe::copy_non_temporal(std::int64_t call) {
  copy(call,
       [](const std::byte* a, std::byte* b, std::size_t n) { cpu::copy_non_temporal(a, b, n); });
}
void MemoryProbe::copy_plain(std::int64_t call) {
  copy(call, [](const std::byte* a, std::byte* b, std::size_t n) { cpu::copy_plain(a, b, n); });
}
void MemoryProbe::copy_memcpy(std::int64_t call) {
  copy(call, [](const std::byte* a, std::byte* b, std::size_t n) { std::memcpy(b, a, n); });
}

Rate probe_read(Threads& threads, const ProbeRules& rules) {
  MemoryProbe probe(threads, rules.bytes, true);
  const Timing t =
      time_calls(rules_for(threads, rules), [&](std::int64_t call) { probe.read(call); });
  return rate_of(t, probe.bytes_read());
}

CopyRates probe_copy(Threads& threads, const ProbeRules& rules) {
  MemoryProbe probe(threads, rules.bytes);
  // The kinds take turns on slices far from each other: what one has read would be near for the
  // next.
  const std::vector<Timing> t = time_in_turn(
      rules_for(threads, rules),
      {[&](std::int64_t call) { probe.copy_memcpy(call); },
       [&](std::int64_t call) { probe.copy_non_temporal(call + std::int64_t{kSlices / 3}); },
       [&](std::int64_t call) { probe.copy_plain(call + std::int64_t{2 * kSlices / 3}); }});
  const double bytes = probe.bytes_copied();
  return {rate_of(t[0], bytes), rate_of(t[1], bytes), rate_of(t[2], bytes)};
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

namespace {
// What sysconf says of a size in bytes; 0 when it does not know.
std::size_t cache_bytes(int name) {
  const long bytes = sysconf(name);
  return bytes > 0 ? static_cast<std::size_t>(bytes) : 0;
}
}  // namespace

std::size_t l2_cache_bytes() {
#ifdef _SC_LEVEL2_CACHE_SIZE
  if (const std::size_t bytes = cache_bytes(_SC_LEVEL2_CACHE_SIZE); bytes > 0) return bytes;
#endif
  return std::size_t{1} << 20;
}

std::size_t bytes_beyond_caches() {
  constexpr std::size_t kLeast = std::size_t{512} << 20, kMost = std::size_t{2} << 30;
  std::size_t wanted = kLeast;
#ifdef _SC_LEVEL3_CACHE_SIZE
  wanted = std::max(wanted, 4 * cache_bytes(_SC_LEVEL3_CACHE_SIZE));
#endif
  const auto memory = static_cast<std::size_t>(sysconf(_SC_PHYS_PAGES)) *
                      static_cast<std::size_t>(sysconf(_SC_PAGE_SIZE));
  return std::min({wanted, kMost, std::max(kLeast, memory / 16)});
}

Rate probe_fma(Threads& threads, const ProbeRules& rules) {
  constexpr std::int64_t kRounds = 400'000;  // about a millisecond
  const Timing t = time_calls(rules_for(threads, rules), [&](std::int64_t) {
    threads.run([&](int) { sink += static_cast<std::uint64_t>(cpu::multiply_add(kRounds)); });
  });
  return rate_of(t, static_cast<double>(kRounds) * cpu::multiply_add_flops() * threads.count());
}

}  // namespace kvsim::kernels
