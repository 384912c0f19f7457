#include "sim/engine/rank_memory.h"

#include <algorithm>
#include <numeric>

#include "sim/base/check.h"

namespace kvsim {

RankMemory::RankMemory(const MemoryRules& rules, const MemoryManager* manager, std::int64_t blocks)
    : rules_(rules), manager_(manager), slab_(rules.contiguous ? blocks : 0, rules.fit) {}

std::int64_t RankMemory::region_blocks(const Sequence& s) const {
  return rules_.contiguous ? kvsim::region_blocks(rules_, *manager_, s.prompt, s.output) : 0;
}

void RankMemory::admit(Sequence& s, std::int64_t known_blocks, std::int64_t free, Time now) {
  s.reserved = s.premapped = 0;
  if (rules_.contiguous) {
    s.reserved = region_blocks(s);
    s.region = slab_.take(s.reserved);
    return;
  }
  // The slot whose pages suffice with the least to spare, else the one with the most.
  if (!idle_.empty()) {
    auto slot = std::lower_bound(idle_.begin(), idle_.end(), known_blocks);
    if (slot == idle_.end()) --slot;
    s.reserved = *slot;
    idle_blocks_ -= *slot;
    idle_.erase(slot);
  }
  if (rules_.eager_blocks > s.reserved && maps()) {
    const std::int64_t done = to_ns(now - eager_since_) / to_ns(rules_.map_block);
    const std::int64_t unmapped = free - s.reserved - idle_blocks_;
    s.premapped = std::min({rules_.eager_blocks - s.reserved, done, unmapped});
    eager_since_ = now;
  }
}

void RankMemory::leave(Sequence& s, std::int64_t held) {
  if (rules_.contiguous) {
    slab_.give_back(s.region, s.reserved);
  } else if (rules_.keep_mapped && held > 0) {
    idle_.insert(std::upper_bound(idle_.begin(), idle_.end(), held), held);
    idle_blocks_ += held;
  }
  s.reserved = 0;
}

void RankMemory::map(std::int64_t blocks, std::int64_t shared, std::int64_t free,
                     Sequence* admitted, Plan& out) {
  if (!maps()) return;
  std::int64_t ns = 0;
  // Pages of idle slots are the last resort; the smallest slots lose theirs first.
  for (std::int64_t stolen = idle_blocks_ - free; stolen > 0;) {
    const std::int64_t n = std::min(stolen, idle_.front());
    ns += n * to_ns(rules_.unmap_block);
    stolen -= n;
    idle_blocks_ -= n;
    idle_.front() -= n;
    if (idle_.front() == 0) idle_.erase(idle_.begin());
  }
  blocks += shared;
  if (admitted != nullptr) {
    const std::int64_t ready = std::min(blocks, admitted->premapped);
    admitted->premapped = 0;
    blocks -= ready;
  }
  ns += blocks * to_ns(rules_.map_block);
  (admitted == nullptr && rules_.map_ahead ? out.mapping_ahead_ns : out.mapping_ns) += ns;
}

void RankMemory::check(std::int64_t free) const {
  KVSIM_CHECK(std::accumulate(idle_.begin(), idle_.end(), std::int64_t{0}) == idle_blocks_ &&
                  idle_blocks_ <= free,
              "{} blocks stay mapped in idle slots, {} are free", idle_blocks_, free);
  KVSIM_CHECK(!rules_.contiguous || slab_.free() == free,
              "the slab has {} free blocks, the pool {}", slab_.free(), free);
}

}  // namespace kvsim
