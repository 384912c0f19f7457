#pragma once
// The roofline law: an operator takes as long as the slower of its arithmetic and its memory
// traffic, plus a fixed time per launch (Williams, Waterman and Patterson 2009,
// doi:10.1145/1498765.1498785).
//
//   t = max(flops (1 + h/n) / (peak e_f), bytes / (bandwidth e_b)) + launches * launch (three times
//   for attention)
//
// n = rows of the matrix product (tokens; sampled sequences in the head; tokens per touched
// expert), or tokens of the prefill for its attention; h = half-efficiency point. e_f, e_b, h:
// struct Efficiency. Collectives: collectives.h.
#include <string>

#include "hardware/collectives.h"
#include "hardware/device.h"
#include "sim/base/work.h"

namespace kvsim {

struct Roofline {
  double gemm_peak = 0;       // flop/s in the precision of the weights
  double attention_peak = 0;  // flop/s in 16 bits
  double bandwidth = 0;       // bytes/s
  Efficiency efficiency;
  Collectives link{nullptr};
  Parallel parallel;

  // What the operator's products see of the iteration.
  struct Rows {
    double tokens = 0;      // of the iteration, padding included
    double sampling = 0;    // sequences that sample
    double prefill = 0;     // prefill tokens
    double per_expert = 0;  // tokens of a touched expert
  };
  // ns of one operator; compute_bound (optional) tells which side decided.
  [[nodiscard]] double price(const Work&, const Rows&, bool* compute_bound = nullptr) const;
  // Of a prompt's attention that takes `own` ns: how much longer KV of groups that share the
  // context makes it. With own / p for each of p parts and the same time for each way,
  // max(own, own / p + ways) - own.
  [[nodiscard]] double exchange_ns(const Work&, double own) const;
  // The two sides and the launches, for callers that must choose a side themselves; ns.
  [[nodiscard]] double compute_ns(const Work&, const Rows&) const;
  [[nodiscard]] double memory_ns(const Work&) const;
  // Attention counts three per launch: its schedule, the kernel, and the merge of the parts of
  // split contexts.
  [[nodiscard]] double launch_ns(const Work& w) const {
    const bool attention =
        w.op == Operator::attention_prefill || w.op == Operator::attention_decode;
    return (attention ? 3 : 1) * w.launches * static_cast<double>(efficiency.launch.count());
  }
};

// The peak at which weights of `bits` multiply. precision: a key of device.compute, or "auto" = fp8
// for 8 bits where the device has it, else bf16, else fp16 (narrower weights are widened first).
// Throws InputError for an unknown key.
double peak_rate(const DeviceSpec&, const std::string& precision, double bits);

}  // namespace kvsim
