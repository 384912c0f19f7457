#pragma once
// KV heads of unequal budgets over tensor-parallel ranks (FairKV, arXiv:2502.15804): every layer
// waits for the rank with the most KV to read.
#include <cstdint>
#include <span>
#include <vector>

namespace kvsim {

// Which rank reads how much. A head may have copies on several ranks, each for an even share of the
// batch.
struct HeadPlan {
  std::vector<double> load;                // by rank, in the unit of the budgets
  std::vector<std::vector<int>> ranks_of;  // by head
  [[nodiscard]] double fullest() const;    // the largest load
  [[nodiscard]] double imbalance() const;  // fullest over mean; 1 = even
};

// Heads in order, as many on each rank. Requires that ranks divide their number.
HeadPlan heads_in_order(std::span<const double> budgets, int ranks);
// The heaviest first, each to the least loaded rank (LPT: at most 4/3 - 1/(3 ranks) of the best).
// `copies` more are given to the heads whose share is the largest, one by one; copies of a head lie
// on different ranks.
HeadPlan balanced_heads(std::span<const double> budgets, int ranks, int copies);

}  // namespace kvsim
