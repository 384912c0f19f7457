#pragma once
// Of the sequences that decode together, those whose windows still fill: each takes window_units
// blocks more whenever it opens a block, until it keeps window_blocks of them. `base` + clock =
// tokens it has computed (decode_group.h).
#include <cstdint>
#include <limits>
#include <map>
#include <vector>

#include "sim/engine/hybrid.h"

namespace kvsim {

class WindowDues {
 public:
  static constexpr std::int64_t kNoChange = std::numeric_limits<std::int64_t>::max();

  WindowDues(std::int64_t block_tokens, const HybridMemory& hybrid)
      : block_tokens_(block_tokens),
        full_(hybrid.full),
        units_(hybrid.window_units),
        filled_(hybrid.window_blocks * block_tokens),
        due_(static_cast<std::size_t>(block_tokens), 0) {}

  void add(std::int64_t base, std::int64_t clock) {
    if (filled_ - base <= clock) return;
    ++ends_[filled_ - base];
    count(base, 1);
  }
  void remove(std::int64_t base, std::int64_t clock) {
    if (filled_ - base <= clock) return;
    const auto at = ends_.find(filled_ - base);
    if (--at->second == 0) ends_.erase(at);
    count(base, -1);
  }
  // Windows that are full now stop growing.
  void advance(std::int64_t clock) {
    for (; !ends_.empty() && ends_.begin()->first <= clock; ends_.erase(ends_.begin()))
      count(filled_ - ends_.begin()->first, -ends_.begin()->second);
  }
  // The clock at which the next window is full.
  [[nodiscard]] std::int64_t next() const {
    return ends_.empty() ? kNoChange : ends_.begin()->first;
  }
  // Blocks of the pool when `members` sequences open a block, those of this bucket.
  [[nodiscard]] std::int64_t units(std::int64_t members, std::size_t bucket) const {
    return full_ * members + units_ * due_[bucket];
  }
  // The same when all open one each.
  [[nodiscard]] std::int64_t units(std::int64_t members) const {
    return full_ * members + units_ * growing_;
  }

 private:
  void count(std::int64_t base, std::int64_t members) {
    const std::int64_t r = base % block_tokens_;
    due_[static_cast<std::size_t>(r < 0 ? r + block_tokens_ : r)] += members;
    growing_ += members;
  }

  std::int64_t block_tokens_, full_, units_, filled_, growing_ = 0;
  std::vector<std::int64_t> due_;              // growing ones by base mod block
  std::map<std::int64_t, std::int64_t> ends_;  // growing ones by the clock at which they end
};

}  // namespace kvsim
