#pragma once
// What routers that know prefixes share: how their index is fed, and the longest prefix within a
// bound on imbalance.
#include "policies/router/router.h"

namespace kvsim {

// An index of the instances' caches that KV events feed, sent this often and arriving this much
// later; always right where they are sent at once.
inline Router::Traits indexed(Duration every, Duration lag) {
  Router::Traits t;
  t.index = every > Duration{0} ? Router::Traits::Index::events : Router::Traits::Index::exact;
  t.publish = every;
  t.lag = lag;
  return t;
}

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
