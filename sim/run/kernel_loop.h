#pragma once
// A real decode loop with a scenario's model on this machine's CPU: random weights and KV, real
// kernels, the wall clock. What the cost model `kernels` says of the same iterations is compared
// with it.
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "hardware/cost_model.h"
#include "models/model.h"

namespace kvsim {

struct LoopShape {
  std::int64_t batch = 4;      // sequences
  std::int64_t context = 512;  // tokens of each before the first iteration
  std::int64_t steps = 24;     // iterations
  int threads = 1;
};

// Seconds are medians over the iterations that had their cores to themselves; NaN: none had.
struct LoopReport {
  double simulated = 0, measured = 0;
  // simulated / measured - 1 with kernels that were timed between the iterations, the median of the
  // rounds: what is wrong with the law, where difference() also has what changed since the profile.
  double law_difference = 0;
  std::int64_t quiet = 0, disturbed = 0;  // calls; a disturbed one is made again, a few times
  // Bytes per second that memory gave in the middle of the loop (bandwidth.h): on a machine that
  // others use it changes by the minute.
  double read_rate = 0;
  [[nodiscard]] double difference() const { return simulated / measured - 1; }
};

// Times the kernels that the iterations call, now.
using TimeKernels = std::function<std::unique_ptr<CostModel>()>;

// Weights in f16, KV in f16. In a few rounds: the kernels, then a share of the iterations. Throws
// InputError for models that the loop cannot run (other than dense Llama-like decoders with head
// widths of a multiple of 16), and when weights and KV exceed half of the memory.
LoopReport run_kernel_loop(const ModelSpec&, CostModel& profile, const TimeKernels&,
                           const LoopShape&,
                           const std::function<void(const std::string&)>& progress);

}  // namespace kvsim
