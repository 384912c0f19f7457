// Memory: what is asked for ahead of its use, what need not move, what need not be touched yet.
#include <algorithm>

#include "sim/engine/world.h"

namespace kvsim {

// The event is the next one, unless the present one brings an earlier one.
void World::foresee(const Event& e) const {
  constexpr std::size_t kFew = 4;  // fit into the caches
  if (groups_.size() > kFew && e.is_by_group()) foresight_.ask(e.target);
}

// Before the first event.
void World::spare_memory() {
  // Memory that is never used costs nothing; moving a million records does.
  constexpr std::uint64_t kMost = std::uint64_t{1} << 24;
  if (const auto total = trace_.total(); total && !options_.flush)
    out_.requests.reserve(std::min(*total, kMost));
  for (const auto& g : groups_) {
    const auto [rank, running, next] = g->steps.state();
    foresight_.add({std::as_bytes(std::span(g.get(), 1)), rank, running, next});
  }
  share_outputs();
}

// Ranks that share content agree on how they publish outputs. What goes from instance to instance
// or to tiers is found in other ways than by looking for it.
void World::share_outputs() {
  if (pools_.size() > 1 || options_.peers || options_.tiers ||
      !std::all_of(specs_.begin(), specs_.end(),
                   [](const InstanceSpec& s) { return Rank::can_be_late(s.engine); }))
    return;
  for (const auto& in : instances_)
    for (const auto& rank : in->ranks) rank->attach_late(late_outputs_);
}

}  // namespace kvsim
