// What every eviction policy owes the cache, at small capacities, with pins and removals by others.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "policies/eviction/eviction.h"
#include "sim/cache/replay.h"

namespace kvsim {
namespace {

// A prefix tree of objects, the accesses to them and what comes next.
struct Material {
  ObjectTable objects;
  std::vector<ObjectId> access;
  std::vector<std::int64_t> next_use;

  Material(std::uint64_t seed, std::size_t accesses, ObjectId n) {
    Rng random(seed, "material");
    for (ObjectId id = 0; id < n; ++id)
      objects.add(mix64(id), id == 0 || random.below(4) == 0
                                 ? kNoObject
                                 : static_cast<ObjectId>(random.below(id)));
    for (std::size_t i = 0; i < accesses; ++i)
      access.push_back(static_cast<ObjectId>(std::pow(static_cast<double>(n), random.uniform())) -
                       1);
    next_use.resize(accesses);
    std::vector<std::int64_t> seen(n, kNoNextUse);
    for (std::size_t i = accesses; i-- > 0;) {
      next_use[i] = seen[access[i]];
      seen[access[i]] = static_cast<std::int64_t>(i);
    }
  }
};

class Cache {
 public:
  Cache(Material& m, const std::string& policy, std::int64_t capacity, std::uint64_t seed)
      : m_(m), capacity_(capacity), resident_(m.objects.size(), false) {
    std::fill(m.objects.children.begin(), m.objects.children.end(), 0U);
    std::fill(m.objects.pins.begin(), m.objects.pins.end(), 0U);
    Tree params = Tree::map();
    for (const FieldInfo& f : Registry::instance().find("eviction", policy)->fields)
      if (f.name == "tiny") params.set("tiny", Tree::scalar("true"));
    policy_ = Registry::instance().make<EvictionPolicy>(policy, params,
                                                        {&m.objects, capacity, Rng(seed, policy)});
  }
  void access(std::size_t i) {
    Access a;
    a.id = m_.access[i];
    a.tick = static_cast<std::int64_t>(i);
    a.now = Time{Duration{a.tick}};
    a.next_use = m_.next_use[i];
    if (resident_[a.id]) {
      ++hits_;
      policy_->on_hit(a);
      for (ObjectId id; policy_->sheds() && (id = policy_->shed()) != kNoObject;) leave(id);
    } else {
      policy_->on_miss(a);
      if (policy_->admits(a) && make_room(a)) enter(a);
    }
    ASSERT_LE(residents(), capacity_);
  }
  void remove(ObjectId id) {
    policy_->on_remove(id);
    forget(id);
  }
  void pin(ObjectId id, bool on) { m_.objects.pins[id] = on ? 1 : 0; }
  [[nodiscard]] bool resident(ObjectId id) const { return resident_[id]; }
  [[nodiscard]] std::int64_t residents() const {
    return std::count(resident_.begin(), resident_.end(), true);
  }
  [[nodiscard]] std::int64_t free() const {
    std::int64_t n = 0;
    for (ObjectId id = 0; id < resident_.size(); ++id)
      n += resident_[id] && m_.objects.pins[id] == 0 ? 1 : 0;
    return n;
  }
  [[nodiscard]] std::uint64_t hits() const { return hits_; }
  [[nodiscard]] const std::vector<ObjectId>& left() const { return left_; }
  ObjectId evict(std::size_t i) {
    Access a;
    a.id = m_.access[i];
    a.tick = static_cast<std::int64_t>(i);
    const ObjectId id = policy_->evict(a);
    if (id != kNoObject) leave(id);
    return id;
  }

 private:
  bool make_room(const Access& a) {
    while (policy_->must_evict(a, residents())) {
      const ObjectId id = policy_->evict(a);
      if (id == kNoObject) {
        const bool pins = free() < residents();
        EXPECT_TRUE(pins) << "gives nothing though nothing is pinned";
        return false;
      }
      leave(id);
    }
    return true;
  }
  void enter(const Access& a) {
    resident_[a.id] = true;
    if (m_.objects.parent[a.id] != kNoObject) ++m_.objects.children[m_.objects.parent[a.id]];
    policy_->on_insert(a);
  }
  void leave(ObjectId id) {
    ASSERT_LT(id, resident_.size());
    ASSERT_TRUE(resident_[id]) << id << " is not there";
    ASSERT_EQ(m_.objects.pins[id], 0U) << id << " is in use";
    left_.push_back(id);
    forget(id);
  }
  void forget(ObjectId id) {
    resident_[id] = false;
    if (m_.objects.parent[id] != kNoObject) --m_.objects.children[m_.objects.parent[id]];
  }
  Material& m_;
  std::int64_t capacity_;
  std::vector<bool> resident_;
  std::unique_ptr<EvictionPolicy> policy_;
  std::uint64_t hits_ = 0;
  std::vector<ObjectId> left_;
};

constexpr std::int64_t kCapacities[] = {1, 2, 3, 5, 10, 40, 110};

class EvictionConformance : public testing::TestWithParam<std::string> {};

TEST_P(EvictionConformance, PinsAndRemovalsInAnyOrder) {
  Material m(1, 6'000, 150);
  for (const std::int64_t capacity : kCapacities) {
    SCOPED_TRACE(capacity);
    Cache cache(m, GetParam(), capacity, 1);
    Rng random(static_cast<std::uint64_t>(capacity), "pins");
    for (std::size_t i = 0; i < m.access.size(); ++i) {
      const auto id = static_cast<ObjectId>(random.below(m.objects.size()));
      const std::uint64_t what = random.below(10);
      if (cache.resident(id)) {
        if (what < 3) cache.pin(id, true);
        if (what >= 3 && what < 7) cache.pin(id, false);
        if (what == 9 && m.objects.pins[id] == 0) cache.remove(id);
      }
      cache.access(i);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(EvictionConformance, GivesNothingWhenAllArePinnedAndAllOfItOtherwise) {
  Material m(2, 3'000, 150);
  for (const std::int64_t capacity : kCapacities) {
    SCOPED_TRACE(capacity);
    Cache cache(m, GetParam(), capacity, 1);
    for (std::size_t i = 0; i < 2'000; ++i) cache.access(i);
    for (ObjectId id = 0; id < m.objects.size(); ++id) cache.pin(id, cache.resident(id));
    EXPECT_EQ(cache.evict(2'000), kNoObject);
    for (ObjectId id = 0; id < m.objects.size(); ++id) cache.pin(id, false);
    for (std::int64_t n = cache.residents(); n > 0; --n) ASSERT_NE(cache.evict(2'001), kNoObject);
    EXPECT_EQ(cache.residents(), 0);
    EXPECT_EQ(cache.evict(2'002), kNoObject);
    for (std::size_t i = 2'000; i < m.access.size(); ++i) cache.access(i);
    if (HasFatalFailure()) return;
  }
}

TEST_P(EvictionConformance, AllRemovedIsAnEmptyCache) {
  Material m(3, 4'000, 150);
  for (const std::int64_t capacity : kCapacities) {
    SCOPED_TRACE(capacity);
    Cache cache(m, GetParam(), capacity, 1);
    for (std::size_t i = 0; i < 2'000; ++i) cache.access(i);
    for (ObjectId id = static_cast<ObjectId>(m.objects.size()); id-- > 0;)
      if (cache.resident(id)) cache.remove(id);
    ASSERT_EQ(cache.residents(), 0);
    EXPECT_EQ(cache.evict(2'000), kNoObject);
    for (std::size_t i = 2'000; i < m.access.size(); ++i) cache.access(i);
    if (HasFatalFailure()) return;
  }
}

TEST_P(EvictionConformance, SameStreamSameChoices) {
  Material m(4, 4'000, 150), again(4, 4'000, 150);
  for (const std::int64_t capacity : kCapacities) {
    Cache first(m, GetParam(), capacity, 9), second(again, GetParam(), capacity, 9);
    for (std::size_t i = 0; i < m.access.size(); ++i) {
      first.access(i);
      second.access(i);
    }
    EXPECT_EQ(first.left(), second.left()) << capacity;
  }
}

TEST_P(EvictionConformance, NeverBetterThanTheFuture) {
  for (std::uint64_t seed = 5; seed < 8; ++seed) {
    Material m(seed, 6'000, 150);
    BlockStream s;
    s.objects = m.objects;
    s.access = m.access;
    s.begin.push_back(s.access.size());
    s.request.push_back({});
    Replay replay(s);
    Tree bypass = Tree::map();
    bypass.set("bypass", Tree::scalar("true"));
    for (const std::int64_t capacity : kCapacities) {
      replay.start("belady", bypass, capacity);
      const std::uint64_t least = replay.run().misses();
      replay.start(GetParam(), Tree::map(), capacity);
      EXPECT_GE(replay.run().misses(), least) << capacity;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, EvictionConformance,
                         testing::ValuesIn(Registry::instance().names("eviction")),
                         [](const auto& tested) {
                           std::string name = tested.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace kvsim
