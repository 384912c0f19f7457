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
    TierStore& store = *levels_[k].store;
    ids_.clear();
    ObjectId before = kNoObject;
    for (const std::uint64_t key : keys_) {
      // Uses of what is not here are counted only where they decide something.
      before = config_.tiers[k].write_after > 1 ? store.intern(key, before) : store.known(key);
      ids_.push_back(before);
    }
    for (auto id = ids_.rbegin(); id != ids_.rend(); ++id) {  // so that the prefix is the newest
      if (*id == kNoObject) continue;
      store.count_use(*id);
      if (store.state(*id) == TierStore::State::ready) store.touch(*id, p.about);
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
      before = levels_[k].store->intern(key, before);
      levels_[k].store->want(before, by);
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

// Chunks [from, to) of keys_ that level k lacks and wants.
void RankTiers::write(std::uint32_t k, const Prompt& p, std::int64_t from, std::int64_t to) {
  const TierConfig& tier = config_.tiers[k];
  TierStore& store = *levels_[k].store;
  ids_.clear();
  ObjectId before = from == 0 ? kNoObject : store.known(keys_[static_cast<std::size_t>(from) - 1]);
  for (std::int64_t i = from; i < to; ++i) {
    const ObjectId id = store.intern(keys_[static_cast<std::size_t>(i)], before);
    const bool absent = store.state(id) == TierStore::State::absent;
    const bool wanted = tier.write_after <= 1 || store.uses(id) >= tier.write_after;
    if (absent && wanted) ids_.push_back(id);
    if (absent && !wanted && tier.contiguous) break;
    before = id;
  }
  if (ids_.empty()) return;
  left_.clear();
  store.reserve(ids_, false, p.about, left_);
  if (!ids_.empty()) {
    const std::uint32_t j = new_job(Kind::store, p.slot, p.about);
    jobs_[j].to = k;
    jobs_[j].write = ids_;
    start(j, levels_[k].out, static_cast<std::int64_t>(ids_.size()) * config_.tiers[k].chunk_bytes);
  }
  if (!left_.empty()) cascade(k, left_, p.about);
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
  const TierStore& above = *levels_[from].store;
  for (std::uint32_t k = from + 1; k < levels_.size(); ++k) {
    const TierConfig& tier = config_.tiers[k];
    if (!tier.staged || tier.write != rule) continue;
    TierStore& store = *levels_[k].store;
    std::vector<ObjectId> places, sources, left;
    for (const ObjectId id : ids) {
      const ObjectId before = above.before(id);
      const ObjectId here = store.intern(
          above.key(id), before == kNoObject ? kNoObject : store.known(above.key(before)));
      if (store.state(here) != TierStore::State::absent) continue;
      if (tier.write_after > 1 && store.uses(here) < tier.write_after) continue;
      places.push_back(here);
    }
    if (places.empty()) continue;
    store.reserve(places, false, about, left);
    if (!places.empty()) {
      const std::uint32_t j = new_job(Kind::demote, 0, about);
      Job& job = jobs_[j];
      job.from = from;
      job.to = k;
      job.write = places;
      if (!evicted) {
        for (const ObjectId id : places) {
          const ObjectId source = above.known(store.key(id));
          levels_[from].store->pin(source);
          job.read.push_back({from, source});
        }
      }
      start(j, levels_[k].out, static_cast<std::int64_t>(places.size()) * tier.chunk_bytes);
    }
    if (!left.empty()) cascade(k, left, about);
    if (evicted) return;  // only one tier down
  }
}

void RankTiers::leaving(std::uint64_t segment, std::int64_t first, std::int64_t count,
                        std::int64_t at) {
  TierStore& store = *levels_[0].store;
  for (std::int64_t i = count - 1; i >= 0; --i) {            // the last blocks leave first
    if ((at + i + 1) % config_.chunk_blocks != 0) continue;  // a chunk leaves with its last block
    leaving_.push_back(
        store.intern(hash_combine(segment, static_cast<std::uint64_t>(first + i)), kNoObject));
  }
}

void RankTiers::write_leaving(const Access& about) {
  if (leaving_.empty()) return;
  TierStore& store = *levels_[0].store;
  ids_.clear();
  for (const ObjectId id : leaving_) {
    const bool wanted =
        config_.tiers[0].write_after <= 1 || store.uses(id) >= config_.tiers[0].write_after;
    if (wanted && store.state(id) == TierStore::State::absent &&
        std::find(ids_.begin(), ids_.end(), id) == ids_.end())
      ids_.push_back(id);
  }
  leaving_.clear();
  if (ids_.empty()) return;
  left_.clear();
  store.reserve(ids_, false, about, left_);
  if (!ids_.empty()) {
    const std::uint32_t j = new_job(Kind::store, 0, about);
    jobs_[j].to = 0;
    jobs_[j].write = ids_;
    start(j, levels_[0].out, static_cast<std::int64_t>(ids_.size()) * config_.tiers[0].chunk_bytes);
  }
  if (!left_.empty()) cascade(0, left_, about);
}

std::int64_t RankTiers::lost_blocks(const Prompt& p, std::int64_t at) {
  name_chunks(p);
  std::int64_t blocks = 0;
  for (std::int64_t i = at / config_.chunk_blocks; i < chunks_of(p.blocks); ++i) {
    const bool lost = std::any_of(levels_.begin(), levels_.end(), [&](const Level& l) {
      const ObjectId id = l.store->known(keys_[static_cast<std::size_t>(i)]);
      return id != kNoObject && l.store->lost(id);
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
