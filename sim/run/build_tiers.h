#pragma once
// The tiers of a scenario on the graph of its machine: stores, and the way from each rank to them.
#include <optional>
#include <span>
#include <vector>

#include "sim/run/build.h"

namespace kvsim {

// Instances fill node after node; one never spans two.
int instances_per_node(const BuiltRun&);

// Nothing when the scenario has no tiers below the GPU and no KV moves to host memory outside them.
// Mistakes go to Diagnostics, under `cache.tiers` or the key that asks for host memory.
std::optional<TierSystem> build_tiers(const BuiltRun&, const Tree& scenario, Diagnostics&);

// Each rank's ways when these links are down: around them, or as ever where nothing else leads
// there. Requires a scenario whose tiers are built.
std::vector<std::vector<TierWay>> detours(const BuiltRun&, const Tree& scenario,
                                          std::span<const std::uint32_t> links);

}  // namespace kvsim
