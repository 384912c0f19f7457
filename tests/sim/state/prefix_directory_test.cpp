// The directory against what each pool says itself.
#include "sim/state/prefix_directory.h"

#include <gtest/gtest.h>

#include <array>

#include "sim/base/hash.h"
#include "sim/base/random.h"
#include "sim/state/block_pool.h"

namespace kvsim {
namespace {

constexpr std::size_t kPools = 12;  // more than a list of a few

struct Held {
  std::size_t pool = 0;
  KvPool::Hold hold;
  std::vector<ContentChunk> content;
};

// A content whose chunks branch, so that many share their beginnings.
std::vector<ContentChunk> draw_content(Rng& rng) {
  std::vector<ContentChunk> content;
  std::uint64_t key = 7;
  std::int64_t end = 0;
  const std::size_t n = 1 + rng.below(4);
  for (std::size_t i = 0; i < n; ++i) {
    key = hash_combine(key, rng.below(3));
    end += static_cast<std::int64_t>(key % 4);  // some chunks have no block
    content.push_back({key, end});
  }
  return content;
}

TEST(PrefixDirectory, SaysWhatThePoolsSay) {
  Rng rng(1, "directory");
  PrefixDirectory directory({true, false, {}});
  std::vector<std::unique_ptr<BlockPool>> pools;
  for (std::uint32_t p = 0; p < kPools; ++p) {
    pools.push_back(std::make_unique<BlockPool>(BlockPool::Options{40, true, true}));
    pools.back()->on_cached(
        [&directory, p](std::uint64_t key, std::uint32_t& place, std::int64_t leading,
                        std::int64_t seen) { directory.changed(p, key, place, leading, seen); },
        true);
  }
  std::vector<Held> held;
  std::vector<PrefixDirectory::Holder> found;
  std::size_t hits = 0;
  for (int step = 0; step < 20'000; ++step) {
    if (rng.below(2) == 0 && held.size() < 12) {
      Held h;
      h.pool = rng.below(kPools);
      h.content = draw_content(rng);
      BlockPool& pool = *pools[h.pool];
      const std::int64_t all = h.content.back().end;
      const KvPool::Hit hit = pool.look_up(h.content, all);
      if (all - hit.blocks + hit.queued <= pool.free()) {
        pool.take_hit(h.hold, h.content);
        pool.take(h.hold, all - hit.blocks);
        pool.publish(h.hold, h.content,
                     hit.blocks + static_cast<std::int64_t>(
                                      rng.below(static_cast<std::uint64_t>(all - hit.blocks) + 1)));
        held.push_back(std::move(h));
      }
    } else if (!held.empty()) {
      const std::size_t i = rng.below(held.size());
      pools[held[i].pool]->release(held[i].hold);
      held.erase(held.begin() + static_cast<std::ptrdiff_t>(i));
    }
    if (rng.below(500) == 0) pools[rng.below(kPools)]->reset();
    const std::vector<ContentChunk> asked = draw_content(rng);
    const auto most = static_cast<std::int64_t>(rng.below(12));
    directory.match(asked, most, found);
    std::vector<std::int64_t> blocks(kPools, 0);
    for (const PrefixDirectory::Holder& h : found) blocks[h.instance] = h.blocks;
    std::int64_t seen = 0;
    for (std::size_t p = 0; p < kPools; ++p) {
      ASSERT_EQ(blocks[p], pools[p]->look_up(asked, most).blocks) << "step " << step;
      hits += blocks[p] > 0 ? 1 : 0;
      seen = std::max(seen, pools[p]->seen_blocks(asked, 0, most));
    }
    ASSERT_GE(directory.seen_blocks(asked, 0, most), seen);
  }
  EXPECT_GT(hits, 10'000U);
}

// Chunks that hardly anybody has, that many have as a whole, that many have in part; fleets wider
// than a word of bits. The same through words that arrive at once.
TEST(PrefixDirectory, AgreesWithTheTwinForFleetsOfAnySize) {
  constexpr std::size_t kChunks = 6;
  constexpr std::int64_t kBlocks = 4;
  for (const std::uint64_t instances : {3U, 64U, 65U, 200U}) {
    Rng rng(instances, "fleet");
    PrefixDirectory d({true, true, {}});
    std::vector<std::array<std::int64_t, kChunks>> twin(instances);
    std::vector<std::array<std::uint32_t, kChunks>> places(instances);
    for (auto& p : places) p.fill(KvPool::kNoPlace);
    std::vector<ContentChunk> content;
    for (std::size_t c = 0; c < kChunks; ++c)
      content.push_back({100 + c * c, kBlocks * static_cast<std::int64_t>(c + 1)});
    std::vector<PrefixDirectory::Holder> found, heard;
    std::size_t hits = 0;
    for (int step = 0; step < 20'000; ++step) {
      const std::uint64_t i = rng.below(instances), c = rng.below(kChunks);
      const std::uint64_t kind = rng.below(8);  // mostly all or nothing, phases with little of it
      const bool rare = step / 2'000 % 2 == 1;
      const std::int64_t leading = kind == 0               ? static_cast<std::int64_t>(rng.below(5))
                                   : kind < (rare ? 2 : 6) ? kBlocks
                                                           : 0;
      twin[i][c] = leading;
      d.changed(static_cast<std::uint32_t>(i), content[c].key, places[i][c], leading, kBlocks);
      d.publish(Time{});
      const auto most = static_cast<std::int64_t>(rng.below(kBlocks * kChunks + 2));
      d.match(content, most, found);
      d.match_words(content, most, Time{}, heard);
      std::size_t at = 0;
      for (std::uint32_t k = 0; k < instances; ++k) {
        std::int64_t reached = 0;
        for (std::size_t n = 0; n < kChunks && reached == kBlocks * static_cast<std::int64_t>(n);
             ++n)
          reached += twin[k][n];
        reached = std::min(reached, most);
        if (reached == 0) continue;
        ASSERT_LT(at, found.size()) << "step " << step;
        ASSERT_EQ(found[at].instance, k) << "step " << step;
        ASSERT_EQ(found[at].blocks, reached) << "step " << step;
        ASSERT_EQ(heard[at].blocks, reached) << "step " << step;
        ++at;
      }
      ASSERT_EQ(at, found.size()) << "step " << step;
      ASSERT_EQ(at, heard.size()) << "step " << step;
      hits += at;
    }
    EXPECT_GT(hits, 10'000U);
  }
}

TEST(PrefixDirectory, HearsLate) {
  PrefixDirectory d({false, true, Duration{10}});
  std::uint32_t place = KvPool::kNoPlace;
  const std::vector<ContentChunk> content{{11, 3}};
  std::vector<PrefixDirectory::Holder> found;
  const auto blocks = [&](std::int64_t at) {
    d.match_words(content, 9, Time{Duration{at}}, found);
    return found.empty() ? 0 : found.front().blocks;
  };
  d.changed(0, 11, place, 2, 2);
  EXPECT_EQ(blocks(100), 0);  // nobody published
  d.publish(Time{Duration{100}});
  d.changed(0, 11, place, 3, 3);
  EXPECT_EQ(blocks(109), 0);
  EXPECT_EQ(blocks(110), 2);
  d.publish(Time{Duration{200}});
  d.changed(0, 11, place, 0, 3);
  EXPECT_EQ(blocks(205), 2);
  EXPECT_EQ(blocks(1000), 3);
  EXPECT_EQ(d.seen_blocks(content, 0, 9), 3);
}

}  // namespace
}  // namespace kvsim
