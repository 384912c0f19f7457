// Looking: what is stored below the GPU, and bringing it up to the first tier.
#include <algorithm>

#include "sim/engine/rank_tiers.h"

namespace kvsim {

RankTiers::Match RankTiers::look_up(const Prompt& p) {
  Match m;
  Slot& s = slot(p.slot);
  found_.clear();
  if (still_waits(p, s)) {
    m.aside = true;
    m.waits = config_.tiers[jobs_[s.promotions.front()].from].kind;
    return m;
  }
  name_chunks(p);
  lift_.clear();
  places_.clear();
  const std::int64_t chunks = chunks_of(p.blocks);
  for (std::int64_t i = p.local / config_.chunk_blocks; i < chunks; ++i) {
    const Look look = look_at(p, s, i, m);
    if (look == Look::missing) break;
    if (look == Look::pending) m.aside = true;
  }
  start_promotions(p, Duration{0});
  for (const Found& f : found_) store_of(f.part).release(f.part.id);
  if (m.aside || found_.empty()) return m;
  m.blocks = (found_.back().chunk + 1) * config_.chunk_blocks - p.local;
  if (m.blocks * block_tokens_ < config_.min_load_tokens) {
    m.declined = std::exchange(m.blocks, 0);
    found_.clear();
  }
  if (!found_.empty()) choose(p, m);
  return m;
}

RankTiers::Look RankTiers::look_at(const Prompt& p, Slot& s, std::int64_t chunk, Match& m) {
  for (std::uint32_t k = 0; k < levels_.size(); ++k) {
    const Look look = look_at_level(p, s, chunk, k, m);
    if (look != Look::missing) return look;
  }
  return Look::missing;
}

// Where the directory shows a chunk: in the rank's own store, or in that of the pool from which it
// comes soonest; equals take turns by content. A rank knows what its own store of a pool holds;
// all else it learns late.
RankTiers::Seen RankTiers::seek(std::uint32_t k, const Slot* s, std::uint64_t key, Time now) const {
  const Level& l = levels_[k];
  const auto open = [&](std::uint32_t source) {
    return s == nullptr ||
           std::find(s->closed.begin(), s->closed.end(), std::pair{k, source}) == s->closed.end();
  };
  Seen best;
  if (l.pool == nullptr) {
    const ObjectId id = l.store().find(key);
    if (id != kNoObject && open(l.own)) best = {{k, l.own, id}, l.store().believed(id, now)};
    return best;
  }
  const auto n = static_cast<std::uint32_t>(l.sources.size());
  std::pair<Duration, std::uint32_t> least{};
  for (const TierPool::Holder& h : l.pool->holders(key)) {
    const Source& from = l.sources[h.member];
    if (!from.store->reachable() || !open(h.member)) continue;
    const TierStore::State state =
        h.member == l.own ? from.store->state(h.id) : from.store->believed(h.id, now);
    const std::pair cost{from.alone, (h.member + n - static_cast<std::uint32_t>(key % n)) % n};
    if (state < best.believed || state == TierStore::State::absent ||
        (state == best.believed && cost > least))
      continue;
    best = {{k, h.member, h.id}, state};
    least = cost;
  }
  return best;
}

RankTiers::Look RankTiers::look_at_level(const Prompt& p, Slot& s, std::int64_t chunk,
                                         std::uint32_t k, Match& m) {
  const TierConfig& tier = config_.tiers[k];
  const Time now = p.about.now;
  if (tier.staged && tier.prefetch.rule == PrefetchRule::on_arrival) return Look::missing;
  if (tier.lookup > Duration{0} && s.answer[k] == kNever) s.answer[k] = now + tier.lookup;
  if (s.answer[k] != kNever && s.answer[k] > now) {
    m.waits = tier.kind;
    return Look::pending;
  }
  const Seen seen = seek(k, &s, keys_[static_cast<std::size_t>(chunk)], now);
  if (seen.believed == TierStore::State::absent) return Look::missing;
  const Part& part = seen.part;
  TierStore& store = store_of(part);
  m.waits = tier.kind;
  if (seen.believed == TierStore::State::writing ||
      store.state(part.id) == TierStore::State::writing)
    return Look::pending;
  if (store.state(part.id) == TierStore::State::absent) {  // the directory was wrong: a trip for
    ++store.totals().stale;                                // nothing
    s.closed.emplace_back(k, part.source);
    s.answer[k] = now + levels_[k].sources[part.source].in.latency;
    return Look::pending;
  }
  if (!tier.staged) {
    store.pin(part.id);  // so that places for later chunks are not taken from earlier ones
    found_.push_back({part, chunk});
    return Look::found;
  }
  return take_place(p, part, chunk);
}

// Takes a place in the first tier for a chunk that lies below; missing when there is none.
RankTiers::Look RankTiers::take_place(const Prompt& p, const Part& below, std::int64_t chunk) {
  TierStore& top = levels_[0].store();
  const auto i = static_cast<std::size_t>(chunk);
  const ObjectId before = chunk == 0 ? kNoObject : top.known(keys_[i - 1]);
  ids_.assign(1, top.intern(keys_[i], before));
  if (top.state(ids_.front()) == TierStore::State::writing) return Look::pending;
  if (top.state(ids_.front()) == TierStore::State::ready) {  // the directory did not say so
    top.pin(ids_.front());
    found_.push_back({{0, levels_[0].own, ids_.front()}, chunk});
    return Look::found;
  }
  // Refused, or brought up and gone again: the first tier is too small for all who wait.
  std::vector<std::uint8_t>& raised = slot(p.slot).raised;
  if (raised.size() <= i) raised.resize(i + 1);
  if (raised[i] != 0) return Look::missing;
  left_.clear();
  top.reserve(ids_, true, p.about, left_);
  if (!left_.empty()) cascade(0, left_, p.about);
  if (ids_.empty()) {
    raised[i] = kRefused;
    return Look::missing;
  }
  store_of(below).pin(below.id);
  raised[i] = static_cast<std::uint8_t>(below.level | (is_far(below) ? kFar : 0U));
  lift_.push_back(below);
  places_.push_back(ids_.front());
  return Look::pending;
}

// One transfer for each store that the places taken are filled from, the nearest tier first.
void RankTiers::start_promotions(const Prompt& p, Duration extra_latency) {
  std::vector<std::pair<std::uint32_t, std::uint32_t>> stores;
  for (const Part& part : lift_) stores.emplace_back(part.level, part.source);
  std::sort(stores.begin(), stores.end());
  stores.erase(std::unique(stores.begin(), stores.end()), stores.end());
  for (const auto& [k, source] : stores) {
    const std::uint32_t j = new_job(Kind::promote, p.slot, p.about);
    Job& job = jobs_[j];
    job.from = k;
    job.to = 0;
    for (std::size_t i = 0; i < lift_.size(); ++i) {
      if (lift_[i].level != k || lift_[i].source != source) continue;
      job.read.push_back(lift_[i]);
      job.write.push_back(places_[i]);
    }
    const auto n = static_cast<std::int64_t>(job.read.size());
    prefetching_ += n;
    slot(p.slot).promotions.push_back(j);
    TransferPath path = levels_[k].sources[source].in;
    path.latency += extra_latency;
    start(j, path, n * config_.tiers[k].chunk_bytes);
  }
  lift_.clear();
  places_.clear();
}

bool RankTiers::still_waits(const Prompt& p, Slot& s) {
  if (s.promotions.empty()) return false;
  const PrefetchWait wait = config_.tiers[jobs_[s.promotions.front()].from].prefetch.wait;
  if (wait == PrefetchWait::complete || !s.prefetched) return true;
  if (wait == PrefetchWait::timeout && p.about.now < s.prefetch_until) return true;
  stop_promotions(s, p.about.now);
  return false;
}

// What has arrived stays; the rest is given up.
void RankTiers::stop_promotions(Slot& s, Time now) {
  while (!s.promotions.empty()) {
    const std::uint32_t j = s.promotions.back();
    Job& job = jobs_[j];
    const std::int64_t bytes = transfers_.cancel(job.flows.front(), now);
    const std::int64_t size = config_.tiers[job.from].chunk_bytes;
    for (std::size_t i = 0; i < job.write.size(); ++i) {
      store_of(job.read[i]).unpin(job.read[i].id, now);
      if (static_cast<std::int64_t>(i + 1) * size <= bytes) {
        levels_[0].store().ready(job.write[i], now);
      } else {
        levels_[0].store().abandon(job.write[i], now);
      }
    }
    end_job(j);
  }
}

void RankTiers::arrived(const Prompt& p) {
  Slot& s = slot(p.slot);
  s = Slot{};
  count_queue(p, 1);
  s.queued = true;
  prefetch(p, PrefetchRule::on_arrival);
}

void RankTiers::prefetch(const Prompt& p, PrefetchRule rule) {
  Slot& s = slot(p.slot);
  if (s.prefetched || std::none_of(config_.tiers.begin(), config_.tiers.end(), [&](const auto& t) {
        return t.staged && t.prefetch.rule == rule;
      }))
    return;
  s.prefetched = true;
  name_chunks(p);
  lift_.clear();
  places_.clear();
  found_.clear();
  Duration lookup{};
  const std::int64_t chunks = chunks_of(p.blocks);
  for (std::int64_t i = p.local / config_.chunk_blocks; i < chunks; ++i) {
    const std::uint64_t key = keys_[static_cast<std::size_t>(i)];
    const ObjectId top = levels_[0].store().find(key);
    if (top != kNoObject && levels_[0].store().state(top) != TierStore::State::absent) continue;
    bool below = false;
    for (std::uint32_t k = 1; k < levels_.size() && !below; ++k) {
      if (!config_.tiers[k].staged || config_.tiers[k].prefetch.rule != rule) continue;
      const Part part = seek(k, nullptr, key, p.about.now).part;
      below = part.id != kNoObject && store_of(part).state(part.id) == TierStore::State::ready;
      if (below) found_.push_back({part, i});
      if (below) lookup = std::max(lookup, config_.tiers[k].lookup);
    }
    if (!below) break;
  }
  const auto n = static_cast<std::int64_t>(found_.size());
  const std::int64_t tokens = n * config_.chunk_blocks * block_tokens_;
  if (n == 0) return;
  const PrefetchConfig& how = config_.tiers[found_.front().part.level].prefetch;
  const auto most =
      static_cast<std::int64_t>(how.share * static_cast<double>(levels_[0].store().capacity()));
  if (tokens < how.min_tokens || prefetching_ + n > most) return;
  const std::vector<Found> wanted = std::exchange(found_, {});
  for (const Found& f : wanted)
    if (take_place(p, f.part, f.chunk) == Look::missing) break;
  for (const Found& f : found_) store_of(f.part).release(f.part.id);
  start_promotions(p, lookup);
  const Duration wait = how.wait_base + Duration{to_ns(how.wait_per_1024) * tokens / 1024};
  s.prefetch_until = p.about.now + std::min(wait, how.wait_most);
}

Time RankTiers::next_answer(Time now) const {
  Time next = kNever;
  for (const Slot& s : slots_) {
    for (const Time t : s.answer)
      if (t > now) next = std::min(next, t);
    if (!s.promotions.empty() && s.prefetch_until > now) next = std::min(next, s.prefetch_until);
  }
  return next;
}

}  // namespace kvsim
