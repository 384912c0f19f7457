// Preempted requests whose KV stays on the GPU until its blocks are needed: then it goes to host
// memory or is given up, all of it or its end. Copies run beside the iterations, from the
// preemption on (FastSwitch) or ahead of both turns (FastServe); an iteration waits for one only
// when it takes the place of what is still on its way. A copy begins with the plan that displaces:
// the last token of its KV, which the running iteration may still compute, comes last.
#include <algorithm>

#include "sim/base/check.h"
#include "sim/engine/rank.h"

namespace kvsim {

// What is computed while a load of it is under way is not in one piece; who has its last token
// planned leaves anyway.
bool Rank::can_pause(std::uint32_t slot) const {
  const Sequence& s = sequences_[slot];
  const std::int64_t computed = group_.contains(slot) ? group_.computed(slot) : s.computed;
  return config_.pauses() && !s.draining && s.skip_to == 0 && computed > 0;
}

// It has left the batch; blocks that hold nothing yet are given back.
void Rank::pause(std::uint32_t slot, Time now) {
  Sequence& s = sequences_[slot];
  s.reserved = 0;
  KvPool::Hold over;
  over.blank = s.hold.blocks() - kv_blocks(s, s.computed);
  s.hold.blank -= over.blank;
  KVSIM_CHECK(over.blank >= 0 && s.hold.blank >= 0, "slot {} holds {} blocks of {}", slot,
              s.hold.blocks(), kv_blocks(s, s.computed));
  pool_.release(over);
  rest(slot);
  make_ready(slot, now);
}

// In the middle of decoding: it goes on with one token, as if it had never left.
bool Rank::resumes(std::uint32_t slot) const {
  const Sequence& s = sequences_[slot];
  return config_.pauses() && s.rest != Sequence::Rest::none && s.sampled > 0 &&
         s.known() - s.computed == 1 && (s.curve == nullptr || s.turned);
}

void Rank::hold_running(Plan& out, Time now, bool ahead) {
  tell_all_tokens();
  std::vector<std::uint32_t> held;
  for (const std::uint32_t slot : running_)
    if (!sequences_[slot].draining && scheduler_->standing(request_of(slot), now).is_held())
      held.push_back(slot);
  for (const std::uint32_t slot : held) preempt(slot, out, now, ahead, 0);
}

// ---- whose turn is next

// All who wait, by when their turn is expected: when those before them have run for as long as they
// may, max_running at a time, or with their promotion (FastServe's estimate).
void Rank::collect_turns(Time now) {
  turns_.clear();
  if (is_moving()) {
    collect_candidates(now);
    turns_ = candidates_;
  } else {
    for (auto* queue : {&skipped_, &waiting_})
      for (const std::uint32_t slot : *queue)
        turns_.push_back({sequences_[slot].standing, slot, queue});
    if (traits_.queue == Scheduler::Traits::Queue::arrival)
      for (std::size_t i = 0; i < turns_.size(); ++i)
        turns_[i].standing = {static_cast<std::int64_t>(i), 0};
  }
  std::sort(turns_.begin(), turns_.end(), [this](const Candidate& a, const Candidate& b) {
    return goes_before(a.standing, a.slot, b.standing, b.slot);
  });
  if (!scheduler_) return;
  Duration before{};
  for (const std::uint32_t slot : running_)
    before += scheduler_->turn(request_of(slot), now).length;
  for (Candidate& c : turns_) {
    const Scheduler::Turn turn = scheduler_->turn(request_of(c.slot), now);
    c.standing = {to_ns(std::min(turn.promotion, before / config_.max_running)), 0};
    before += turn.length;
  }
  std::stable_sort(turns_.begin(), turns_.end(),
                   [](const Candidate& a, const Candidate& b) { return a.standing < b.standing; });
}

// The first of those who wait that is not on its way to the GPU.
Rank::Next Rank::next_present() {
  Next next;
  Standing best;
  const auto look = [&](std::deque<std::uint32_t>* queue, std::size_t at, const Standing& s) {
    const std::uint32_t slot = (*queue)[at];
    if (loading(slot)) return;
    if (next.queue != nullptr && !goes_before(s, slot, best, (*next.queue)[next.at])) return;
    next = {queue, at};
    best = s;
  };
  if (is_moving()) {
    for (const Candidate& c : candidates_) {
      if (c.standing.is_held()) continue;
      const auto at = std::find(c.queue->begin(), c.queue->end(), c.slot) - c.queue->begin();
      look(c.queue, static_cast<std::size_t>(at), c.standing);
    }
    return next;
  }
  for (auto* queue : {&skipped_, &waiting_}) {
    const bool by_standing = traits_.queue == Scheduler::Traits::Queue::fixed;
    for (std::size_t i = 0; i < queue->size(); ++i) {
      if (next.queue != nullptr && !by_standing) return next;
      look(queue, i, sequences_[(*queue)[i]].standing);
    }
  }
  return next;
}

// ---- what must go

// At most so many blocks become free when all who rest but one give theirs.
std::int64_t Rank::paused_blocks(std::uint32_t but) const {
  std::int64_t blocks = 0;
  for (const std::uint32_t slot : resting_)
    if (slot != but) blocks += sequences_[slot].hold.blocks();
  for (const Leaving& l : leaving_)
    if (l.slot != but) blocks += l.blocks;
  return blocks;
}

std::int64_t Rank::leaving_blocks() const {
  std::int64_t blocks = 0;
  for (const Leaving& l : leaving_) blocks += l.blocks;
  return blocks;
}

// Blocks for the iteration being planned, which waits for their copies: of who is on its way to
// the host already, else of the one whose turn is farthest. False: there is nobody.
bool Rank::take_from_paused(std::int64_t lack, Time now, std::optional<std::uint32_t> but) {
  for (const Leaving& l : leaving_) {
    if (l.slot == but) continue;
    host_->await(l.slot);
    leave_gpu(l.slot);
    return true;
  }
  collect_turns(now);
  for (auto c = turns_.rbegin(); c != turns_.rend(); ++c) {
    if (c->slot == but || sequences_[c->slot].rest != Sequence::Rest::gpu) continue;
    if (give_way(c->slot, lack, now)) {
      host_->await(c->slot);
      leave_gpu(c->slot);
    }
    return true;
  }
  return false;
}

// Of what it holds, the blocks that go when `lack` are needed: all, the last, or as many as its
// last layers take together. Layers that are away stay so until all come back.
std::int64_t Rank::part_of(std::uint32_t slot, std::int64_t lack) const {
  const Sequence& s = sequences_[slot];
  const std::int64_t held = s.hold.blocks(), layers = config_.part_layers;
  if (!config_.gives_tails) return held;
  if (layers == 0) return std::min(lack, held);
  const std::int64_t all = kv_blocks(s, s.computed), need = s.host_room + std::min(lack, held);
  const std::int64_t away = (need * layers + all - 1) / all;
  return all * away / layers - s.host_room;
}

// Blocks of who rests go to the host; false: they were given up, there is no room.
bool Rank::give_way(std::uint32_t slot, std::int64_t lack, Time now) {
  const std::int64_t part = part_of(slot, lack);
  if (config_.swap && send_to_host(slot, part, now)) return true;
  cut_tail(slot, part);
  return false;
}

// The last `blocks` of what it holds become free.
void Rank::shrink_hold(std::uint32_t slot, std::int64_t blocks) {
  Sequence& s = sequences_[slot];
  KvPool::Hold over;
  over.blank = std::min(blocks, s.hold.blank);
  blocks -= over.blank;
  s.hold.blank -= over.blank;
  pool_.release(over);
  if (blocks == 0) return;
  // Cached blocks: those before them are found again at once.
  const std::int64_t stay = s.hold.hashed - blocks;
  pool_.release(s.hold);
  s.hold.owner = {s.outcome.session, s.outcome.tenant, s.priority};
  if (pool_.look_up(s.content, stay).blocks > 0) pool_.take_hit(s.hold, s.content);
}

// What was in its last `blocks` is computed again; all of it, when these are of its last layers.
void Rank::cut_tail(std::uint32_t slot, std::int64_t blocks) {
  Sequence& s = sequences_[slot];
  if (blocks >= s.hold.blocks() || s.host_room > 0 || config_.part_layers > 0)
    return drop_rest(slot);
  const bool ready = s.fetch == Sequence::Fetch::ready;
  if (ready) load_reserve_ -= kv_blocks(s, s.known()) - s.hold.blocks();
  shrink_hold(slot, blocks);
  const std::int64_t left = std::min(s.computed, s.hold.blocks() * config_.block_tokens);
  s.outcome.recomputed_tokens += s.computed - left;
  s.computed = left;
  if (ready) load_reserve_ += kv_blocks(s, s.known()) - s.hold.blocks();
  if (left == 0) drop_rest(slot);
}

// ---- who makes way for whom

// The head of those who wait has its KV in host memory, all of it or its end: that is fetched, and
// others leave the GPU for it, before anybody in the batch makes way.
void Rank::fetch_for_turn(std::uint32_t head, Time now) {
  KvPool::Hit hit;
  if (host_->moves(head)) return;
  collect_turns(now);
  for (auto c = turns_.rbegin(); c != turns_.rend(); ++c) {
    const std::int64_t lack = fetch_lack(head, watermark(), hit) - leaving_blocks();
    if (lack <= 0) break;
    if (c->slot != head && sequences_[c->slot].rest == Sequence::Rest::gpu)
      give_way(c->slot, lack, now);
  }
  bring_back(head, now, watermark());
}

// Room for the head of those who wait: a place of those whom it may displace, the last of them
// first; blocks of who rests, which is farthest from its turn first. Nobody leaves when even all of
// it would not do.
void Rank::pause_for(std::uint32_t head, Use staying, const Use& leaving, Plan& out, Time now,
                     bool ahead) {
  const Sequence& s = sequences_[head];
  const bool has_turn = running() < config_.max_running || !displaced_.empty();
  const bool cut = s.rest == Sequence::Rest::leaving && s.hold.blocks() < kv_blocks(s, s.computed);
  if (cut || is_away(s)) {
    displaced_.clear();
    if (has_turn && !cut) fetch_for_turn(head, now);
    return;
  }
  if (!has_way(head, staying, pool_.free() + leaving.blocks + paused_blocks(head)))
    return displaced_.clear();
  staying.requests += leaving.requests;
  staying.blocks += leaving.blocks;
  staying.due += leaving.due;
  staying.tokens += leaving.tokens;
  std::size_t gone = 0;
  while (!has_way(head, staying, pool_.free())) {
    const std::optional<std::int64_t> need = needs(head, staying);
    if (need && *need <= pool_.free() + paused_blocks(head) &&
        take_from_paused(*need - pool_.free(), now, head))
      continue;
    if (gone == displaced_.size()) break;
    const std::uint32_t slot = displaced_[gone++].slot;
    const Use one = use_of(slot);
    staying.requests -= one.requests;
    staying.blocks -= one.blocks;
    staying.due -= one.due;
    staying.tokens -= one.tokens;
    preempt(slot, out, now, ahead, 0);
  }
  displaced_.resize(gone);
}

// ---- ahead of need

// Copies that no iteration waits for: of who has just left the batch; or such that idle_blocks are
// free, those whose turn is farthest leaving, those whose turn is next coming back one by one.
void Rank::move_paused(Time now) {
  if (!host_ || config_.copies == EngineConfig::Copies::waited) return;
  looks_again_ = looks_again_ || host_->moving();  // the end of an awaited copy is not heard of
  if (config_.copies == EngineConfig::Copies::beside) {
    for (const Candidate& c : displaced_)
      if (const Sequence& s = sequences_[c.slot]; s.rest == Sequence::Rest::gpu && !is_away(s))
        send_to_host(c.slot, s.hold.blocks(), now);
    return;
  }
  const std::int64_t lack = config_.idle_blocks - pool_.free() - leaving_blocks();
  if (lack > 0 && !resting_.empty()) return send_ahead(lack, now);
  if (host_->used() == 0 || host_->moving()) return;
  collect_turns(now);
  for (const Candidate& c : turns_) {
    if (!is_away(sequences_[c.slot])) continue;
    bring_back(c.slot, now, std::max(watermark(), config_.idle_blocks));
    return;
  }
}

void Rank::send_ahead(std::int64_t lack, Time now) {
  collect_turns(now);
  for (auto c = turns_.rbegin(); c != turns_.rend() && lack > 0; ++c) {
    const Sequence& s = sequences_[c->slot];
    if (s.rest != Sequence::Rest::gpu) continue;
    const std::int64_t part = part_of(c->slot, lack);
    if (!send_to_host(c->slot, part, now)) return;
    lack -= part;
  }
}

}  // namespace kvsim
