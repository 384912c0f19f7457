#include "sim/engine/step_group.h"

#include <algorithm>

#include "sim/base/check.h"
#include "sim/engine/loans.h"
#include "sim/engine/speculation.h"

namespace kvsim {

namespace {
constexpr std::int64_t kMostSilent = 512;

std::int64_t rounded_up(std::int64_t value, int shift) {
  return (value + ((std::int64_t{1} << shift) - 1)) >> shift;
}

void grow(StepShape& s, const StepShape& by, std::int64_t times) {
  s.decode_context_sum += times * by.decode_context_sum;
  s.decode_context_max += times * by.decode_context_max;
  for (std::size_t w = 0; w < kMaxWindows; ++w)
    s.decode_window_sum[w] += times * by.decode_window_sum[w];
}
}  // namespace

StepGroup::StepGroup(const EngineConfig& config, std::vector<Rank*> ranks, CostModel& cost,
                     DurationHistogram& itl, StepScratch& scratch)
    : config_(config), cost_(cost), itl_(itl), scratch_(scratch) {
  for (Rank* r : ranks) lanes_.push_back({r});
  if (config.pipeline_batches > 0)
    pipeline_ = std::make_unique<StagePipeline>(config.pipeline_stages, config.pipeline_batches);
  scratch_.dues.resize(kMostSilent + 1);
  const std::size_t lanes = std::max(lanes_.size(), scratch_.shapes.size());
  scratch_.shapes.resize(lanes);
  scratch_.growth.resize(lanes);
  scratch_.lines.resize(lanes);
  scratch_.loads.resize(lanes);
  scratch_.line_of.resize(lanes);
  ends_.resize(kMostSilent + 1);
  gpus_.resize(kMostSilent + 1);
  if (config.batch.carries_fractions) carries_.resize(kMostSilent + 1);
}

bool StepGroup::has_work() const {
  return std::any_of(lanes_.begin(), lanes_.end(),
                     [](const Lane& l) { return l.rank->has_work(); });
}

std::int64_t StepGroup::step_ns(std::int64_t gpu_ns, bool graph) const {
  return std::max(gpu_ns, to_ns(config_.schedule_time)) +
         to_ns(graph ? config_.graph_overhead : config_.overhead);
}

// A captured graph runs when every rank only decodes, in batches that were captured.
bool StepGroup::runs_graph() const {
  return std::all_of(lanes_.begin(), lanes_.end(), [this](const Lane& l) {
    return l.running->prefills.empty() &&
           config_.is_captured(l.running->shape.decodes + l.running->shape.draft_tokens);
  });
}

// Lock-step ranks exchange tokens: each shape says what the others bring.
void StepGroup::describe_group() {
  if (lanes_.size() == 1) return;
  std::int64_t sum = 0, most = 0;
  for (const Lane& l : lanes_) {
    const StepShape& s = l.running->shape;
    const std::int64_t n = s.padded_decodes + s.draft_tokens + s.prefill_tokens();
    sum += n;
    most = std::max(most, n);
  }
  for (Lane& l : lanes_) {
    l.running->shape.group_tokens = sum;
    l.running->shape.group_tokens_max = most;
  }
}

std::int64_t StepGroup::price(Lane& l) {
  if (l.running->empty) return 0;
  const StepShape& s = l.running->shape;
  std::int64_t model = 0;
  if (s.prefills.empty()) {
    const DecodeLine line = cost_.decode_line(s);
    model = whole(line.value(s), line.shift);
  } else {
    model = config_.batch.carries_fractions ? whole(cost_.mixed_price(s), DecodeLine::kShift)
                                            : to_ns(cost_.mixed_step(s));
  }
  if (config_.speculation != nullptr) {
    const std::int64_t drafting = config_.speculation->draft_ns(s, l.running->draft_steps);
    l.rank->account_drafting(drafting);
    model += drafting;
  }
  model += l.running->adapter_ns + l.running->encode_ns;
  if (config_.forms == nullptr) return l.running->restore_ns + model;
  return l.running->restore_ns +
         config_.forms->time(model, l.running->loads, l.running->prompts, s.decodes > 0);
}

// Nanoseconds of a price in units of 2^-shift: rounded up, or such that the end is the nearest.
std::int64_t StepGroup::whole(std::int64_t value, int shift) {
  if (!config_.batch.carries_fractions) return rounded_up(value, shift);
  const std::int64_t exact = (value << (DecodeLine::kShift - shift)) + carry_;
  constexpr std::int64_t kOne = std::int64_t{1} << DecodeLine::kShift;
  const std::int64_t ns = (exact + kOne / 2) >> DecodeLine::kShift;
  carry_ = exact - (ns << DecodeLine::kShift);
  return ns;
}

// Pages that could be foreseen were mapped while the iteration before ran.
std::int64_t StepGroup::mapping(Time now) const {
  std::int64_t most = 0;
  for (const Lane& l : lanes_)
    most = std::max(
        most, l.running->mapping_ns +
                  std::max<std::int64_t>(0, l.running->mapping_ahead_ns - to_ns(now - start_)));
  return most;
}

void StepGroup::start(Time now) {
  mapping_ns_ = mapping(now);
  describe_group();
  gpu_ns_ = 0;
  for (Lane& l : lanes_) gpu_ns_ = std::max(gpu_ns_, price(l));
  Rank& first = *lanes_.front().rank;
  Loans* loans = first.loans();
  if (loans != nullptr) gpu_ns_ += loans->begin(first.totals().instance);
  start_ = now;
  step_ns_ = mapping_ns_ + step_ns(gpu_ns_, runs_graph());
  stall_ns_ = loans == nullptr
                  ? 0
                  : loans->wait_ns(first.totals().instance, *lanes_.front().running, step_ns_);
  busy_ = true;
  for (Lane& l : lanes_)
    if (HostCopies* host = l.rank->host()) host->begin(now);
  load_ns_ = flush_ns_ = copy_ns_ = 0;
  loading_ = loads_outstanding();
  flushing_ = flushes_outstanding();
  copying_ = copies_outstanding();
  stalled_ = loading_ || flushing_ || copying_;
  next_end_ = stalled_ ? kNever : now + Duration{step_ns_ + stall_ns_};
}

bool StepGroup::loads_outstanding() const {
  return std::any_of(lanes_.begin(), lanes_.end(), [](const Lane& l) {
    return std::any_of(l.running->awaits.begin(), l.running->awaits.end(),
                       [&](std::uint32_t slot) { return l.rank->loading(slot); });
  });
}

bool StepGroup::copies_outstanding() const {
  return std::any_of(lanes_.begin(), lanes_.end(), [](const Lane& l) {
    return l.rank->host() != nullptr && l.rank->host()->copying();
  });
}

bool StepGroup::flushes_outstanding() const {
  return std::any_of(lanes_.begin(), lanes_.end(), [](const Lane& l) {
    return std::any_of(l.running->flushes.begin(), l.running->flushes.end(),
                       [&](std::uint64_t copy) { return l.rank->copying(copy); });
  });
}

// Layer i computes when layer i - 1 has and its own KV is there: of a load of X after the start,
// cut into L layers, and Y of computation, T = max(X / L + Y, X + Y / L) (taxonomy K6); so do
// copies of swapped requests where the engine waits by layer (copy_layers). Copies of m of the
// layers: T = max(Y, X / m + Y m / L, X + Y / L) (overlap.h). Else nothing computes before they are
// over; neither before what a copy to a tier still reads has left the blocks (vLLM's flush,
// SGLang's write-back).
std::int64_t StepGroup::stalled_ns() const {
  std::int64_t cut = 1, moved = 1;
  for (const Lane& l : lanes_) {
    if (const RankTiers* t = l.rank->tiers())
      cut = t->config().load == LoadMode::overlap ? t->config().load_layers : 1;
    if (const HostCopies* host = l.rank->host()) moved = std::max(moved, host->layers());
  }
  const auto up = [](std::int64_t ns, std::int64_t by) { return (ns + by - 1) / by; };
  const std::int64_t waited =
      std::max({up(load_ns_, cut) + step_ns_, load_ns_ + up(step_ns_, cut), flush_ns_ + step_ns_});
  const std::int64_t layers = config_.memory.layers, all = config_.copy_layers;
  if (all > 0)
    return std::max({waited, up(copy_ns_, all) + step_ns_, copy_ns_ + up(step_ns_, all)});
  if (layers == 0) return std::max(waited, copy_ns_ + step_ns_);
  return std::max({waited, up(copy_ns_, moved) + up(step_ns_ * moved, layers),
                   copy_ns_ + up(step_ns_, layers)});
}

void StepGroup::loads_ended(Time now) {
  if (!stalled_) return;
  if (loading_ && !loads_outstanding()) {
    loading_ = false;
    load_ns_ = to_ns(now - start_);
  }
  if (flushing_ && !flushes_outstanding()) {
    flushing_ = false;
    flush_ns_ = to_ns(now - start_);
  }
  if (copying_ && !copies_outstanding()) {
    copying_ = false;
    copy_ns_ = to_ns(now - start_);
  }
  if (loading_ || flushing_ || copying_) return;
  stalled_ = false;
  for (Lane& l : lanes_) {
    const std::int64_t tokens = l.rank->take_failed_tokens();
    if (tokens == 0) continue;
    const PrefillPiece piece{tokens, 0, false};
    StepShape shape;
    shape.prefills = {&piece, 1};
    const std::int64_t again = to_ns(cost_.mixed_step(shape));
    gpu_ns_ += again;
    step_ns_ += again;
  }
  const std::int64_t all = stalled_ns();
  stall_ns_ = all - step_ns_;
  next_end_ = start_ + Duration{all};
}

bool StepGroup::waits_for_tiers() const {
  return std::any_of(lanes_.begin(), lanes_.end(),
                     [](const Lane& l) { return l.rank->waits_for_tiers(); });
}

Time StepGroup::next_answer(Time now) const {
  Time next = kNever;
  for (const Lane& l : lanes_) next = std::min(next, l.rank->next_answer(now));
  return next;
}

void StepGroup::schedule(Time now) {
  if (pipeline_) return schedule_pipeline(now);
  if (busy_) return;
  bool work = false;
  if (config_.async_scheduling) {
    for (Lane& l : lanes_) {
      std::swap(l.running, l.next);
      work = work || !l.running->empty;
    }
  }
  // A plan may preempt and then find nothing to run: the engine's loop just plans again.
  for (bool again = !work && !closed_; again;) {
    again = false;
    for (Lane& l : lanes_) {
      l.rank->plan(*l.running, now, false);
      work = work || !l.running->empty;
      again = again || l.running->preemptions > 0;
    }
    again = again && !work;
    if (work || again) continue;
    for (Lane& l : lanes_) again = l.rank->break_deadlock(now) || again;
  }
  if (work) start(now);
  if (config_.async_scheduling)  // either way nothing of what has run is left in the plan
    for (Lane& l : lanes_) work && !closed_ ? l.rank->plan(*l.next, now, true) : l.next->clear();
  if (!work) return;
  silent_ = done_ = 0;
  if (!config_.exact_steps && iterations_ == nullptr && !closed_ && !stalled_) fast_forward();
}

// The lane's shape becomes that of the n-th iteration after the running one: first what is planned
// already, then what the group would plan next, then its even growth.
void StepGroup::next_shape(std::size_t i, std::int64_t n) {
  const Lane& l = lanes_[i];
  const std::int64_t planned = config_.async_scheduling ? 1 : 0;
  if (n < planned) {
    scratch_.shapes[i] = l.next->shape;
  } else if (n == planned) {
    l.rank->decodes().describe(scratch_.shapes[i]);
    l.rank->decodes().describe_growth(scratch_.growth[i]);
  } else {
    grow(scratch_.shapes[i], scratch_.growth[i], 1);
    return;
  }
  const StepShape& last = planned > 0 ? l.next->shape : l.running->shape;
  scratch_.shapes[i].decode_shared_sum = last.decode_shared_sum;
  scratch_.shapes[i].decode_shared_read = last.decode_shared_read;
  scratch_.shapes[i].padded_decodes = l.running->shape.padded_decodes;
  scratch_.shapes[i].group_tokens = l.running->shape.group_tokens;
  scratch_.shapes[i].group_tokens_max = l.running->shape.group_tokens_max;
}

// One lane: prices a run of silent iterations, from the n-th, whose contexts grow evenly within one
// cell of the cost model. There the price grows by the same integer every time. Gives their number,
// >= 1.
std::int64_t StepGroup::price_run(std::int64_t n, std::int64_t most, bool graph) {
  next_shape(0, n);
  const bool even = n >= (config_.async_scheduling ? 1 : 0);  // what follows is even growth
  const DecodeLine line = cost_.decode_line(scratch_.shapes[0]);
  const std::int64_t run = even ? std::min(most, line.iterations) : 1;
  const StepShape& by = scratch_.growth[0];
  std::int64_t value = line.value(scratch_.shapes[0]);
  const std::int64_t step = even ? line.value(by) - line.base : 0;
  const std::int64_t adapters = lanes_[0].running->adapter_ns;
  const std::int64_t least = to_ns(config_.schedule_time), host = step_ns(0, graph) - least;
  const std::size_t from = silent_;
  silent_ += static_cast<std::size_t>(run);
  Time end = ends_[from - 1];
  const auto fill = [&](const auto& rounded) {
    for (std::size_t i = from; i < silent_; ++i, value += step) {
      const std::int64_t gpu = rounded(i) + adapters;
      end += Duration{std::max(gpu, least) + host};
      gpus_[i] = gpu;
      ends_[i] = end;
    }
  };
  if (config_.batch.carries_fractions) {
    fill([&](std::size_t i) {
      const std::int64_t gpu = whole(value, line.shift);
      carries_[i] = carry_;
      return gpu;
    });
  } else {
    fill([&](std::size_t) { return rounded_up(value, line.shift); });
  }
  if (run > 1) grow(scratch_.shapes[0], by, run - 1);
  return run;
}

void StepGroup::next_form(std::size_t i, std::int64_t n) {
  const Lane& l = lanes_[i];
  const std::int64_t planned = config_.async_scheduling ? 1 : 0;
  scratch_.shapes[i] = l.next->shape;
  scratch_.loads[i] = l.next->loads;
  if (n >= planned)
    l.rank->decodes().describe_forms(n - planned, scratch_.shapes[i], scratch_.loads[i]);
  scratch_.shapes[i].padded_decodes = l.running->shape.padded_decodes;
  scratch_.shapes[i].group_tokens = l.running->shape.group_tokens;
  scratch_.shapes[i].group_tokens_max = l.running->shape.group_tokens_max;
}

// What compressed contexts read grows by no even step, and slower than contexts do: a line holds
// from the shape that it was made for up to where contexts that grow by one would have left it.
std::int64_t StepGroup::price_form(std::size_t i, std::int64_t n) {
  next_form(i, n);
  const StepShape &s = scratch_.shapes[i], &of = scratch_.line_of[i];
  const std::int64_t left = scratch_.lines[i].iterations - 1;
  const bool holds = left >= 0 && config_.windows[0] == 0 &&
                     s.decode_context_sum >= of.decode_context_sum &&
                     s.decode_context_sum <= of.decode_context_sum + left * s.decodes &&
                     s.decode_context_max >= of.decode_context_max &&
                     s.decode_context_max <= of.decode_context_max + left;
  if (!holds) {
    scratch_.lines[i] = cost_.decode_line(s);
    scratch_.line_of[i] = s;
  }
  return config_.forms->time(to_ns(scratch_.lines[i].at(s)) + lanes_[i].running->adapter_ns,
                             scratch_.loads[i], {}, true);
}

void StepGroup::push_silent(Time end, std::int64_t gpu_ns, std::int64_t carry) {
  ends_[silent_] = end;
  gpus_[silent_] = gpu_ns;
  if (!carries_.empty()) carries_[silent_] = carry;
  ++silent_;
}

// While every lane only decodes and nothing can change, iterations follow each other silently:
// their ends are computed here, their effects are applied by commit().
void StepGroup::fast_forward() {
  std::int64_t silent = kMostSilent;
  for (Lane& l : lanes_) {
    const Plan& last = config_.async_scheduling ? *l.next : *l.running;
    if (!l.running->plain || !last.plain) return;
    silent = std::min(silent, l.rank->plain_iterations(silent));
  }
  if (silent <= 0) return;
  push_silent(next_end_, gpu_ns_, carry_);
  const bool graph = runs_graph();
  for (std::size_t i = 0; i < lanes_.size(); ++i) scratch_.lines[i].iterations = 0;
  std::int64_t n = 0;
  for (; config_.forms != nullptr && n < silent; ++n) {
    std::int64_t gpu = 0;
    for (std::size_t i = 0; i < lanes_.size(); ++i) gpu = std::max(gpu, price_form(i, n));
    push_silent(ends_[silent_ - 1] + Duration{step_ns(gpu, graph)}, gpu, carry_);
  }
  while (lanes_.size() == 1 && n < silent) n += price_run(n, silent - n, graph);
  for (; n < silent; ++n) {
    std::int64_t gpu = 0;
    for (std::size_t i = 0; i < lanes_.size(); ++i) {
      next_shape(i, n);
      if (scratch_.lines[i].iterations <= 0)
        scratch_.lines[i] = cost_.decode_line(scratch_.shapes[i]);
      --scratch_.lines[i].iterations;
      gpu = std::max(
          gpu, to_ns(scratch_.lines[i].at(scratch_.shapes[i])) + lanes_[i].running->adapter_ns);
    }
    push_silent(ends_[silent_ - 1] + Duration{step_ns(gpu, graph)}, gpu, 0);  // nothing is carried
  }
  next_end_ = ends_[silent_ - 1];
}

// What the memory was used for in the first k silent iterations; the plans of the lane then stand
// for the iterations after them.
void StepGroup::observe(Lane& l, std::int64_t k) {
  const DecodeGroup& decodes = l.rank->decodes();
  const std::span<std::int64_t> dues(scratch_.dues.data(), static_cast<std::size_t>(k));
  decodes.list_dues(dues);
  const bool counts = config_.forms == nullptr && !config_.hybrid.on;
  const std::int64_t places = counts ? config_.block_tokens : 0;
  const std::int64_t filled = counts ? decodes.size() : 0;
  std::span<const Time> ends(ends_.data() + done_, static_cast<std::size_t>(k));
  if (!config_.async_scheduling) {
    l.rank->kv_use().add(l.running->occupancy, start_, ends, dues, places, filled);
    return;
  }
  // The one that runs was planned before; the blocks that the others need are of plans behind them.
  KvOccupancy planned = l.next->occupancy;
  l.rank->observe(l.running->occupancy, to_ns(ends.front() - start_));
  l.rank->kv_use().add(planned, ends.front(), ends.subspan(1), dues, places, filled);
  l.running->occupancy = planned;
  planned.used_blocks += dues.back();
  planned.unfilled_tokens += dues.back() * places - filled;
  l.next->occupancy = planned;
}

// The plans of the lane become those of the iterations after the first k silent ones.
void StepGroup::commit_forms(Lane& l, std::int64_t k) {
  const DecodeGroup& decodes = l.rank->decodes();
  if (!config_.async_scheduling) {
    decodes.describe_forms(-1, l.running->shape, l.running->loads);
    return;
  }
  l.running->shape = l.next->shape;
  l.running->loads = l.next->loads;
  if (k > 1) decodes.describe_forms(-2, l.running->shape, l.running->loads);
  decodes.describe_forms(-1, l.next->shape, l.next->loads);
}

void StepGroup::commit(std::size_t n) {
  if (n == 0) return;
  std::int64_t gpu = 0;
  for (std::size_t i = done_; i < done_ + n; ++i) gpu += gpus_[i];
  const Time end = ends_[done_ + n - 1];
  const std::int64_t elapsed = to_ns(end - start_);
  for (const Lane& l : lanes_)
    itl_.add_gaps(start_, {ends_.data() + done_, n}, l.running->shape.decodes);
  for (Lane& l : lanes_) {
    const auto k = static_cast<std::int64_t>(n);
    observe(l, k);
    l.rank->plan_plain(k);
    const StepShape& last = config_.async_scheduling ? l.next->shape : l.running->shape;
    l.rank->account_shared(1, l.running->shape);
    l.rank->account_shared(k - 1, last);
    l.rank->account_adapters(k, *l.running);
    if (config_.forms != nullptr) {
      commit_forms(l, k);
      l.rank->account_plain(k, l.running->shape.decodes, gpu, elapsed - gpu);
      continue;
    }
    StepShape ahead = last, growth;
    l.rank->decodes().describe(ahead);  // of the iteration to be planned next
    l.rank->decodes().describe_growth(growth);
    grow(ahead, growth, -1);
    if (config_.async_scheduling) {
      if (k == 1) l.running->shape = l.next->shape;
      l.next->shape = ahead;
      grow(ahead, growth, -1);
      if (k > 1) l.running->shape = ahead;
    } else {
      l.running->shape = ahead;
    }
    l.rank->account_plain(k, l.running->shape.decodes, gpu, elapsed - gpu);
  }
  done_ += n;
  start_ = end;
  gpu_ns_ = gpus_[done_];
  if (!carries_.empty()) carry_ = carries_[done_];
}

void StepGroup::sync(Time now) {
  if (!busy_ || silent_ == 0) return;
  std::size_t n = 0;
  while (done_ + n + 1 < silent_ && ends_[done_ + n] <= now) ++n;
  commit(n);
}

void StepGroup::interrupt(Time now) {
  if (!busy_ || silent_ == 0) return;
  // An iteration that ends right now is completed by its event, so that its planning sees the
  // arrival.
  std::size_t n = 0;
  while (done_ + n + 1 < silent_ && ends_[done_ + n] < now) ++n;
  commit(n);
  next_end_ = ends_[done_];
  if (!carries_.empty()) carry_ = carries_[done_];
  silent_ = done_ = 0;
}

void StepGroup::record(const Lane& l, Time begin, Time end) {
  IterationRecord r;
  r.instance = l.rank->totals().instance;
  r.rank = l.rank->totals().rank;
  r.start = begin;
  r.end = end;
  r.decodes = l.running->shape.decodes;
  r.prefill_tokens = l.running->shape.prefill_tokens();
  r.context_sum = l.running->shape.decode_context_sum;
  r.running = l.rank->running();
  r.waiting = l.rank->waiting();
  r.free_blocks = l.rank->pool().free();
  r.preemptions = l.running->preemptions;
  r.prompts = static_cast<std::int64_t>(l.running->prefills.size());
  iterations_->push_back(r);
}

void StepGroup::complete(Time now) {
  KVSIM_CHECK(busy_ && now == next_end_, "iteration ends at {} ns, completed at {} ns",
              to_ns(next_end_), to_ns(now));
  if (pipeline_) return complete_pipeline(now);
  if (silent_ > 0) commit(silent_ - 1 - done_);
  silent_ = done_ = 0;
  busy_ = false;
  if (Loans* loans = lanes_.front().rank->loans())
    loans->end(lanes_.front().rank->totals().instance);
  const Rank::Spent spent{gpu_ns_, to_ns(now - start_) - gpu_ns_ - stall_ns_, stall_ns_,
                          mapping_ns_};
  mapping_ns_ = 0;  // silent iterations that follow map nothing
  for (Lane& l : lanes_) {
    if (l.running->empty && l.running->starved.empty()) {
      l.rank->close_lost(now);
      continue;
    }
    if (iterations_ != nullptr) record(l, start_, now);
    l.rank->account(*l.running, start_, now, spent);
    if (iterations_ != nullptr) iterations_->back().held_blocks_end = l.rank->used_blocks();
  }
}

}  // namespace kvsim
