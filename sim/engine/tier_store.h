#pragma once
// What one tier holds: chunks of KV by content, their states and users. Mechanism only: which chunk
// leaves is the eviction policy's choice, what to write or fetch is RankTiers'.
//
// A chunk is written (its place is taken, nobody may read it), ready, or absent. Chunks in use and
// chunks being written are pinned: never evicted. Ids are dense, stay with their content for ever,
// and outlive its absence, so that uses, losses and ghosts can be remembered.
#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "policies/eviction/eviction.h"
#include "sim/base/time.h"
#include "sim/engine/tier_pool.h"
#include "sim/state/object_table.h"

namespace kvsim {

class TierStore {
 public:
  using MakePolicy = std::function<std::unique_ptr<EvictionPolicy>(const EvictionPolicy::Context&)>;
  struct Options {
    std::int64_t capacity = 0;  // chunks; 0 = nothing fits
    MakePolicy make_policy;
    double watermark = 1;     // above this share chunks are evicted without need, down to it
    double tenant_quota = 1;  // share of the capacity that one tenant's chunks may take
    Duration ttl{};           // a chunk unused for this long is dropped; 0 = never
    Duration lease{};         // a chunk that was read cannot be evicted for this long
    Duration lag{};           // others learn of a change this much later
    std::uint64_t seed = 0;
  };
  enum class State : std::uint8_t { absent, writing, ready };
  struct Totals {
    std::int64_t inserted = 0, evicted = 0, expired = 0, lost = 0, abandoned = 0;  // chunks
    std::int64_t refused = 0;  // not written: every candidate for eviction was in use, over quota,
                               // or the policy would not admit it
    std::int64_t read = 0, read_tokens = 0;  // chunks that loads took from here
    std::int64_t stale = 0;                  // that the directory promised and were gone
    std::int64_t peak = 0;                   // most chunks at once
    std::int64_t written_bytes = 0, read_bytes = 0;
    std::int64_t far_read = 0, far_read_bytes = 0;  // of what was read: by other nodes
    std::int64_t copied = 0, copied_bytes = 0;      // of what was written: copies of others' chunks
    std::int64_t dropped = 0;                       // of `evicted`: chunks that another store has
  };

  explicit TierStore(Options);
  TierStore(const TierStore&) = delete;
  TierStore& operator=(const TierStore&) = delete;

  // While it cannot be reached nothing is found here and nothing is written.
  void set_reachable(bool yes) { reachable_ = yes; }
  [[nodiscard]] bool reachable() const { return reachable_; }
  // Of a pool from now on; while it is empty.
  void join(TierPool& pool, std::uint32_t member) {
    pool_ = &pool;
    member_ = member;
  }
  // The id of this content, made on first sight. `before`: the chunk ahead of it in its sequence.
  ObjectId intern(std::uint64_t key, ObjectId before);
  // The same whether or not the store can be reached.
  [[nodiscard]] ObjectId known(std::uint64_t key) const;
  // kNoObject when this content was never seen here, or the store cannot be reached.
  [[nodiscard]] ObjectId find(std::uint64_t key) const;
  [[nodiscard]] State state(ObjectId id) const { return rows_[id].state; }
  // What a reader who asks the directory believes: true or stale by `lag`.
  [[nodiscard]] State believed(ObjectId id, Time now) const;
  [[nodiscard]] bool lost(ObjectId id) const { return rows_[id].lost; }  // by a fault, not since
  [[nodiscard]] bool evicted(ObjectId id) const { return rows_[id].evicted; }
  [[nodiscard]] std::uint32_t uses(ObjectId id) const { return rows_[id].uses; }
  void count_use(ObjectId id) { ++rows_[id].uses; }

  // A request uses a chunk that is ready.
  void touch(ObjectId id, const Access& about);
  void pin(ObjectId id);
  void unpin(ObjectId id, Time now);        // after reading it: a lease begins
  void release(ObjectId id);                // without
  void pin_for_ever(ObjectId id);           // from now on, while it is here
  void want(ObjectId id, std::int32_t by);  // waiting requests that will use it

  // Takes places for absent chunks, evicting others; for all of them or for none. They are
  // `writing` and pinned until ready() or abandon(). Chunks that the policy does not admit are
  // erased from `ids` (unless `forced`: a place on the way to the GPU); with too little room, all
  // are. What had to leave is appended to `left`.
  void reserve(std::vector<ObjectId>& ids, bool forced, const Access& about,
               std::vector<ObjectId>& left);
  void ready(ObjectId id, Time now);
  void abandon(ObjectId id, Time now);  // the write failed
  void drop_expired(Time now);
  // Another store of the pool has this chunk, too: it may leave before any policy is asked, the
  // least recently used of such chunks first.
  void has_copy_elsewhere(ObjectId id);
  [[nodiscard]] bool is_copy(ObjectId id) const { return rows_[id].copy; }
  // Everything is gone (the disk, the node): chunks in use too, whose readers must have been told.
  std::int64_t lose_all(Time now);  // their number

  [[nodiscard]] std::uint64_t key(ObjectId id) const { return objects_.key[id]; }
  [[nodiscard]] ObjectId before(ObjectId id) const { return objects_.parent[id]; }
  [[nodiscard]] std::int64_t depth(ObjectId id) const { return objects_.depth[id]; }
  [[nodiscard]] std::size_t known_chunks() const { return rows_.size(); }
  [[nodiscard]] std::int64_t resident() const { return resident_; }
  [[nodiscard]] std::int64_t capacity() const { return options_.capacity; }
  [[nodiscard]] const Options& options() const { return options_; }
  [[nodiscard]] Totals& totals() { return totals_; }
  [[nodiscard]] const Totals& totals() const { return totals_; }
  // Counts, lists and pins agree; aborts otherwise. `idle`: no chunk may be pinned by a user.
  void check(bool idle) const;

 private:
  struct Row {
    State state = State::absent, before = State::absent;
    bool lost = false, evicted = false, fixed = false;
    bool listed = false, copy = false;  // known to the pool; in copies_
    std::uint32_t tenant = 0, uses = 0;
    Time changed{}, used{};
  };
  struct Lease {
    Time until;
    ObjectId id;
  };
  struct Expiry {
    Time at;
    ObjectId id;
  };
  void change(ObjectId id, State to, Time now);
  void remove(ObjectId id, Time now);
  void end_leases(Time now);
  bool evict_one(const Access& about, std::vector<ObjectId>& left);
  bool drop_copy(Time now);
  void insert(const Access& about);
  Access access(ObjectId id, const Access& about);

  Options options_;
  ObjectTable objects_;
  std::unique_ptr<EvictionPolicy> policy_;
  std::vector<Row> rows_;
  boost::unordered_flat_map<std::uint64_t, ObjectId> index_;
  boost::unordered_flat_map<std::uint32_t, std::int64_t> of_tenant_;
  std::deque<Lease> leases_;     // in order of time: every lease is equally long
  std::deque<Expiry> expiries_;  // likewise; stale ones are skipped
  std::int64_t resident_ = 0, pinned_ = 0, tick_ = 0;
  bool reachable_ = true;
  TierPool* pool_ = nullptr;
  std::uint32_t member_ = 0;
  struct Sooner {  // by last use, the end of a sequence before its front
    bool operator()(const std::pair<Time, ObjectId>& a, const std::pair<Time, ObjectId>& b) const {
      return a.first != b.first ? a.first < b.first : a.second > b.second;
    }
  };
  std::set<std::pair<Time, ObjectId>, Sooner> copies_;
  Totals totals_;
};

}  // namespace kvsim
