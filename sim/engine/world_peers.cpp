// KV between instances: who takes over a request, and what is on its way. A source is what one
// instance has for another: the KV of a handed sequence, a cached prefix to be copied, or what is
// sent ahead of a sequence that will move.
#include <algorithm>

#include "sim/base/check.h"
#include "sim/engine/world.h"

namespace kvsim {

std::uint32_t World::new_source(Source::Kind kind, std::uint32_t from) {
  std::uint32_t id = 0;
  if (free_sources_.empty()) {
    id = static_cast<std::uint32_t>(sources_.size());
    sources_.emplace_back();
  } else {
    id = free_sources_.back();
    free_sources_.pop_back();
  }
  sources_[id] = Source{};
  sources_[id].kind = kind;
  sources_[id].from = from;
  return id;
}

void World::end_source(std::uint32_t id) {
  sources_[id].kind = Source::Kind::unused;
  free_sources_.push_back(id);
}

void World::show_peers() {
  for (std::uint32_t i = 0; i < views_.size(); ++i) {
    views_[i].kv_token_bytes = options_.peers->token_bytes;
    if (views_.size() > 1)
      views_[i].copy_bytes_per_s = transfers_.bandwidth(options_.peers->way(i == 0 ? 1 : 0, i));
  }
}

// Before somebody else changes what a rank of it holds; it then looks again.
void World::disturb(std::uint32_t instance, std::uint32_t rank, Time now) {
  const std::size_t g = instances_[instance]->groups[rank];
  groups_[g]->steps.interrupt(now);
  reschedule(g);
  wake(g, now);
}

// ---- what ranks say

void World::handed(Rank& rank, std::uint32_t slot, Time) { handed_.emplace_back(&rank, slot); }

void World::pull(Rank& rank, std::uint32_t slot, std::uint32_t id, std::int64_t tokens, Time now) {
  if (sources_[id].kind == Source::Kind::pushed) return grant_room(id, tokens);
  Source& s = sources_[id];
  s.to = rank.totals().instance;
  s.to_rank = rank.totals().rank;
  s.to_slot = slot;
  tokens = std::max<std::int64_t>(0, std::min(tokens, s.tokens - s.ahead));
  begin_flow(s, id, tokens, now);
}

// What was sent layer by layer while the prompt was computed need not be sent now: of X alone on
// the links and Y of computing in L layers, max(X / L, X - Y (L - 1) / L) is left.
std::int64_t World::left_of(std::int64_t bytes, const TransferPath& way, Duration computing) const {
  const auto all = static_cast<double>(bytes), n = static_cast<double>(options_.peers->layers);
  if (n < 2 || way.uses.empty()) return bytes;
  const double sent = transfers_.bandwidth(way) * to_seconds(computing) * (n - 1) / n;
  return static_cast<std::int64_t>(std::max(all / n, all - sent));
}

void World::begin_flow(Source& s, std::uint32_t job, std::int64_t tokens, Time now) {
  const TransferPath way = options_.peers->way(s.from, s.to);
  s.bytes = tokens * options_.peers->token_bytes;
  if (s.kind == Source::Kind::handed) {
    const Sequence& q = rank_of(s.from, s.from_rank).sequence(s.from_slot);
    s.bytes = left_of(s.bytes, way,
                      Duration{q.outcome.ttft_ns[static_cast<std::size_t>(Interval::prefill)]});
  }
  s.since = now;
  s.flowing = true;
  s.flow = transfers_.start(now, way, s.bytes, listener_, job);
}

void World::stop(std::uint32_t id, Time now) {
  Source& s = sources_[id];
  if (s.flowing) handover_bytes_ += transfers_.cancel(s.flow, now);
  s.flowing = false;
}

void World::drop(std::uint32_t id, Time now) {
  stop(id, now);
  const Source s = sources_[id];
  end_source(id);
  if (s.kind != Source::Kind::handed) return;
  if (s.from != s.to) disturb(s.from, s.from_rank, now);
  rank_of(s.from, s.from_rank).release_handed(s.from_slot, now);
}

void World::lost(Rank& rank, std::uint32_t slot, Time now) {
  const std::uint32_t instance = rank.totals().instance;
  for (std::uint32_t id = 0; id < sources_.size(); ++id) {
    Source& s = sources_[id];
    if (s.kind != Source::Kind::handed || s.from != instance || s.from_rank != rank.totals().rank ||
        s.from_slot != slot)
      continue;
    stop(id, now);
    const Source was = s;
    end_source(id);
    for (Sequence& q : stranded_sequences_)
      if (q.source == id) return void(q.source = Sequence::kNoSource);
    Rank& to = rank_of(was.to, was.to_rank);
    if (to.sequence(was.to_slot).source != id) return;
    disturb(was.to, was.to_rank, now);
    to.pulled(was.to_slot, false);
    return;
  }
}

void World::transfer_ended(std::uint32_t id, Time at) {
  Source& s = sources_[id];
  s.flowing = false;
  handover_bytes_ += s.bytes;
  if (options_.record_transfers)
    out_.transfers.push_back({s.to, s.to_rank, static_cast<std::uint8_t>(TransferKind::handover), 0,
                              0, s.since, at, s.bytes, 0, false});
  if (s.kind == Source::Kind::advance) {  // now the rest of it, and the request itself
    const Source was = s;
    end_source(id);
    disturb(was.from, was.from_rank, now_);
    rank_of(was.from, was.from_rank).depart(was.from_slot, was.request, now_);
    return;
  }
  const Source was = s;
  end_source(id);
  if (was.kind == Source::Kind::piece) return piece_ended(was.whole);
  if (was.kind == Source::Kind::copied) ++copies_;
  disturb(was.to, was.to_rank, now_);
  rank_of(was.to, was.to_rank).pulled(was.to_slot, true);
  if (was.kind != Source::Kind::handed) return;
  disturb(was.from, was.from_rank, now_);
  rank_of(was.from, was.from_rank).release_handed(was.from_slot, at);
}

// ---- who takes over

// Requests that left their instance since the last call.
void World::place_handed(Time now) {
  std::vector<std::pair<Rank*, std::uint32_t>> all;
  all.swap(handed_);
  for (const auto& [rank, slot] : all) {
    if (!pushes_.empty() && leave_pushed(*rank, slot)) continue;
    Sequence q = rank->sequence(slot);
    const RankTotals& from = rank->totals();
    const auto ahead = std::find_if(advanced_.begin(), advanced_.end(),
                                    [&](const auto& a) { return a.request == q.outcome.index; });
    Advance planned;
    std::optional<std::size_t> to;
    if (ahead != advanced_.end()) {
      planned = *ahead;
      if (views_[planned.to].up) to = planned.to;
      advanced_.erase(ahead);
    }
    if (planned.is_computed_again) {
      q.outcome.recomputed_tokens += q.computed;
    } else {
      q.source = new_source(Source::Kind::handed, from.instance);
      q.source_tokens = q.computed;
      Source& s = sources_[q.source];
      s.from_rank = from.rank;
      s.from_slot = slot;
      s.tokens = q.computed;
      s.ahead = planned.tokens;
    }
    q.computed = 0;
    q.reserved = 0;
    q.host_room = q.host_layers = q.host_copy = 0;
    ++handovers_;
    --instances_[from.instance]->in_flight[from.rank];
    discharge(from.instance, q.outcome);
    hand_to(std::move(q), to, now);
    if (!planned.is_computed_again) continue;
    disturb(from.instance, from.rank, now);
    rank->release_handed(slot, now);
  }
}

// ---- live migration

bool World::computes_again(MoveBy by, std::uint32_t from, std::uint32_t to,
                           std::int64_t tokens) const {
  if (by != MoveBy::cheaper) return by == MoveBy::recompute;
  const TransferPath way = options_.peers->way(from, to);
  const Pool& pool = stage_of(to);
  const Duration computing =
      views_[to].pending_work + pool.steps[to - pool.first]->prefill(0, tokens);
  const auto bytes = static_cast<double>(tokens * options_.peers->token_bytes);
  return to_seconds(computing) < bytes / transfers_.bandwidth(way);
}

void World::move_lightest(std::uint32_t from, std::uint32_t to, MoveBy by, Time now) {
  Instance& in = *instances_[from];
  for (std::uint32_t r = 0; r < in.ranks.size(); ++r) {
    groups_[in.groups[r]]->steps.sync(now - Duration{1});  // as in world_route.cpp
    const auto slot = in.ranks[r]->lightest();
    if (!slot) continue;
    const std::uint64_t request = in.ranks[r]->sequence(*slot).outcome.index;
    if (std::any_of(advanced_.begin(), advanced_.end(),
                    [&](const auto& a) { return a.request == request; }))
      continue;
    const std::int64_t tokens = in.ranks[r]->computed(*slot);
    if (computes_again(by, from, to, tokens)) {
      advanced_.push_back({request, to, 0, true});
      disturb(from, r, now);
      in.ranks[r]->depart(*slot, request, now);
      return;
    }
    const std::uint32_t id = new_source(Source::Kind::advance, from);
    Source& s = sources_[id];
    s.from_rank = r;
    s.from_slot = *slot;
    s.to = to;
    s.request = request;
    s.tokens = tokens;
    advanced_.push_back({request, to, tokens, false});
    begin_flow(s, id, s.tokens, now);
    return;
  }
}

void World::on_migrate(std::uint32_t p, Time now) {
  Pool& pool = *pools_[p];
  migrations_.clear();
  pool.router->balance({views_.data() + pool.first, pool.count}, migrations_);
  for (const Migration& m : migrations_)
    move_lightest(static_cast<std::uint32_t>(pool.first + m.from),
                  static_cast<std::uint32_t>(pool.first + m.to), m.by, now);
  tick(EventKind::migrate, p, pool.traits.every);
}

}  // namespace kvsim
