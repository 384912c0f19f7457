#pragma once
// Time of collectives on one link between p equal ranks, in ns: the faster of two algorithms, as
// engines choose.
//   ring (Patarasuk and Yuan 2009, doi:10.1016/j.jpdc.2008.09.002): every step sends one message of
//   bytes/p to the neighbour; all-reduce 2(p-1) steps, all-gather and reduce-scatter p-1 steps
//   (`bytes` is the gathered size) direct (one-shot all-reduce of vLLM and TensorRT-LLM, for small
//   messages): every rank reads all others' whole message at once, p-1 messages of `bytes` through
//   its own link and one latency
#include <algorithm>

#include "hardware/device.h"

namespace kvsim {

struct Collectives {
  double ns_per_byte = 0, ns_per_step = 0;
  explicit Collectives(const LinkSpec* link) {
    if (link == nullptr || !(link->bandwidth.value > 0)) return;
    ns_per_byte = 1e9 / link->bandwidth.value;
    ns_per_step = static_cast<double>(link->latency.count());
  }
  [[nodiscard]] double all_reduce(double bytes, int p) const {
    if (p <= 1) return 0;
    const double direct = (p - 1) * bytes * ns_per_byte + ns_per_step;
    return std::min(direct, 2 * all_gather(bytes, p));
  }
  [[nodiscard]] double all_gather(double bytes, int p) const {
    if (p <= 1) return 0;
    return (p - 1) * (bytes / p * ns_per_byte + ns_per_step);
  }
  // Partial results of attention, combined pairwise (Tree Attention, arXiv:2408.04093): the whole
  // message log2 p times.
  [[nodiscard]] double merge(double bytes, int p) const {
    double steps = 0;
    for (int reached = 1; reached < p; reached *= 2) ++steps;
    return steps * send(bytes);
  }
  // Each of p ranks hears the parts of the p - 1 others, so many bytes in all, from its neighbour.
  [[nodiscard]] double pass_round(double bytes, int p) const {
    return bytes * ns_per_byte + (p - 1) * ns_per_step;
  }
  [[nodiscard]] double send(double bytes) const { return bytes * ns_per_byte + ns_per_step; }
};

}  // namespace kvsim
