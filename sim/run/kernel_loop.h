#pragma once
// A real decode loop with a scenario's model on this machine's CPU: random weights and KV, real
// kernels, the wall clock. What the cost model `kernels` says of the same iterations is compared
// with it.
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "hardware/cost_model.h"
#include "models/model.h"

namespace kvsim {

struct LoopShape {
  std::int64_t batch = 4;      // sequences
  std::int64_t context = 512;  // tokens of each before the first iteration
  std::int64_t steps = 24;     // iterations
  int threads = 1;
};

struct LoopStep {
  std::int64_t context = 0;  // of each sequence, the token being computed included
  double simulated = 0;      // seconds
  double measured = 0;       // seconds; < 0: the call did not have its cores to itself
};

struct LoopReport {
  std::vector<LoopStep> steps;
  double simulated = 0, measured = 0;  // lower quartiles over the steps that counted, seconds
  std::int64_t dropped = 0;
  // Bytes per second that memory gave in the middle of the loop (bandwidth.h): on a machine that
  // others use it changes by the minute.
  double read_rate = 0;
  [[nodiscard]] double difference() const { return simulated / measured - 1; }
};

// Weights in f16, KV in f16. Throws InputError for models that the loop cannot run (other than
// dense Llama-like decoders with head widths of a multiple of 16), and when weights and KV exceed
// half of the memory.
LoopReport run_kernel_loop(const ModelSpec&, CostModel&, const LoopShape&,
                           const std::function<void(const std::string&)>& progress);

}  // namespace kvsim
