#include "sim/engine/tier_pool.h"

#include <algorithm>

#include "sim/base/check.h"
#include "sim/engine/tier_store.h"

namespace kvsim {

void TierPool::join(TierStore& s) {
  s.join(*this, static_cast<std::uint32_t>(stores_.size()));
  stores_.push_back(&s);
}

const TierPool::Entry* TierPool::find(std::uint64_t key) const {
  const auto at = index_.find(key);
  return at == index_.end() ? nullptr : &entries_[at->second];
}

std::span<const TierPool::Holder> TierPool::holders(std::uint64_t key) const {
  const Entry* e = find(key);
  return e == nullptr ? std::span<const Holder>{} : std::span<const Holder>{e->holders};
}

std::int64_t TierPool::copies(std::uint64_t key) const {
  const auto all = holders(key);
  return std::count_if(all.begin(), all.end(), [&](const Holder& h) {
    return store(h.member).state(h.id) != TierStore::State::absent;
  });
}

TierPool::Elsewhere TierPool::elsewhere(std::uint64_t key, std::uint32_t member) const {
  Elsewhere out = Elsewhere::no;
  for (const Holder& h : holders(key)) {
    if (h.member == member || store(h.member).state(h.id) != TierStore::State::ready) continue;
    if (store(h.member).reachable()) return Elsewhere::yes;
    out = Elsewhere::unreachable;
  }
  return out;
}

std::uint32_t TierPool::count_far_read(std::uint64_t key) {
  return ++entries_[index_.at(key)].far_reads;
}

void TierPool::count_from_zero(std::uint64_t key) { entries_[index_.at(key)].far_reads = 0; }

void TierPool::list(std::uint64_t key, Holder h) {
  const auto [at, fresh] = index_.try_emplace(key, static_cast<std::uint32_t>(entries_.size()));
  if (fresh) entries_.emplace_back().key = key;
  entries_[at->second].holders.push_back(h);
}

void TierPool::whole(std::uint64_t key) {
  const auto all = holders(key);
  const auto ready = [&](const Holder& h) {
    return store(h.member).state(h.id) == TierStore::State::ready;
  };
  if (std::count_if(all.begin(), all.end(), ready) < 2) return;
  for (const Holder& h : all)
    if (ready(h)) store(h.member).has_copy_elsewhere(h.id);
}

void TierPool::check() const {
  for (const Entry& e : entries_) {
    std::int64_t ready = 0, marked = 0;
    for (const Holder& h : e.holders) {
      const TierStore& s = store(h.member);
      KVSIM_CHECK(s.known(e.key) == h.id, "chunk {} is not chunk {} of store {}", e.key, h.id,
                  h.member);
      ready += s.state(h.id) == TierStore::State::ready ? 1 : 0;
      marked += s.is_copy(h.id) ? 1 : 0;
    }
    KVSIM_CHECK(marked <= ready && (ready < 2 || marked == ready),
                "{} stores have a chunk, {} know of another", ready, marked);
  }
  for (const TierStore* s : stores_)
    for (ObjectId id = 0; id < s->known_chunks(); ++id)
      KVSIM_CHECK(s->state(id) == TierStore::State::absent || find(s->key(id)) != nullptr,
                  "chunk {} lies in a store of the pool, which does not know it", id);
}

}  // namespace kvsim
