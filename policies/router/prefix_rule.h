#pragma once
// The longest prefix within a bound on imbalance, which routers apply to indices of several kinds.
#include "policies/router/router.h"

namespace kvsim {

struct ImbalanceBound {
  std::int64_t most = 32;  // requests in flight more than the least loaded instance has
  double ratio = 1.5;      // and times as many
  [[nodiscard]] bool holds(const InstanceView& v, std::int64_t fewest) const {
    return v.in_flight <= fewest + most ||
           static_cast<double>(v.in_flight) <= ratio * static_cast<double>(fewest);
  }
};

// Among the instances within the bound the one with most of the prompt, of equals the least loaded.
template <class Hits>
std::size_t longest_prefix(std::span<const InstanceView> instances, std::span<double> scores,
                           const ImbalanceBound& bound, Hits hits) {
  const std::int64_t fewest = instances[least_requests(instances, {})].in_flight;
  std::size_t best = kNoInstance;
  for (std::size_t i = 0; i < instances.size(); ++i) {
    const InstanceView& v = instances[i];
    if (!v.up || !bound.holds(v, fewest)) continue;
    if (!scores.empty()) scores[i] = -static_cast<double>(hits(i));
    if (best == kNoInstance || hits(i) > hits(best) ||
        (hits(i) == hits(best) && v.in_flight < instances[best].in_flight))
      best = i;
  }
  return best;
}

}  // namespace kvsim
