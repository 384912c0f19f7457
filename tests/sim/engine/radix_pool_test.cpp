// RadixPool against a trie of single blocks that is searched as a whole each time, and the engine's
// own golden cases.
#include "sim/engine/radix_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <optional>

#include "tests/support/node_pools.h"

namespace kvsim {
namespace {

using test::Content;

// A vertex is one block; a node is a run of vertices down to one that ends a node.
class Twin {
 public:
  Twin(std::int64_t blocks, std::string policy) : blank_(blocks), policy_(std::move(policy)) {
    v_.push_back({});
    v_[0].ends = true;
  }
  struct Held {
    std::vector<int> path;
    std::int64_t blank = 0;
    std::int32_t priority = 0;
  };

  std::vector<int> match(const Content& content, std::int64_t most) const {
    std::vector<int> path;
    int at = 0;
    for (std::int64_t i = 0; i < most; ++i) {
      const auto next = v_[idx(at)].children.find(test::block_at(content, i));
      if (next == v_[idx(at)].children.end()) break;
      at = next->second;
      path.push_back(at);
    }
    return path;
  }
  std::int64_t queued(const std::vector<int>& path) const {
    return std::count_if(path.begin(), path.end(), [&](int i) { return v_[idx(i)].refs == 0; });
  }
  void take_hit(Held& h, const std::vector<int>& path) {
    ++now_;
    cut_behind(path);
    for (const int i : path) use(i, h.priority);
    h.path = path;
  }
  void pop(std::int64_t n) {
    while (blank_ < n) evict();
    blank_ -= n;
  }
  void publish(Held& h, const Content& content, std::int64_t full) {
    ++now_;
    const auto from = static_cast<std::int64_t>(h.path.size());
    std::vector<int> path = match(content, full);
    if (static_cast<std::int64_t>(path.size()) > from) cut_behind(path);
    for (auto i = from; i < static_cast<std::int64_t>(path.size()); ++i) {
      use(path[static_cast<std::size_t>(i)], h.priority);
      ++blank_;  // the copy
    }
    for (auto i = static_cast<std::int64_t>(path.size()); i < full; ++i) {
      const int parent = path.empty() ? 0 : path.back(), fresh = static_cast<int>(v_.size());
      v_.push_back({{}, parent, 1, 1, h.priority, now_, now_, i + 1 == full});
      v_[idx(parent)].children[test::block_at(content, i)] = fresh;
      path.push_back(fresh);
    }
    h.blank -= static_cast<std::int64_t>(path.size()) - from;
    h.path = path;
  }
  void release(Held& h) {
    ++now_;
    for (const int i : h.path)
      if (--v_[idx(i)].refs == 0) v_[idx(i)].used = now_;
    blank_ += h.blank;
    h = {};
  }
  std::int64_t cached_free() const {
    std::int64_t n = 0;
    for (std::size_t i = 1; i < v_.size(); ++i) n += v_[i].gone || v_[i].refs > 0 ? 0 : 1;
    return n;
  }
  std::int64_t free() const { return blank_ + cached_free(); }
  std::int64_t nodes() const {
    return std::count_if(v_.begin() + 1, v_.end(), [](const V& v) { return !v.gone && v.ends; });
  }
  std::int64_t evicted = 0;

 private:
  struct V {
    std::map<test::Block, int> children;
    int parent = 0;
    int refs = 0;
    std::int64_t uses = 0;
    std::int32_t priority = 0;
    std::int64_t created = 0, used = 0;
    bool ends = false;  // its node
    bool gone = false;
  };
  static std::size_t idx(int i) { return static_cast<std::size_t>(i); }

  void cut_behind(const std::vector<int>& path) {
    if (path.empty() || v_[idx(path.back())].ends) return;
    v_[idx(path.back())].ends = true;
    int i = path.back();
    do {
      v_[idx(i)].created = v_[idx(i)].used = now_;
      i = v_[idx(i)].parent;
    } while (!v_[idx(i)].ends);
  }
  void use(int i, std::int32_t priority) {
    V& v = v_[idx(i)];
    ++v.refs;
    ++v.uses;
    v.used = now_;
    v.priority = std::min(v.priority, priority);
  }
  // What SGLang's heap compares (engine-semantics section 8).
  std::pair<std::int64_t, std::int64_t> key(const V& v) const {
    if (policy_ == "lfu") return {v.uses, v.used};
    if (policy_ == "slru") return {v.uses >= 2 ? 1 : 0, v.used};
    if (policy_ == "fifo") return {v.created, 0};
    if (policy_ == "filo") return {-v.created, 0};
    if (policy_ == "mru") return {-v.used, 0};
    if (policy_ == "priority") return {-v.priority, v.used};
    return {v.used, 0};
  }
  void evict() {
    int best = -1;
    for (int i = 1; i < static_cast<int>(v_.size()); ++i) {
      const V& v = v_[idx(i)];
      if (v.gone || v.refs > 0 || !v.children.empty()) continue;
      if (best < 0 || key(v) < key(v_[idx(best)])) best = i;
    }
    ASSERT_GE(best, 0);
    int i = best;
    do {
      V& v = v_[idx(i)];
      v.gone = true;
      ++blank_;
      ++evicted;
      std::erase_if(v_[idx(v.parent)].children, [&](const auto& c) { return c.second == i; });
      i = v.parent;
    } while (!v_[idx(i)].ends);
  }

  std::vector<V> v_;
  std::int64_t blank_, now_ = 0;
  std::string policy_;
};

struct Sequence {
  Content content;
  KvPool::Hold hold;
  Twin::Held twin;
};

struct Pair {
  RadixPool pool;
  Twin twin;
  std::vector<Sequence> live;

  void admit(Rng& rng) {
    Sequence s;
    s.content = test::random_content(rng);
    const auto known = static_cast<std::int64_t>(rng.below(40));
    const auto hit = pool.look_up(s.content, known);
    const auto expected = twin.match(s.content, known);
    ASSERT_EQ(hit.blocks, static_cast<std::int64_t>(expected.size()));
    ASSERT_EQ(hit.queued, twin.queued(expected));
    const auto fresh = static_cast<std::int64_t>(rng.below(12));
    if (hit.queued + fresh > pool.free()) return;
    s.hold.owner.priority = s.twin.priority = static_cast<std::int32_t>(rng.below(3));
    pool.take_hit(s.hold, s.content);
    twin.take_hit(s.twin, expected);
    take(s, fresh);
    live.push_back(std::move(s));
  }
  void take(Sequence& s, std::int64_t n) {
    if (n > pool.free() || s.hold.blocks() + n > s.content.back().end) return;
    pool.take(s.hold, n);
    twin.pop(n);
    s.twin.blank += n;
  }
  void publish(Sequence& s, Rng& rng) {
    if (s.hold.blank == 0) return;
    const std::int64_t full =
        s.hold.hashed + 1 +
        static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(s.hold.blank)));
    pool.publish(s.hold, s.content, full);
    twin.publish(s.twin, s.content, full);
  }
  void step(Rng& rng) {
    const std::uint64_t what = rng.below(10);
    if (what < 3 || live.empty()) return admit(rng);
    const std::size_t i = rng.below(live.size());
    if (what < 5) return take(live[i], static_cast<std::int64_t>(rng.below(6)));
    if (what < 8) return publish(live[i], rng);
    pool.release(live[i].hold);
    twin.release(live[i].twin);
    live.erase(live.begin() + static_cast<std::ptrdiff_t>(i));
  }
  void compare() {
    ASSERT_EQ(pool.free(), twin.free());
    ASSERT_EQ(pool.cached_free(), twin.cached_free());
    ASSERT_EQ(pool.evicted(), twin.evicted);
    ASSERT_EQ(pool.nodes(), twin.nodes());
    std::vector<const KvPool::Hold*> holds;
    for (const Sequence& s : live) {
      ASSERT_EQ(s.hold.hashed, static_cast<std::int64_t>(s.twin.path.size()));
      ASSERT_EQ(s.hold.blank, s.twin.blank);
      holds.push_back(&s.hold);
    }
    pool.check(holds);
  }
};

void run_random(std::uint64_t seed, const std::string& key, const test::Policy& policy) {
  Rng rng(seed, "radix-pool");
  const auto blocks = static_cast<std::int64_t>(10 + rng.below(120));
  Pair p{RadixPool(test::node_options(blocks, policy)), Twin(blocks, key), {}};
  for (int step = 0; step < 300; ++step) {
    SCOPED_TRACE(key + " seed " + std::to_string(seed) + " step " + std::to_string(step));
    p.step(rng);
    p.compare();
    if (testing::Test::HasFatalFailure()) return;
  }
}

TEST(RadixPool, AgreesWithTheTwinUnderEveryPolicyOfSglang) {
  const std::vector<std::pair<std::string, test::Policy>> policies{
      {"lru", {"lru", {}}},
      {"lru", {"leaf-lru", {}}},
      {"lfu", {"leaf-lfu", {}}},
      {"fifo", {"leaf-order", {{"order", "fifo"}}}},
      {"filo", {"leaf-order", {{"order", "filo"}}}},
      {"mru", {"leaf-order", {{"order", "mru"}}}},
      {"slru", {"leaf-slru", {}}},
      {"priority", {"leaf-priority", {}}}};
  for (const auto& [key, policy] : policies) {
    for (std::uint64_t seed = 0; seed < 60; ++seed) {
      run_random(seed, key, policy);
      if (HasFatalFailure()) return;
    }
  }
}

// engine-semantics section 14, case 7: prompt 10, then one equal in 7 tokens. Page 1: hit 7, the
// node is split at 7; page 4: hit 4.
TEST(RadixPool, GoldenSplitWhereTwoPromptsPart) {
  for (const std::int64_t page : {1, 4}) {
    const Content a{{1, 7 / page}, {2, 10 / page}}, b{{1, 7 / page}, {3, 10 / page}};
    RadixPool pool(test::node_options(40, {"lru", {}}));
    KvPool::Hold x, y;
    pool.take(x, 10 / page);
    pool.publish(x, a, 10 / page);
    EXPECT_EQ(pool.nodes(), 1);
    EXPECT_EQ(pool.look_up(b, 9 / page).blocks * page, page == 1 ? 7 : 4);
    pool.take_hit(y, b);
    EXPECT_EQ(pool.nodes(), 2);
    pool.take(y, 10 / page - y.hashed);
    pool.publish(y, b, 10 / page);
    EXPECT_EQ(pool.nodes(), 3);
    const KvPool::Hold* holds[] = {&x, &y};
    pool.check(holds);
  }
}

// What was computed twice is given back: the second request goes on with the tree's blocks.
TEST(RadixPool, CopiesAreGivenBack) {
  const Content a{{1, 6}};
  RadixPool pool(test::node_options(20, {"lru", {}}));
  KvPool::Hold x, y;
  pool.take(x, 6);
  pool.take(y, 6);
  pool.publish(x, a, 6);
  EXPECT_EQ(pool.free(), 8);
  pool.publish(y, a, 6);
  EXPECT_EQ(pool.free(), 14);
  EXPECT_EQ(y.hashed, 6);
  EXPECT_EQ(y.blank, 0);
}

// Three leaves of 4 blocks, 3 needed: one leaf goes, all of it, and its parent then is a leaf.
TEST(RadixPool, WholeLeavesLeave) {
  RadixPool pool(test::node_options(14, {"lru", {}}));
  for (const std::uint64_t tail : {10U, 11U, 12U}) {
    const Content c{{1, 2}, {tail, 6}};
    KvPool::Hold h;
    pool.look_up(c, 6);
    pool.take_hit(h, c);
    pool.take(h, 6 - h.hashed);
    pool.publish(h, c, 6);
    pool.release(h);
  }
  EXPECT_EQ(pool.nodes(), 4);
  EXPECT_EQ(pool.free() - pool.cached_free(), 0);
  pool.pop(3);
  EXPECT_EQ(pool.evicted(), 4);
  EXPECT_EQ(pool.free() - pool.cached_free(), 1);
  EXPECT_EQ(pool.look_up(Content{{1, 2}, {10, 6}}, 6).blocks, 2);  // the oldest
  pool.pop(11);
  EXPECT_EQ(pool.nodes(), 0);
}

// Those who write back hear of every block that leaves, once, with its place.
TEST(RadixPool, LeavingNamesEveryBlock) {
  RadixPool pool(test::node_options(12, {"leaf-lru", {}}));
  std::map<std::pair<std::uint64_t, std::int64_t>, std::int64_t> heard;
  pool.on_leaving([&](std::uint64_t key, std::int64_t first, std::int64_t n, std::int64_t at) {
    for (std::int64_t i = 0; i < n; ++i)
      EXPECT_TRUE(heard.emplace(std::pair(key, first + i), at + i).second);
  });
  const Content a{{1, 4}, {2, 9}}, b{{1, 4}, {3, 7}};
  KvPool::Hold h;
  pool.take(h, 9);
  pool.publish(h, a, 9);
  pool.release(h);
  pool.look_up(b, 7);
  pool.take_hit(h, b);
  pool.take(h, 3);
  pool.publish(h, b, 7);
  pool.release(h);
  pool.pop(12);
  EXPECT_EQ(heard.size(), 12U);
  EXPECT_EQ(heard.at({2, 0}), 4);
  EXPECT_EQ(heard.at({3, 2}), 6);
  EXPECT_EQ(heard.at({1, 3}), 3);
}

}  // namespace
}  // namespace kvsim
