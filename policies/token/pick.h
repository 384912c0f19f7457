#pragma once
// Which slots stay, and which a step reads.
#include <cstdint>
#include <span>
#include <vector>

#include "policies/token/budget.h"
#include "policies/token/head.h"
#include "policies/token/index.h"
#include "policies/token/spec.h"

namespace kvsim::token {

struct PickQuestion {
  const SelectSpec* select = nullptr;
  HeadPlan plan;
  std::int64_t capacity = 0;
  const Head* head = nullptr;
  std::span<const float> scores;         // [slots]
  std::span<const std::uint8_t> banned;  // [slots], or empty; 1 = must leave
  Rng rng{0, ""};
};
// Ascending slots. At most `capacity`, first tokens before newest before the others, unless the
// plan is protected_only: then exactly the protected ones.
std::vector<std::int32_t> pick_kept(const PickQuestion&, kernels::Threads&);

// The `k` best of `candidates` by score, of equal ones the first; ascending.
std::vector<std::int32_t> best_of(std::span<const float> scores,
                                  std::span<const std::int32_t> candidates, std::int64_t k,
                                  kernels::Threads&);

// Slots to read: sinks, recent ones, and of the others whole units by rank (mean over the queries
// of the group) as long as they fit into `budget` tokens.
std::vector<std::int32_t> pick_read(const RetrieveSpec&, TokenIndex&, const Head&,
                                    std::span<const float> queries, std::int64_t budget,
                                    kernels::Threads&);

}  // namespace kvsim::token
