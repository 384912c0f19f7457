// BlockPool against a block-by-block twin of the engine's rules, and the engine's own golden cases.
#include "sim/state/block_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <list>
#include <map>
#include <optional>

#include "sim/base/random.h"

namespace kvsim {
namespace {

// One object per block, one list node per free block, hashes of single blocks: slow and plain.
class Twin {
 public:
  Twin(std::int64_t blocks, bool caching, bool unhashed_first)
      : caching_(caching), unhashed_first_(unhashed_first) {
    for (int b = 0; b < blocks; ++b) {
      blocks_.push_back({});
      queue_.push_back(b);
    }
  }
  using Hash = std::pair<std::uint64_t, std::int64_t>;  // chunk key, block within the chunk
  static std::optional<Hash> hash_at(const std::vector<ContentChunk>& content, std::int64_t block) {
    std::int64_t begin = 0;
    for (const ContentChunk& c : content) {
      if (block < c.end) return Hash{c.key, block - begin};
      begin = c.end;
    }
    return std::nullopt;
  }
  std::vector<int> look_up(const std::vector<ContentChunk>& content, std::int64_t most) const {
    std::vector<int> hit;
    for (std::int64_t i = 0; caching_ && i < most; ++i) {
      const auto h = hash_at(content, i);
      if (!h) break;
      const auto at = cached_.find(*h);
      if (at == cached_.end() || at->second.empty()) break;
      hit.push_back(at->second.front());
    }
    return hit;
  }
  std::int64_t queued(const std::vector<int>& hit) const {
    return std::count_if(hit.begin(), hit.end(),
                         [&](int b) { return blocks_[static_cast<std::size_t>(b)].refs == 0; });
  }
  void take_hit(std::vector<int>& table, const std::vector<int>& hit) {
    for (const int b : hit) {
      if (blocks_[static_cast<std::size_t>(b)].refs++ == 0) queue_.remove(b);
      table.push_back(b);
    }
  }
  void take(std::vector<int>& table, std::int64_t n) {
    for (; n > 0; --n) {
      const int b = queue_.front();
      queue_.pop_front();
      Block& block = blocks_[static_cast<std::size_t>(b)];
      if (block.hash) {
        auto& copies = cached_[*block.hash];
        copies.erase(std::find(copies.begin(), copies.end(), b));
        block.hash.reset();
        ++evicted;
      }
      block.refs = 1;
      table.push_back(b);
    }
  }
  void publish(const std::vector<int>& table, const std::vector<ContentChunk>& content,
               std::int64_t full) {
    for (std::int64_t i = 0; caching_ && i < full; ++i) {
      Block& block = blocks_[static_cast<std::size_t>(table[static_cast<std::size_t>(i)])];
      if (block.hash) continue;
      block.hash = hash_at(content, i);
      cached_[*block.hash].push_back(table[static_cast<std::size_t>(i)]);
    }
  }
  void release(std::vector<int>& table) {
    std::vector<int> blank, hashed;
    for (auto i = table.rbegin(); i != table.rend(); ++i) {
      Block& block = blocks_[static_cast<std::size_t>(*i)];
      if (--block.refs > 0) continue;
      (block.hash || !unhashed_first_ ? hashed : blank).push_back(*i);
    }
    queue_.insert(queue_.begin(), blank.begin(), blank.end());
    queue_.insert(queue_.end(), hashed.begin(), hashed.end());
    table.clear();
  }
  std::int64_t free() const { return static_cast<std::int64_t>(queue_.size()); }
  std::int64_t evicted = 0;

 private:
  struct Block {
    int refs = 0;
    std::optional<Hash> hash;
  };
  bool caching_, unhashed_first_;
  std::vector<Block> blocks_;
  std::list<int> queue_;
  std::map<Hash, std::vector<int>> cached_;  // copies in the order of insertion
};

struct Sequence {
  std::vector<ContentChunk> content;
  std::int64_t blocks = 0;  // it will need in all
  BlockPool::Hold hold;
  std::vector<int> table;
};

// Contents form a tree: chunk keys are chained by hashing the parent's key with a small choice.
std::vector<ContentChunk> random_content(Rng& rng) {
  std::vector<ContentChunk> content;
  std::uint64_t key = 1;
  std::int64_t end = 0;
  const std::uint64_t chunks = 1 + rng.below(5);
  for (std::uint64_t i = 0; i < chunks; ++i) {
    const std::uint64_t choice = rng.below(2);
    key = hash_combine(key, choice);
    end +=
        static_cast<std::int64_t>(key % 5);  // a key decides its length; some chunks hold no block
    content.push_back({key, end});
  }
  content.push_back({hash_combine(key, 99), end + 40});
  return content;
}

void run_random(std::uint64_t seed, bool caching, bool unhashed_first) {
  Rng rng(seed, "block-pool");
  const auto blocks = static_cast<std::int64_t>(8 + rng.below(60));
  BlockPool pool({blocks, caching, unhashed_first});
  Twin twin(blocks, caching, unhashed_first);
  std::vector<Sequence> live;
  for (int step = 0; step < 400; ++step) {
    const std::uint64_t what = rng.below(10);
    if (what < 4) {
      Sequence s;
      s.content = random_content(rng);
      // What is forgotten sooner is found while it is there all the same.
      if (rng.below(2) == 0) s.hold.own = rng.below(s.content.size());
      const auto known = static_cast<std::int64_t>(rng.below(25));
      const auto hit = pool.look_up(s.content, known);
      const auto expected = twin.look_up(s.content, known);
      ASSERT_EQ(hit.blocks, static_cast<std::int64_t>(expected.size()))
          << "seed " << seed << " step " << step;
      ASSERT_EQ(hit.queued, twin.queued(expected));
      const auto fresh = static_cast<std::int64_t>(rng.below(8));
      if (hit.queued + fresh > pool.free()) continue;
      pool.take_hit(s.hold, s.content);
      twin.take_hit(s.table, expected);
      pool.take(s.hold, fresh);
      twin.take(s.table, fresh);
      live.push_back(std::move(s));
    } else if (live.empty()) {
      continue;
    } else if (what < 7) {
      Sequence& s = live[rng.below(live.size())];
      const auto n = static_cast<std::int64_t>(rng.below(4));
      if (n > pool.free() || s.hold.blocks() + n > s.content.back().end) continue;
      pool.take(s.hold, n);
      twin.take(s.table, n);
    } else if (what < 9) {
      Sequence& s = live[rng.below(live.size())];
      const std::int64_t full =
          s.hold.hashed +
          static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(s.hold.blank + 1)));
      pool.publish(s.hold, s.content, full);
      twin.publish(s.table, s.content, full);
    } else {
      const std::size_t i = rng.below(live.size());
      pool.release(live[i].hold);
      twin.release(live[i].table);
      live.erase(live.begin() + static_cast<std::ptrdiff_t>(i));
    }
    ASSERT_EQ(pool.free(), twin.free()) << "seed " << seed << " step " << step;
    ASSERT_EQ(pool.evicted(), twin.evicted) << "seed " << seed << " step " << step;
    std::vector<const BlockPool::Hold*> holds;
    for (const Sequence& s : live) holds.push_back(&s.hold);
    pool.check(holds);
  }
}

TEST(BlockPool, AgreesWithTheTwin) {
  for (std::uint64_t seed = 0; seed < 400; ++seed) {
    run_random(seed, true, true);
    run_random(seed, true, false);
    if (HasFatalFailure()) return;
  }
  run_random(1, false, true);
}

const std::vector<ContentChunk> kThreeBlocks{{7, 3}, {8, 100}};

// engine-semantics section 14, case 1: prompt 12 and block 4, the same prompt again hits 8 tokens,
// not 12.
TEST(BlockPool, GoldenSamePromptHitsAllButTheLastBlock) {
  BlockPool pool({8, true, true});
  BlockPool::Hold a;
  ASSERT_EQ(pool.look_up(kThreeBlocks, 2).blocks, 0);
  pool.take(a, 3);
  pool.publish(a, kThreeBlocks, 3);
  const std::int64_t most = (12 - 1) / 4;
  EXPECT_EQ(pool.look_up(kThreeBlocks, most).blocks * 4, 8);
}

// engine-semantics section 14, case 3: b4 is prepended, the rest appended in reverse: b4, b3, b2,
// b1.
TEST(BlockPool, GoldenFreeOrder) {
  BlockPool pool({4, true, true});
  BlockPool::Hold a;
  pool.take(a, 4);
  pool.publish(a, kThreeBlocks, 3);
  pool.release(a);
  BlockPool::Hold b;
  const std::int64_t left[] = {3, 2, 1, 0};  // cached blocks after each further allocation
  for (const std::int64_t cached : left) {
    pool.take(b, 1);
    EXPECT_EQ(pool.look_up(kThreeBlocks, 3).blocks, cached);
  }
}

// The old order: all to the tail, behind older entries.
TEST(BlockPool, GoldenOldFreeOrder) {
  BlockPool pool({6, true, false});
  BlockPool::Hold a;
  pool.take(a, 4);
  pool.publish(a, kThreeBlocks, 3);
  pool.release(a);
  BlockPool::Hold b;
  pool.take(b, 3);  // the two never used, then b4
  EXPECT_EQ(pool.look_up(kThreeBlocks, 3).blocks, 3);
  pool.take(b, 1);  // b3
  EXPECT_EQ(pool.look_up(kThreeBlocks, 3).blocks, 2);
}

// The largest pool that a scenario may ask for, less the null block.
TEST(BlockPool, CountsBillionsOfBlocks) {
  const std::int64_t all = (std::int64_t{1} << 32) - 1;
  BlockPool pool({all, true, true});
  BlockPool::Hold a, b;
  pool.take(a, 3);
  pool.publish(a, kThreeBlocks, 3);
  pool.take(b, all - 3);
  EXPECT_EQ(pool.free(), 0);
  pool.release(b);
  EXPECT_EQ(pool.look_up(kThreeBlocks, 3).blocks, 3);
  EXPECT_EQ(pool.free(), all - 3);
}

// Chunks of one sequence alone: hit while they are there, told to nobody, forgotten when they
// leave.
TEST(BlockPool, OwnContentIsForgotten) {
  BlockPool pool({4, true, true});
  std::vector<std::uint64_t> told;
  pool.on_cached(
      [&](std::uint64_t key, std::uint32_t&, std::int64_t, std::int64_t) { told.push_back(key); },
      true);
  for (const bool own : {false, true}) {
    const std::uint64_t base = own ? 20 : 10;
    const std::vector<ContentChunk> content{{base, 1}, {base + 1, 3}};
    BlockPool::Hold a;
    if (own) a.own = 1;
    pool.take(a, 3);
    pool.publish(a, content, 3);
    pool.release(a);
    EXPECT_EQ(pool.look_up(content, 3).blocks, 3);
    EXPECT_EQ(pool.seen_blocks(content, 0, 3), 3);
    BlockPool::Hold all;
    pool.take(all, 4);
    EXPECT_EQ(pool.look_up(content, 3).blocks, 0);
    EXPECT_EQ(pool.seen_blocks(content, 0, 3), own ? 1 : 3);
    pool.release(all);
  }
  EXPECT_EQ(told, (std::vector<std::uint64_t>{10, 11, 11, 10, 20, 20}));
}

TEST(BlockPool, ResetIsRefusedWhileBlocksAreHeld) {
  BlockPool pool({4, true, true});
  BlockPool::Hold a;
  pool.take(a, 3);
  pool.publish(a, kThreeBlocks, 3);
  EXPECT_FALSE(pool.reset());
  pool.release(a);
  EXPECT_TRUE(pool.reset());
  EXPECT_EQ(pool.look_up(kThreeBlocks, 3).blocks, 0);
  EXPECT_EQ(pool.free(), 4);
  EXPECT_EQ(pool.seen_blocks(kThreeBlocks, 0, 3), 3);
}

}  // namespace
}  // namespace kvsim
