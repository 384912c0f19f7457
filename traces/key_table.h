#pragma once
// A map from content keys (64-bit words that are already well mixed) to numbers: open addressing,
// no erase.
#include <cstddef>
#include <cstdint>
#include <vector>

namespace kvsim {

class KeyTable {
 public:
  struct Found {
    std::uint64_t& value;  // valid until the next insertion
    bool is_new;
  };
  // The number of `key`; `fresh` becomes it when the key is new.
  Found insert(std::uint64_t key, std::uint64_t fresh) {
    if (2 * (size_ + 1) > cells_.size()) grow();
    Cell& c = cells_[place(key)];
    if (c.used) return {c.value, false};
    ++size_;
    c = {key, fresh, true};
    return {c.value, true};
  }
  // Null when the key is absent.
  std::uint64_t* find(std::uint64_t key) {
    if (cells_.empty()) return nullptr;
    Cell& c = cells_[place(key)];
    return c.used ? &c.value : nullptr;
  }
  [[nodiscard]] std::size_t size() const { return size_; }
  // use(key, value&) for all, in no meaningful order: sort before a result depends on it.
  template <class Use>
  void each(Use use) {
    for (Cell& c : cells_)
      if (c.used) use(c.key, c.value);
  }

 private:
  struct Cell {
    std::uint64_t key = 0, value = 0;
    bool used = false;
  };
  [[nodiscard]] std::size_t place(std::uint64_t key) const {
    const std::size_t mask = cells_.size() - 1;
    std::size_t i = static_cast<std::size_t>(key * 0x9e3779b97f4a7c15ULL >> 20) & mask;
    while (cells_[i].used && cells_[i].key != key) i = (i + 1) & mask;
    return i;
  }
  void grow() {
    std::vector<Cell> old(cells_.empty() ? 1024 : 2 * cells_.size());
    old.swap(cells_);
    for (const Cell& c : old)
      if (c.used) cells_[place(c.key)] = c;
  }
  std::vector<Cell> cells_;
  std::size_t size_ = 0;
};

}  // namespace kvsim
