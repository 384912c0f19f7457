// Order: what the scheduler hears, whom it puts first, and who makes way.
#include <algorithm>

#include "sim/base/check.h"
#include "sim/engine/rank.h"

namespace kvsim {

void Rank::make_deciders() {
  Scheduler::Context c;
  c.seed = config_.seed;
  c.block_tokens = config_.block_tokens;
  c.max_running = config_.max_running;
  c.max_batched_tokens = config_.max_batched_tokens;
  c.ttft = config_.ttft_objective;
  c.tpot = config_.tpot_objective;
  c.e2e = config_.e2e_objective;
  c.steps = &steps_;
  c.rank = this;
  scheduler_ = config_.make_scheduler
                   ? config_.make_scheduler(c)
                   : Registry::instance().make<Scheduler>("fcfs", Tree::map(), c);
  traits_ = scheduler_->traits();
  KVSIM_CHECK(!traits_.preempts || traits_.ranks_running,
              "a scheduler that preempts must rank who runs");
  // Who goes by arrival alone is asked nothing, and need not be told.
  if (traits_.queue == Scheduler::Traits::Queue::arrival && !traits_.ranks_running &&
      !traits_.hears_tokens)
    scheduler_.reset();
  if (config_.make_admission) admission_ = config_.make_admission({c.ttft, c.tpot, c.e2e, &steps_});
}

const char* Rank::refuse(const Request& r, Time now) {
  if (!admission_) return nullptr;
  AdmissionQuestion q;
  q.prompt = r.prompt_tokens;
  q.priority = r.priority;
  q.tenant = r.tenant;
  q.waited = now - r.arrival;
  q.waiting = waiting();
  q.running = running();
  const auto add_work = [&](std::uint32_t slot) {
    const Sequence& s = sequences_[slot];
    q.waiting_tokens += s.known() - s.computed;
    q.backlog += steps_.prefill(s.computed, s.known());
  };
  for (const auto* queue : {&skipped_, &waiting_, &swapped_})
    for (const std::uint32_t slot : *queue) add_work(slot);
  for (const std::uint32_t slot : prefilling_) add_work(slot);
  if (admissions_ >= kRecent)
    q.admission_gap =
        (now - recent_admissions_[admissions_ % kRecent]) / static_cast<std::int64_t>(kRecent);
  return admission_->refuse(q);
}

// ---- what the scheduler knows and hears

SchedulerRequest Rank::request_of(std::uint32_t slot) const {
  const Sequence& s = sequences_[slot];
  SchedulerRequest r;
  r.slot = slot;
  r.index = s.outcome.index;
  r.session = s.outcome.session;
  r.tenant = s.outcome.tenant;
  r.priority = s.priority;
  r.arrival = s.outcome.arrival;
  r.prompt = s.prompt;
  r.output = s.output;
  r.computed = s.computed;
  r.sampled = s.sampled;
  if (group_.contains(slot)) {
    r.computed = group_.computed(slot);
    r.sampled = r.computed + 1 - s.prompt;
  }
  r.running = s.state == Sequence::State::running;
  r.attained = s.attained + (r.running ? Duration{totals_.busy_ns - s.joined} : Duration{});
  r.was_admitted = s.admitted;
  r.content = s.content;
  if (!s.calls.empty()) {
    r.calls = std::span(s.calls).subspan(s.next_call);
    r.last_output = s.outcome.output_tokens;
    for (const ToolCall& call : s.calls) r.last_output -= call.after;
  }
  return r;
}

std::int64_t Rank::hit_tokens(std::uint32_t slot) {
  const Sequence& s = sequences_[slot];
  return find(s.content, (s.known() - 1) / config_.block_tokens).blocks * config_.block_tokens;
}

void Rank::tell_tokens(std::uint32_t slot) {
  Sequence& s = sequences_[slot];
  const SchedulerRequest r = request_of(slot);
  if (r.sampled == s.told) return;
  scheduler_->served(r, r.sampled - s.told);
  s.told = r.sampled;
}

void Rank::tell_all_tokens() {
  if (!traits_.hears_tokens) return;
  for (const std::uint32_t slot : running_) tell_tokens(slot);
}

// A request comes into this rank.
void Rank::wait_first(std::uint32_t slot, Time now) {
  tell_all_tokens();
  if (scheduler_) scheduler_->arrived(request_of(slot), now);
  push(waiting_, slot, false, now);
}

// ---- the waiting queue

void Rank::push(std::deque<std::uint32_t>& queue, std::uint32_t slot, bool front, Time now) {
  if (traits_.queue != Scheduler::Traits::Queue::fixed) {
    front ? queue.push_front(slot) : queue.push_back(slot);
    return;
  }
  sequences_[slot].standing = scheduler_->standing(request_of(slot), now);
  const auto before = [&](std::uint32_t a, std::uint32_t b) { return goes_before(a, b); };
  queue.insert(std::upper_bound(queue.begin(), queue.end(), slot, before), slot);
}

bool Rank::goes_before(const Standing& a, std::uint32_t x, const Standing& b,
                       std::uint32_t y) const {
  if (a < b) return true;
  if (b < a) return false;
  const RequestOutcome &p = sequences_[x].outcome, &q = sequences_[y].outcome;
  return p.arrival != q.arrival ? p.arrival < q.arrival : p.index < q.index;
}

// Asks for the standings of all that wait.
void Rank::collect_candidates(Time now) {
  tell_all_tokens();
  candidates_.clear();
  views_.clear();
  for (auto* queue : {&skipped_, &waiting_, &swapped_}) {
    if (queue == &swapped_ && !merges_swapped()) continue;
    for (const std::uint32_t slot : *queue) {
      candidates_.push_back({{}, slot, queue});
      views_.push_back(request_of(slot));
    }
  }
  scheduler_->prepare(views_, now);
  for (std::size_t i = 0; i < views_.size(); ++i)
    candidates_[i].standing = scheduler_->standing(views_[i], now);
}

void Rank::take_candidate(std::uint32_t slot, Time now) {
  for (std::size_t i = 0; i < candidates_.size(); ++i) {
    if (candidates_[i].slot == slot) candidates_[i].queue = nullptr;
    if (traits_.charges && candidates_[i].queue != nullptr)
      candidates_[i].standing = scheduler_->standing(views_[i], now);
  }
}

// Under FCFS those set aside come first; by standing, the best of the heads.
Rank::Next Rank::next_waiting() {
  if (is_moving()) {
    const Candidate* best = nullptr;
    for (const Candidate& c : candidates_)
      if (c.queue != nullptr &&
          (best == nullptr || goes_before(c.standing, c.slot, best->standing, best->slot)))
        best = &c;
    if (best == nullptr || best->standing.is_held()) return {};
    const auto at = std::find(best->queue->begin(), best->queue->end(), best->slot);
    KVSIM_CHECK(at != best->queue->end(), "candidate {} waits nowhere: an old list", best->slot);
    return {best->queue, static_cast<std::size_t>(at - best->queue->begin())};
  }
  Next next;
  const bool by_standing = traits_.queue == Scheduler::Traits::Queue::fixed;
  for (auto* queue : {&skipped_, &waiting_, &swapped_}) {
    if (queue->empty() || (queue == &swapped_ && !merges_swapped())) continue;
    if (next.queue == nullptr || (by_standing && goes_before(queue->front(), next.queue->front())))
      next.queue = queue;
  }
  return next;
}

// Whether somebody who waits could be admitted or dropped, or displace somebody, later although
// nothing but decoding happens.
bool Rank::queue_may_move() const {
  if (traits_.holds_running && (!traits_.chooses_form || config_.forms != nullptr)) return true;
  if (waiting() == 0) return false;
  if (config_.pauses()) return true;
  if (tiers_ && !skipped_.empty() && tiers_->shares_stores()) return true;
  if (tiers_ && (!config_.full_sequence_admission || tiers_->depends_on_time() ||
                 next_answer(planning_) != kNever))
    return true;
  if (config_.request_timeout > Duration{0} || config_.memory.tpot_bound > Duration{0}) return true;
  const bool has_slot = running() < config_.max_running;
  // What is promised may shrink faster than memory; who found no room waits until somebody leaves.
  if (config_.batch.reserve == BatchReserve::estimate && has_slot && !batch_full_) return true;
  // Who may displace others finds a way from one iteration to the next: what those who go before it
  // need for their next tokens changes, and what those behind it hold grows.
  if (traits_.preempts) return true;
  // A node that leaves as a whole may shorten the head's hit, and so its first piece, by more
  // blocks than were needed; so may the last block before a snapshot.
  if ((config_.pool.make_policy || snapshots_) && !config_.full_sequence_admission && has_slot)
    return true;
  // Hidden states, which take less room, are worth their price once somebody has waited for long.
  if (traits_.chooses_form && config_.forms != nullptr && has_slot) return true;
  // Whose turn it is matters while a place in the batch is free.
  if (traits_.moves && has_slot && waiting() > 1) return true;
  // Tokens that running requests produce may become prefix hits of the head.
  return known_outputs_running_ > 0 && has_slot;
}

// ---- preemption

std::uint32_t Rank::victim(Time now) {
  if (!traits_.ranks_running)
    return config_.batch.victim == BatchVictim::last ? last_running() : fewest_outputs();
  tell_all_tokens();
  Standing worst;
  std::uint32_t last = running_.front();
  if (!flying_.empty()) {
    last = last_running();
    worst = scheduler_->standing(request_of(last), now);
  }
  for (const std::uint32_t slot : running_) {
    if (is_flying(slot)) continue;
    const Standing p = scheduler_->standing(request_of(slot), now);
    if (slot != last && goes_before(p, slot, worst, last)) continue;
    worst = p;
    last = slot;
  }
  return last;
}

Rank::Use Rank::use_of(std::uint32_t slot) {
  const Sequence& s = sequences_[slot];
  Use u;
  u.requests = 1;
  if (s.draining || is_flying(slot)) return u;
  if (group_.contains(slot)) {
    const std::int64_t computed = group_.computed(slot);
    u.blocks = blocks_at(s, computed);
    u.tokens = decode_tokens(slot);
    u.due = decode_need(slot, u.tokens);
    return u;
  }
  u.blocks = s.hold.blocks();
  u.tokens = cap_prefill(prefill_left(slot), config_.max_batched_tokens);
  u.due = piece_blocks(s, u.tokens);
  return u;
}

// Free blocks with which a waiting request, not in host memory, finds room beside `others`; none:
// they leave it no place.
std::optional<std::int64_t> Rank::needs(std::uint32_t head, const Use& others) {
  const Sequence& s = sequences_[head];
  const std::int64_t known = s.known(), bt = config_.block_tokens;
  const std::int64_t budget = config_.max_batched_tokens - others.tokens;
  if (others.requests >= config_.max_running || budget <= 0 ||
      (adapters_ && !adapters_->admits(s.adapter)))
    return std::nullopt;
  const std::int64_t beside = watermark() + others.due;
  if (s.hold.blocks() > 0) {
    std::int64_t n = known - s.computed;
    if (!cut_to_budget(n, budget)) return std::nullopt;
    return kv_blocks(s, admits_whole() ? known : s.computed + n) - s.hold.blocks() + beside +
           memory_.activation_blocks(others.tokens + n);
  }
  const Found front = find(s.content, (known - 1) / bt);
  const KvPool::Hit& hit = front.hit;
  const std::int64_t there = std::max(front.blocks * bt, s.computed);
  std::int64_t n = known - there;
  if (!cut_to_budget(n, budget)) return std::nullopt;
  const std::int64_t region = memory_.region_blocks(s);
  const std::int64_t tokens = admits_whole() ? known : there + n;
  return std::max(region, kv_blocks(s, tokens)) - hit.blocks + hit.queued + beside +
         memory_.activation_blocks(others.tokens + n);
}

// Who is next among the waiting gets the room of those whom it may displace, the last of them
// first; nobody leaves when even all of it would not do.
void Rank::make_way(Plan& out, Time now, bool ahead) {
  if (!merges_swapped() && !config_.pauses()) return;
  if (is_moving())
    collect_candidates(now);
  else
    tell_all_tokens();
  const Next next = config_.pauses() ? next_present() : next_waiting();
  if (next.queue == nullptr) return;
  const std::uint32_t head = (*next.queue)[next.at];
  if (!config_.pauses() && sequences_[head].fetch != Sequence::Fetch::none) return;
  const SchedulerRequest asking = request_of(head);
  Use staying, leaving;
  const auto count = [](Use& sum, const Use& u, std::int64_t sign) {
    sum.requests += sign * u.requests;
    sum.blocks += sign * u.blocks;
    sum.due += sign * u.due;
    sum.tokens += sign * u.tokens;
  };
  for (const std::uint32_t slot : running_) {
    const SchedulerRequest r = request_of(slot);
    const bool leaves = traits_.preempts && !sequences_[slot].draining && !is_flying(slot) &&
                        scheduler_->displaces(asking, r, now);
    if (leaves) displaced_.push_back({scheduler_->standing(r, now), slot, nullptr});
    count(leaves ? leaving : staying, use_of(slot), 1);
  }
  std::sort(displaced_.begin(), displaced_.end(), [&](const Candidate& a, const Candidate& b) {
    return goes_before(b.standing, b.slot, a.standing, a.slot);
  });
  if (config_.pauses()) return pause_for(head, staying, leaving, out, now, ahead);
  if (displaced_.empty() || !has_way(head, staying, pool_.free() + leaving.blocks))
    return displaced_.clear();
  count(staying, leaving, 1);
  std::size_t gone = 0;
  for (; gone < displaced_.size() && !has_way(head, staying, pool_.free()); ++gone) {
    count(staying, use_of(displaced_[gone].slot), -1);
    preempt(displaced_[gone].slot, out, now, ahead, 0);
  }
  displaced_.resize(gone);
}

}  // namespace kvsim
