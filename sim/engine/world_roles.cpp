// Instances that change between prompts and tokens by load. One that is to change takes nothing
// new, ends what it has, and then comes back in the other stage with an empty cache.
#include <algorithm>

#include "sim/base/check.h"
#include "sim/engine/world.h"

namespace kvsim {

void World::begin_roles() {
  const RoleRules& rules = *options_.roles;
  roles_.assign(instances_.size(), Role::rests);
  for (std::size_t stage = 0; stage < pools_.size(); ++stage) {
    const std::size_t up = stage == 0 ? rules.prefill : rules.decode;
    for (std::size_t i = 0; i < pools_[stage]->count; ++i) {
      const std::size_t instance = pools_[stage]->first + i;
      views_[instance].up = i < up;
      if (i < up) roles_[instance] = Role::serves;
    }
  }
  tick(EventKind::roles, 0, rules.every);
}

// Nothing of any request is there, not even KV that somebody fetches.
bool World::is_empty(std::uint32_t i) const {
  if (views_[i].in_flight > 0) return false;
  return std::all_of(instances_[i]->ranks.begin(), instances_[i]->ranks.end(), [](const auto& r) {
    return !r->has_work() && !r->waits_for_tiers() && r->used_blocks() == 0;
  });
}

void World::on_roles(Time now) {
  bool changes = false;
  for (std::uint32_t i = 0; i < roles_.size(); ++i) {
    if (roles_[i] == Role::drains && is_empty(i)) {
      roles_[i] = Role::switches;
      queue_.push({now + options_.roles->switching, Phase::control, EventKind::switched, i, 0, 0});
    }
    changes = changes || roles_[i] == Role::drains || roles_[i] == Role::switches;
  }
  if (!changes) {
    if (const auto i = choose_to_switch(now)) {
      roles_[*i] = Role::drains;
      views_[*i].up = false;
    }
  }
  tick(EventKind::roles, 0, options_.roles->every);
}

void World::on_switched(std::uint32_t i, Time) {
  for (const auto& rank : instances_[i]->ranks) rank->reset_cache();
  roles_[i] = Role::rests;
  const std::uint32_t other = options_.roles->twin[i];
  roles_[other] = Role::serves;
  views_[other].up = true;
  ++role_switches_;
}

// Where one stage is over its limit, and the other would not be with one instance less: of that one
// the instance with the fewest requests.
std::optional<std::uint32_t> World::choose_to_switch(Time now) {
  const RoleRules& rules = *options_.roles;
  struct Stage {
    double load = 0, limit = 0;
    std::size_t serving = 0;
    std::uint32_t idlest = 0;
  };
  std::array<Stage, 2> stages;
  for (std::size_t k = 0; k < 2; ++k) {
    const Pool& pool = *pools_[k == 0 ? 0 : pools_.size() - 1];
    Stage& s = stages[k];
    for (std::uint32_t i = pool.first; i < pool.first + pool.count; ++i) {
      if (roles_[i] != Role::serves) continue;
      if (s.serving == 0 || views_[i].in_flight < views_[s.idlest].in_flight) s.idlest = i;
      ++s.serving;
      if (k == 0) {
        s.load += static_cast<double>(views_[i].pending_tokens);
        continue;
      }
      double used = 0, all = 0;
      for (std::size_t r = 0; r < instances_[i]->ranks.size(); ++r) {
        groups_[instances_[i]->groups[r]]->steps.sync(now - Duration{1});  // as in world_route.cpp
        used += static_cast<double>(instances_[i]->ranks[r]->used_blocks());
        all += static_cast<double>(instances_[i]->ranks[r]->pool().total());
      }
      s.load += used / all;
    }
  }
  stages[0].limit = static_cast<double>(rules.to_prefill);
  stages[1].limit = rules.to_decode;
  for (std::size_t k = 0; k < 2; ++k) {
    const Stage &needs = stages[k], &gives = stages[1 - k];
    if (gives.serving <= rules.least) continue;
    if (needs.load <= needs.limit * static_cast<double>(needs.serving)) continue;
    if (gives.load < gives.limit * static_cast<double>(gives.serving - 1)) return gives.idlest;
  }
  return std::nullopt;
}

}  // namespace kvsim
