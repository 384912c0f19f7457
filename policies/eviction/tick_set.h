#pragma once
// A set of moments (whole numbers from 0), each with an object, that gives its latest: a tree of
// 64-way bit words, so that its few levels stay in cache where a heap would not.
#include <algorithm>
#include <bit>
#include <vector>

#include "sim/state/object_table.h"

namespace kvsim {

class TickSet {
 public:
  void insert(std::int64_t tick, ObjectId id) {
    const auto t = static_cast<std::size_t>(tick);
    if (t >= object_.size()) grow(t);
    object_[t] = id;
    set(t);
  }
  void erase(std::int64_t tick) {
    auto t = static_cast<std::size_t>(tick);
    for (auto& level : levels_) {
      std::uint64_t& word = level[t / 64];
      word &= ~(std::uint64_t{1} << (t % 64));
      if (word != 0) return;
      t /= 64;
    }
  }
  [[nodiscard]] ObjectId object(std::int64_t tick) const {
    return object_[static_cast<std::size_t>(tick)];
  }
  // The latest moment before `end`, or -1.
  [[nodiscard]] std::int64_t last_before(std::int64_t end) const {
    auto t = static_cast<std::size_t>(end);
    if (t >= object_.size()) {
      const std::uint64_t root = levels_.empty() ? 0 : levels_.back()[0];
      return root == 0 ? -1 : static_cast<std::int64_t>(descend(levels_.size() - 1, top_bit(root)));
    }
    for (std::size_t l = 0; l < levels_.size(); ++l, t /= 64) {
      const std::uint64_t below = (std::uint64_t{1} << (t % 64)) - 1;
      if (const std::uint64_t word = levels_[l][t / 64] & below; word != 0)
        return static_cast<std::int64_t>(descend(l, t / 64 * 64 + top_bit(word)));
    }
    return -1;
  }
  void prefetch(std::int64_t tick) const {
    const auto t = static_cast<std::size_t>(tick);
    if (t >= object_.size()) return;
    __builtin_prefetch(&object_[t], 1);
    __builtin_prefetch(&levels_[0][t / 64], 1);
  }

 private:
  static std::size_t top_bit(std::uint64_t word) {
    return static_cast<std::size_t>(63 - std::countl_zero(word));
  }
  [[nodiscard]] std::size_t descend(std::size_t level, std::size_t at) const {
    while (level-- > 0) at = at * 64 + top_bit(levels_[level][at]);
    return at;
  }
  void set(std::size_t t) {
    for (auto& level : levels_) {
      std::uint64_t& word = level[t / 64];
      const bool known = word != 0;
      word |= std::uint64_t{1} << (t % 64);
      if (known) return;
      t /= 64;
    }
  }
  void grow(std::size_t t) {
    const std::size_t old_ticks = object_.size();
    object_.resize(std::max<std::size_t>({t + 1, 2 * old_ticks, 4096}), kNoObject);
    std::vector<std::vector<std::uint64_t>> fresh;
    for (std::size_t n = object_.size(); fresh.empty() || n > 1;) {
      n = (n + 63) / 64;
      fresh.emplace_back(n);
    }
    std::vector<std::vector<std::uint64_t>> old;
    old.swap(levels_);
    levels_.swap(fresh);
    if (old.empty()) return;
    for (std::size_t w = 0; w < old[0].size(); ++w)
      for (std::uint64_t word = old[0][w]; word != 0; word &= word - 1)
        set(w * 64 + static_cast<std::size_t>(std::countr_zero(word)));
  }
  std::vector<ObjectId> object_;                    // by moment
  std::vector<std::vector<std::uint64_t>> levels_;  // [0]: a bit per moment
};

}  // namespace kvsim
