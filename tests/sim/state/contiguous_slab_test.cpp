// Regions of one slab against a naive twin that paints every unit.
#include "sim/state/contiguous_slab.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <vector>

#include "sim/base/random.h"

namespace kvsim {
namespace {

struct Region {
  std::int64_t at, size;
};

// Every unit is free or taken; holes are found by walking.
class Twin {
 public:
  Twin(std::int64_t size, HoleFit fit) : taken_(static_cast<std::size_t>(size)), fit_(fit) {}
  // Place of the hole that should be used; -1 = none. The largest hole on the side.
  std::int64_t choose(std::int64_t n, std::int64_t& largest) const {
    std::int64_t at = -1, size_at = 0;
    largest = 0;
    const auto size = static_cast<std::int64_t>(taken_.size());
    for (std::int64_t i = 0; i < size;) {
      std::int64_t end = i;
      while (end < size && !taken_[static_cast<std::size_t>(end)]) ++end;
      const std::int64_t hole = end - i;
      largest = std::max(largest, hole);
      std::int64_t start = i;
      while (fit_ == HoleFit::buddy && start % n != 0) ++start;
      if (start + n <= end && (at < 0 || (fit_ != HoleFit::first && hole < size_at)))
        at = start, size_at = hole;
      i = end + 1;
    }
    return at;
  }
  void paint(Region r, bool taken) {
    for (std::int64_t i = r.at; i < r.at + r.size; ++i) {
      ASSERT_NE(taken_[static_cast<std::size_t>(i)], taken) << "unit " << i;
      taken_[static_cast<std::size_t>(i)] = taken;
    }
  }
  [[nodiscard]] std::int64_t free() const {
    return std::count(taken_.begin(), taken_.end(), false);
  }

 private:
  std::vector<bool> taken_;
  HoleFit fit_;
};

TEST(ContiguousSlab, RandomOperationsEqualTheNaiveTwin) {
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    Rng rng(seed, "slab");
    const HoleFit fit = std::array{HoleFit::first, HoleFit::best, HoleFit::buddy}[seed % 3];
    const auto size = 1 + static_cast<std::int64_t>(rng.below(200));
    ContiguousSlab slab(size, fit);
    Twin twin(size, fit);
    std::vector<Region> regions;
    for (int step = 0; step < 400; ++step) {
      const auto n = fit == HoleFit::buddy ? std::int64_t{1} << rng.below(6)
                                           : 1 + static_cast<std::int64_t>(rng.below(40));
      std::int64_t largest = 0;
      const std::int64_t at = twin.choose(n, largest);
      ASSERT_EQ(slab.largest_hole(), largest);
      ASSERT_EQ(slab.fits(n), at >= 0) << "seed " << seed << " step " << step;
      if (at >= 0 && rng.below(2) == 0) {
        ASSERT_EQ(slab.take(n), at) << "seed " << seed << " step " << step;
        regions.push_back({at, n});
        twin.paint(regions.back(), true);
      } else if (!regions.empty()) {
        const std::size_t i = rng.below(regions.size());
        slab.give_back(regions[i].at, regions[i].size);
        twin.paint(regions[i], false);
        regions.erase(regions.begin() + static_cast<std::ptrdiff_t>(i));
      }
      ASSERT_EQ(slab.free(), twin.free());
    }
  }
}

TEST(ContiguousSlab, BestFitKeepsTheLargeHole) {
  for (const bool best : {false, true}) {
    ContiguousSlab slab(100, best ? HoleFit::best : HoleFit::first);
    const std::int64_t a = slab.take(40), b = slab.take(10), c = slab.take(20), d = slab.take(10);
    EXPECT_EQ(d, 70);  // [80, 100) is a hole
    slab.give_back(a, 40);
    slab.give_back(c, 20);
    EXPECT_EQ(slab.take(20), best ? 50 : 0);
    EXPECT_EQ(slab.fits(40), best);  // free in both: 60
    EXPECT_EQ(slab.free(), 60);
    EXPECT_EQ(b, 40);
  }
}

TEST(ContiguousSlab, BuddiesStandAtMultiplesOfTheirSize) {
  ContiguousSlab slab(24, HoleFit::buddy);
  EXPECT_EQ(slab.take(2), 0);
  EXPECT_EQ(slab.take(8), 8);
  EXPECT_EQ(slab.take(4), 4);
  EXPECT_EQ(slab.take(8), 16);
  EXPECT_EQ(slab.free(), 2);  // [2, 4)
  slab.give_back(0, 2);
  EXPECT_TRUE(slab.fits(4));
  slab.give_back(8, 8);
  EXPECT_FALSE(slab.fits(16));  // 12 of 24 are free
}

}  // namespace
}  // namespace kvsim
