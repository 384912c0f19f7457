// Accounting: what an iteration that ran means for the requests in it.
#include <algorithm>

#include "sim/base/check.h"
#include "sim/engine/loans.h"
#include "sim/engine/rank.h"

namespace kvsim {

void Rank::account(const Plan& plan, Time start, Time end, Spent spent) {
  const std::int64_t elapsed = to_ns(end - start);
  pool_.set_now(end);
  totals_.gpu_ns += spent.gpu_ns;
  totals_.host_ns += spent.host_ns;
  totals_.stall_ns += spent.stall_ns;
  totals_.mapping_ns += spent.mapping_ns;
  totals_.busy_ns += elapsed;
  observe(plan.occupancy, elapsed);
  ++totals_.iterations;
  if (plan.prefills.empty()) ++totals_.decode_iterations;
  totals_.decode_tokens += plan.shape.decodes + plan.accepted;
  account_shared(1, plan.shape);
  account_adapters(1, plan);
  for (const std::uint32_t slot : plan.resumed) account_resumed(sequences_[slot], start, spent);
  for (const std::uint32_t slot : plan.late) {
    Sequence& s = sequences_[slot];
    itl_.add(to_ns(end - (s.late_since == kNever ? start : s.late_since)), 1);
    s.late_since = kNever;
  }
  const auto regular = plan.shape.decodes - static_cast<std::int64_t>(plan.late.size());
  if (regular > 0) itl_.add(elapsed, regular);
  if (plan.accepted > 0) itl_.add(0, plan.accepted);  // they come with the token before them
  for (const std::uint32_t slot : plan.starved) {
    Sequence& s = sequences_[slot];
    if (s.state != Sequence::State::running) continue;
    s.starved_gpu += spent.gpu_ns;
    s.starved_host += spent.host_ns;
    s.starved_stall += spent.stall_ns;
    if (s.late_since == kNever) s.late_since = start;
  }
  for (const PlannedPrefill& p : plan.prefills) account_prefill(p, start, end, spent);
  for (const std::uint32_t slot : plan.finishing) finish(slot, end);
  close_lost(end);
}

void Rank::close_lost(Time end) {
  for (const std::uint32_t slot : closing_) {
    Sequence& s = sequences_[slot];
    if (!s.lost || s.lost_at != kNever) continue;
    close_segment(s, end);
    if (s.state == Sequence::State::handed) peers_->handed(*this, slot, end);
  }
  closing_.clear();
  depart_now(end);
}

void Rank::account_plain(std::int64_t n, std::int64_t decodes, std::int64_t gpu_ns,
                         std::int64_t host_ns) {
  totals_.gpu_ns += gpu_ns;
  totals_.host_ns += host_ns;
  totals_.busy_ns += gpu_ns + host_ns;
  totals_.iterations += n;
  totals_.decode_iterations += n;
  totals_.decode_tokens += n * decodes;
}

// The iteration that begins at `start` is the first of this request, or the first after a
// preemption.
void Rank::account_first_piece(Sequence& s, Time start) {
  if (s.resuming) {
    add(intervals(s),
        s.moved      ? Interval::handover
        : s.returned ? Interval::queue
                     : Interval::preempted,
        to_ns(start - s.lost_at));
    s.resuming = s.moved = s.returned = false;
    s.lost_at = kNever;
  } else {
    std::int64_t named = 0;  // of the time in the queue
    for (const Interval i : {Interval::blocked_memory, Interval::fetch_cpu, Interval::fetch_ssd,
                             Interval::fetch_remote})
      named += s.outcome.ttft_ns[static_cast<std::size_t>(i)];
    add(s.outcome.ttft_ns, Interval::queue, to_ns(start - s.visible) - named);
  }
}

void Rank::account_prefill(const PlannedPrefill& p, Time start, Time end, Spent spent) {
  Sequence& s = sequences_[p.slot];
  totals_.prefill_tokens += p.piece.tokens;
  if (s.last_piece_end == kNever) {
    account_first_piece(s, start);
  } else {
    add(intervals(s), Interval::chunk_wait, to_ns(start - s.last_piece_end));
  }
  s.last_piece_end = end;
  if (config_.publish_computed && s.state == Sequence::State::running)
    publish(s, (p.piece.history + p.piece.tokens) / config_.block_tokens);
  if (snapshots_ && s.state == Sequence::State::running)
    save_snapshots(s, p.piece.history, p.piece.history + p.piece.tokens, end);
  add(intervals(s), Interval::prefill, spent.gpu_ns);
  add(intervals(s), Interval::host, spent.host_ns);
  add(intervals(s), config_.pipeline_batches > 0 ? Interval::chunk_wait : Interval::load_stall,
      spent.stall_ns);
  if (config_.pushes && s.outcome.first_token == kNever && s.state == Sequence::State::running)
    peers_->computed(*this, p.slot, p.piece.history + p.piece.tokens, start, end);
  if (tiers_ && (p.piece.samples || !tiers_->config().whole_prompts))
    offer(p.slot, std::min(p.piece.history + p.piece.tokens, s.prompt), end);
  if (!p.piece.samples) return;
  s.last_piece_end = kNever;
  if (s.outcome.first_token == kNever) {
    add(s.outcome.ttft_ns, Interval::back_end, to_ns(config_.back_end));
    s.outcome.first_token = end + config_.back_end;
    if (first_token_) first_token_(s.outcome);
  } else {
    itl_.add(to_ns(end - s.late_since), 1);
  }
  s.late_since = kNever;
  s.outcome.last_token = end + config_.back_end;
  if (config_.pipeline_batches > 0) {  // each of its batches is accounted for by itself
    s.last_piece_end = s.late_since = end;
    return;
  }
  s.mark_gpu = totals_.gpu_ns;
  s.mark_host = totals_.host_ns;
  s.mark_stall = totals_.stall_ns;
  s.starved_gpu = s.starved_host = s.starved_stall = 0;
  s.decoding_since_mark = true;
}

// Ends the time a sequence spends decoding (or between prefill chunks) at `at`.
void Rank::close_segment(Sequence& s, Time at) {
  if (s.decoding_since_mark) {
    add(s.outcome.after_ns, Interval::decode, totals_.gpu_ns - s.mark_gpu - s.starved_gpu);
    add(s.outcome.after_ns, Interval::host, totals_.host_ns - s.mark_host - s.starved_host);
    add(s.outcome.after_ns, Interval::load_stall,
        totals_.stall_ns - s.mark_stall - s.starved_stall);
    add(s.outcome.after_ns, Interval::decode_wait,
        s.starved_gpu + s.starved_host + s.starved_stall);
    s.decoding_since_mark = false;
    if (s.late_since == kNever) s.late_since = at;  // of its last token
  } else if (s.last_piece_end != kNever) {
    const bool decodes = config_.pipeline_batches > 0 && s.late_since == s.last_piece_end;
    add(intervals(s), decodes ? Interval::decode_wait : Interval::chunk_wait,
        to_ns(at - s.last_piece_end));
  }
  s.last_piece_end = kNever;
  s.lost_at = at;
}

void Rank::finish(std::uint32_t slot, Time at) {
  Sequence& s = sequences_[slot];
  if (s.sampled < s.output) return hand_over(slot, at);
  if (s.next_call < s.calls.size()) return call_tool(slot, at);
  if (s.state == Sequence::State::waiting) {  // preempted while its last token was on its way
    const auto at_queue = std::find(waiting_.begin(), waiting_.end(), slot);
    KVSIM_CHECK(at_queue != waiting_.end(), "slot {} waits in no queue", slot);
    waiting_.erase(at_queue);
  } else {
    publish(s, s.computed / config_.block_tokens);
    if (snapshots_) save_output_snapshot(s, at);
    if (tiers_ && tiers_->config().outputs) offer(slot, s.computed, at);
    draining_unfilled_ -= unfilled(s);
    give_back(slot);
    std::erase(running_, slot);
    leave_adapter(s);
    end_known_output(slot);
  }
  --draining_;
  batch_full_ = false;
  close_segment(s, at);
  s.outcome.last_token = at + config_.back_end;
  s.outcome.outcome = Outcome::finished;
  // I4, and the promise that the intervals are the whole story.
  const RequestOutcome& o = s.outcome;
  const std::int64_t ttft = o.ttft_ns.sum(), after = o.after_ns.sum();
  KVSIM_CHECK(
      ttft == to_ns(o.first_token - o.arrival) && after == to_ns(o.last_token - o.first_token),
      "request {}: intervals sum to {} + {} ns, TTFT is {} and the rest {} ns", o.index, ttft,
      after, to_ns(o.first_token - o.arrival), to_ns(o.last_token - o.first_token));
  KVSIM_CHECK(
      o.arrival <= o.scheduled && o.scheduled <= o.first_token && o.first_token <= o.last_token,
      "request {}: times out of order", o.index);
  done_(s.outcome);
  retire(slot, at);
}

void Rank::retire(std::uint32_t slot, Time now) {
  if (traits_.hears_tokens) tell_tokens(slot);
  if (scheduler_) scheduler_->left(request_of(slot));
  if (sequences_[slot].source != Sequence::kNoSource) drop_source(sequences_[slot], now);
  if (tiers_) tiers_->forget(prompt_of(slot, sequences_[slot].prompt, 0, now));
  sequences_[slot].state = Sequence::State::none;
  sequences_[slot].lost = false;  // closing_ may still name the slot
  free_slots_.push_back(slot);
}

// Every prompt token that is not a hit gets its cause. Content keys are chained, so "seen" ends
// once and for all at some block: [0, hit) hits, then what this rank had and lost, then what only
// others had, then the new.
void Rank::explain_misses(Sequence& s, std::int64_t found_blocks, std::int64_t reach,
                          const RankTiers::Match& match, const RankTiers::Prompt* below) {
  const auto cause = [&](MissCause c) {
    return s.outcome.miss_tokens[static_cast<std::size_t>(c)];
  };
  const std::int64_t bt = config_.block_tokens;
  if (!config_.prefix_caching) {
    cause(MissCause::disabled) = s.prompt;
    return;
  }
  const std::int64_t unit = config_.pool.share_blocks;
  const auto whole = [&](std::int64_t tokens) { return tokens / (bt * unit) * unit; };
  // Blocks that could be cached at all (tiers below may share smaller units), that may be hit.
  const std::int64_t full = std::max(found_blocks, whole(s.prompt));
  const std::int64_t most = whole(s.prompt - 1);
  cause(MissCause::last_block) = s.prompt - full * bt;
  std::int64_t at = found_blocks;
  cause(MissCause::not_worth_loading) = (match.declined + match.recompute) * bt;
  if (at >= full && full * bt == s.prompt && found_blocks > most) {
    cause(MissCause::last_block) = 1;  // all is there, its last token is computed again
    return;
  }
  at += match.declined;
  if (reach > at) {  // here, but nothing can be taken up behind it
    cause(MissCause::no_snapshot) = (reach - at) * bt;
    at = reach;
  }
  if (at < most && below != nullptr) {
    const std::int64_t lost = tiers_->lost_blocks(*below, at);
    cause(MissCause::lost_fault) += lost * bt;
    at += lost;
  }
  if (at < most) {
    const std::int64_t here = seen_blocks(s.content, at, full);
    cause(is_private()        ? MissCause::not_shareable
          : was_lost_         ? MissCause::lost_fault
          : pool_.was_reset() ? MissCause::reset
                              : MissCause::evicted_capacity) += here * bt;
    at += here;
  }
  if (at < most) {
    // A running request computes the same content, but these blocks of it cannot be hit yet.
    std::int64_t coming = 0;
    for (const std::uint32_t slot :
         config_.publish_computed || flights_ > 0 ? running_ : prefilling_) {
      const Sequence& other = sequences_[slot];
      std::int64_t same = 0;
      for (std::size_t i = 0; i < std::min(s.content.size(), other.content.size()); ++i) {
        if (s.content[i].key != other.content[i].key) break;
        same = std::min({s.content[i].end, other.content[i].end, full, other.prompt / bt});
      }
      coming = std::max(coming, same - at);
    }
    cause(MissCause::not_yet_computed) += coming * bt;
    at += coming;
  }
  if (at < most) {
    const std::int64_t there = seen_elsewhere_ ? seen_elsewhere_(s.content, at, full) : 0;
    cause(MissCause::other_instance) += there * bt;
    at += there;
  }
  // What is left of the last block when everything before it was found is the last-block rule, else
  // new content.
  if (at < full)
    cause(at < most ? MissCause::never_seen : MissCause::last_block) += (full - at) * bt;
}

void Rank::check_invariants() {
  std::vector<KvPool::Hold> decoding;
  std::vector<const KvPool::Hold*> holds;
  decoding.reserve(static_cast<std::size_t>(group_.size()));
  for (std::uint32_t slot = 0; slot < sequences_.size(); ++slot) {
    const Sequence& s = sequences_[slot];
    if (s.state != Sequence::State::running && s.state != Sequence::State::handed &&
        s.fetch == Sequence::Fetch::none && s.rest == Sequence::Rest::none)
      continue;
    if (group_.contains(slot)) {
      decoding.push_back(s.hold);
      decoding.back().blank = blocks_at(s, group_.computed(slot)) - s.hold.hashed;
      holds.push_back(&decoding.back());
    } else {
      holds.push_back(&s.hold);
    }
  }
  if (loans_ != nullptr) holds.push_back(&loans_->lent(totals_.instance));
  pool_.check(holds);
  memory_.check(pool_.free());
  std::int64_t places = 0, computed = 0;
  for (const std::uint32_t slot : running_) {
    const Sequence& s = sequences_[slot];
    if (s.curve != nullptr) continue;
    const std::int64_t n = group_.contains(slot) ? group_.computed(slot) : s.computed;
    places += (group_.contains(slot) ? blocks_at(s, n) : s.hold.blocks()) + away(s, n);
    computed += n;
  }
  if (snapshots_) snapshots_->check();
  KVSIM_CHECK(
      config_.hybrid.on || occupancy().unfilled_tokens == places * config_.block_tokens - computed,
      "{} places for tokens are counted as unfilled, {} - {} are", occupancy().unfilled_tokens,
      places * config_.block_tokens, computed);
  std::int64_t in_host = 0;
  for (const Sequence& s : sequences_)
    if (s.state != Sequence::State::none) in_host += s.host_room + s.host_copy;
  KVSIM_CHECK(in_host == (host_ ? host_->used() : 0), "{} blocks are set aside in host memory",
              in_host);
  std::int64_t counted =
      group_.size() + static_cast<std::int64_t>(prefilling_.size()) + draining_ + flights_;
  for (const std::uint32_t slot : waiting_) counted -= sequences_[slot].draining ? 1 : 0;
  for (const std::uint32_t slot : skipped_) counted -= sequences_[slot].draining ? 1 : 0;
  KVSIM_CHECK(counted == running(), "{} sequences decode, prefill or drain, {} run", counted,
              running());
}

}  // namespace kvsim
