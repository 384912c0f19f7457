#pragma once
// What the processor can do at best: the rates that kernels are measured against. Bytes per second
// and flops per second over all threads of the team, medians of quiet calls (timing.h). Probe in
// the same process as the kernel, before and after it, and use the ratio: absolute rates differ
// between hosts of one type and between minutes of one host.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/arena.h"
#include "kernels/timing.h"

namespace kvsim::kernels {

class Threads;

struct Rate {
  double median = 0, best = 0;  // per second; NaN when no call was quiet
  Timing timing;                // of one call
};

struct ProbeRules {
  std::size_t bytes = std::size_t{2} << 30;  // of each array, all threads together
  std::int64_t calls = 11;
  double budget = 4;  // seconds per probe
};

// Large arrays of which each call moves another part: short enough to stay quiet on a busy machine,
// and the parts of later calls push it out of the caches.
class MemoryProbe {
 public:
  // `bytes` of each array, of which there are two unless `reads_only`.
  MemoryProbe(Threads&, std::size_t bytes, bool reads_only = false);
  // Four streams per thread: what decode attention can reach at most.
  void read(std::int64_t call);
  // Past the caches (what a copy can reach at most), with stores that read each line first, or by
  // the C library.
  void copy_non_temporal(std::int64_t call);
  void copy_plain(std::int64_t call);
  void copy_memcpy(std::int64_t call);
  // Of one call; copies: read plus written, without the line that a plain store reads first.
  [[nodiscard]] double bytes_read() const { return static_cast<double>(slice_); }
  [[nodiscard]] double bytes_copied() const { return 2 * static_cast<double>(slice_); }

 private:
  template <class Copy>
  void copy(std::int64_t call, const Copy&);
  [[nodiscard]] std::size_t first_byte(std::int64_t call) const;

  Threads& threads_;
  std::size_t slice_;  // bytes of a call
  Arena from_, to_;
};

// Reads an array, four streams per thread: what decode attention can reach at most.
Rate probe_read(Threads&, const ProbeRules& = {});

// Copies: bytes read plus bytes written.
struct CopyRates {
  Rate memcpy, non_temporal, plain;
};
CopyRates probe_copy(Threads&, const ProbeRules& = {});

// Read rate by working set (bytes of all threads together), ascending.
struct SweepPoint {
  std::size_t bytes = 0;
  Rate rate;
};
std::vector<SweepPoint> probe_sweep(Threads&, std::size_t largest = std::size_t{1} << 30,
                                    double budget_per_point = 0.5);
// Levels found in a sweep. The LLC share is what this process gets of a last-level cache that
// others use too, so it is measured and not asked of the system.
struct MemoryLevels {
  double l2 = 0, llc = 0, dram = 0;  // bytes/s; llc 0 when the sweep shows no such level
  double llc_bytes = 0;              // largest working set that is served at nearly llc's rate
};
MemoryLevels levels_of(const std::vector<SweepPoint>&, std::size_t l2_bytes);
// Of one core's L2, as the system says; 1 MiB when it says nothing.
std::size_t l2_cache_bytes();

// How much data to walk through so that every call reads memory: four times the last-level cache
// (of 1.7 times a cache that replaces lines at random, a third is still there), 512 MiB to 2 GiB
// and no more than a sixteenth of the machine's memory beyond 512 MiB.
std::size_t bytes_beyond_caches();

// Multiply-adds of f32 in registers, with the instruction set in use (isa.h); flops/s.
Rate probe_fma(Threads&, const ProbeRules& = {});

}  // namespace kvsim::kernels
