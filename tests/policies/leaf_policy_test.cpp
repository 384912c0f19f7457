// Policies of the prefix tree: only unpinned leaves leave, in the order of their ranks.
#include "policies/eviction/leaf_policy.h"

#include <gtest/gtest.h>

#include "sim/cache/prefix_replay.h"
#include "tests/sim/cache/random_stream.h"

namespace kvsim {
namespace {

// A cache that a policy rules, over blocks given by hand.
struct Cache {
  ObjectTable objects;
  std::unique_ptr<EvictionPolicy> policy;
  std::vector<char> resident;
  Access now;

  explicit Cache(const char* name, Tree params = Tree::map(), std::int64_t capacity = 1000)
      : policy(Registry::instance().make<EvictionPolicy>(name, params,
                                                         {&objects, capacity, Rng(1, "t")})) {}
  ObjectId add(ObjectId parent = kNoObject) {
    const ObjectId id = objects.add(objects.size(), parent);
    resident.push_back(0);
    use(id);
    return id;
  }
  void use(ObjectId id) {
    now.id = id;
    ++now.tick;
    if (resident[id] != 0) return policy->on_hit(now);
    policy->on_miss(now);
    resident[id] = 1;
    if (objects.parent[id] != kNoObject) ++objects.children[objects.parent[id]];
    policy->on_insert(now);
  }
  ObjectId evict() {
    const ObjectId id = policy->evict(now);
    if (id != kNoObject) drop(id);
    return id;
  }
  void drop(ObjectId id) {
    ASSERT_EQ(resident[id], 1);
    ASSERT_EQ(objects.pins[id], 0U);
    resident[id] = 0;
    if (objects.parent[id] != kNoObject) --objects.children[objects.parent[id]];
  }
};

Tree with(const char* key, const char* value) {
  Tree t = Tree::map();
  t.set(key, Tree::scalar(value));
  return t;
}

TEST(LeafPolicy, LruGoesUpTheTree) {
  Cache c("leaf-lru");
  const ObjectId a = c.add(), b = c.add(a), d = c.add(a), e = c.add(b);
  c.use(a);
  c.use(b);
  for (const ObjectId expected : {d, e, b, a, kNoObject}) EXPECT_EQ(c.evict(), expected);
}

TEST(LeafPolicy, PinnedLeavesAndTheirAncestorsStay) {
  Cache c("leaf-lru");
  const ObjectId a = c.add(), b = c.add(a), d = c.add();
  c.objects.pins[b] = 1;
  EXPECT_EQ(c.evict(), d);
  EXPECT_EQ(c.evict(), kNoObject);
  c.objects.pins[b] = 0;
  EXPECT_EQ(c.evict(), b);
  EXPECT_EQ(c.evict(), a);
}

TEST(LeafPolicy, RemovalByOthersMakesLeavesToo) {
  Cache c("leaf-lru");
  const ObjectId a = c.add(), b = c.add(a);
  c.policy->on_remove(b);
  c.drop(b);
  EXPECT_EQ(c.evict(), a);
  EXPECT_EQ(c.evict(), kNoObject);
}

TEST(LeafPolicy, LfuAndSlruKeepWhatWasUsedAgain) {
  for (const char* name : {"leaf-lfu", "leaf-slru"}) {
    Cache c(name);
    const ObjectId often = c.add(), once = c.add(), also = c.add();
    c.use(often);
    EXPECT_EQ(c.evict(), once) << name;
    EXPECT_EQ(c.evict(), also) << name;
    EXPECT_EQ(c.evict(), often) << name;
  }
}

TEST(LeafPolicy, OrdersOfTime) {
  const auto victims = [](const char* order) {
    Cache c("leaf-order", with("order", order));
    const ObjectId a = c.add(), b = c.add(), d = c.add();
    c.use(a);
    (void)b, (void)d;
    return std::vector{c.evict(), c.evict(), c.evict()};
  };
  EXPECT_EQ(victims("fifo"), (std::vector<ObjectId>{0, 1, 2}));
  EXPECT_EQ(victims("filo"), (std::vector<ObjectId>{2, 1, 0}));
  EXPECT_EQ(victims("mru"), (std::vector<ObjectId>{0, 2, 1}));
}

TEST(LeafPolicy, ImportantRequestsProtectTheirBlocks) {
  Cache c("leaf-priority");
  c.now.priority = -5;
  const ObjectId important = c.add();
  c.now.priority = 7;
  const ObjectId batch = c.add();
  c.use(important);  // by an unimportant request: stays important
  c.now.priority = 0;
  const ObjectId plain = c.add();
  for (const ObjectId expected : {batch, plain, important}) EXPECT_EQ(c.evict(), expected);
}

// Priorities 1 + 0.5 depth, plus the clock: a (one use, depth 0) has 1, its child 1.5; b, used
// twice, 2.
TEST(LeafPolicy, PgdsfWeighsUsesByCostAndAges) {
  Cache c("pgdsf", with("position_cost", "0.5"));
  const ObjectId a = c.add(), child = c.add(a), b = c.add();
  c.use(b);
  EXPECT_EQ(c.evict(), child);    // 1.5 against 2
  EXPECT_EQ(c.evict(), a);        // 1 against 2; clock stays at 1.5
  const ObjectId late = c.add();  // 1.5 + 1
  EXPECT_EQ(c.evict(), b);
  EXPECT_EQ(c.evict(), late);
}

TEST(LeafPolicy, QueuedBlocksGoLast) {
  Cache c("look-ahead");
  const ObjectId a = c.add(), b = c.add();
  c.objects.queued[a] = 1;
  EXPECT_EQ(c.evict(), b);
  EXPECT_EQ(c.evict(), a);
}

TEST(LeafPolicy, ALiveSessionKeepsItsOldBranches) {
  Cache c("session-alive");
  c.now.session = 1;
  const ObjectId old_branch = c.add();
  c.now.session = 2;
  const ObjectId other = c.add();
  c.now.session = 1;
  const ObjectId fresh = c.add();
  for (const ObjectId expected : {other, old_branch, fresh}) EXPECT_EQ(c.evict(), expected);
}

TEST(LeafPolicy, LeasesRunOut) {
  Cache c("ttl", with("ttl", "10 s"), 2);
  const auto at = [&](int second) { c.now.now = Time{std::chrono::seconds(second)}; };
  const ObjectId a = c.add();
  at(9);
  const ObjectId b = c.add();
  EXPECT_FALSE(c.policy->admits(c.now));
  at(10);
  EXPECT_TRUE(c.policy->admits(c.now));
  EXPECT_EQ(c.evict(), a);
  EXPECT_TRUE(c.policy->admits(c.now));  // there is room
  c.add();
  EXPECT_FALSE(c.policy->admits(c.now));
  EXPECT_EQ(c.evict(), b);  // somebody needs the room all the same
}

// Cost 1 and 1 + 9 at ages of 3 and 2 accesses: 1/3 against 10/2; then 10 at age 2 leaves last.
TEST(LeafPolicy, PensieveDropsCheapHeadsFirst) {
  Cache c("pensieve", with("position_cost", "9"));
  const ObjectId head = c.add(), tail = c.add(head), other = c.add();
  EXPECT_EQ(c.evict(), head);
  EXPECT_EQ(c.evict(), other);
  EXPECT_EQ(c.evict(), tail);
}

TEST(LeafPolicy, SecondUseRefusesNewcomersOnceFull) {
  Cache c("second-use", with("window", "2"), 3);  // uses are remembered for six accesses
  const auto admits = [&](ObjectId id) {
    c.now.id = id;
    ++c.now.tick;
    c.policy->on_miss(c.now);
    return c.policy->admits(c.now);
  };
  const ObjectId a = c.add(), b = c.add();
  EXPECT_EQ(c.evict(), a);
  const ObjectId fresh = c.objects.add(77, kNoObject);
  const ObjectId orphan = c.objects.add(78, a);
  c.resident.resize(c.objects.size());
  EXPECT_FALSE(admits(fresh));
  EXPECT_TRUE(admits(fresh));
  EXPECT_FALSE(admits(orphan));
  EXPECT_FALSE(admits(orphan));  // its parent is gone
  for (int i = 0; i < 7; ++i) c.use(b);
  EXPECT_FALSE(admits(fresh));  // forgotten
}

// A scan in circles that is twice as long as the cache: LRU drops each block just before it is
// wanted, the index refuses newcomers that are due later than what is there.
TEST(LeafPolicy, GittinsDoesNotThrash) {
  std::vector<std::vector<std::uint64_t>> circles;
  for (std::uint64_t i = 0; i < 40'000; ++i) circles.push_back({i % 200, 1000 + i % 200});
  const BlockStream s = test::stream_of(circles);
  PrefixReplay replay(s);
  replay.start("lru", Tree::map(), 200);
  EXPECT_EQ(replay.run().total, 0U);
  replay.start("gittins", Tree::map(), 200);
  const double share =
      static_cast<double>(replay.run().total) / static_cast<double>(prefix_optimum(s, 200).total);
  EXPECT_GT(share, 0.7);
}

// Chats of ten turns among twice as many prompts that never return: the ends of prompts and what is
// used once give way.
TEST(LeafPolicy, GittinsKeepsWhatReturns) {
  Rng rng(12, "chats");
  std::vector<std::vector<std::uint64_t>> requests;
  std::uint64_t fresh = 1'000'000;
  std::vector<std::vector<std::uint64_t>> chats(30);
  for (int i = 0; i < 9000; ++i) {
    if (rng.below(3) > 0) {
      requests.push_back({fresh, fresh + 1, fresh + 2});
      fresh += 3;
      continue;
    }
    std::vector<std::uint64_t>& chat = chats[rng.below(chats.size())];
    if (chat.size() == 10) chat.clear();
    chat.push_back(fresh++);
    requests.push_back(chat);
    requests.back().push_back(fresh++);  // the partial block at the end
  }
  const BlockStream s = test::stream_of(requests);
  PrefixReplay replay(s);
  const auto hits = [&](const char* policy) {
    replay.start(policy, Tree::map(), 100);
    return static_cast<double>(replay.run().total);
  };
  EXPECT_GT(hits("gittins"), 1.5 * hits("leaf-lru"));
}

// Random uses, pins and removals: a victim of a leaf policy has no resident child and no pin.
TEST(LeafPolicy, VictimsAreUnpinnedLeaves) {
  for (const char* name : {"leaf-lru", "leaf-lfu", "leaf-slru", "leaf-priority", "leaf-order",
                           "pgdsf", "look-ahead", "session-alive", "second-use", "gittins"}) {
    Cache c(name);
    Rng rng(6, name);
    std::int64_t residents = 0;
    for (int i = 0; i < 6000; ++i) {
      const std::size_t n = c.objects.size();
      c.now.session = rng.below(5);
      c.now.priority = static_cast<std::int32_t>(rng.below(3));
      if (n == 0 || rng.below(3) == 0) {
        const auto parent = n == 0 ? kNoObject : static_cast<ObjectId>(rng.below(n));
        c.add(parent != kNoObject && c.resident[parent] != 0 ? parent : kNoObject);
        ++residents;
      } else {
        const auto id = static_cast<ObjectId>(rng.below(n));
        const ObjectId p = c.objects.parent[id];
        if (c.resident[id] == 0 && (p == kNoObject || c.resident[p] != 0))
          ++residents, c.use(id);
        else if (c.resident[id] != 0)
          c.use(id);
        c.objects.pins[id] = rng.below(2) == 0 ? 1 : 0;
        if (c.resident[id] == 0) c.objects.pins[id] = 0;
      }
      if (residents < 60) continue;
      const ObjectId victim = c.evict();
      if (victim == kNoObject) {
        std::fill(c.objects.pins.begin(), c.objects.pins.end(), 0U);
        continue;
      }
      --residents;
      ASSERT_EQ(c.objects.children[victim], 0U) << name;
    }
  }
}

}  // namespace
}  // namespace kvsim
