#pragma once
// Arithmetic that several scores share: one importance per slot from a query's attention, and lists
// that lose slots.
#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "kernels/scores.h"
#include "policies/token/score.h"

namespace kvsim::token {

// The attention of query `query` of the rows, combined over the heads of the group: [slots].
std::vector<float> combined_row(const HeadRows&, std::int32_t query, kernels::Combine heads,
                                kernels::Threads&);

// Slots that the list does not know yet count as zero.
template <class T>
void keep_slots(std::vector<T>& list, std::span<const std::int32_t> slots) {
  if (!slots.empty())
    list.resize(std::max(list.size(), static_cast<std::size_t>(slots.back()) + 1));
  std::size_t n = 0;
  for (const std::int32_t slot : slots) list[n++] = list[static_cast<std::size_t>(slot)];
  list.resize(n);
}

}  // namespace kvsim::token
