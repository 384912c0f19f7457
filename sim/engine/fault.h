#pragma once
// Faults of a run as plain values; sim/run fills them from a scenario.
#include <cstdint>
#include <string>
#include <vector>

#include "sim/base/random.h"
#include "sim/base/time.h"
#include "sim/engine/transfers.h"
#include "sim/state/outcome.h"

namespace kvsim {

// Something that breaks, once at `at` or again and again at random.
struct FaultPlan {
  FaultKind kind = FaultKind::instance;
  std::string name;                    // for the record
  std::vector<std::uint32_t> targets;  // instances, stores or links that are hit together
  std::vector<std::uint32_t> stores;   // of a node: what lies in it
  Time at{};                           // of the first; with mean_between, the earliest
  Duration down{};                     // until it works again; 0 = never
  Duration mean_between{};             // of random faults, from repair to fault; 0 = once
  double left = 0;                     // share of a link's bandwidth that is left
  // Of links with nothing left: each rank's ways that avoid them, where there are any.
  std::vector<std::vector<TierWay>> detours;
  bool forgets = true;       // a store comes back empty
  std::uint64_t stream = 0;  // of its random draws
};

}  // namespace kvsim
