#include "sim/engine/tier_store.h"

#include <algorithm>

#include "sim/base/check.h"

namespace kvsim {

TierStore::TierStore(Options options) : options_(std::move(options)) {
  policy_ = options_.make_policy(
      {&objects_, std::max<std::int64_t>(1, options_.capacity), Rng(options_.seed, "tier")});
}

ObjectId TierStore::intern(std::uint64_t key, ObjectId before) {
  const auto [at, fresh] = index_.try_emplace(key, static_cast<ObjectId>(objects_.size()));
  if (fresh) {
    objects_.add(key, before);
    rows_.emplace_back();
  }
  return at->second;
}

ObjectId TierStore::known(std::uint64_t key) const {
  const auto at = index_.find(key);
  return at == index_.end() ? kNoObject : at->second;
}

ObjectId TierStore::find(std::uint64_t key) const { return reachable_ ? known(key) : kNoObject; }

TierStore::State TierStore::believed(ObjectId id, Time now) const {
  const Row& r = rows_[id];
  if (options_.lag == Duration{0}) return r.state;
  // A directory lists what is complete.
  const State listed = now - r.changed < options_.lag ? r.before : r.state;
  return listed == State::ready ? State::ready : State::absent;
}

void TierStore::change(ObjectId id, State to, Time now) {
  Row& r = rows_[id];
  r.before = believed(id, now);
  r.state = to;
  r.changed = now;
}

Access TierStore::access(ObjectId id, const Access& about) {
  Access a = about;
  a.id = id;
  a.tick = tick_++;
  return a;
}

void TierStore::touch(ObjectId id, const Access& about) {
  Row& r = rows_[id];
  if (r.copy) {
    copies_.erase({r.used, id});
    copies_.insert({about.now, id});
  }
  r.used = about.now;
  policy_->on_hit(access(id, about));
  if (options_.ttl > Duration{0}) expiries_.push_back({about.now + options_.ttl, id});
}

void TierStore::pin(ObjectId id) {
  if (objects_.pins[id]++ == 0) ++pinned_;
}

void TierStore::unpin(ObjectId id, Time now) {
  KVSIM_CHECK(objects_.pins[id] > 0, "chunk {} is unpinned once too often", id);
  if (options_.lease > Duration{0} && rows_[id].state == State::ready) {
    leases_.push_back({now + options_.lease, id});  // the pin goes when the lease does
    return;
  }
  release(id);
}

void TierStore::release(ObjectId id) {
  KVSIM_CHECK(objects_.pins[id] > 0, "chunk {} is released once too often", id);
  if (--objects_.pins[id] == 0) --pinned_;
}

void TierStore::end_leases(Time now) {
  while (!leases_.empty() && leases_.front().until <= now) {
    const ObjectId id = leases_.front().id;
    leases_.pop_front();
    if (objects_.pins[id] > 0 && --objects_.pins[id] == 0) --pinned_;
  }
}

void TierStore::pin_for_ever(ObjectId id) {
  if (rows_[id].fixed) return;
  rows_[id].fixed = true;
  pin(id);
}

void TierStore::want(ObjectId id, std::int32_t by) {
  objects_.queued[id] =
      static_cast<std::uint32_t>(static_cast<std::int32_t>(objects_.queued[id]) + by);
}

void TierStore::remove(ObjectId id, Time now) {
  const ObjectId parent = objects_.parent[id];
  if (parent != kNoObject) --objects_.children[parent];
  --of_tenant_[rows_[id].tenant];
  --resident_;
  if (std::exchange(rows_[id].copy, false)) copies_.erase({rows_[id].used, id});
  change(id, State::absent, now);
}

void TierStore::has_copy_elsewhere(ObjectId id) {
  if (!std::exchange(rows_[id].copy, true)) copies_.insert({rows_[id].used, id});
}

// Without a trace in `left`: what another store has need not be saved below.
bool TierStore::drop_copy(Time now) {
  for (auto at = copies_.begin(); at != copies_.end();) {
    const ObjectId id = at->second;
    const auto elsewhere = pool_->elsewhere(objects_.key[id], member_);
    if (elsewhere == TierPool::Elsewhere::no) {
      rows_[id].copy = false;
      at = copies_.erase(at);
      continue;
    }
    if (objects_.pins[id] > 0 || elsewhere == TierPool::Elsewhere::unreachable) {
      ++at;
      continue;
    }
    policy_->on_remove(id);
    rows_[id].evicted = true;
    remove(id, now);
    ++totals_.evicted;
    ++totals_.dropped;
    return true;
  }
  return false;
}

bool TierStore::evict_one(const Access& about, std::vector<ObjectId>& left) {
  if (drop_copy(about.now)) return true;
  const ObjectId id = policy_->evict(about);
  if (id == kNoObject) return false;
  KVSIM_CHECK(objects_.pins[id] == 0 && rows_[id].state == State::ready,
              "the eviction policy chose chunk {} with {} users", id, objects_.pins[id]);
  rows_[id].evicted = true;
  remove(id, about.now);
  ++totals_.evicted;
  left.push_back(id);
  return true;
}

void TierStore::insert(const Access& about) {
  const ObjectId id = about.id;
  Row& r = rows_[id];
  change(id, State::writing, about.now);
  r.lost = r.evicted = false;
  r.tenant = about.tenant;
  r.used = about.now;
  pin(id);
  if (pool_ != nullptr && !std::exchange(r.listed, true))
    pool_->list(objects_.key[id], {member_, id});
  ++resident_;
  ++of_tenant_[r.tenant];
  const ObjectId parent = objects_.parent[id];
  if (parent != kNoObject) ++objects_.children[parent];
  policy_->on_insert(about);
  ++totals_.inserted;
  if (options_.ttl > Duration{0}) expiries_.push_back({about.now + options_.ttl, id});
}

void TierStore::reserve(std::vector<ObjectId>& ids, bool forced, const Access& about,
                        std::vector<ObjectId>& left) {
  drop_expired(about.now);
  const auto n = static_cast<std::int64_t>(ids.size());
  const auto quota =
      static_cast<std::int64_t>(options_.tenant_quota * static_cast<double>(options_.capacity));
  if (!reachable_ || n > options_.capacity - pinned_ ||
      (options_.tenant_quota < 1 && of_tenant_[about.tenant] + n > quota)) {
    totals_.refused += n;
    ids.clear();
    return;
  }
  std::erase_if(ids, [&](ObjectId id) {
    KVSIM_CHECK(rows_[id].state == State::absent, "chunk {} is written twice", id);
    const Access a = access(id, about);
    policy_->on_miss(a);
    if (!policy_->admits(a) && !forced) {
      ++totals_.refused;
      return true;
    }
    while (resident_ >= options_.capacity || policy_->must_evict(a, resident_))
      if (!evict_one(a, left)) break;
    if (resident_ >= options_.capacity) {  // what is not in use has successors that are
      ++totals_.refused;
      return true;
    }
    insert(a);
    return false;
  });
  const auto high =
      static_cast<std::int64_t>(options_.watermark * static_cast<double>(options_.capacity));
  Access last = about;
  if (!ids.empty()) last.id = ids.back();  // for whom room is made
  while (last.id != kNoObject && resident_ > high && resident_ > pinned_)
    if (!evict_one(last, left)) break;
  totals_.peak = std::max(totals_.peak, resident_);
}

void TierStore::ready(ObjectId id, Time now) {
  KVSIM_CHECK(rows_[id].state == State::writing, "chunk {} is ready but was not written", id);
  change(id, State::ready, now);
  if (--objects_.pins[id] == 0) --pinned_;
  if (pool_ != nullptr) pool_->whole(objects_.key[id]);
}

void TierStore::abandon(ObjectId id, Time now) {
  if (rows_[id].state != State::writing) return;  // lost meanwhile
  if (--objects_.pins[id] == 0) --pinned_;
  policy_->on_remove(id);
  remove(id, now);
  ++totals_.abandoned;
}

void TierStore::drop_expired(Time now) {
  end_leases(now);
  while (!expiries_.empty() && expiries_.front().at <= now) {
    const Expiry e = expiries_.front();
    expiries_.pop_front();
    if (rows_[e.id].state != State::ready || objects_.pins[e.id] != 0 ||
        rows_[e.id].used + options_.ttl > e.at)
      continue;
    policy_->on_remove(e.id);
    rows_[e.id].evicted = true;
    remove(e.id, now);
    ++totals_.expired;
  }
}

std::int64_t TierStore::lose_all(Time now) {
  std::int64_t lost = 0;
  for (ObjectId id = 0; id < rows_.size(); ++id) {
    if (rows_[id].state == State::absent) continue;
    policy_->on_remove(id);
    rows_[id].lost = true;
    rows_[id].fixed = false;
    remove(id, now);
    ++lost;
    objects_.pins[id] = 0;
  }
  pinned_ = 0;
  leases_.clear();
  expiries_.clear();
  totals_.lost += lost;
  return lost;
}

void TierStore::check(bool idle) const {
  std::int64_t resident = 0, pinned = 0;
  std::vector<std::uint32_t> leased(rows_.size(), 0), children(rows_.size(), 0);
  for (const Lease& l : leases_) ++leased[l.id];
  for (ObjectId id = 0; id < rows_.size(); ++id) {
    const bool here = rows_[id].state != State::absent;
    resident += here ? 1 : 0;
    pinned += objects_.pins[id] > 0 ? 1 : 0;
    if (here && objects_.parent[id] != kNoObject) ++children[objects_.parent[id]];
    KVSIM_CHECK(here || objects_.pins[id] == 0, "chunk {} is absent but in use", id);
    KVSIM_CHECK(!idle || objects_.pins[id] == leased[id] + (rows_[id].fixed ? 1U : 0U),
                "chunk {} has {} users although nothing runs", id, objects_.pins[id]);
  }
  for (ObjectId id = 0; id < rows_.size(); ++id)
    KVSIM_CHECK(children[id] == objects_.children[id], "chunk {} has {} children, counts {}", id,
                children[id], objects_.children[id]);
  KVSIM_CHECK(resident == resident_ && pinned == pinned_ && resident_ <= options_.capacity,
              "{} chunks resident ({} counted), {} pinned ({} counted), capacity {}", resident,
              resident_, pinned, pinned_, options_.capacity);
  KVSIM_CHECK(totals_.inserted ==
                  resident_ + totals_.evicted + totals_.expired + totals_.lost + totals_.abandoned,
              "{} chunks came in, {} are here", totals_.inserted, resident_);
}

}  // namespace kvsim
