// Transfers: jobs, their ends, and loads to the GPU.
#include "sim/engine/rank_tiers.h"

#include <algorithm>
#include <cmath>
#include <map>

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
    const TierStore::Options& o = l.store().options();
    shares_stores_ = shares_stores_ || l.shared;
    depends_on_time_ =
        depends_on_time_ || o.lag > Duration{0} || o.lease > Duration{0} || o.ttl > Duration{0};
  }
  price_sources();
  if (config_.restore) restore_ = config_.restore();
  KVSIM_CHECK(levels_.size() == config_.tiers.size() && levels_.size() <= kMaxTiers,
              "{} tiers, {} stores", config_.tiers.size(), levels_.size());
}

void RankTiers::price_sources() {
  for (std::size_t k = 0; k < levels_.size(); ++k)
    for (Source& s : levels_[k].sources)
      s.alone = s.in.latency + Duration{static_cast<std::int64_t>(
                                   std::ceil(static_cast<double>(config_.tiers[k].chunk_bytes) *
                                             1e9 / std::max(1.0, transfers_.bandwidth(s.in))))};
}

void RankTiers::take_ways(const std::vector<TierWay>& ways) {
  for (std::size_t k = 0; k < levels_.size(); ++k) {
    levels_[k].out = ways[k].out;
    for (std::size_t m = 0; m < levels_[k].sources.size(); ++m)
      levels_[k].sources[m].in = levels_[k].pool == nullptr ? ways[k].in : ways[k].pool[m];
  }
  price_sources();
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
    TierStore& s = store_of(p);
    s.unpin(p.id, at);
    const auto bytes = static_cast<std::int64_t>(
        job.weight * static_cast<double>(config_.tiers[p.level].chunk_bytes));
    ++s.totals().read;
    s.totals().read_bytes += bytes;
    s.totals().far_read += is_far(p) ? 1 : 0;
    s.totals().far_read_bytes += is_far(p) ? bytes : 0;
  }
  let_go(job);
  TierStore& to = levels_[job.to].store();
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
      replicate(job);
      break;
    case Kind::promote:
      ++totals_.promotions;
      replicate(job);
      break;
    case Kind::replicate:
      ++totals_.replications;
      to.totals().copied += static_cast<std::int64_t>(job.write.size());
      to.totals().copied_bytes += job.bytes;
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
    case Kind::handover:  // world_peers.cpp
      break;
  }
}

void RankTiers::record(const Job& job, Time end, bool failed) {
  TransferRecord r;
  r.instance = instance_;
  r.rank = rank_;
  r.kind = static_cast<std::uint8_t>(job.kind);
  if (job.kind == Kind::promote || job.kind == Kind::demote) r.from = job.from + 1;
  if (job.kind == Kind::replicate && !job.read.empty()) r.from = job.from + 1;
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
  for (const Part& p : job.read) store_of(p).unpin(p.id, now);
  for (const ObjectId id : job.write) levels_[job.to].store().abandon(id, now);
  let_go(job);
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
    bool touches = !job.write.empty() && &levels_[job.to].store() == &store;
    for (const Part& p : job.read) touches = touches || &store_of(p) == &store;
    if (touches) fail(j, now);
  }
}

void RankTiers::fail_all(Time now) {
  for (std::uint32_t j = 0; j < jobs_.size(); ++j)
    if (jobs_[j].live) fail(j, now);
}

// ---- loads

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
  const TransferPath* last = nullptr;
  for (const Found& f : found_) {  // the slowest of the stores it lies in
    const TransferPath& in = levels_[f.part.level].sources[f.part.source].in;
    if (std::exchange(last, &in) == &in) continue;
    const double rate = std::min(transfers_.bandwidth(in), 1e15);
    if (q.bandwidth.value == 0 || rate < q.bandwidth.value) q.bandwidth = Bandwidth{rate};
    q.latency = std::max(q.latency, in.latency);
  }
  q.stored = config_.stored;
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

Duration RankTiers::begin_load(const Prompt& p) {
  const std::uint32_t j = new_job(Kind::load, p.slot, p.about);
  Slot& s = slot(p.slot);
  s.load = j;
  s.from.fill(0);
  s.far.fill(0);
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::int64_t> bytes;  // by level and source
  const std::int64_t begin = std::max(p.local + plan_.recompute_tokens / block_tokens_,
                                      found_.front().chunk * config_.chunk_blocks);
  std::int64_t at = begin;
  // Hidden states weigh less than KV; layers computed again weigh nothing.
  const auto plain = static_cast<double>(config_.kv_token_bytes * plan_.hidden_tokens +
                                         config_.kv_token_bytes * plan_.load_tokens);
  const double lighter = plan_.hidden_tokens > 0 && plain > 0 && !config_.stored.fixed()
                             ? to_double(plan_.bytes) / plain
                             : 1.0;
  for (const Found& f : found_) {
    const std::uint32_t level = f.part.level;
    store_of(f.part).pin(f.part.id);
    jobs_[j].read.push_back(f.part);
    bytes[{level, f.part.source}] += config_.tiers[level].chunk_bytes;
    const std::int64_t end = (f.chunk + 1) * config_.chunk_blocks;
    const auto i = static_cast<std::size_t>(f.chunk);
    const bool known = level == 0 && i < s.raised.size() && s.raised[i] != kRefused;
    const std::uint32_t raised = known ? s.raised[i] : 0U;
    const std::uint32_t lay_at = raised == 0 ? level : raised & ~std::uint32_t{kFar};
    s.from[lay_at] += end - at;
    if (raised == 0 ? is_far(f.part) : (raised & kFar) != 0) s.far[lay_at] += end - at;
    at = end;
  }
  jobs_[j].weight = lighter;
  jobs_[j].chunks = at - begin;  // blocks that the rank gains
  for (const auto& [from, n] : bytes)
    start(j, levels_[from.first].sources[from.second].in,
          static_cast<std::int64_t>(std::ceil(static_cast<double>(n) * lighter)));
  const Duration besides = plan_.hidden_tokens > 0 ? plan_.compute_time : Duration{0};
  if (besides > Duration{0}) {  // projections run beside the load: it ends with the later of both
    TransferPath compute;
    compute.latency = besides;
    start(j, compute, 0);
  }
  s.raised.clear();
  found_.clear();
  return besides;
}

}  // namespace kvsim
