// Planning: who takes part in the next iteration.
#include "sim/engine/rank.h"

#include <algorithm>

#include "sim/base/check.h"
#include "sim/base/hash.h"
#include "sim/engine/content.h"
#include "sim/engine/loans.h"
#include "sim/engine/node_pool.h"

namespace kvsim {

Rank::Rank(const EngineConfig& config, std::uint32_t instance, std::uint32_t rank, Done done,
           SeenElsewhere seen, DurationHistogram& itl, const StepEstimator& steps)
    : config_(config),
      itl_(itl),
      owned_pool_(make_pool(config, hash_combine(instance, rank))),
      pool_(*owned_pool_),
      group_(config.block_tokens, config.windows, config.hybrid),
      memory_(config.memory, config.memory_manager, config.kv_blocks),
      done_(std::move(done)),
      seen_elsewhere_(std::move(seen)),
      steps_(steps) {
  if (config.snapshots.slots > 0)
    snapshots_ =
        std::make_unique<Snapshots>(config.snapshots.slots, config.make_snapshot_policy,
                                    hash_combine(config.pool.seed, hash_combine(instance, rank)));
  if (config.adapters != nullptr)
    adapters_ = std::make_unique<AdapterSlots>(config.adapters->rules());
  if (config.shared_prefix_attention) shared_reads_ = std::make_unique<SharedReads>();
  totals_.instance = instance;
  totals_.rank = rank;
  totals_.blocks = config.kv_blocks;
  totals_.block_tokens = config.block_tokens;
  estimate_from_ = config.batch.estimate;
  make_deciders();
}

// ---- the waiting queue

std::uint32_t Rank::new_slot() {
  if (free_slots_.empty()) {
    sequences_.emplace_back();
    return static_cast<std::uint32_t>(sequences_.size() - 1);
  }
  const std::uint32_t slot = free_slots_.back();
  free_slots_.pop_back();
  return slot;
}

// A slot for the request, in no queue yet.
std::uint32_t Rank::take_in(const Request& r) {
  const std::uint32_t slot = new_slot();
  Sequence& s = sequences_[slot];
  auto content = std::move(s.content);  // keep the capacity of the slot's last user
  auto pieces = std::move(s.hold.pieces);
  s = Sequence{};
  s.content = std::move(content);
  s.hold.pieces = std::move(pieces);
  s.prompt = r.prompt_tokens;
  if (config_.forms != nullptr) s.curve = &config_.forms->curve(s.prompt);
  s.output = config_.max_model_len > 0
                 ? std::min(r.output_tokens, config_.max_model_len - r.prompt_tokens)
                 : r.output_tokens;
  const std::int64_t tokens_in_all = s.prompt + s.output + returned_tokens(r.calls);
  s.priority = r.priority;
  if (adapters_) s.adapter = config_.adapters->of(r);
  s.outcome.index = r.index;
  s.outcome.session = r.session;
  s.outcome.turn = r.turn;
  s.outcome.tenant = r.tenant;
  s.outcome.instance = totals_.instance;
  s.outcome.rank = totals_.rank;
  s.outcome.prompt_tokens = s.prompt;
  s.outcome.output_tokens = s.output;
  s.outcome.arrival = r.arrival;
  s.outcome.first_instance = totals_.instance;
  const std::int64_t tokens = to_content(r, config_.block_tokens, s.content);
  s.known_output = tokens > s.prompt && !config_.publish_computed;
  if (!r.calls.empty()) {
    s.calls = r.calls;
    s.output = r.calls.front().after;
  }
  const std::int64_t all = config_.token_blocks(tokens_in_all);
  s.hold.own = s.content.size();
  if (s.content.empty() || s.content.back().end < all)
    s.content.push_back({hash_combine(0x6f7574707574ULL, r.index), all});
  s.state = Sequence::State::waiting;
  return slot;
}

void Rank::enqueue(const Request& r, Time visible, Promise promise) {
  const std::uint32_t slot = take_in(r);
  Sequence& s = sequences_[slot];
  s.visible = visible;
  s.source = promise.source;
  s.source_tokens = promise.source == Sequence::kNoSource ? 0 : promise.tokens;
  s.outcome.promised_tokens = promise.tokens;
  s.outcome.promised_ns = to_ns(promise.work);
  add(s.outcome.ttft_ns, Interval::front_end, to_ns(visible - r.arrival - promise.waited));
  add(s.outcome.ttft_ns, Interval::handover, to_ns(promise.waited));
  wait_first(slot, visible);
  if (tiers_) {
    const std::int64_t local = find(s.content, (s.prompt - 1) / config_.block_tokens).blocks;
    tiers_->arrived(prompt_of(slot, s.prompt, local, visible));
  }
}

// ---- one iteration

void Rank::plan(Plan& out, Time now, bool ahead) {
  out.clear();
  planning_ = now;
  pool_.set_now(now);
  stranded_ = given_up_ = 0;
  looks_again_ = false;
  slack_known_ = false;
  const bool layers_move = !layered_.empty();
  displaced_.clear();
  pieces_ = longest_piece_ = 0;
  if (traits_.holds_running) hold_running(out, now, ahead);
  if ((traits_.preempts || config_.pauses()) && waiting() > 0) make_way(out, now, ahead);
  const std::int64_t displaced = out.preemptions;
  if (config_.memory.parks && layers_move) settle_layers(now, ahead);
  const bool departs = departing_ && (!ahead || plan_departure(now, true));
  if (config_.request_timeout > Duration{0}) drop_expired(now);
  const std::size_t before = waiting_.size(), aside = skipped_.size(), out_there = swapped_.size();
  switch (config_.batch.order) {
    case BatchOrder::running: {
      const bool fast = !config_.exact_steps && can_plan_fast();
      const std::int64_t budget =
          fast ? plan_running_fast(out) : plan_running_exact(out, now, ahead);
      if (out.preemptions == displaced) plan_waiting(out, now, budget, ahead);
      break;
    }
    case BatchOrder::decodes:
      plan_decodes_first(out, now, ahead);
      break;
    case BatchOrder::prompts:
      plan_either(out, now, ahead);
      break;
  }
  if (config_.pauses() && waiting() > 0) move_paused(now);
  out.plain = out.prefills.empty() && !out.skips_prompts && out.preemptions == 0 &&
              out.starved.empty() && out.late.empty() && waiting_.size() == before &&
              skipped_.size() == aside && swapped_.size() == out_there && !departs &&
              !layers_move && layered_.empty() && loans_ == nullptr && draining_ == 0 &&
              prefilling_.empty() && !queue_may_move() && !writes_back_ &&
              out.mapping_ns + out.mapping_ahead_ns + out.restore_ns == 0 && !config_.speculation &&
              !(tiers_ && tiers_->copying()) && !looks_again_ && !(host_ && host_->moving());
  if (!layered_.empty()) plan_layers(out);
  finish_plan(out);
  if (!out.finishing.empty() || out.shape.decodes == 0) out.plain = false;
  if (writes_back_) {
    Access about;
    about.now = now;
    tiers_->write_leaving(about);
  }
  if (tiers_) tiers_->take_flushes(out.flushes);
}

bool Rank::can_plan_fast() {
  if (starved_ > 0 || group_.size() > config_.max_batched_tokens || prefilling_.size() > 1 ||
      config_.speculation != nullptr)
    return false;
  std::int64_t need = group_.due(), tokens = group_.size();
  if (!prefilling_.empty()) {
    const std::uint32_t slot = prefilling_.front();
    if (running_.back() != slot) return false;
    const Sequence& s = sequences_[slot];
    const std::int64_t n = piece_of(slot, group_.size(), pool_.free() - need);
    if (n == 0 && group_.size() < config_.max_batched_tokens && prefill_left(slot) > 0)
      return false;
    need += piece_blocks(s, n);
    tokens += n;
  }
  return need + memory_.activation_blocks(tokens) <= pool_.free();
}

// Tokens of an unfinished prefill that join an iteration of `planned` tokens; 0 when the
// activations of not even one find room in `free` blocks.
std::int64_t Rank::piece_of(std::uint32_t slot, std::int64_t planned, std::int64_t free) {
  const std::int64_t n = cap_prefill(prefill_left(slot), config_.max_batched_tokens - planned);
  const Sequence& s = sequences_[slot];
  if (!memory_.lends()) return n;
  return largest(n, [&](std::int64_t k) {
    return piece_blocks(s, k) + memory_.activation_blocks(planned + k) <= free;
  });
}

// Known tokens of a running sequence that may be computed now. Behind what is computed during a
// load, that is none until the load has ended.
std::int64_t Rank::prefill_left(std::uint32_t slot) {
  Sequence& s = sequences_[slot];
  if (config_.snapshots.cuts)
    return std::min(s.known() - s.computed, until_snapshot(s, s.computed));
  if (s.skip_to == 0) return s.known() - s.computed;
  if (s.computed < s.skip_from) return s.skip_from - s.computed;
  if (loading(slot)) return 0;
  s.computed = std::exchange(s.skip_to, 0);
  --skipping_;
  publish(s, s.computed / config_.block_tokens);
  return s.known() - s.computed;
}

std::int64_t Rank::cap_prefill(std::int64_t tokens, std::int64_t budget) const {
  if (config_.long_prefill_threshold > 0) tokens = std::min(tokens, config_.long_prefill_threshold);
  return std::min(tokens, budget);
}

// Every decode takes part, then the one unfinished prefill: order cannot matter, so nobody is
// visited.
std::int64_t Rank::plan_running_fast(Plan& out) {
  grow(group_.due(), out);
  std::int64_t budget = config_.max_batched_tokens - group_.size();
  if (!prefilling_.empty() && budget > 0) {
    const std::uint32_t slot = prefilling_.front();
    const std::int64_t n = piece_of(slot, group_.size(), pool_.free());
    if (n > 0) schedule_prefill(slot, n, out);
    budget -= n;
  }
  return budget;
}

// Blocks for the next tokens of decoding sequences.
void Rank::grow(std::int64_t blocks, Plan& out) {
  pool_.pop(blocks);
  if (memory_.maps()) memory_.map(blocks, 0, pool_.free(), nullptr, out);
}

// The engine's own order, sequence by sequence, with preemption (section 4, phase 1).
std::int64_t Rank::plan_running_exact(Plan& out, Time now, bool ahead) {
  std::int64_t budget = config_.max_batched_tokens;
  scratch_.clear();  // decoding sequences that are in
  std::size_t i = 0;
  bool self_preempted = false;
  while (i < running_.size() && budget > 0 && !self_preempted) {
    const std::uint32_t slot = running_[i];
    Sequence& s = sequences_[slot];
    if (s.draining || is_flying(slot)) {
      ++i;
      continue;
    }
    const bool decoding = group_.contains(slot);
    if (!decoding && prefill_left(slot) == 0) {  // a load is to come first
      ++i;
      continue;
    }
    const std::int64_t n =
        decoding ? std::min(decode_tokens(slot), budget)
                 : std::max<std::int64_t>(
                       1, piece_of(slot, config_.max_batched_tokens - budget, pool_.free()));
    const std::int64_t need = decoding ? decode_need(slot, n) : piece_blocks(s, n);
    const auto lack = [&] {
      return need + memory_.activation_blocks(config_.max_batched_tokens - budget + n) -
             pool_.free();
    };
    bool waits = false;
    while (lack() > 0 && !self_preempted) {
      if (reclaim_rest(lack())) continue;
      const std::uint32_t v = victim(now);
      // Who would make way for it may be in flight: it keeps what it has until they land.
      waits = v == slot && flights_ > 0;
      if (waits) break;
      const auto at = static_cast<std::size_t>(std::find(running_.begin(), running_.end(), v) -
                                               running_.begin());
      std::int64_t extra = 0;
      if (at < i) {  // it was in already: give its tokens back, and the block its token was to open
        --i;
        if (std::erase(scratch_, v) > 0) {
          budget += 1 + std::exchange(sequences_[v].drafts, 0);
          extra = decode_need(v, 1);
        } else {
          for (const PlannedPrefill& p : out.prefills)
            if (p.slot == v) budget += p.piece.tokens;
          std::erase_if(out.prefills, [&](const PlannedPrefill& p) { return p.slot == v; });
        }
      }
      self_preempted = v == slot;
      preempt(v, out, now, ahead, extra);
    }
    if (self_preempted) break;
    if (waits) {
      ++i;
      continue;
    }
    if (decoding) {
      grow(need, out);
      book_drafts(slot, n);
      scratch_.push_back(slot);
    } else {
      schedule_prefill(slot, n, out);
    }
    budget -= n;
    ++i;
  }
  for (const std::uint32_t slot : scratch_) feed(slot, out);
  for (const std::uint32_t slot : running_) {
    if (!group_.contains(slot) ||
        std::find(scratch_.begin(), scratch_.end(), slot) != scratch_.end())
      continue;
    out.starved.push_back(slot);
    starve(slot);
  }
  return budget;
}

// Brings a decoding sequence's own counts up to date and takes it out of the group.
void Rank::sync_decoding(std::uint32_t slot) {
  if (!group_.contains(slot)) return;
  Sequence& s = sequences_[slot];
  s.computed = group_.remove(slot);
  s.sampled = s.computed + 1 - s.prompt;
  s.hold.blank = blocks_at(s, s.computed) - s.hold.hashed;
}

// Its blocks become free.
void Rank::give_back(std::uint32_t slot) {
  Sequence& s = sequences_[slot];
  memory_.leave(s, s.hold.blocks());
  pool_.release(s.hold);
  if (loans_ != nullptr) loans_->repay(totals_.instance, slot);
  if (s.host_room + s.host_copy > 0) forget_host(slot);
}

void Rank::preempt(std::uint32_t slot, Plan& out, Time now, bool ahead, std::int64_t extra_blocks,
                   Kept kept) {
  Sequence& s = sequences_[slot];
  const bool rests = kept == Kept::if_possible && can_pause(slot);
  const bool swaps = kept == Kept::if_possible && !config_.pauses() && can_swap_out(slot);
  leave_batch(slot, now, ahead, extra_blocks,
              rests   ? Fate::rests
              : swaps ? Fate::swapped
                      : Fate::given_up);
  ++s.outcome.preemptions;
  ++totals_.preemptions;
  ++out.preemptions;
  KVSIM_CHECK(s.outcome.preemptions < 100'000, "request {} is preempted for ever", s.outcome.index);
  if (!swaps) return;
  ++s.outcome.swaps;
  ++totals_.swaps_out;
}

void Rank::leave_batch(std::uint32_t slot, Time now, bool ahead, std::int64_t extra_blocks,
                       Fate fate) {
  Sequence& s = sequences_[slot];
  catch_up(slot);
  end_known_output(slot);
  const bool decoded = group_.contains(slot) || s.draining;
  sync_decoding(slot);
  s.hold.blank += extra_blocks;
  // What the running iteration computes is not hashed before it is known.
  const std::int64_t known = decoded && ahead ? s.computed - 1 : s.computed;
  if (config_.publish_preempted) publish(s, known / config_.block_tokens);
  if (s.draining) draining_unfilled_ -= unfilled(s);
  const std::int64_t there = away(s, s.computed);
  const std::int64_t copied = fate == Fate::given_up ? 0 : std::exchange(s.host_copy, 0);
  if (fate == Fate::rests) {
    pause(slot, now);
  } else {
    give_back(slot);
  }
  s.host_copy = copied;
  if (fate == Fate::given_up) {
    if (!s.draining) s.outcome.recomputed_tokens += s.computed;
    if (config_.batch.restarts_shorter && !decoded && s.computed > 0) restart_shorter(s);
    s.computed = 0;
    s.turned = false;
  } else if (fate != Fate::rests) {
    move_out(s, there);
    s.parked = fate == Fate::parked;
  }
  if (std::exchange(s.skip_to, 0) > 0) --skipping_;
  if (s.starved) {
    s.starved = false;
    --starved_;
  }
  std::erase(prefilling_, slot);
  std::erase(running_, slot);
  leave_adapter(s);
  s.state = Sequence::State::waiting;
  s.settled = false;
  s.lost = true;
  s.attained += Duration{totals_.busy_ns - s.joined};
  if (traits_.hears_tokens) tell_tokens(slot);
  if (scheduler_) scheduler_->preempted(request_of(slot), now);
  batch_full_ = false;
  push(fate == Fate::given_up || fate == Fate::rests ? waiting_ : swapped_, slot,
       fate != Fate::parked && !config_.batch.displaced_last, now);
  if (ahead) {
    closing_.push_back(slot);  // the running iteration may still be its own
  } else {
    close_segment(s, now);
  }
}

// Books `tokens` more of a running sequence's known tokens; blocks must be there.
void Rank::schedule_prefill(std::uint32_t slot, std::int64_t tokens, Plan& out, bool admitted) {
  Sequence& s = sequences_[slot];
  const std::int64_t held = s.hold.blocks();
  const std::int64_t need = piece_blocks(s, tokens);
  ++pieces_;
  longest_piece_ = std::max(longest_piece_, tokens);
  pool_.take(s.hold, need);
  if (memory_.maps())
    memory_.map(need, admitted ? held - s.reserved : 0, pool_.free(), admitted ? &s : nullptr, out);
  out.prefills.push_back({slot, {tokens, s.computed, s.computed + tokens == s.known()}});
}

void Rank::drop_expired(Time now) {
  for (std::deque<std::uint32_t>* queue : {&skipped_, &waiting_}) {
    for (std::size_t i = 0; i < queue->size();) {
      const std::uint32_t slot = (*queue)[i];
      Sequence& s = sequences_[slot];
      if (s.admitted || now - s.outcome.arrival <= config_.request_timeout) {
        ++i;
        continue;
      }
      queue->erase(queue->begin() + static_cast<std::ptrdiff_t>(i));
      s.outcome.outcome = Outcome::timed_out;
      s.outcome.reason = "waited longer than request_timeout";
      s.outcome.last_token = now;
      done_(s.outcome);
      retire(slot, now);
    }
  }
}

// The first `full` blocks of the sequence have their content, and others may use them.
void Rank::publish(Sequence& s, std::int64_t full) {
  if (s.curve != nullptr && !shares(s)) return;
  const std::int64_t before = s.hold.hashed;
  pool_.publish(s.hold, s.content, std::max(before, full));
  if (shared_reads_ && s.hold.hashed != before) shared_reads_->changed();
}

// Counts of this iteration, then the state after it.
void Rank::finish_plan(Plan& out) {
  if (adapters_) plan_adapters(out);
  if (encoder_)
    for (const PlannedPrefill& p : out.prefills)
      out.encode_ns += encoder_->encode(sequences_[p.slot].outcome.index, p.piece.history,
                                        p.piece.history + p.piece.tokens, totals_.encoder);
  if (!out.holds_decodes) {
    for (const std::uint32_t slot : out.starved) {
      catch_up(slot);
      sequences_[slot].computed = group_.remove(slot);
    }
    group_.describe(out.shape);
    if (loans_ != nullptr) lend_decodes(out);
    if (group_.forms() != nullptr) group_.describe_forms(0, out.shape, out.loads);
    out.shape.padded_decodes =
        out.prefills.empty() ? config_.padded(out.shape.decodes) : out.shape.decodes;
    if (shared_reads_)
      shared_reads_->describe(group_, sequences_, pool_, config_.block_tokens, out.shape);
    if (config_.speculation != nullptr) {
      verify_drafts(out);
    } else if (group_.size() > 0) {
      group_.advance(out.finishing);
    }
    if (out.shape.decodes > 0) ++decode_steps_;
    for (const std::uint32_t slot : out.starved) start_decoding(slot);
  }
  for (const std::uint32_t slot : out.finishing) {
    Sequence& s = sequences_[slot];
    s.computed = s.prompt + s.output - 1;
    s.sampled = s.output;
    s.hold.blank = blocks_at(s, s.computed) - s.hold.hashed;
    s.owed = s.computed - (group_.clock() - owed_clock_);
  }
  for (const PlannedPrefill& p : out.prefills) {
    Sequence& s = sequences_[p.slot];
    s.computed += p.piece.tokens;
    if (!config_.publish_computed) publish(s, s.computed / config_.block_tokens);
    out.pieces.push_back(p.piece);
    if (!p.piece.samples) continue;
    std::erase(prefilling_, p.slot);
    if (++s.sampled == s.output || config_.hands_over) {
      out.finishing.push_back(p.slot);
    } else {
      start_decoding(p.slot);
    }
  }
  for (const std::uint32_t slot : out.finishing) {
    sequences_[slot].draining = true;
    draining_unfilled_ += unfilled(sequences_[slot]);
  }
  draining_ += static_cast<std::int64_t>(out.finishing.size());
  // The engine handles the samples, and so frees blocks, in the order of the running list.
  std::sort(out.finishing.begin(), out.finishing.end(), [&](std::uint32_t a, std::uint32_t b) {
    return sequences_[a].order < sequences_[b].order;
  });
  if (config_.forms != nullptr) plan_forms(out);
  if (loans_ != nullptr) lend_prompts(out);
  out.shape.prefills = out.pieces;
  out.empty = out.shape.decodes == 0 && out.prefills.empty();
  out.occupancy = occupancy();
  out.occupancy.used_blocks += given_up_;
  totals_.peak_blocks = std::max(totals_.peak_blocks, out.occupancy.used_blocks);
}

void Rank::start_decoding(std::uint32_t slot) {
  Sequence& s = sequences_[slot];
  const std::int64_t last = s.prompt + s.output - 1;
  if (s.curve == nullptr) {
    group_.add(slot, s.computed, last, s.reserved * config_.block_tokens);
    return;
  }
  if (!s.turned) turn(s);
  group_.add(slot, s.computed, last, *s.curve, s.computed - s.prompt);
}

KvOccupancy Rank::occupancy() const {
  KvOccupancy o;
  o.used_blocks = used_blocks();
  o.unfilled_tokens = group_.unfilled() + draining_unfilled_;
  for (const std::uint32_t slot : prefilling_) o.unfilled_tokens += unfilled(sequences_[slot]);
  if (flights_ > 0)
    for (const std::uint32_t slot : running_)
      if (is_flying(slot) && !sequences_[slot].draining)
        o.unfilled_tokens += unfilled(sequences_[slot]);
  o.stranded_blocks = stranded_;
  return o;
}

// ---- fast-forward

std::int64_t Rank::plain_iterations(std::int64_t most) {
  // An iteration that pages must be mapped for has a price of its own.
  const std::int64_t blocks =
      memory_.maps() ? 0 : pool_.free() - memory_.activation_blocks(group_.size()) - spare_blocks();
  return group_.plain_iterations(blocks, most);
}

void Rank::plan_plain(std::int64_t n) {
  const std::int64_t blocks = group_.blocks_due(n);
  decode_steps_ += n;
  pool_.pop(blocks);
  group_.advance_plain(n, blocks);
  totals_.peak_blocks = std::max(totals_.peak_blocks, used_blocks());
}

}  // namespace kvsim
