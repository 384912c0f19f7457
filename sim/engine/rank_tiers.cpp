// Reading: what is stored below the GPU, and bringing it up.
#include "sim/engine/rank_tiers.h"

#include <algorithm>
#include <cmath>

#include "sim/base/check.h"
#include "sim/base/hash.h"

namespace kvsim {

RankTiers::RankTiers(const OffloadConfig& config, std::int64_t block_tokens,
                     std::vector<Level> levels, Transfers& transfers, Client& client)
    : config_(config),
      block_tokens_(block_tokens),
      levels_(std::move(levels)),
      transfers_(transfers),
      client_(client),
      listener_(transfers.add_listener(*this)) {
  for (const Level& l : levels_) {
    const TierStore::Options& o = l.store->options();
    shares_stores_ = shares_stores_ || l.shared;
    depends_on_time_ =
        depends_on_time_ || o.lag > Duration{0} || o.lease > Duration{0} || o.ttl > Duration{0};
  }
  if (config_.restore) restore_ = config_.restore();
  KVSIM_CHECK(levels_.size() == config_.tiers.size() && levels_.size() <= kMaxTiers,
              "{} tiers, {} stores", config_.tiers.size(), levels_.size());
}

RankTiers::Slot& RankTiers::slot(std::uint32_t i) {
  if (slots_.size() <= i) slots_.resize(i + 1);
  return slots_[i];
}

// keys_[i] names chunk i: the content of its last block, which includes all before it.
void RankTiers::name_chunks(const Prompt& p) {
  keys_.clear();
  const std::int64_t c = config_.chunk_blocks, chunks = chunks_of(p.blocks);
  std::int64_t begin = 0;
  std::size_t at = 0;
  for (std::int64_t i = 0; i < chunks; ++i) {
    const std::int64_t last = (i + 1) * c - 1;
    while (p.content[at].end <= last) begin = p.content[at++].end;
    keys_.push_back(hash_combine(p.content[at].key, static_cast<std::uint64_t>(last - begin)));
  }
}

// ---- jobs

std::uint32_t RankTiers::new_job(Kind kind, std::uint32_t of, const Access& about) {
  std::uint32_t j = 0;
  if (free_jobs_.empty()) {
    j = static_cast<std::uint32_t>(jobs_.size());
    jobs_.emplace_back();
  } else {
    j = free_jobs_.back();
    free_jobs_.pop_back();
  }
  Job& job = jobs_[j];
  job.live = true;
  job.kind = kind;
  job.slot = of;
  job.from = job.to = 0;
  job.read.clear();
  job.write.clear();
  job.flows.clear();
  job.flows_left = 0;
  job.bytes = job.chunks = 0;
  job.weight = 1;
  job.began = about.now;
  job.about = about;
  return j;
}

void RankTiers::start(std::uint32_t j, const TransferPath& path, std::int64_t bytes) {
  Job& job = jobs_[j];
  job.flows.push_back(transfers_.start(job.began, path, bytes, listener_, j));
  ++job.flows_left;
  job.bytes += bytes;
}

void RankTiers::end_job(std::uint32_t j) {
  Job& job = jobs_[j];
  job.live = false;
  if (job.kind == Kind::promote) {
    prefetching_ -= static_cast<std::int64_t>(job.write.size());
    std::erase(slots_[job.slot].promotions, j);
  }
  free_jobs_.push_back(j);
}

void RankTiers::transfer_ended(std::uint32_t j, Time at) {
  if (--jobs_[j].flows_left > 0) return;
  Job job = std::move(jobs_[j]);  // what follows may start new jobs
  jobs_[j] = Job{};
  jobs_[j].kind = job.kind;
  jobs_[j].slot = job.slot;
  jobs_[j].write = job.write;
  end_job(j);
  for (const Part& p : job.read) {
    TierStore& s = *levels_[p.level].store;
    s.unpin(p.id, at);
    ++s.totals().read;
    s.totals().read_bytes += static_cast<std::int64_t>(
        job.weight * static_cast<double>(config_.tiers[p.level].chunk_bytes));
  }
  TierStore& to = *levels_[job.to].store;
  for (const ObjectId id : job.write) {
    to.ready(id, at);
    to.totals().written_bytes += config_.tiers[job.to].chunk_bytes;
    if (to.depth(id) * config_.chunk_blocks * block_tokens_ < config_.tiers[job.to].pin_tokens)
      to.pin_for_ever(id);
  }
  job.about.now = at;
  if (records_ != nullptr) record(job, at, false);
  switch (job.kind) {
    case Kind::load:
      ++totals_.loads;
      totals_.load_ns += to_ns(at - job.began);
      slots_[job.slot].load = kNoJob;
      client_.load_ended(job.slot, job.chunks, at);
      break;
    case Kind::promote:
      ++totals_.promotions;
      break;
    case Kind::store:
      ++totals_.stores;
      demote(job.to, job.write, false, job.about);
      break;
    case Kind::demote:
      ++totals_.demotions;
      break;
    case Kind::to_host:  // host_copies.h
    case Kind::from_host:
      break;
  }
}

void RankTiers::record(const Job& job, Time end, bool failed) {
  TransferRecord r;
  r.instance = instance_;
  r.rank = rank_;
  r.kind = static_cast<std::uint8_t>(job.kind);
  if (job.kind == Kind::promote || job.kind == Kind::demote) r.from = job.from + 1;
  if (job.kind == Kind::load) r.from = job.read.empty() ? 0 : job.read.back().level + 1;
  if (job.kind != Kind::load) r.to = job.to + 1;
  r.start = job.began;
  r.end = end;
  r.bytes = job.bytes;
  r.chunks = static_cast<std::int64_t>(std::max(job.read.size(), job.write.size()));
  r.failed = failed;
  records_->push_back(r);
}

// The transfer comes to nothing: its sources are free, its places empty.
void RankTiers::fail(std::uint32_t j, Time now) {
  Job& job = jobs_[j];
  for (const FlowId f : job.flows) transfers_.cancel(f, now);
  for (const Part& p : job.read) levels_[p.level].store->unpin(p.id, now);
  for (const ObjectId id : job.write) levels_[job.to].store->abandon(id, now);
  ++totals_.failed;
  if (records_ != nullptr) record(job, now, true);
  const Kind kind = job.kind;
  const std::uint32_t of = job.slot;
  end_job(j);
  if (kind != Kind::load) return;
  slots_[of].load = kNoJob;
  client_.load_ended(of, 0, now);
}

void RankTiers::lost(const TierStore& store, Time now) {
  for (std::uint32_t j = 0; j < jobs_.size(); ++j) {
    const Job& job = jobs_[j];
    if (!job.live) continue;
    bool touches = !job.write.empty() && levels_[job.to].store == &store;
    for (const Part& p : job.read) touches = touches || levels_[p.level].store == &store;
    if (touches) fail(j, now);
  }
}

void RankTiers::fail_all(Time now) {
  for (std::uint32_t j = 0; j < jobs_.size(); ++j)
    if (jobs_[j].live) fail(j, now);
}

// ---- looking

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
  for (const Found& f : found_) levels_[f.level].store->release(f.id);
  if (m.aside || found_.empty()) return m;
  m.blocks = (found_.back().chunk + 1) * config_.chunk_blocks - p.local;
  if (m.blocks * block_tokens_ < config_.min_load_tokens) {
    m.declined = std::exchange(m.blocks, 0);
    found_.clear();
  }
  if (!found_.empty()) choose(p, m);
  return m;
}

// How much of what was found is loaded: the restore policy's answer. Its plan is in tokens; whole
// chunks move.
void RankTiers::choose(const Prompt& p, Match& m) {
  plan_ = {};
  if (!restore_ || steps_ == nullptr) return;
  RestoreQuestion q;
  q.local_tokens = p.local * block_tokens_;
  q.stored_tokens = m.blocks * block_tokens_;
  q.tail_tokens = std::max<std::int64_t>(1, p.tokens - q.local_tokens - q.stored_tokens);
  q.grain = config_.chunk_blocks * block_tokens_;
  q.layers = config_.layers;
  q.kv_bytes = Bytes{config_.kv_token_bytes};
  q.hidden_bytes = Bytes{config_.hidden_token_bytes};
  q.bandwidth = Bandwidth{0};
  for (std::uint32_t k = 0; k < levels_.size(); ++k) {  // the slowest of the tiers it lies in
    const bool used =
        std::any_of(found_.begin(), found_.end(), [&](const Found& f) { return f.level == k; });
    if (!used) continue;
    const double rate = std::min(transfers_.bandwidth(levels_[k].in), 1e15);
    if (q.bandwidth.value == 0 || rate < q.bandwidth.value) q.bandwidth = Bandwidth{rate};
    q.latency = std::max(q.latency, levels_[k].in.latency);
  }
  q.steps = steps_;
  plan_ = restore_->plan(q);
  const std::int64_t front = plan_.recompute_tokens / block_tokens_;
  m.recompute = std::min(front, m.blocks);
  m.blocks -= m.recompute;
  if (m.blocks == 0) {
    m.declined = std::exchange(m.recompute, 0);
    found_.clear();
    return;
  }
  std::erase_if(found_, [&](const Found& f) {
    return (f.chunk + 1) * config_.chunk_blocks <= p.local + m.recompute;
  });
}

RankTiers::Look RankTiers::look_at(const Prompt& p, Slot& s, std::int64_t chunk, Match& m) {
  for (std::uint32_t k = 0; k < levels_.size(); ++k) {
    if (s.closed[k]) continue;
    const Look look = look_at_level(p, s, chunk, k, m);
    if (look != Look::missing) return look;
  }
  return Look::missing;
}

RankTiers::Look RankTiers::look_at_level(const Prompt& p, Slot& s, std::int64_t chunk,
                                         std::uint32_t k, Match& m) {
  const TierConfig& tier = config_.tiers[k];
  TierStore& store = *levels_[k].store;
  const Time now = p.about.now;
  if (tier.staged && tier.prefetch.rule == PrefetchRule::on_arrival) return Look::missing;
  if (tier.lookup > Duration{0}) {
    if (s.answer[k] == kNever) s.answer[k] = now + tier.lookup;
    if (s.answer[k] > now) {
      m.waits = tier.kind;
      return Look::pending;
    }
  }
  const ObjectId id = store.find(keys_[static_cast<std::size_t>(chunk)]);
  if (id == kNoObject) return Look::missing;
  const TierStore::State believed = store.believed(id, now);
  if (believed == TierStore::State::absent) return Look::missing;
  m.waits = tier.kind;
  if (believed == TierStore::State::writing || store.state(id) == TierStore::State::writing)
    return Look::pending;
  if (store.state(id) == TierStore::State::absent) {  // the directory was wrong: a trip for nothing
    ++store.totals().stale;
    s.closed[k] = true;
    s.answer[k] = now + levels_[k].in.latency;
    return Look::pending;
  }
  if (!tier.staged) {
    store.pin(id);  // so that places for later chunks are not taken from earlier ones
    found_.push_back({k, id, chunk});
    return Look::found;
  }
  return take_place(p, k, id, chunk);
}

// Takes a place in the first tier for a chunk that lies at level k; missing when there is none.
RankTiers::Look RankTiers::take_place(const Prompt& p, std::uint32_t k, ObjectId id,
                                      std::int64_t chunk) {
  TierStore& top = *levels_[0].store;
  const auto i = static_cast<std::size_t>(chunk);
  const ObjectId before = chunk == 0 ? kNoObject : top.known(keys_[i - 1]);
  ids_.assign(1, top.intern(keys_[i], before));
  if (top.state(ids_.front()) == TierStore::State::writing) return Look::pending;
  if (top.state(ids_.front()) == TierStore::State::ready) {  // the directory did not say so
    top.pin(ids_.front());
    found_.push_back({0, ids_.front(), chunk});
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
  levels_[k].store->pin(id);
  raised[i] = static_cast<std::uint8_t>(k);
  lift_.push_back({k, id});
  places_.push_back(ids_.front());
  return Look::pending;
}

// One transfer for each tier that the places taken are filled from.
void RankTiers::start_promotions(const Prompt& p, Duration extra_latency) {
  for (std::uint32_t k = 1; k < levels_.size() && !lift_.empty(); ++k) {
    const auto n = std::count_if(lift_.begin(), lift_.end(),
                                 [&](const Part& part) { return part.level == k; });
    if (n == 0) continue;
    const std::uint32_t j = new_job(Kind::promote, p.slot, p.about);
    Job& job = jobs_[j];
    job.from = k;
    job.to = 0;
    for (std::size_t i = 0; i < lift_.size(); ++i) {
      if (lift_[i].level != k) continue;
      job.read.push_back(lift_[i]);
      job.write.push_back(places_[i]);
    }
    prefetching_ += n;
    slot(p.slot).promotions.push_back(j);
    TransferPath path = levels_[k].in;
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
      levels_[job.from].store->unpin(job.read[i].id, now);
      if (static_cast<std::int64_t>(i + 1) * size <= bytes) {
        levels_[0].store->ready(job.write[i], now);
      } else {
        levels_[0].store->abandon(job.write[i], now);
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
    const ObjectId top = levels_[0].store->find(key);
    if (top != kNoObject && levels_[0].store->state(top) != TierStore::State::absent) continue;
    bool below = false;
    for (std::uint32_t k = 1; k < levels_.size() && !below; ++k) {
      const bool asked = config_.tiers[k].staged && config_.tiers[k].prefetch.rule == rule;
      const ObjectId id = asked ? levels_[k].store->find(key) : kNoObject;
      below = id != kNoObject && levels_[k].store->state(id) == TierStore::State::ready;
      if (below) found_.push_back({k, id, i});
      if (below) lookup = std::max(lookup, config_.tiers[k].lookup);
    }
    if (!below) break;
  }
  const auto n = static_cast<std::int64_t>(found_.size());
  const std::int64_t tokens = n * config_.chunk_blocks * block_tokens_;
  if (n == 0) return;
  const PrefetchConfig& how = config_.tiers[found_.front().level].prefetch;
  const auto most =
      static_cast<std::int64_t>(how.share * static_cast<double>(levels_[0].store->capacity()));
  if (tokens < how.min_tokens || prefetching_ + n > most) return;
  const std::vector<Found> wanted = std::exchange(found_, {});
  for (const Found& f : wanted)
    if (take_place(p, f.level, f.id, f.chunk) == Look::missing) break;
  for (const Found& f : found_) levels_[f.level].store->release(f.id);
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

void RankTiers::begin_load(const Prompt& p) {
  const std::uint32_t j = new_job(Kind::load, p.slot, p.about);
  Slot& s = slot(p.slot);
  s.load = j;
  s.from.fill(0);
  std::array<std::int64_t, kMaxTiers> bytes{};
  const std::int64_t begin = std::max(p.local + plan_.recompute_tokens / block_tokens_,
                                      found_.front().chunk * config_.chunk_blocks);
  std::int64_t at = begin;
  // Hidden states weigh less than KV; layers computed again weigh nothing.
  const auto plain = static_cast<double>(config_.kv_token_bytes * plan_.hidden_tokens +
                                         config_.kv_token_bytes * plan_.load_tokens);
  const double lighter =
      plan_.hidden_tokens > 0 && plain > 0 ? to_double(plan_.bytes) / plain : 1.0;
  for (const Found& f : found_) {
    levels_[f.level].store->pin(f.id);
    jobs_[j].read.push_back({f.level, f.id});
    bytes[f.level] += config_.tiers[f.level].chunk_bytes;
    const std::int64_t end = (f.chunk + 1) * config_.chunk_blocks;
    const auto i = static_cast<std::size_t>(f.chunk);
    const bool raised = f.level == 0 && i < s.raised.size() && s.raised[i] != kRefused;
    s.from[raised ? s.raised[i] : f.level] += end - at;
    at = end;
  }
  jobs_[j].weight = lighter;
  jobs_[j].chunks = at - begin;  // blocks that the rank gains
  for (std::uint32_t k = 0; k < levels_.size(); ++k)
    if (bytes[k] > 0)
      start(j, levels_[k].in,
            static_cast<std::int64_t>(std::ceil(static_cast<double>(bytes[k]) * lighter)));
  if (plan_.hidden_tokens > 0) {  // projections run beside the load: it ends with the later of both
    TransferPath compute;
    compute.latency = plan_.compute_time;
    start(j, compute, 0);
  }
  s.raised.clear();
  found_.clear();
}

}  // namespace kvsim
