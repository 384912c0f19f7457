// Writing: what goes down from the GPU, and from tier to tier.
#include <algorithm>

#include "sim/base/hash.h"
#include "sim/engine/rank_tiers.h"

namespace kvsim {

void RankTiers::admitted(const Prompt& p) {
  Slot& s = slot(p.slot);
  if (s.queued) count_queue(p, -1);
  s.queued = false;
  name_chunks(p);
  for (std::uint32_t k = 0; k < levels_.size(); ++k) {
    TierStore& store = levels_[k].store();
    ids_.clear();
    ObjectId before = kNoObject;
    for (const std::uint64_t key : keys_) {
      // Uses of what is not here are counted only where they decide something.
      before = config_.tiers[k].write_after > 1 ? store.intern(key, before) : store.known(key);
      ids_.push_back(before);
    }
    for (std::size_t i = ids_.size(); i-- > 0;) {  // so that the prefix is the newest
      const ObjectId id = ids_[i];
      if (id != kNoObject) store.count_use(id);
      if (id != kNoObject && store.state(id) == TierStore::State::ready) {
        store.touch(id, p.about);
      } else if (levels_[k].pool != nullptr) {
        const Part far = seek(k, &s, keys_[i], p.about.now).part;
        if (far.id != kNoObject && store_of(far).state(far.id) == TierStore::State::ready)
          store_of(far).touch(far.id, p.about);
      }
    }
  }
}

void RankTiers::count_queue(const Prompt& p, std::int32_t by) {
  bool named = false;
  for (std::uint32_t k = 0; k < levels_.size(); ++k) {
    if (!config_.tiers[k].track_queue) continue;
    if (!named) name_chunks(p);
    named = true;
    ObjectId before = kNoObject;
    for (const std::uint64_t key : keys_) {
      before = levels_[k].store().intern(key, before);
      levels_[k].store().want(before, by);
    }
  }
}

void RankTiers::computed(const Prompt& p, std::int64_t from) {
  const std::int64_t first = chunks_of(from), last = chunks_of(p.blocks);
  if (first >= last) return;
  name_chunks(p);
  for (std::uint32_t k = 0; k < levels_.size(); ++k)
    if (!config_.tiers[k].staged && config_.tiers[k].write == WriteRule::through)
      write(k, p, first, last);
}

// Whether nobody of the pool has the chunk, as far as this rank knows; `own` names it in its own
// store.
bool RankTiers::lacks(std::uint32_t k, ObjectId own, Time now) const {
  const Level& l = levels_[k];
  if (l.store().state(own) != TierStore::State::absent) return false;
  return l.pool == nullptr ||
         seek(k, nullptr, l.store().key(own), now).believed == TierStore::State::absent;
}

// The id of another store's chunk, with all that is before it in its sequence.
ObjectId RankTiers::intern_here(TierStore& here, const TierStore& there, ObjectId id) {
  std::vector<ObjectId> chain;
  ObjectId before = kNoObject;
  for (ObjectId at = id; at != kNoObject && before == kNoObject; at = there.before(at)) {
    before = here.known(there.key(at));
    if (before == kNoObject) chain.push_back(at);
  }
  for (; !chain.empty(); chain.pop_back()) before = here.intern(there.key(chain.back()), before);
  return before;
}

// Chunks [from, to) of keys_ that level k lacks and wants.
void RankTiers::write(std::uint32_t k, const Prompt& p, std::int64_t from, std::int64_t to) {
  const TierConfig& tier = config_.tiers[k];
  TierStore& store = levels_[k].store();
  ids_.clear();
  ObjectId before = from == 0 ? kNoObject : store.known(keys_[static_cast<std::size_t>(from) - 1]);
  for (std::int64_t i = from; i < to; ++i) {
    const ObjectId id = store.intern(keys_[static_cast<std::size_t>(i)], before);
    const bool absent = lacks(k, id, p.about.now);
    const bool wanted = tier.write_after <= 1 || store.uses(id) >= tier.write_after;
    if (absent && wanted) ids_.push_back(id);
    if (absent && !wanted && tier.contiguous) break;
    before = id;
  }
  store_from_gpu(Kind::store, k, p.slot, p.about);
}

// Writes the chunks ids_ to level k.
void RankTiers::store_from_gpu(Kind kind, std::uint32_t k, std::uint32_t slot,
                               const Access& about) {
  if (ids_.empty()) return;
  TierStore& store = levels_[k].store();
  left_.clear();
  store.reserve(ids_, false, about, left_);
  if (!ids_.empty()) {
    const std::uint32_t j = new_job(kind, slot, about);
    Job& job = jobs_[j];
    job.to = k;
    job.write = ids_;
    job.copy = ++copies_begun_;
    copies_.push_back(job.copy);
    for (const ObjectId id : ids_) copy_of_[hash_combine(store.key(id), k)] = job.copy;
    start(j, levels_[k].out, static_cast<std::int64_t>(ids_.size()) * config_.tiers[k].chunk_bytes);
  }
  if (!left_.empty()) cascade(k, left_, about);
}

// Its sources in GPU memory may be overwritten.
void RankTiers::let_go(const Job& job) {
  if (job.copy == 0) return;
  std::erase(copies_, job.copy);
  for (const ObjectId id : job.write) {
    const auto at = copy_of_.find(hash_combine(levels_[job.to].store().key(id), job.to));
    if (at != copy_of_.end() && at->second == job.copy) copy_of_.erase(at);
  }
}

// What has been read from other nodes often enough is written to the reader's own store, too.
void RankTiers::replicate(const Job& read) {
  for (std::uint32_t k = 0; k < levels_.size(); ++k) {
    const TierConfig& tier = config_.tiers[k];
    if (!tier.pooled || tier.replicate_after == 0) continue;
    TierStore& own = levels_[k].store();
    TierPool& pool = *levels_[k].pool;
    ids_.clear();
    for (const Part& p : read.read) {
      if (p.level != k || !is_far(p)) continue;
      const std::uint64_t key = store_of(p).key(p.id);
      if (pool.count_far_read(key) < tier.replicate_after ||
          (tier.most_copies > 0 && pool.copies(key) >= tier.most_copies))
        continue;
      const ObjectId here = intern_here(own, store_of(p), p.id);
      if (own.state(here) != TierStore::State::absent) continue;
      pool.count_from_zero(key);
      ids_.push_back(here);
    }
    if (!tier.staged) {
      store_from_gpu(Kind::replicate, k, read.slot, read.about);
      continue;
    }
    if (!ids_.empty()) copy_down(Kind::replicate, 0, k, ids_, true, read.about);
  }
}

// What was evicted from level k goes one tier down, where that tier is written back. `left` is
// consumed.
void RankTiers::cascade(std::uint32_t k, std::vector<ObjectId>& left, const Access& about) {
  const std::vector<ObjectId> ids = std::move(left);
  left.clear();
  demote(k, ids, true, about);
}

void RankTiers::demote(std::uint32_t from, std::span<const ObjectId> ids, bool evicted,
                       const Access& about) {
  const WriteRule rule = evicted ? WriteRule::back : WriteRule::through;
  const TierStore& above = levels_[from].store();
  for (std::uint32_t k = from + 1; k < levels_.size(); ++k) {
    const TierConfig& tier = config_.tiers[k];
    if (!tier.staged || tier.write != rule) continue;
    TierStore& store = levels_[k].store();
    std::vector<ObjectId> places;
    for (const ObjectId id : ids) {
      const ObjectId before = above.before(id);
      const ObjectId here = store.intern(
          above.key(id), before == kNoObject ? kNoObject : store.known(above.key(before)));
      if (!lacks(k, here, about.now)) continue;
      if (tier.write_after > 1 && store.uses(here) < tier.write_after) continue;
      places.push_back(here);
    }
    if (places.empty()) continue;
    copy_down(Kind::demote, from, k, places, !evicted, about);
    if (evicted) return;  // only one tier down
  }
}

// Writes chunks of level k from level `from`, where they are `still_there` or were just evicted.
void RankTiers::copy_down(Kind kind, std::uint32_t from, std::uint32_t k,
                          std::vector<ObjectId> places, bool still_there, const Access& about) {
  TierStore &above = levels_[from].store(), &store = levels_[k].store();
  std::vector<ObjectId> left;
  store.reserve(places, false, about, left);
  if (!places.empty()) {
    const std::uint32_t j = new_job(kind, 0, about);
    Job& job = jobs_[j];
    job.from = from;
    job.to = k;
    job.write = places;
    for (const ObjectId id : places) {
      if (!still_there) break;
      const ObjectId source = above.known(store.key(id));
      above.pin(source);
      job.read.push_back({from, levels_[from].own, source});
    }
    start(j, levels_[k].out,
          static_cast<std::int64_t>(places.size()) * config_.tiers[k].chunk_bytes);
  }
  if (!left.empty()) cascade(k, left, about);
}

void RankTiers::leaving(std::uint64_t segment, std::int64_t first, std::int64_t count,
                        std::int64_t at) {
  const bool back = config_.tiers.front().write == WriteRule::back;
  if (!back && copies_.empty()) return;
  for (std::int64_t i = count - 1; i >= 0; --i) {            // the last blocks leave first
    if ((at + i + 1) % config_.chunk_blocks != 0) continue;  // a chunk leaves with its last block
    const std::uint64_t key = hash_combine(segment, static_cast<std::uint64_t>(first + i));
    for (std::uint32_t k = 0; k < levels_.size() && !copies_.empty(); ++k) {
      const auto copy = copy_of_.find(hash_combine(key, k));
      if (copy != copy_of_.end() && (flushes_.empty() || flushes_.back() != copy->second))
        flushes_.push_back(copy->second);
    }
    if (back) leaving_.push_back(levels_[0].store().intern(key, kNoObject));
  }
}

void RankTiers::take_flushes(std::vector<std::uint64_t>& out) {
  out.insert(out.end(), flushes_.begin(), flushes_.end());
  flushes_.clear();
}

void RankTiers::write_leaving(const Access& about) {
  if (leaving_.empty()) return;
  TierStore& store = levels_[0].store();
  ids_.clear();
  for (const ObjectId id : leaving_) {
    const bool wanted =
        config_.tiers[0].write_after <= 1 || store.uses(id) >= config_.tiers[0].write_after;
    if (wanted && lacks(0, id, about.now) && std::find(ids_.begin(), ids_.end(), id) == ids_.end())
      ids_.push_back(id);
  }
  leaving_.clear();
  const std::uint64_t before = copies_begun_;
  store_from_gpu(Kind::store, 0, 0, about);
  if (copies_begun_ != before) flushes_.push_back(copies_begun_);
}

std::int64_t RankTiers::lost_blocks(const Prompt& p, std::int64_t at) {
  name_chunks(p);
  std::int64_t blocks = 0;
  for (std::int64_t i = at / config_.chunk_blocks; i < chunks_of(p.blocks); ++i) {
    const std::uint64_t key = keys_[static_cast<std::size_t>(i)];
    const bool lost = std::any_of(levels_.begin(), levels_.end(), [&](const Level& l) {
      return std::any_of(l.sources.begin(), l.sources.end(), [&](const Source& s) {
        const ObjectId id = s.store->known(key);
        return id != kNoObject && s.store->lost(id);
      });
    });
    if (!lost) break;
    blocks = (i + 1) * config_.chunk_blocks - at;
  }
  return blocks;
}

void RankTiers::forget(const Prompt& p) {
  Slot& s = slot(p.slot);
  if (s.queued) count_queue(p, -1);
  stop_promotions(s, p.about.now);
  s = Slot{};
}

}  // namespace kvsim
