#pragma once
// Which object leaves a full cache: the contract of every eviction policy.
//
// The cache (mechanism) owns the objects, their residence and the table of what is known of them;
// the policy owns its order. For each access the cache calls, in this order:
//   hit:   on_hit
//   miss:  on_miss, admits; if admitted: evict while must_evict, then on_insert
// After a hit, shed until it gives nothing, where sheds().
// An object taken away by somebody else (invalidated, moved, lost with its disk) leaves by
// on_remove.
#include <cstdint>
#include <limits>

#include "sim/base/random.h"
#include "sim/base/registry.h"
#include "sim/base/time.h"
#include "sim/state/object_table.h"

namespace kvsim {

inline constexpr std::int64_t kNoNextUse = std::numeric_limits<std::int64_t>::max();

struct Access {
  ObjectId id = kNoObject;
  std::int64_t tick = 0;  // accesses of this cache so far
  Time now{};             // 0 in replays without timing
  std::uint64_t session = 0;
  std::uint32_t tenant = 0;
  std::int32_t priority = 0;           // of the request; lower is more important
  std::int64_t next_use = kNoNextUse;  // tick of the next access to it; known offline only
};

class EvictionPolicy {
 public:
  using Contract = EvictionPolicy;
  static constexpr const char* kKind = "eviction";
  struct Context {
    const ObjectTable* objects = nullptr;  // may grow between calls
    std::int64_t capacity = 1;             // objects the cache holds at most, >= 1
    Rng random{0, "eviction"};
  };
  virtual ~EvictionPolicy() = default;

  virtual void on_hit(const Access&) = 0;              // the object is resident
  virtual void on_miss(const Access&) {}               // it is not; ghost lists learn here
  virtual bool admits(const Access&) { return true; }  // false: it is served without being kept
  // Whether an object must leave before `incoming` may be inserted; `resident` objects are there.
  [[nodiscard]] virtual bool must_evict(const Access& incoming, std::int64_t resident) const {
    (void)incoming;
    return resident >= capacity_;
  }
  // Chooses a resident object that is not pinned; it is gone when this returns. kNoObject when
  // every candidate is pinned (then nothing is inserted).
  virtual ObjectId evict(const Access& incoming) = 0;
  virtual void on_insert(const Access&) = 0;
  virtual void on_remove(ObjectId) = 0;  // resident before; not an eviction, so no ghost
  // The object is no longer pinned, its last user just left: recency may count from here. No use.
  virtual void on_release(const Access&) {}
  // A node of a prefix tree was cut: `upper` is a new object with its first part, resident, of
  // which `lower`, the rest, is the only child. The objects table shows this already.
  virtual void on_split(const Access& upper, ObjectId lower) {
    (void)lower;
    on_miss(upper);
    on_insert(upper);
  }
  // Some policies push an object out on a hit (LIRS, segmented LRU): the next one to go, or
  // kNoObject. A cache that does not ask keeps it; evict gives it later.
  [[nodiscard]] virtual bool sheds() const { return false; }
  virtual ObjectId shed() { return kNoObject; }
  // Whether it reads Access::next_use, so that the caller must know the future.
  [[nodiscard]] virtual bool needs_future() const { return false; }
  // The object is accessed soon: loads what the policy keeps of it, changes nothing.
  virtual void prefetch(ObjectId) const {}

 protected:
  explicit EvictionPolicy(const Context& c) : objects_(c.objects), capacity_(c.capacity) {}
  [[nodiscard]] bool pinned(ObjectId id) const { return objects_->pins[id] != 0; }
  const ObjectTable* objects_;
  std::int64_t capacity_;
};

}  // namespace kvsim
