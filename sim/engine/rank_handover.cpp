// Requests that go on at another instance, and KV that comes from one: after the prompt
// (disaggregated prefill, engine-semantics section 6d), in the middle of decoding (migration), or a
// cached prefix (replication).
#include <algorithm>

#include "sim/base/check.h"
#include "sim/engine/rank.h"

namespace kvsim {

// Its first token is out; the rest is computed elsewhere.
void Rank::hand_over(std::uint32_t slot, Time at) {
  Sequence& s = sequences_[slot];
  --draining_;
  s.draining = false;
  if (s.state == Sequence::State::waiting) return;  // preempted meanwhile: computed once more
  pool_.publish(s.hold, s.content, std::max(s.hold.hashed, s.computed / config_.block_tokens));
  draining_unfilled_ -= unfilled(s);
  std::erase(running_, slot);
  leave_adapter(s);
  end_known_output(slot);
  close_segment(s, at);
  keep_handed(slot);
  peers_->handed(*this, slot, at);
}

void Rank::keep_handed(std::uint32_t slot) {
  Sequence& s = sequences_[slot];
  s.state = Sequence::State::handed;
  s.lost = s.moved = true;
  ++s.outcome.handovers;
  ++handed_;
}

void Rank::release_handed(std::uint32_t slot, Time now) {
  KVSIM_CHECK(sequences_[slot].state == Sequence::State::handed, "slot {} was not handed over",
              slot);
  pool_.set_now(now);
  give_back(slot);
  --handed_;
  retire(slot, now);
}

// Blocks for what the source has are taken at once, and it is asked for what is not cached here.
// Nothing: the source is of no use, or would be waited for for ever.
std::optional<Rank::Verdict> Rank::admit_from_peer(std::uint32_t slot, Time now) {
  Sequence& s = sequences_[slot];
  const std::int64_t bt = config_.block_tokens, known = s.known();
  const std::int64_t brought = std::min(s.source_tokens, known - 1);
  const KvPool::Hit hit = pool_.look_up(s.content, brought / bt);
  const std::int64_t missing = brought - hit.blocks * bt;
  if (missing <= 0 && !s.moved) {
    drop_source(s, now);
    return std::nullopt;
  }
  const std::int64_t fresh = config_.blocks_for(brought) - hit.blocks;
  const std::int64_t must_fit =
      config_.full_sequence_admission ? config_.blocks_for(known) - hit.blocks : fresh;
  if (must_fit + hit.queued + watermark() + load_reserve_ > pool_.free()) {
    // With nobody at work here, those whose KV others wait for may wait for each other.
    if (!running_.empty() || load_reserve_ > 0 || handed_ == 0) return blocked(s, now);
    s.outcome.recomputed_tokens += s.moved ? s.source_tokens : 0;
    drop_source(s, now);
    return std::nullopt;
  }
  end_waits(s, now);
  if (!s.admitted) {
    RankTiers::Match brings;
    brings.blocks = config_.blocks_for(missing);
    record_admission(s, Found{hit, hit.blocks, 0}, brings, nullptr);
    s.outcome.peer_tokens = missing;
  }
  s.hold.owner = {s.outcome.session, s.outcome.tenant, s.priority};
  pool_.take_hit(s.hold, s.content);
  pool_.take(s.hold, fresh);
  s.computed = hit.blocks * bt;
  s.fetch = Sequence::Fetch::loading;
  s.pulling = true;
  load_reserve_ += config_.blocks_for(known) - s.hold.blocks();
  peers_->pull(*this, slot, s.source, std::max<std::int64_t>(0, missing), now);
  return set_aside(s, TierKind::remote, now);
}

void Rank::pulled(std::uint32_t slot, bool good) {
  Sequence& s = sequences_[slot];
  s.source = Sequence::kNoSource;
  if (!std::exchange(s.pulling, false)) {  // it has not been admitted yet
    s.outcome.recomputed_tokens += s.moved ? s.source_tokens : 0;
    return;
  }
  if (good) {
    s.fetch = Sequence::Fetch::ready;
    s.computed = std::min(s.source_tokens, s.known() - 1);
    pool_.publish(s.hold, s.content, std::max(s.hold.hashed, s.computed / config_.block_tokens));
    return;
  }
  load_reserve_ -= config_.blocks_for(s.known()) - s.hold.blocks();
  pool_.release(s.hold);
  s.fetch = Sequence::Fetch::none;
  s.computed = 0;
  if (s.moved) {
    s.outcome.recomputed_tokens += s.source_tokens;
  } else {
    s.outcome.miss_tokens[static_cast<std::size_t>(MissCause::lost_fault)] +=
        std::exchange(s.outcome.peer_tokens, 0);
  }
}

void Rank::drop_source(Sequence& s, Time now) {
  peers_->drop(s.source, now);
  s.source = Sequence::kNoSource;
}

// ---- leaving before it began, or in the middle

void Rank::withdraw(Time now, std::vector<Sequence>& out) {
  std::erase_if(waiting_, [&](std::uint32_t slot) {
    Sequence& s = sequences_[slot];
    if (s.admitted || s.lost || s.fetch != Sequence::Fetch::none || s.source != Sequence::kNoSource)
      return false;
    end_waits(s, now);
    out.push_back(s);
    retire(slot, now);
    return true;
  });
}

// ---- pushed KV

std::uint32_t Rank::expect(const Request& r, std::uint32_t source, Time now) {
  const std::uint32_t slot = take_in(r);
  Sequence& s = sequences_[slot];
  s.visible = now;
  s.source = source;
  s.source_tokens = s.prompt;
  s.sampled = 1;  // with the first token it comes
  s.admitted = s.lost = s.moved = true;
  wait_first(slot, now);
  if (tiers_) tiers_->arrived(prompt_of(slot, s.prompt, 0, now));
  return slot;
}

// Its place and what it holds here stay; everything else is what it was where it was computed.
void Rank::arrive(std::uint32_t slot, const Sequence& from) {
  Sequence& s = sequences_[slot];
  KVSIM_CHECK(s.pulling, "request {} is taken over before there was room", s.outcome.index);
  s.sampled = from.sampled;
  s.lost_at = from.lost_at;
  s.late_since = from.late_since;
  s.attained = from.attained;
  s.told = from.told;
  const std::int64_t peer_tokens = s.outcome.peer_tokens;
  s.outcome = from.outcome;
  s.outcome.peer_tokens = std::max(peer_tokens, from.outcome.peer_tokens);
  s.outcome.instance = totals_.instance;
  s.outcome.rank = totals_.rank;
}

void Rank::dismiss(std::uint32_t slot, Time now) {
  Sequence& s = sequences_[slot];
  for (std::deque<std::uint32_t>* queue : {&waiting_, &skipped_}) std::erase(*queue, slot);
  pool_.set_now(now);
  s.source = Sequence::kNoSource;
  if (std::exchange(s.pulling, false)) {
    load_reserve_ -= config_.blocks_for(s.known()) - s.hold.blocks();
    pool_.release(s.hold);
    s.fetch = Sequence::Fetch::none;
  }
  retire(slot, now);
}

// ---- leaving in the middle

std::optional<std::uint32_t> Rank::lightest() const {
  std::optional<std::uint32_t> best;
  for (const std::uint32_t slot : running_) {
    const Sequence& s = sequences_[slot];
    if (s.draining || s.starved || s.host_room > 0 || !group_.contains(slot)) continue;
    if (!best || group_.computed(slot) < group_.computed(*best)) best = slot;
  }
  return best;
}

// Between iterations that follow each other without a plan in advance: before anybody plans at this
// instant, so that who takes over sees the request in the plan of this instant, whether the end of
// the iteration was foreseen or not. (A plan that let it go would hand it over after or before
// other instances had planned, depending on which iterations were skipped.) With plans in advance
// it leaves with the iteration that runs.
void Rank::depart_now(Time now) {
  if (!departing_ || departing_->at >= now || config_.async_scheduling) return;
  plan_departure(now, false);
}

// False: it is over, preempted, or about to end.
bool Rank::plan_departure(Time now, bool ahead) {
  const auto [slot, index, at] = *departing_;
  if (is_flying(slot)) return false;  // not yet
  departing_.reset();
  Sequence& s = sequences_[slot];
  if (s.state != Sequence::State::running || s.outcome.index != index || s.draining || s.starved ||
      s.host_room > 0 || !group_.contains(slot))
    return false;
  sync_decoding(slot);
  // What the running iteration computes is not hashed before it is known.
  const std::int64_t known = ahead ? s.computed - 1 : s.computed;
  pool_.publish(s.hold, s.content, std::max(s.hold.hashed, known / config_.block_tokens));
  std::erase(running_, slot);
  leave_adapter(s);
  end_known_output(slot);
  s.attained += Duration{totals_.busy_ns - s.joined};
  s.settled = false;
  keep_handed(slot);
  if (ahead) {
    closing_.push_back(slot);
  } else {
    close_segment(s, now);
    peers_->handed(*this, slot, now);
  }
  return true;
}

}  // namespace kvsim
