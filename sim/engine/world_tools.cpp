// Tools that requests wait for: they run outside, for a time that the request knows.
#include "sim/engine/world.h"

namespace kvsim {

void World::called(Rank& rank, std::uint32_t slot, Duration pause, Time at) {
  std::uint32_t call = 0;
  if (free_calls_.empty()) {
    call = static_cast<std::uint32_t>(calls_.size());
    calls_.emplace_back();
  } else {
    call = free_calls_.back();
    free_calls_.pop_back();
  }
  calls_[call] = {&rank, slot};
  queue_.push({at + pause, Phase::arrival, EventKind::tool, call, 0, 0});
}

void World::on_tool(std::uint32_t call, Time now) {
  const auto [rank, slot] = calls_[call];
  free_calls_.push_back(call);
  disturb(rank->totals().instance, rank->totals().rank, now);
  rank->tool_returned(slot, now);
  see_queues(*instances_[rank->totals().instance]);
}

}  // namespace kvsim
