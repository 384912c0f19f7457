#pragma once
// Times of the operations' twins, beside what the machine can do at best.
#include <string>
#include <vector>

#include "kernels/harness/check.h"
#include "kernels/timing.h"

namespace kvsim::kernels {

struct BenchOptions {
  std::vector<std::string> operations;  // empty = all
  std::vector<Tree> shapes;             // empty = each operation's own list
  std::int64_t calls = 21;              // wanted per row, quiet ones (timing.h)
  double budget = 2;                    // seconds per row
  std::int64_t footprint = 0;           // bytes of all copies of the inputs; 0: beyond the caches
};

// What a device can do at best. 0 = not known.
struct MachineRates {
  double read = 0, copy = 0, flops = 0;  // bytes/s, bytes/s (read + written), f32 flops/s
  // As copy, which skips the caches: by the C library, and with stores that read each line first.
  double memcpy = 0, plain_copy = 0;
};

struct BenchRow {
  std::string operation, shape, target;
  Timing timing;
  // At the median: bytes read and bytes read + written per second, flops per second.
  double read_rate = 0, byte_rate = 0, flop_rate = 0;
  // What memory gave in calls that took turns with these, bytes/s: copies past the caches beside
  // operations that write as much as a tenth of what they read, else reads; NaN when not known.
  double memory_rate = 0;
  // Beside operations that write so much also what a plain copy gave; NaN beside others.
  double plain_copy_rate = 0;
  // Of memory_rate, of plain_copy_rate, of MachineRates::flops.
  double of_bandwidth = 0, of_plain_copy = 0, of_peak = 0;
  std::string skipped_why;  // then nothing else is filled in
};

struct BenchReport {
  std::vector<std::pair<std::string, MachineRates>> machines;  // by target
  std::vector<BenchRow> rows;
};

// One shape on one target: the median second of a call; skipped_why as above. Waits for quiet calls
// as `options` say; when none was quiet within the budget the timing has calls = 0. Nothing is
// measured beside it.
BenchRow time_operation(const std::string& name, const Tree& shape, const NamedTarget&,
                        const BenchOptions&);
// What the target can do at best; `budget` in seconds per probe.
MachineRates machine_rates(const NamedTarget&, double budget);

BenchReport bench_kernels(const BenchOptions&, const std::vector<NamedTarget>&,
                          const std::function<void(const std::string&)>& progress);

}  // namespace kvsim::kernels
