#include "sim/engine/snapshots.h"

#include <algorithm>
#include <numeric>

#include "sim/base/check.h"
#include "sim/base/hash.h"

namespace kvsim {

Snapshots::Snapshots(std::int64_t slots, const MakeEvictionPolicy& make, std::uint64_t seed)
    : slots_(slots) {
  policy_ = make({&objects_, slots, Rng(seed, "snapshots")});
}

Snapshots::Place Snapshots::place_of(std::span<const ContentChunk> content, std::int64_t blocks) {
  std::int64_t begin = 0;
  for (const ContentChunk& c : content) {
    if (blocks <= c.end) return {c.key, blocks - begin};
    begin = c.end;
  }
  KVSIM_CHECK(false, "block {} has no content", blocks);
  return {};
}

ObjectId Snapshots::intern(const Place& p) {
  const std::uint64_t identity = hash_combine(p.key, static_cast<std::uint64_t>(p.blocks));
  const auto [at, fresh] = ids_.try_emplace(identity, static_cast<ObjectId>(objects_.size()));
  if (fresh) {
    objects_.add(identity, kNoObject);
    places_.push_back(p);
    resident_.push_back(0);
  }
  return at->second;
}

Access Snapshots::access(ObjectId id, const KvPool::Owner& owner, Time now) {
  Access a;
  a.id = id;
  a.tick = tick_++;
  a.now = now;
  a.session = owner.session;
  a.tenant = owner.tenant;
  a.priority = owner.priority;
  return a;
}

std::int64_t Snapshots::find(std::span<const ContentChunk> content, std::int64_t most) const {
  if (size_ == 0) return 0;
  for (std::size_t i = content.size(); i-- > 0;) {
    const std::int64_t begin = i == 0 ? 0 : content[i - 1].end;
    if (begin >= most) continue;
    const auto at = ends_.find(content[i].key);
    if (at == ends_.end()) continue;
    const std::int64_t limit = std::min(content[i].end, most) - begin;
    const auto after = std::upper_bound(at->second.begin(), at->second.end(), limit);
    if (after != at->second.begin()) return begin + *(after - 1);
  }
  return 0;
}

void Snapshots::use(std::span<const ContentChunk> content, std::int64_t blocks,
                    const KvPool::Owner& owner, Time now) {
  policy_->on_hit(access(intern(place_of(content, blocks)), owner, now));
  ++used_;
}

void Snapshots::save(std::span<const ContentChunk> content, std::int64_t blocks,
                     const KvPool::Owner& owner, Time now) {
  const Place p = place_of(content, blocks);
  const ObjectId id = intern(p);
  const Access a = access(id, owner, now);
  if (resident_[id] != 0) {
    policy_->on_hit(a);
    return;
  }
  policy_->on_miss(a);
  if (size_ == slots_) evict(a);
  policy_->on_insert(a);
  resident_[id] = 1;
  std::vector<std::int64_t>& ends = ends_[p.key];
  ends.insert(std::lower_bound(ends.begin(), ends.end(), p.blocks), p.blocks);
  ++size_;
  ++saved_;
}

void Snapshots::evict(const Access& incoming) {
  const ObjectId id = policy_->evict(incoming);
  KVSIM_CHECK(id != kNoObject && resident_[id] != 0, "the eviction policy chose no snapshot");
  resident_[id] = 0;
  const Place& p = places_[id];
  std::erase(ends_[p.key], p.blocks);
  --size_;
  ++evicted_;
}

void Snapshots::clear() {
  for (ObjectId id = 0; id < resident_.size(); ++id)
    if (resident_[id] != 0) policy_->on_remove(id);
  std::fill(resident_.begin(), resident_.end(), 0);
  ends_.clear();
  size_ = 0;
}

void Snapshots::check() const {
  std::int64_t listed = 0;
  for (const Place& p : places_) {
    const auto at = ends_.find(p.key);
    if (at != ends_.end()) listed += std::count(at->second.begin(), at->second.end(), p.blocks);
  }
  const std::int64_t resident =
      std::accumulate(resident_.begin(), resident_.end(), std::int64_t{0});
  KVSIM_CHECK(listed == size_ && resident == size_ && size_ <= slots_,
              "{} snapshots are listed, {} resident, {} counted in {} slots", listed, resident,
              size_, slots_);
}

}  // namespace kvsim
