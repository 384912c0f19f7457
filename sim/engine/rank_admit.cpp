// Admission: who of the waiting joins the next iteration, and whose KV is fetched first
// (engine-semantics section 4, phase 2, and section 6a).
#include <algorithm>

#include "sim/base/check.h"
#include "sim/engine/rank.h"

namespace kvsim {

void Rank::attach(const OffloadConfig& config, std::vector<RankTiers::Level> levels,
                  Transfers& transfers) {
  tiers_ = std::make_unique<RankTiers>(config, config_.block_tokens, std::move(levels), transfers,
                                       *this);
  writes_back_ = config.tiers.front().write == WriteRule::back;
  pool_.on_leaving([this](std::uint64_t key, std::int64_t first, std::int64_t n, std::int64_t at) {
    tiers_->leaving(key, first, n, at);
  });
}

// The first `tokens` of a sequence, of which `local` blocks need no fetching.
RankTiers::Prompt Rank::prompt_of(std::uint32_t slot, std::int64_t tokens, std::int64_t local,
                                  Time now) const {
  const Sequence& s = sequences_[slot];
  RankTiers::Prompt p;
  p.slot = slot;
  p.content = s.content;
  p.blocks = config_.prefix_caching && !is_private() ? tokens / config_.block_tokens : 0;
  p.local = local;
  p.tokens = tokens;
  p.about.now = now;
  p.about.session = s.outcome.session;
  p.about.tenant = s.outcome.tenant;
  return p;
}

// In order, stopping at the first that does not fit; who waits for KV from below is passed over.
void Rank::plan_waiting(Plan& out, Time now, std::int64_t budget, bool ahead) {
  if (tiers_ && tiers_->config().look_ahead > 0) look_ahead(now);
  asides_.clear();
  if (batch_full_ && !running_.empty() && config_.batch.reserve == BatchReserve::estimate) return;
  if (!swapped_.empty() && !merges_swapped() && config_.batch.order != BatchOrder::prompts)
    bring_back_swapped(out, now, budget);
  const bool blocks = !swapped_.empty() && !merges_swapped() && !config_.memory.parks;
  if (!blocks && budget > 0 && running() < config_.max_running && !nobody_waits()) {
    if (is_moving() && known_outputs_running_ > 0) publish_known_outputs(ahead);
    if (is_moving()) collect_candidates(now);
    while (budget > 0 && running() < config_.max_running && !nobody_waits() &&
           admit_next(out, now, budget, ahead)) {
    }
  }
  skipped_.insert(skipped_.begin(), asides_.begin(), asides_.end());
  // The head may be waiting for the very blocks that a request behind it holds, whose KV has come.
  // The engine would hang; here that request goes first, and then KV outside the batch is given up.
  if (running_.empty() && !awaits_other_turn(out)) admit_loaded_behind(out, now, budget);
  if (running_.empty() && waiting() > 0 && !resting_.empty() && !is_fetching() &&
      !awaits_other_turn(out) && reclaim_rest(pool_.total()))
    plan_waiting(out, now, budget, ahead);
}

// Where prompts are computed apart, who was in the middle of decoding comes back among decodes.
bool Rank::is_others_turn(std::uint32_t slot, bool swapped, const Plan& out) const {
  return config_.batch.order == BatchOrder::prompts &&
         (swapped || resumes(slot)) == (out.turn == Plan::Turn::prompts);
}

bool Rank::awaits_other_turn(const Plan& out) {
  if (!config_.pauses() || config_.batch.order != BatchOrder::prompts || nobody_waits())
    return false;
  if (is_moving()) collect_candidates(planning_);  // nobody may have asked in this plan
  const Next next = next_waiting();
  return next.queue != nullptr && is_others_turn((*next.queue)[next.at], false, out);
}

// False: the rest waits.
bool Rank::admit_next(Plan& out, Time now, std::int64_t& budget, bool ahead) {
  const Next next = next_waiting();
  if (next.queue == nullptr) return false;
  const std::uint32_t slot = (*next.queue)[next.at];
  // Who has just made way may still be in the iteration that runs.
  for (const Candidate& c : displaced_)
    if (c.slot == slot) return false;
  if (std::find(closing_.begin(), closing_.end(), slot) != closing_.end()) return false;
  if (is_others_turn(slot, next.queue == &swapped_, out)) return false;
  Verdict verdict = Verdict::stop;
  if (next.queue != &swapped_) {
    verdict = admit(slot, out, now, budget, ahead);
  } else if (swap_in(slot, out, now, budget)) {
    verdict = Verdict::in;
  }
  if (verdict == Verdict::stop) return false;
  next.queue->erase(next.queue->begin() + static_cast<std::ptrdiff_t>(next.at));
  if (is_moving()) take_candidate(slot, now);
  if (verdict == Verdict::aside) asides_.push_back(slot);
  return true;
}

void Rank::admit_loaded_behind(Plan& out, Time now, std::int64_t budget) {
  for (std::deque<std::uint32_t>* queue : {&skipped_, &waiting_}) {
    for (auto at = queue->begin(); at != queue->end(); ++at) {
      if (loading(*at) || sequences_[*at].fetch != Sequence::Fetch::ready ||
          std::find(closing_.begin(), closing_.end(), *at) != closing_.end() ||
          std::any_of(displaced_.begin(), displaced_.end(),
                      [&](const Candidate& c) { return c.slot == *at; }) ||
          admit_loaded(*at, out, now, budget) != Verdict::in)
        continue;
      queue->erase(at);
      return;
    }
  }
}

void Rank::look_ahead(Time now) {
  std::int64_t left = tiers_->config().look_ahead;
  for (const std::deque<std::uint32_t>* queue : {&skipped_, &waiting_}) {
    for (const std::uint32_t slot : *queue) {
      if (left-- == 0) return;
      const Sequence& s = sequences_[slot];
      if (s.fetch != Sequence::Fetch::none) continue;
      tiers_->prefetch(prompt_of(slot, s.known(), 0, now), PrefetchRule::look_ahead);
    }
  }
}

Rank::Verdict Rank::admit(std::uint32_t slot, Plan& out, Time now, std::int64_t& budget,
                          bool ahead) {
  Sequence& s = sequences_[slot];
  if (adapters_ && !has_adapter_slot(slot)) return Verdict::aside;
  if (loading(slot)) return set_aside(s, s.aside_for, now);
  if (s.rest == Sequence::Rest::leaving) {
    if (s.hold.blocks() < kv_blocks(s, s.computed)) return blocked(s, now);  // its end is gone
    make_ready(slot, now);
  }
  if (s.fetch == Sequence::Fetch::ready) return admit_loaded(slot, out, now, budget);
  if (s.rest != Sequence::Rest::none) return admit_from_host(slot, now);
  if (s.source != Sequence::kNoSource)
    if (const auto verdict = admit_from_peer(slot, now)) return *verdict;
  if (known_outputs_running_ > 0) publish_known_outputs(ahead);
  if (traits_.chooses_form) choose_form(slot);
  return admit_new(slot, out, now, budget);
}

std::int64_t Rank::watermark() const {
  return running_.empty() && !config_.batch.idle_watermark
             ? 0
             : static_cast<std::int64_t>(config_.watermark * static_cast<double>(pool_.total()));
}

// False: the rest does not fit into one iteration and must not be cut.
bool Rank::cut_to_budget(std::int64_t& tokens, std::int64_t budget) const {
  if (config_.long_prefill_threshold > 0) tokens = std::min(tokens, config_.long_prefill_threshold);
  if (!config_.chunked_prefill && tokens > budget) return false;
  tokens = std::min(tokens, budget);
  return !config_.batch.pads_prompts ||
         (pieces_ + 1) * std::max(longest_piece_, tokens) <= config_.max_batched_tokens;
}

Rank::Verdict Rank::blocked(Sequence& s, Time now) {
  if (s.aside_since != kNever) end_waits(s, now);
  if (s.blocked_since == kNever) s.blocked_since = now;
  batch_full_ = true;
  return Verdict::stop;
}

Rank::Verdict Rank::set_aside(Sequence& s, TierKind kind, Time now) {
  if (s.blocked_since != kNever) end_waits(s, now);
  // Named after what it waited for first; the load itself begins a new wait.
  if (s.aside_since == kNever) {
    s.aside_since = now;
    s.aside_for = kind;
  }
  return Verdict::aside;
}

// Names the time since it was blocked or set aside. (After a preemption all of it is `preempted`.)
void Rank::end_waits(Sequence& s, Time now) {
  const auto name = [&](Time since, Interval kind) {
    if (since != kNever && !s.lost) add(s.outcome.ttft_ns, kind, to_ns(now - since));
  };
  name(s.blocked_since, Interval::blocked_memory);
  name(s.aside_since, s.aside_for == TierKind::cpu   ? Interval::fetch_cpu
                      : s.aside_for == TierKind::ssd ? Interval::fetch_ssd
                                                     : Interval::fetch_remote);
  s.blocked_since = s.aside_since = kNever;
}

Rank::Verdict Rank::admit_new(std::uint32_t slot, Plan& out, Time now, std::int64_t& budget) {
  Sequence& s = sequences_[slot];
  const std::int64_t known = s.known(), bt = config_.block_tokens;
  const Found front = find(s.content, (known - 1) / bt);
  const KvPool::Hit& hit = front.hit;
  const std::int64_t hit_tokens = front.blocks * bt;
  const std::int64_t region = memory_.region_blocks(s);
  const auto lack = [&](std::int64_t tokens, std::int64_t keep) {
    const std::int64_t all = std::max(region, kv_blocks(s, tokens)) - away(s, tokens);
    return all - hit.blocks + hit.queued + keep - pool_.free();
  };
  RankTiers::Prompt prompt;
  RankTiers::Match below;
  if (tiers_) {
    if (s.settled && config_.full_sequence_admission && lack(known, watermark()) > 0)
      return blocked(s, now);
    prompt = prompt_of(slot, known, front.blocks, now);
    below = tiers_->look_up(prompt);
    if (below.aside) return set_aside(s, below.waits, now);
    s.settled = true;
  }
  const bool split = below.recompute > 0;  // the front is computed while the rest is loaded
  const bool async = !split && below.blocks > 0 && tiers_->config().load == LoadMode::async;
  const std::int64_t found =
      std::min(hit_tokens + (below.recompute + below.blocks) * bt, known - 1);
  std::int64_t n = split ? below.recompute * bt : known - found;
  if (config_.hybrid.on) n = std::min(n, want_snapshots(s, front, found));
  if (!async && !cut_to_budget(n, budget)) return Verdict::stop;
  if (!keeps_pace(s, now)) return Verdict::stop;
  const std::int64_t promised = promised_blocks(out), later = output_left(s, s.sampled);
  const auto lack_of = [&](std::int64_t piece) {
    const std::int64_t keep = async ? load_reserve_ : activations(piece, budget);
    return lack(admits_whole() ? known + later : std::max(found + piece, hit_tokens),
                watermark() + promised + keep);
  };
  const auto has_room = [&](std::int64_t piece) { return lack_of(piece) <= 0; };
  if (loans_ != nullptr && lack_of(n) > 0) borrow_for(slot, lack_of(n));
  // While others wait in host memory for room, nobody takes it before them.
  const bool behind = config_.memory.parks && !swapped_.empty();
  if (async ? !has_room(0) : behind || !shrink_to(n, has_room)) {
    if (!leave_layers(s) || !has_room(n)) {
      s.host_room = s.host_layers = 0;
      return blocked(s, now);
    }
    host_->take(s.host_room);
    layered_.push_back(slot);
    ++totals_.layered_prompts;
  }
  if (!memory_.has_hole(region)) {
    stranded_ = pool_.free();
    return blocked(s, now);
  }
  end_waits(s, now);
  record_admission(s, front, below, tiers_ ? &prompt : nullptr);
  s.hold.owner = {s.outcome.session, s.outcome.tenant, s.priority};
  if (snapshots_ && front.blocks > 0) snapshots_->use(s.content, front.blocks, s.hold.owner, now);
  pool_.take_hit(s.hold, s.content);
  s.computed = hit_tokens;
  s.load_blocks = below.blocks;
  if (below.blocks > 0) {
    pool_.take(s.hold, below.recompute + below.blocks);
    begin_load(slot, prompt, below.recompute, out);
    if (async) {
      s.fetch = Sequence::Fetch::loading;
      load_reserve_ += kv_blocks(s, known) - s.hold.blocks();
      return set_aside(s, below.waits, now);
    }
    if (split) {
      s.skip_from = hit_tokens + below.recompute * bt;
      s.skip_to = found;
      ++skipping_;
    } else {
      s.computed = found;
      out.awaits.push_back(slot);
    }
  }
  budget -= n;
  join(slot, n, out, now);
  return Verdict::in;
}

// Its KV has come: it goes on from there, without another look-up.
Rank::Verdict Rank::admit_loaded(std::uint32_t slot, Plan& out, Time now, std::int64_t& budget) {
  Sequence& s = sequences_[slot];
  const std::int64_t known = s.known();
  std::int64_t n = known - s.computed;
  const bool decodes = resumes(slot);
  if (!cut_to_budget(n, budget) || (decodes && is_others_turn(slot, false, out)))
    return Verdict::stop;
  const std::int64_t held = s.hold.blocks();
  const auto has_room = [&](std::int64_t piece) {
    const std::int64_t must_fit = admits_whole() ? known : s.computed + piece;
    return kv_blocks(s, must_fit) - held + watermark() + activations(piece, budget) <= pool_.free();
  };
  if (!shrink_to(n, has_room)) return blocked(s, now);
  end_waits(s, now);
  load_reserve_ -= kv_blocks(s, known) - held;
  s.fetch = Sequence::Fetch::none;
  if (s.rest != Sequence::Rest::none) end_rest(s, slot);
  budget -= n;
  if (decodes) {
    resume_decoding(slot, out, now);
  } else {
    join(slot, n, out, now);
  }
  return Verdict::in;
}

void Rank::enter(std::uint32_t slot, Time now) {
  Sequence& s = sequences_[slot];
  if (s.outcome.scheduled == kNever) s.outcome.scheduled = now;
  s.state = Sequence::State::running;
  s.resuming = s.lost;
  s.lost = false;
  recent_admissions_[admissions_ % kRecent] = now;
  s.order = admissions_++;
  s.joined = totals_.busy_ns;
  running_.push_back(slot);
  if (adapters_) adapters_->join(s.adapter);
  if (s.known_output) begin_known_output(slot);
  memory_.admit(s, kv_blocks(s, s.known()), pool_.free(), now);
  if (config_.batch.reserve == BatchReserve::prompt)
    s.reserved = std::max(s.reserved, kv_blocks(s, s.known()));
  pool_.take(s.hold, std::max<std::int64_t>(0, s.reserved - s.hold.blocks()));
  if (scheduler_) scheduler_->admitted(request_of(slot), now);
}

void Rank::join(std::uint32_t slot, std::int64_t tokens, Plan& out, Time now) {
  Sequence& s = sequences_[slot];
  enter(slot, now);
  schedule_prefill(slot, tokens, out, true);
  prefilling_.push_back(slot);
  if (config_.publish_computed) return;
  // Visible to the next look-up of this very iteration.
  publish(s, (s.computed + tokens) / config_.block_tokens);
}

void Rank::record_admission(Sequence& s, const Found& front, const RankTiers::Match& match,
                            const RankTiers::Prompt* below) {
  const std::int64_t hit_tokens = front.blocks * config_.block_tokens, known = s.known();
  if (below != nullptr) tiers_->admitted(*below);
  if (!s.admitted) {
    explain_misses(s, front.blocks + match.recompute + match.blocks, front.blocks + front.useless,
                   match, below);
    s.admitted = true;
    s.outcome.hit_tokens = hit_tokens;
    s.outcome.queried_tokens = known;
    totals_.queried_tokens += known;
    totals_.hit_tokens += hit_tokens;
    s.first_load = true;
  } else {
    totals_.resumed_queried_tokens += known;
    totals_.resumed_hit_tokens += hit_tokens;
    s.outcome.recomputed_tokens -= std::min(hit_tokens, s.outcome.recomputed_tokens);
    s.first_load = false;
  }
}

void Rank::begin_load(std::uint32_t slot, const RankTiers::Prompt& prompt, std::int64_t front,
                      Plan& out) {
  out.restore_ns += to_ns(tiers_->begin_load(prompt));
  Sequence& s = sequences_[slot];
  const std::int64_t bt = config_.block_tokens;
  std::int64_t left = std::min(s.load_blocks * bt, s.known() - 1 - (prompt.local + front) * bt);
  if (!s.first_load) {
    s.outcome.recomputed_tokens -= left;
    return;
  }
  const auto &from = tiers_->loaded_blocks(slot), &far = tiers_->far_blocks(slot);
  for (std::size_t k = 0; k < from.size(); ++k) {
    const std::int64_t tokens = std::min(left, from[k] * bt);
    s.outcome.tier_tokens[k] += tokens;
    s.outcome.far_tokens[k] += std::min(tokens, far[k] * bt);
    totals_.tier_tokens[k] += tokens;
    left -= tokens;
  }
}

// `blocks` of the load are good; what did not come is computed.
void Rank::load_ended(std::uint32_t slot, std::int64_t blocks, Time) {
  Sequence& s = sequences_[slot];
  const std::int64_t bt = config_.block_tokens;
  const std::int64_t bad = s.load_blocks - blocks;
  if (bad > 0) {  // all of it: a load fails as a whole
    std::int64_t tokens = 0;
    if (s.first_load) {
      for (std::size_t k = 0; k < kMaxTiers; ++k) {
        tokens += s.outcome.tier_tokens[k];
        totals_.tier_tokens[k] -= s.outcome.tier_tokens[k];
        s.outcome.tier_tokens[k] = s.outcome.far_tokens[k] = 0;
      }
      s.outcome.miss_tokens[static_cast<std::size_t>(MissCause::lost_fault)] += tokens;
    } else {
      tokens = std::min(bad * bt, s.known() - 1);
      s.outcome.recomputed_tokens += tokens;
    }
    if (std::exchange(s.skip_to, 0) > 0) {
      --skipping_;
    } else if (s.fetch != Sequence::Fetch::loading) {
      failed_tokens_ += tokens;
    }
  }
  if (s.fetch != Sequence::Fetch::loading) return;
  s.fetch = Sequence::Fetch::ready;
  const std::int64_t good = s.computed / bt + blocks;
  publish(s, good);
  s.computed = std::min(good * bt, s.known() - 1);
}

// Offers newly computed blocks to the tiers below.
void Rank::offer(std::uint32_t slot, std::int64_t tokens, Time now) {
  Sequence& s = sequences_[slot];
  const RankTiers::Prompt p = prompt_of(slot, tokens, 0, now);
  if (p.blocks <= s.offered) return;
  tiers_->computed(p, s.offered);
  s.offered = p.blocks;
}

std::int64_t Rank::evacuate(Time now, std::vector<Sequence>& out) {
  KVSIM_CHECK(draining_ == 0, "{} requests end while their GPU is lost", draining_);
  Plan ignored;
  while (!running_.empty()) preempt(running_.back(), ignored, now, false, 0, Kept::nothing);
  if (host_) lose_swapped(now);
  if (tiers_) tiers_->fail_all(now);
  waiting_.insert(waiting_.begin(), skipped_.begin(), skipped_.end());
  skipped_.clear();
  for (std::uint32_t slot = 0; slot < sequences_.size(); ++slot)
    if (sequences_[slot].rest != Sequence::Rest::none) drop_rest(slot);
  for (const std::uint32_t slot : waiting_) {
    Sequence& s = sequences_[slot];
    end_waits(s, now);
    if (std::exchange(s.pulling, false)) peers_->stop(s.source, now);
    if (s.fetch != Sequence::Fetch::none) {  // admitted, but never in a batch
      pool_.release(s.hold);
      s.fetch = Sequence::Fetch::none;
      s.computed = 0;
    }
    s.settled = false;
    s.offered = 0;
    out.push_back(s);
    s.source = Sequence::kNoSource;  // it goes with the sequence
    retire(slot, now);
  }
  waiting_.clear();
  closing_.clear();
  departing_.reset();
  for (std::uint32_t slot = 0; slot < sequences_.size(); ++slot) {
    if (sequences_[slot].state != Sequence::State::handed) continue;
    peers_->lost(*this, slot, now);
    release_handed(slot, now);
  }
  memory_.lose_all();
  if (adapters_) adapters_->clear();
  if (encoder_) encoder_->clear();
  load_reserve_ = 0;
  const std::int64_t cached = pool_.cached_free();
  if (snapshots_) snapshots_->clear();
  KVSIM_CHECK(pool_.reset(), "{} blocks are held on a lost GPU", used_blocks());
  was_lost_ = true;
  return cached;
}

std::uint32_t Rank::accept(Sequence&& given, Time now) {
  const std::uint32_t slot = new_slot();
  Sequence& s = sequences_[slot];
  s = std::move(given);
  s.hold = {};
  if (config_.forms != nullptr) s.curve = &config_.forms->curve(s.prompt);
  s.state = Sequence::State::waiting;
  s.outcome.instance = totals_.instance;
  s.outcome.rank = totals_.rank;
  wait_first(slot, now);
  if (tiers_) tiers_->arrived(prompt_of(slot, s.prompt, 0, now));
  return slot;
}

}  // namespace kvsim
