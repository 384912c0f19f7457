#include "sim/cache/replay.h"

#include <algorithm>

#include "sim/base/check.h"

namespace kvsim {

Replay::Replay(const BlockStream& stream, std::uint64_t seed)
    : stream_(stream),
      seed_(seed),
      chained_(std::any_of(stream.objects.parent.begin(), stream.objects.parent.end(),
                           [](ObjectId p) { return p != kNoObject; })),
      objects_(stream.objects) {}

void Replay::start(std::string_view policy, const Tree& params, std::int64_t capacity) {
  KVSIM_CHECK(capacity >= 1, "capacity {}", capacity);
  std::fill(objects_.children.begin(), objects_.children.end(), 0U);
  resident_.assign(objects_.size(), 0);
  residents_ = 0;
  const EvictionPolicy::Context context{&objects_, capacity, Rng(seed_, policy)};
  policy_ = Registry::instance().make<EvictionPolicy>(policy, params, context);
  if (policy_->needs_future() && next_use_.empty()) next_use_ = next_uses(stream_);
}

void Replay::leave(ObjectId id) {
  KVSIM_CHECK(id < resident_.size() && resident_[id] != 0, "evicts {}, which is not there", id);
  resident_[id] = 0;
  --residents_;
  if (chained_ && objects_.parent[id] != kNoObject) --objects_.children[objects_.parent[id]];
}

void Replay::insert(const Access& a) {
  policy_->on_miss(a);
  if (!policy_->admits(a)) return;
  while (policy_->must_evict(a, residents_)) {
    const ObjectId victim = policy_->evict(a);
    if (victim == kNoObject) return;
    leave(victim);
  }
  resident_[a.id] = 1;
  ++residents_;
  if (chained_ && objects_.parent[a.id] != kNoObject) ++objects_.children[objects_.parent[a.id]];
  policy_->on_insert(a);
}

ReplayCounts Replay::run() {
  constexpr std::size_t kAhead = 24;  // accesses whose memory is fetched early
  KVSIM_CHECK(policy_ != nullptr, "run() without start()");
  const bool future = policy_->needs_future(), sheds = policy_->sheds();
  ReplayCounts counts;
  Access a;
  for (std::size_t r = 0; r < stream_.requests(); ++r) {
    a.now = stream_.request[r].arrival;
    a.session = stream_.request[r].session;
    a.tenant = stream_.request[r].tenant;
    a.priority = stream_.request[r].priority;
    for (std::size_t i = stream_.begin[r]; i < stream_.begin[r + 1]; ++i) {
      a.id = stream_.access[i];
      a.tick = static_cast<std::int64_t>(i);
      if (i + kAhead < stream_.access.size()) {
        policy_->prefetch(stream_.access[i + kAhead / 2]);
        __builtin_prefetch(&resident_[stream_.access[i + kAhead]]);
      }
      if (future) a.next_use = next_use_[i];
      if (resident_[a.id] != 0) {
        ++counts.hits;
        policy_->on_hit(a);
        if (!sheds) continue;
        for (ObjectId id; (id = policy_->shed()) != kNoObject;) leave(id);
      } else {
        insert(a);
      }
    }
  }
  counts.accesses = stream_.access.size();
  return counts;
}

}  // namespace kvsim
