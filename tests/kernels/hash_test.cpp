#include "kernels/hash.h"

#include <algorithm>
#include <set>

#include "tests/kernels/twins.h"

namespace kvsim::kernels {
namespace {

struct Ids {
  std::vector<std::int64_t> starts{0}, hash_starts;
  std::vector<std::uint32_t> ids;
  std::vector<std::uint64_t> out;
  BlockHashes args(std::int32_t block, std::uint64_t seed) {
    hash_starts.clear();
    std::int64_t blocks = 0;
    for (std::size_t s = 0; s + 1 < starts.size(); ++s) {
      hash_starts.push_back(blocks);
      blocks += (starts[s + 1] - starts[s]) / block;
    }
    out.assign(static_cast<std::size_t>(blocks), 0xdead);
    return {block, seed, starts, ids, hash_starts, out};
  }
};

TEST(BlockHash, EveryPathGivesTheSameBits) {
  Rng rng(1, "hash");
  for (const std::int32_t block : {1, 2, 3, 4, 5, 7, 16, 17, 64}) {
    Ids a;
    for (int s = 0; s < 13; ++s) {
      const std::uint64_t n = rng.below(5 * static_cast<std::uint64_t>(block) + 2);
      for (std::uint64_t i = 0; i < n; ++i)
        a.ids.push_back(static_cast<std::uint32_t>(rng.below(3) == 0 ? rng.next() : rng.below(5)));
      a.starts.push_back(std::ssize(a.ids));
    }
    const std::uint64_t seed = rng.next();
    reference::hash_blocks(a.args(block, seed));
    const std::vector<std::uint64_t> expected = a.out;
    for (const int count : {1, 4}) {
      Threads threads(count);
      cpu::hash_blocks(a.args(block, seed), threads);
      EXPECT_EQ(a.out, expected) << "block of " << block;
    }
  }
}

TEST(BlockHash, EqualPrefixesShareHashesUntilTheFirstDifference) {
  Ids a;
  for (std::uint32_t i = 0; i < 64; ++i) a.ids.push_back(i);
  for (std::uint32_t i = 0; i < 64; ++i) a.ids.push_back(i == 37 ? 99 : i);
  a.starts = {0, 64, 128};
  Threads threads(1);
  cpu::hash_blocks(a.args(16, 5), threads);
  EXPECT_EQ(a.out[0], a.out[4]);
  EXPECT_EQ(a.out[1], a.out[5]);
  EXPECT_NE(a.out[2], a.out[6]);
  EXPECT_NE(a.out[3], a.out[7]);  // equal ids after a different parent
}

TEST(BlockHash, NoCollisionsAmongSmallDifferences) {
  Ids a;
  for (std::uint32_t n = 0; n < 20000; ++n) {
    for (std::uint32_t i = 0; i < 8; ++i) a.ids.push_back(i == n % 8 ? n / 8 : 0);
    a.starts.push_back(std::ssize(a.ids));
  }
  Threads threads(2);
  cpu::hash_blocks(a.args(8, 0), threads);
  // n / 8 = 0 in any place is the same block of zeros.
  EXPECT_EQ(std::set<std::uint64_t>(a.out.begin(), a.out.end()).size(), 20000U - 7);
}

}  // namespace
}  // namespace kvsim::kernels
