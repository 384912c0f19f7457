#pragma once
// What the rules of a memory manager mean for one rank: reserved regions, pages that stay mapped,
// driver time, room for activations. How many blocks are free is the block pool's business.
#include <cstdint>
#include <vector>

#include "policies/memory/memory.h"
#include "sim/engine/config.h"
#include "sim/engine/sequence.h"
#include "sim/state/contiguous_slab.h"

namespace kvsim {

// The largest k <= n for which `holds`; what holds for k holds for fewer. 0 = none.
template <class Holds>
std::int64_t largest(std::int64_t n, Holds holds) {
  if (n <= 0 || holds(n)) return n;
  std::int64_t low = 0, high = n;
  while (high - low > 1) {
    const std::int64_t middle = low + (high - low) / 2;
    (holds(middle) ? low : high) = middle;
  }
  return low;
}

class RankMemory {
 public:
  // `manager` may be null: blocks are taken as tokens come.
  RankMemory(const MemoryRules&, const MemoryManager* manager, std::int64_t blocks);

  // Blocks that the sequence must find in one piece; 0 = none.
  [[nodiscard]] std::int64_t region_blocks(const Sequence&) const;
  [[nodiscard]] bool has_hole(std::int64_t blocks) const {
    return blocks == 0 || slab_.fits(blocks);
  }
  // The sequence is admitted: `reserved` becomes what it holds from the start, whatever it has
  // computed. `known_blocks` = those of its known tokens, which are free; `free` = of the pool.
  void admit(Sequence&, std::int64_t known_blocks, std::int64_t free, Time now);
  // It gives its blocks, `held`, back to the pool.
  void leave(Sequence&, std::int64_t held);

  // The GPU is lost, and with it what was mapped.
  void lose_all() { idle_.clear(), idle_blocks_ = 0; }

  // `blocks` were taken from the pool, which has `free` left, and `shared` cached ones referenced,
  // all of it for a sequence that was admitted just now, or (null) was running: what mapping them
  // costs goes to the plan.
  void map(std::int64_t blocks, std::int64_t shared, std::int64_t free, Sequence* admitted, Plan&);
  [[nodiscard]] bool maps() const { return rules_.map_block.count() > 0; }

  // Free blocks that the activations of an iteration of so many tokens need.
  [[nodiscard]] std::int64_t activation_blocks(std::int64_t tokens) const {
    return lends() ? kvsim::activation_blocks(rules_, tokens) : 0;
  }
  [[nodiscard]] bool lends() const { return rules_.lent_blocks > 0; }

  void check(std::int64_t free) const;

 private:
  const MemoryRules& rules_;
  const MemoryManager* manager_;
  ContiguousSlab slab_;
  std::vector<std::int64_t> idle_;  // mapped blocks of slots without a request, ascending
  std::int64_t idle_blocks_ = 0;    // their sum; all of them are free in the pool
  Time eager_since_{};              // the background thread maps for the next request since
};

}  // namespace kvsim
