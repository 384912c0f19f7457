#pragma once
// One slab of memory from which contiguous regions are cut: holes ordered by place, neighbours melt
// when a region is given back.
#include <array>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace kvsim {

enum class HoleFit : std::uint8_t {
  first,
  best,  // the tightest hole
  buddy  // regions stand at multiples of their size, a power of two; the tightest hole
};
constexpr auto enum_names(HoleFit) {
  return std::array{std::pair{HoleFit::first, "first"}, std::pair{HoleFit::best, "best"},
                    std::pair{HoleFit::buddy, "buddy"}};
}

class ContiguousSlab {
 public:
  explicit ContiguousSlab(std::int64_t size, HoleFit fit = HoleFit::first);

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
  // Where a region of `n` begins in the hole; it may not fit.
  [[nodiscard]] std::int64_t place(const Hole& h, std::int64_t n) const {
    return fit_ == HoleFit::buddy ? (h.at + n - 1) / n * n : h.at;
  }
  [[nodiscard]] std::optional<std::size_t> find(std::int64_t n) const;

  std::int64_t free_;
  HoleFit fit_;
  std::vector<Hole> holes_;  // ascending, never touching
};

}  // namespace kvsim
