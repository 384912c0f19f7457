// KV that is pushed: a request's prompt is computed only once the instance that will take over has
// blocks for all of it, and each piece is sent there as soon as it is computed, layer by layer.
// Nothing is fetched when the prompt is done; the price is memory that waits.
//
// Room is found in plans, whose order within one instant depends on which iterations were skipped:
// what follows from it happens after all plans of the instant, in the order of the requests.
#include <algorithm>

#include "sim/base/check.h"
#include "sim/engine/world.h"

namespace kvsim {

void World::ask_for_room(const Request& r, Instance& from, Promise promise, Time visible) {
  const auto to = route(*pools_.back(), r);
  KVSIM_CHECK(to.has_value(), "nobody is there to take over request {}", r.index);
  if (promise_.source != Sequence::kNoSource) drop(promise_.source, now_);
  Instance& taker = *instances_[*to];
  const auto id = static_cast<std::uint32_t>(*to);
  Promise all;  // no prompt tokens are to be computed there
  all.tokens = r.prompt_tokens;
  charge(*to, outcome_of(r, id, all));
  const std::size_t rank = pick_rank(taker);
  ++taker.in_flight[rank];
  const std::uint32_t source = new_source(Source::Kind::pushed, from.ranks[0]->totals().instance);
  Source& s = sources_[source];
  s.to = id;
  s.to_rank = static_cast<std::uint32_t>(rank);
  s.request = r.index;
  s.tokens = r.prompt_tokens;
  Push& p = pushes_[r.index];
  p.request = r;
  p.instance = s.from;
  p.promise = promise;
  p.visible = visible;
  p.source = source;
  const std::size_t g = taker.groups[rank];
  groups_[g]->steps.interrupt(now_);
  const std::uint32_t slot = taker.ranks[rank]->expect(r, source, now_);
  sources_[source].to_slot = slot;
  see_queues(taker);
  reschedule(g);
  wake(g, now_);
}

void World::grant_room(std::uint32_t source, std::int64_t missing) {
  pushes_.at(sources_[source].request).missing = missing;
  granted_.push_back(sources_[source].request);
  if (!std::exchange(grants_, true)) queue_.push({now_, Phase::sample, EventKind::grant, 0, 0, 0});
}

void World::on_grant(Time now) {
  grants_ = false;
  std::vector<std::uint64_t> over, here;
  over.swap(refused_);
  here.swap(granted_);
  std::sort(over.begin(), over.end());
  std::sort(here.begin(), here.end());
  for (const std::uint64_t request : over) {
    const Push p = pushes_.at(request);
    pushes_.erase(request);
    const Source s = sources_[p.source];
    for (std::uint32_t piece = 0; piece < sources_.size(); ++piece) {
      if (sources_[piece].kind != Source::Kind::piece || sources_[piece].whole != p.source)
        continue;
      stop(piece, now);
      end_source(piece);
    }
    end_source(p.source);
    disturb(s.to, s.to_rank, now);
    rank_of(s.to, s.to_rank).dismiss(s.to_slot, now);
    --instances_[s.to]->in_flight[s.to_rank];
    Promise all;
    all.tokens = p.request.prompt_tokens;
    discharge(s.to, outcome_of(p.request, s.to, all));
  }
  for (const std::uint64_t request : here) {
    Push& p = pushes_.at(request);
    p.promise.waited += now - p.visible;
    deliver_now(p.request, *instances_[p.instance], p.promise, now);
  }
}

// The request is over before anybody took over: what was set aside for it is given back.
void World::dismiss(Push& p) {
  if (std::exchange(p.is_over, true)) return;
  refused_.push_back(sources_[p.source].request);
  if (!std::exchange(grants_, true)) queue_.push({now_, Phase::sample, EventKind::grant, 0, 0, 0});
}

void World::computed(Rank& rank, std::uint32_t slot, std::int64_t tokens, Time start, Time end) {
  const auto at = pushes_.find(rank.sequence(slot).outcome.index);
  if (at == pushes_.end()) return;
  Push& p = at->second;
  const std::int64_t from = std::max(p.sent, p.request.prompt_tokens - p.missing);
  tokens = std::min(tokens, p.request.prompt_tokens);
  p.sent = std::max(p.sent, tokens);
  if (tokens <= from) return;
  const Source whole = sources_[p.source];
  const std::uint32_t id = new_source(Source::Kind::piece, whole.from);
  Source& s = sources_[id];
  s.to = whole.to;
  s.to_rank = whole.to_rank;
  s.whole = p.source;
  s.since = end;
  s.flowing = true;
  s.bytes = (tokens - from) * options_.peers->token_bytes;
  const TransferPath way = options_.peers->way(s.from, s.to);
  s.flow = transfers_.start(end, way, left_of(s.bytes, way, end - start), listener_, id);
  ++p.flows;
}

void World::piece_ended(std::uint32_t source) {
  Push& p = pushes_.at(sources_[source].request);
  if (--p.flows == 0 && p.has_left) end_push(source);
}

// False: its KV is not pushed.
bool World::leave_pushed(Rank& rank, std::uint32_t slot) {
  const Sequence& q = rank.sequence(slot);
  const auto at = pushes_.find(q.outcome.index);
  if (at == pushes_.end()) return false;
  Push& p = at->second;
  Source& s = sources_[p.source];
  s.from_rank = rank.totals().rank;
  s.from_slot = slot;
  p.has_left = true;
  ++handovers_;
  --instances_[s.from]->in_flight[s.from_rank];
  discharge(s.from, q.outcome);
  rank_of(s.to, s.to_rank).arrive(s.to_slot, q);
  if (p.flows == 0) end_push(p.source);
  return true;
}

void World::end_push(std::uint32_t source) {
  const Source s = sources_[source];
  pushes_.erase(s.request);
  end_source(source);
  disturb(s.to, s.to_rank, now_);
  rank_of(s.to, s.to_rank).pulled(s.to_slot, true);
  disturb(s.from, s.from_rank, now_);
  rank_of(s.from, s.from_rank).release_handed(s.from_slot, now_);
}

}  // namespace kvsim
