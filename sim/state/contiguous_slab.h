#pragma once
// One slab of memory from which contiguous regions are cut: holes ordered by place, first or best
// fit, neighbours melt when a region is given back.
#include <cstdint>
#include <optional>
#include <vector>

namespace kvsim {

class ContiguousSlab {
 public:
  explicit ContiguousSlab(std::int64_t size, bool best_fit = false);

  // A hole of `n` units, n > 0, exists.
  [[nodiscard]] bool fits(std::int64_t n) const { return find(n).has_value(); }
  // Place of the region that was cut from the chosen hole. Requires fits(n).
  std::int64_t take(std::int64_t n);
  // Gives back what take(n) gave.
  void give_back(std::int64_t at, std::int64_t n);
  [[nodiscard]] std::int64_t free() const { return free_; }
  [[nodiscard]] std::int64_t largest_hole() const;

 private:
  struct Hole {
    std::int64_t at = 0, size = 0;
  };
  [[nodiscard]] std::optional<std::size_t> find(std::int64_t n) const;

  std::int64_t free_;
  bool best_fit_;
  std::vector<Hole> holes_;  // ascending, never touching
};

}  // namespace kvsim
