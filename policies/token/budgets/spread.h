#pragma once
// Whole tokens from real shares.
#include <cstdint>
#include <span>
#include <vector>

#include "policies/token/budget.h"

namespace kvsim::token {

// Whole numbers in proportion to `weights` (>= 0), each between `low` and `high`, that add up to
// `total` as far as those bounds allow. Remainders go to the largest fractions, of equal ones to
// the first.
std::vector<std::int64_t> spread(std::span<const double> weights, std::int64_t total,
                                 std::int64_t low, std::int64_t high);

// Gives layer l's heads `tokens[l]` each.
void give_layers(std::span<const std::int64_t> tokens, std::int64_t heads, std::span<HeadPlan>);

// Protected tokens of a plan with the question's sinks and recent ones.
std::int64_t protected_tokens(const BudgetQuestion&);
// No limit, or a limit above the prompt: an allocator has nothing to do.
bool fits(const BudgetQuestion&);
// Attention outside the first `sinks` and the newest `recent` tokens, over all of it.
double far_share(std::span<const float> attention, std::int64_t sinks, std::int64_t recent);

}  // namespace kvsim::token
