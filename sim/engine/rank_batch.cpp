// Iterations as engines before and beside vLLM v1 compose them (batch_rules.h): decodes apart from
// prompts, or before them.
#include <algorithm>
#include <utility>

#include "sim/base/check.h"
#include "sim/engine/rank.h"

namespace kvsim {

namespace {
// SGLang's constants: outputs longer than this are counted as this long; tokens that each request
// is given before the next retraction.
constexpr std::int64_t kClippedOutput = 4096, kRetractSteps = 20;
}  // namespace

// Prompts if any can be computed, else a token of every decode.
void Rank::plan_either(Plan& out, Time now, bool ahead) {
  std::int64_t budget = config_.max_batched_tokens;
  out.skips_prompts = std::exchange(held_decodes_, false) && group_.size() > 0;
  if (!out.skips_prompts) {
    budget = plan_pieces(out, budget);
    if (out.preemptions == 0) plan_waiting(out, now, budget, ahead);
  }
  if (!out.prefills.empty()) return hold_decodes(out);
  const std::int64_t before = out.preemptions;
  budget = plan_decodes(out, now, ahead);
  if (out.preemptions != before || (swapped_.empty() && !config_.pauses())) return;
  out.turn = Plan::Turn::decodes;
  if (merges_swapped() || config_.pauses()) {
    plan_waiting(out, now, budget, ahead);
  } else {
    bring_back_swapped(out, now, budget);
  }
}

// Decodes, then pieces of prompts, then who waits.
void Rank::plan_decodes_first(Plan& out, Time now, bool ahead) {
  std::int64_t budget = plan_decodes(out, now, ahead);
  budget = plan_pieces(out, budget);
  plan_waiting(out, now, budget, ahead);
  put_left_out_first(out);
}

// Running prompts whose computation goes on, in the order of the running list. Gives the budget
// that is left.
std::int64_t Rank::plan_pieces(Plan& out, std::int64_t budget) {
  for (std::size_t i = 0; i < prefilling_.size() && budget > 0; ++i) {
    const std::uint32_t slot = prefilling_[i];
    if (prefill_left(slot) == 0) continue;  // a load is to come first
    std::int64_t n = cap_prefill(prefill_left(slot), budget);
    const auto has_room = [&](std::int64_t k) {
      return piece_blocks(sequences_[slot], k) + activations(k, budget) <= pool_.free();
    };
    n = largest(n, has_room);
    if (n == 0 || !has_room(n)) {
      const std::int64_t least = piece_blocks(sequences_[slot], 1) + activations(1, budget);
      if (reclaim_rest(least - pool_.free())) --i;  // it looks again
      continue;
    }
    schedule_prefill(slot, n, out);
    budget -= n;
  }
  return budget;
}

// Nobody decodes in this iteration.
void Rank::hold_decodes(Plan& out) {
  out.holds_decodes = true;
  held_decodes_ = config_.batch.alternates;
  for (std::size_t i = 0; i < static_cast<std::size_t>(group_.size()); ++i) {
    const std::uint32_t slot = group_.slot_at(i);
    out.starved.push_back(slot);
    starve(slot);
  }
}

void Rank::starve(std::uint32_t slot) {
  Sequence& s = sequences_[slot];
  if (!s.starved) ++starved_;
  s.starved = true;
}

// A decode takes part that had no part in the iteration before.
void Rank::feed(std::uint32_t slot, Plan& out) {
  Sequence& s = sequences_[slot];
  if (!s.starved) return;
  s.starved = false;
  --starved_;
  out.late.push_back(slot);
}

// A token for every decode; where blocks are short some make way.
std::int64_t Rank::plan_decodes(Plan& out, Time now, bool ahead) {
  const auto lack = [&] {
    return due_blocks() + spare_blocks() + memory_.activation_blocks(group_.size()) - pool_.free();
  };
  // Drafts make the question one of every sequence: it is asked again only when somebody left.
  std::int64_t lacking = lack();
  const bool ranked = traits_.ranks_running || config_.batch.victim != BatchVictim::last;
  const std::int64_t before = out.preemptions;
  const std::int64_t least = flights_ > 0 ? 1 : 0;  // who may wait for those in flight
  while (lacking > 0) {
    if (!reclaim_rest(lacking)) {
      if (!ranked || group_.size() <= least) break;
      preempt(victim(now), out, now, ahead, 0);
    }
    lacking = lack();
  }
  if (out.preemptions > before) learn_estimate();
  // Whose turn it is matters when not everybody finds blocks.
  if (config_.batch.order == BatchOrder::prompts && lacking > 0)
    std::stable_sort(running_.begin(), running_.end(), [this](std::uint32_t a, std::uint32_t b) {
      return sequences_[a].outcome.arrival < sequences_[b].outcome.arrival;
    });
  if (lacking > 0 || config_.exact_steps || config_.speculation != nullptr)
    return walk_decodes(out, now, ahead);
  grow(group_.due(), out);
  if (starved_ > 0)
    for (std::size_t i = 0; i < static_cast<std::size_t>(group_.size()); ++i)
      feed(group_.slot_at(i), out);
  return config_.max_batched_tokens - group_.size();
}

// One by one: who finds no block takes that of the last behind it, or leaves itself.
std::int64_t Rank::walk_decodes(Plan& out, Time now, bool ahead) {
  std::int64_t tokens = 0;
  for (std::size_t i = 0; i < running_.size();) {
    const std::uint32_t slot = running_[i];
    if (!group_.contains(slot)) {
      ++i;
      continue;
    }
    const std::int64_t n = std::min(decode_tokens(slot),
                                    std::max<std::int64_t>(1, config_.max_batched_tokens - tokens));
    const std::int64_t need = decode_need(slot, n);
    const std::int64_t least =
        config_.batch.needs_free_block ? std::max<std::int64_t>(need, 1) : need;
    bool stays = true, waits = false;
    const auto lack = [&] { return least + memory_.activation_blocks(tokens + n) - pool_.free(); };
    while (stays && !waits && lack() > 0) {
      if (reclaim_rest(lack())) continue;
      std::size_t v = running_.size() - 1;
      while (v > i && (sequences_[running_[v]].draining || is_flying(running_[v]))) --v;
      stays = v > i;
      waits = !stays && flights_ > 0;  // for those in flight to land
      if (!waits) preempt(running_[v], out, now, ahead, 0);
    }
    if (waits) {
      out.starved.push_back(slot);
      starve(slot);
      ++i;
      continue;
    }
    if (!stays) continue;  // the next has come to its place
    grow(need, out);
    book_drafts(slot, n);
    feed(slot, out);
    tokens += n;
    ++i;
  }
  return config_.max_batched_tokens - tokens;
}

// Prompts that were begun beside each other may hold all blocks and lack the next one: orders that
// preempt for decodes only would hang. When nobody else can free any, the last of them begins anew.
// So does a single one whose blocks were lent meanwhile: who cannot go on holds nothing.
bool Rank::break_deadlock(Time now) {
  const std::size_t least = loans_ != nullptr ? 1 : 2;
  if (prefilling_.size() < least || running_.size() > prefilling_.size() || !leaving_.empty())
    return false;
  for (const std::uint32_t slot : prefilling_)
    if (prefill_left(slot) == 0) return false;  // a load is to come first
  Plan ignored;
  preempt(prefilling_.back(), ignored, now, false, 0);
  return true;
}

// Prompts for which no token was left go to the front of the running list, oldest first.
void Rank::put_left_out_first(const Plan& out) {
  scratch_.clear();
  for (const std::uint32_t slot : prefilling_)
    if (std::none_of(out.prefills.begin(), out.prefills.end(),
                     [&](const PlannedPrefill& p) { return p.slot == slot; }))
      scratch_.push_back(slot);
  if (scratch_.empty()) return;
  std::stable_sort(scratch_.begin(), scratch_.end(), [this](std::uint32_t a, std::uint32_t b) {
    return sequences_[a].outcome.arrival < sequences_[b].outcome.arrival;
  });
  std::erase_if(running_, [this](std::uint32_t slot) {
    return std::find(scratch_.begin(), scratch_.end(), slot) != scratch_.end();
  });
  running_.insert(running_.begin(), scratch_.begin(), scratch_.end());
}

// ---- memory promised to those who are in (BatchReserve)

// Output tokens that room is kept for, of a request that has sampled so many.
std::int64_t Rank::output_left(const Sequence& s, std::int64_t sampled) const {
  const BatchRules& b = config_.batch;
  if (!promises()) return 0;
  const std::int64_t left = std::max(b.output_limit, s.output) - sampled;
  // The last token's KV is never computed; SGLang counts it.
  return b.reserve == BatchReserve::output ? left - 1 : std::min(left, kClippedOutput);
}

// Blocks that requests in the batch are taken to need beyond those that they hold.
std::int64_t Rank::promised_blocks(const Plan& out) const {
  if (!promises()) return 0;
  // Where decodes are planned before who waits, they have their next blocks already.
  const std::int64_t planned = config_.batch.order == BatchOrder::prompts ? 0 : 1;
  std::int64_t blocks = 0, tokens = 0;
  for (const std::uint32_t slot : running_) {
    const Sequence& s = sequences_[slot];
    if (s.draining) continue;
    const bool decodes = group_.contains(slot);
    const std::int64_t computed = decodes ? group_.computed(slot) : s.computed;
    const std::int64_t sampled = decodes ? computed + 1 - s.prompt : s.sampled;
    const std::int64_t left = output_left(s, sampled), held = s.hold.blocks();
    tokens += left;
    blocks += kv_blocks(s, s.prompt + sampled + left) -
              (decodes ? blocks_at(s, computed + planned) : held);
  }
  if (config_.batch.reserve == BatchReserve::output) return blocks;
  std::int64_t rest = 0;  // of prompts that are computed in pieces
  for (const std::uint32_t slot : prefilling_)
    rest += sequences_[slot].known() - sequences_[slot].computed;
  // Prompts of this very iteration hold their blocks already. Of those that end with it all the
  // output is charged, and a page each; a share is only of requests that ran before.
  std::int64_t fresh = 0, pages = 0;
  for (const PlannedPrefill& p : out.prefills) {
    const Sequence& s = sequences_[p.slot];
    rest -= p.piece.tokens;
    if (!p.piece.samples) continue;
    const std::int64_t left = output_left(s, s.sampled);
    tokens -= left;
    fresh += left;
    ++pages;
  }
  const auto share = static_cast<std::int64_t>(static_cast<double>(tokens) * estimate());
  // A page for the newcomer, and one because SGLang wants some to be left over.
  return config_.blocks_for(share + fresh) + config_.blocks_for(rest) + pages + 2;
}

double Rank::estimate() const {
  const BatchRules& b = config_.batch;
  const double step = (b.estimate - b.estimate_floor) / static_cast<double>(b.estimate_steps);
  return std::max(b.estimate_floor, estimate_from_ - step * static_cast<double>(decode_steps_));
}

// Somebody was retracted: what those who stay have produced, and kRetractSteps tokens more, is the
// share of what they asked for.
void Rank::learn_estimate() {
  double produced = 0, asked = 1;
  for (std::size_t i = 0; i < static_cast<std::size_t>(group_.size()); ++i) {
    const std::uint32_t slot = group_.slot_at(i);
    const Sequence& s = sequences_[slot];
    produced += static_cast<double>(group_.computed(slot) + 1 - s.prompt + kRetractSteps);
    asked += static_cast<double>(std::max(config_.batch.output_limit, s.output));
  }
  estimate_from_ = std::min(1.0, produced / asked);
  decode_steps_ = 0;
}

std::uint32_t Rank::fewest_outputs() const {
  std::uint32_t worst = last_running();
  const auto outputs = [this](std::uint32_t slot) {
    return group_.contains(slot) ? group_.computed(slot) + 1 - sequences_[slot].prompt : 0;
  };
  bool found = false;
  for (const std::uint32_t slot : running_) {
    if (!group_.contains(slot)) continue;
    const std::int64_t a = outputs(slot), b = outputs(worst);
    if (!found || a < b || (a == b && sequences_[slot].prompt >= sequences_[worst].prompt))
      worst = slot;
    found = true;
  }
  return worst;
}

// What a request goes on with that lost its KV within its prompt.
void Rank::restart_shorter(Sequence& s) {
  const std::int64_t all = s.prompt + s.output;
  s.prompt = s.computed;
  s.output = all - s.prompt;
  s.sampled = 0;
}

}  // namespace kvsim
