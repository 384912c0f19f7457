// KV of admitted requests in host memory: preempted ones that are swapped out (vLLM before v1), and
// layers of prompts that came in without room for all of them (LayerKV).
#include <algorithm>
#include <utility>

#include "sim/base/check.h"
#include "sim/engine/rank.h"

namespace kvsim {

void Rank::attach_host(const TransferPath& in, const TransferPath& out, Transfers& transfers) {
  host_ = std::make_unique<HostCopies>(config_.host_blocks, config_.host_block_bytes, in, out,
                                       transfers, *this);
}

void Rank::forget_host(std::uint32_t slot) {
  Sequence& s = sequences_[slot];
  host_->give(s.host_room + s.host_copy);
  s.host_room = s.host_layers = s.host_copy = 0;
  std::erase(layered_, slot);
}

// ---- swapping

// What is computed while a load of it is under way is not in one piece; who has its last token
// planned leaves anyway.
bool Rank::can_swap_out(std::uint32_t slot) {
  const Sequence& s = sequences_[slot];
  const std::int64_t computed = group_.contains(slot) ? group_.computed(slot) : s.computed;
  return (config_.swap || config_.memory.parks) && host_ && !s.draining && s.skip_to == 0 &&
         computed > 0 && make_host_room(slot, kv_blocks(s, computed));
}

// Whether so much of it finds room beside what is there of it. Copies of others who run give way.
bool Rank::make_host_room(std::uint32_t slot, std::int64_t blocks) {
  const std::int64_t more = blocks - sequences_[slot].host_room - sequences_[slot].host_copy;
  if (config_.keeps_copies && more > host_->free()) {
    for (std::size_t i = 0; i < running_.size() && more > host_->free(); ++i) {
      Sequence& other = sequences_[running_[i]];
      if (running_[i] != slot) host_->give(std::exchange(other.host_copy, 0));
    }
  }
  return more <= host_->free();
}

// It has come back: what is there goes, or stays as a copy of its full blocks, which do not change.
void Rank::keep_copy(std::uint32_t slot) {
  Sequence& s = sequences_[slot];
  if (!config_.keeps_copies || s.curve != nullptr || config_.hybrid.on) return forget_host(slot);
  const std::int64_t full = s.computed / config_.block_tokens;
  host_->give(s.host_room + s.host_copy - full);
  s.host_copy = full;
  s.host_room = 0;
}

// All its blocks travel but those that are `there`; shared ones too: whoever shares them may be
// gone when it comes back.
void Rank::move_out(Sequence& s, std::int64_t there) {
  const std::int64_t copied = std::exchange(s.host_copy, 0);
  s.host_room = kv_blocks(s, s.computed);
  host_->take(s.host_room - copied);
  host_->ask_out(s.host_room - there - copied, config_.memory.layers);
}

// In order, before anybody is admitted.
void Rank::bring_back_swapped(Plan& out, Time now, std::int64_t& budget) {
  while (!swapped_.empty() && budget > 0 && running() < config_.max_running &&
         swap_in(swapped_.front(), out, now, budget))
    swapped_.pop_front();
}

// False: there is no room yet, or the iteration that still computes it runs. What is still cached
// on the GPU need not travel.
bool Rank::swap_in(std::uint32_t slot, Plan& out, Time now, std::int64_t& budget) {
  Sequence& s = sequences_[slot];
  if (std::find(closing_.begin(), closing_.end(), slot) != closing_.end()) return false;
  const std::int64_t known = s.known(), blocks = kv_blocks(s, s.computed);
  KvPool::Hit hit;
  if (s.curve == nullptr || shares(s))
    hit = pool_.look_up(s.content, s.computed / config_.block_tokens);
  std::int64_t n = known - s.computed;
  if (!cut_to_budget(n, budget)) return false;
  // Who is brought back beside decodes leaves them their next blocks.
  const std::int64_t kept = watermark() + (config_.memory.parks ? group_.size() : 0);
  const auto has_room = [&](std::int64_t piece) {
    return kv_blocks(s, known) - hit.blocks + hit.queued + kept + activations(piece, budget) <=
           pool_.free();
  };
  if (!shrink_to(n, has_room)) return false;
  budget -= n;
  s.hold.owner = {s.outcome.session, s.outcome.tenant, s.priority};
  if (hit.blocks > 0) pool_.take_hit(s.hold, s.content);
  host_->ask_in(blocks - hit.blocks, config_.memory.layers);
  keep_copy(slot);
  if (!std::exchange(s.parked, false)) ++totals_.swaps_in;
  if (s.sampled > 0 && known - s.computed == 1 && (s.curve == nullptr || s.turned)) {
    resume_decoding(slot, out, now);
  } else {
    join(slot, n, out, now);
  }
  return true;
}

// It takes part in this iteration like any other decode.
void Rank::resume_decoding(std::uint32_t slot, Plan& out, Time now) {
  Sequence& s = sequences_[slot];
  enter(slot, now);
  const std::int64_t held = s.hold.blocks(), need = piece_blocks(s, 1);
  pool_.take(s.hold, need);
  if (memory_.maps()) memory_.map(need, held - s.reserved, pool_.free(), &s, out);
  if (!config_.publish_computed) publish(s, s.computed / config_.block_tokens);
  start_decoding(slot);
  out.resumed.push_back(slot);
  out.late.push_back(slot);
}

// Its decoding goes on with the iteration that begins at `start`, whose times are in the totals.
void Rank::account_resumed(Sequence& s, Time start, Spent spent) {
  account_first_piece(s, start);
  s.mark_gpu = totals_.gpu_ns - spent.gpu_ns;
  s.mark_host = totals_.host_ns - spent.host_ns;
  s.mark_stall = totals_.stall_ns - spent.stall_ns;
  s.starved_gpu = s.starved_host = s.starved_stall = 0;
  s.decoding_since_mark = true;
}

// Host memory is lost with the instance: its requests are computed again.
void Rank::lose_swapped(Time now) {
  host_->cancel(now);
  while (!swapped_.empty()) {
    const std::uint32_t slot = swapped_.back();
    swapped_.pop_back();
    forget_host(slot);
    Sequence& s = sequences_[slot];
    if (std::exchange(s.parked, false)) {  // nobody has counted it yet
      ++s.outcome.preemptions;
      ++totals_.preemptions;
    }
    s.outcome.recomputed_tokens += std::exchange(s.computed, 0);
    waiting_.push_front(slot);
  }
}

// ---- layers

// Sets aside host memory for the layers that a prompt can leave there, or for all of it when it is
// to be parked; false when there are none, or no room.
bool Rank::leave_layers(Sequence& s) {
  const std::int64_t layers = config_.memory.layers, blocks = kv_blocks(s, s.known());
  if (layers == 0 || !host_) return false;
  s.host_layers = layers - config_.memory_manager->resident_layers(steps_.prefill(0, s.known()),
                                                                   host_->idle_time(blocks));
  s.host_room = blocks * s.host_layers / layers;
  if (config_.memory.parks && blocks > host_->free()) return false;
  return s.host_room > 0 && s.host_room <= host_->free();
}

// Whether the running decodes keep their mean time per token although a prompt is computed now
// (LayerKV's bound on prefills). What was admitted before takes its share of the same time.
bool Rank::keeps_pace(const Sequence& s, Time now) {
  const Duration bound = config_.memory.tpot_bound;
  if (bound == Duration{0} || group_.size() == 0) return true;
  if (!slack_known_) {
    slack_known_ = true;
    slack_ = Duration::max();
    for (std::size_t i = 0; i < static_cast<std::size_t>(group_.size()); ++i) {
      const std::uint32_t slot = group_.slot_at(i);
      const Sequence& other = sequences_[slot];
      if (other.outcome.first_token == kNever) continue;  // being computed
      const std::int64_t sampled = group_.computed(slot) + 1 - other.prompt;
      slack_ = std::min(slack_, bound * sampled - (now - other.outcome.first_token));
    }
    for (const std::uint32_t slot : prefilling_)
      slack_ -= steps_.prefill(sequences_[slot].computed, sequences_[slot].known());
  }
  const Duration takes = steps_.prefill(0, s.known());
  if (takes > slack_) return false;
  slack_ -= takes;
  return true;
}

// Those whose prompt is computed come home if all of it has room, and else wait in host memory.
void Rank::settle_layers(Time now, bool ahead) {
  scratch_.clear();
  for (const std::uint32_t slot : layered_)
    if (group_.contains(slot)) scratch_.push_back(slot);
  for (const std::uint32_t slot : scratch_) {
    Sequence& s = sequences_[slot];
    if (swapped_.empty() && s.host_room <= pool_.free() - watermark() - (group_.size() - 1)) {
      host_->ask_in(s.host_room, s.host_layers);
      pool_.pop(s.host_room);
      forget_host(slot);
    } else if (can_swap_out(slot)) {
      leave_batch(slot, now, ahead, 0, Fate::parked);
    }
  }
}

// What this iteration moves of those with layers in host memory. A layer that is used comes to the
// GPU for it, and stays as far as there are free blocks that no decode is to need next.
void Rank::plan_layers(const Plan& out) {
  for (const PlannedPrefill& p : out.prefills) {
    const Sequence& s = sequences_[p.slot];
    if (s.host_layers == 0) continue;
    const std::int64_t before = away(s, p.piece.history);
    if (before > 0) host_->ask_in(before, s.host_layers);
    const std::int64_t grown = away(s, p.piece.history + p.piece.tokens) - before;
    if (grown > 0) host_->ask_out(grown, s.host_layers);
  }
  std::int64_t left = pool_.free() - watermark() - group_.size();
  std::size_t kept = 0;
  for (const std::uint32_t slot : layered_) {
    Sequence& s = sequences_[slot];
    const bool decodes = group_.contains(slot) && std::find(out.starved.begin(), out.starved.end(),
                                                            slot) == out.starved.end();
    if (decodes) {
      host_->ask_in(s.host_room, s.host_layers);
      const std::int64_t home = std::clamp<std::int64_t>(left, 0, s.host_room);
      pool_.pop(home);
      host_->give(home);
      left -= home;
      const std::int64_t room = s.host_room - home;
      s.host_layers = (s.host_layers * room + s.host_room - 1) / s.host_room;
      s.host_room = room;
    }
    if (s.host_room > 0) layered_[kept++] = slot;
  }
  layered_.resize(kept);
}

}  // namespace kvsim
