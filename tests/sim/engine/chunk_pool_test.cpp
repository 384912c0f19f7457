// ChunkPool against sets of whole chunks, and every registered policy on every pool.
#include "sim/engine/chunk_pool.h"

#include <gtest/gtest.h>

#include <set>

#include "sim/engine/radix_pool.h"
#include "tests/support/node_pools.h"

namespace kvsim {
namespace {

using test::Content;

struct Live {
  Content content;
  KvPool::Hold hold;
};

// Random requests; the cached chunks are what was published and did not leave since.
class Load {
 public:
  Load(NodePool& pool, std::int64_t unit) : pool_(pool), unit_(unit) {
    pool_.on_leaving(
        [this](std::uint64_t key, std::int64_t first, std::int64_t n, std::int64_t at) {
          for (std::int64_t i = unit_ - 1 - at % unit_; i < n; i += unit_)
            EXPECT_EQ(cached_.erase({key, first + i}), 1U);
        });
  }
  void step(Rng& rng) {
    pool_.set_now(Time{Duration{++now_ * 1'000'000'000}});
    const std::uint64_t what = rng.below(10);
    if (what < 4 || live_.empty()) {
      admit(rng);
    } else {
      const std::size_t i = rng.below(live_.size());
      if (what < 7) return publish(live_[i], rng);
      pool_.release(live_[i].hold);
      live_.erase(live_.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }
  void check() {
    std::vector<const KvPool::Hold*> holds;
    for (const Live& s : live_) holds.push_back(&s.hold);
    pool_.check(holds);
  }
  void end() {
    for (Live& s : live_) pool_.release(s.hold);
    live_.clear();
    check();
    ASSERT_EQ(pool_.free(), pool_.total());
    pool_.pop(pool_.total());
    ASSERT_EQ(pool_.nodes(), 0);
    ASSERT_TRUE(cached_.empty());
  }
  std::int64_t hits = 0;

 private:
  void admit(Rng& rng) {
    Live s;
    s.content = test::random_content(rng);
    const auto known = static_cast<std::int64_t>(rng.below(40));
    const auto hit = pool_.look_up(s.content, known);
    std::int64_t expected = 0;
    while (expected + unit_ <= known &&
           cached_.contains(test::block_at(s.content, expected + unit_ - 1)))
      expected += unit_;
    ASSERT_EQ(hit.blocks, expected);
    const auto fresh = static_cast<std::int64_t>(rng.below(12));
    if (hit.queued + fresh > pool_.free()) return;
    s.hold.owner.session = rng.below(5);
    pool_.take_hit(s.hold, s.content);
    pool_.take(s.hold, fresh);
    hits += hit.blocks;
    live_.push_back(std::move(s));
  }
  void publish(Live& s, Rng& rng) {
    const std::int64_t full =
        s.hold.hashed +
        static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(s.hold.blank + 1)));
    const std::int64_t from = s.hold.hashed, blocks = s.hold.blocks();
    pool_.publish(s.hold, s.content, full);
    ASSERT_EQ(s.hold.blocks(), blocks);
    ASSERT_EQ(s.hold.hashed, std::max(from, full / unit_ * unit_));
    for (std::int64_t i = from + unit_ - 1; i < s.hold.hashed; i += unit_)
      cached_.insert(test::block_at(s.content, i));
  }

  NodePool& pool_;
  std::int64_t unit_, now_ = 0;
  std::vector<Live> live_;
  std::set<test::Block> cached_;  // by the last block of each chunk
};

void run(NodePool& pool, std::int64_t unit, std::uint64_t seed, const std::string& name) {
  SCOPED_TRACE(name + " seed " + std::to_string(seed) + " unit " + std::to_string(unit));
  Rng rng(seed, "chunk-pool");
  Load load(pool, unit);
  for (int i = 0; i < 400; ++i) {
    load.step(rng);
    load.check();
    if (testing::Test::HasFatalFailure()) return;
  }
  load.end();
  EXPECT_GT(load.hits + pool.total(), 20);
}

TEST(NodePools, EveryPolicyKeepsEveryPoolInOrder) {
  std::size_t policies = 0;
  for (const PluginInfo* info : Registry::instance().of_kind(EvictionPolicy::kKind)) {
    ObjectTable none;
    if (test::make_policy({info->name, {}})({&none, 1, Rng(1, "x")})->needs_future()) continue;
    ++policies;
    for (std::uint64_t seed = 0; seed < 6; ++seed) {
      NodePool::Options o =
          test::node_options(static_cast<std::int64_t>(20 + 17 * seed), {info->name, {}});
      RadixPool radix(o);
      run(radix, 1, seed, info->name);
      o.share_blocks = 1 + static_cast<std::int64_t>(seed % 3);
      ChunkPool tree(o);
      run(tree, o.share_blocks, seed, info->name);
      o.leaves_only = false;
      o.share_blocks = 1;
      ChunkPool chain(o);
      run(chain, 1, seed, info->name);
      if (HasFatalFailure()) return;
    }
  }
  EXPECT_GE(policies, 10U);
}

// taxonomy S91: chunks of 64 tokens; with blocks of 16 a prompt of 159 tokens shares 128.
TEST(ChunkPool, GoldenWholeChunksAreShared) {
  NodePool::Options o = test::node_options(40, {"lru", {}});
  o.share_blocks = 4;
  ChunkPool pool(o);
  const Content c{{1, 9}, {2, 20}};
  KvPool::Hold a, b;
  pool.take(a, 10);
  pool.publish(a, c, 9);
  EXPECT_EQ(a.hashed, 8);
  EXPECT_EQ(a.blank, 2);
  EXPECT_EQ(pool.look_up(c, 9).blocks * 16, 128);
  EXPECT_EQ(pool.seen_blocks(c, 0, 9), 8);
  pool.take_hit(b, c);
  EXPECT_EQ(pool.free(), 30);
}

// A chain of hashes may lose a block in the middle: what lies behind it stays and cannot be hit,
// until the block is computed again. A tree loses leaves only.
TEST(ChunkPool, AChainMayLoseItsMiddle) {
  for (const bool tree : {false, true}) {
    NodePool::Options o = test::node_options(4, {"fifo", {}});
    o.leaves_only = tree;
    ChunkPool pool(o);
    const Content c{{1, 4}};
    KvPool::Hold a, b;
    pool.take(a, 4);
    pool.publish(a, c, 4);
    pool.release(a);
    pool.pop(1);
    EXPECT_EQ(pool.look_up(c, 4).blocks, tree ? 3 : 0);
    if (tree) continue;
    b.blank = 1;  // the popped block
    pool.publish(b, c, 1);
    pool.release(b);
    EXPECT_EQ(pool.look_up(c, 4).blocks, 4);
  }
}

TEST(NodePools, ResetIsRefusedWhileBlocksAreHeld) {
  RadixPool pool(test::node_options(8, {"leaf-lru", {}}));
  const Content c{{1, 4}};
  KvPool::Hold a;
  pool.take(a, 4);
  pool.publish(a, c, 4);
  EXPECT_FALSE(pool.reset());
  pool.release(a);
  EXPECT_TRUE(pool.reset());
  EXPECT_EQ(pool.look_up(c, 4).blocks, 0);
  EXPECT_EQ(pool.free(), 8);
  EXPECT_EQ(pool.seen_blocks(c, 0, 4), 4);
  pool.take(a, 4);
  pool.publish(a, c, 4);
  pool.check(std::vector<const KvPool::Hold*>{&a});
}

}  // namespace
}  // namespace kvsim
