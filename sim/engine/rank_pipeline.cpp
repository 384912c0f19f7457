// Batches in flight (step_pipeline.h): a sequence that takes part in one is out of the decode group
// and of the prompts under way until that batch has passed the last stage, so that no plan sees it.
#include <algorithm>

#include "sim/base/check.h"
#include "sim/engine/rank.h"

namespace kvsim {

void Rank::set_flying(std::uint32_t slot, bool yes) {
  if (slot >= flying_.size()) flying_.resize(sequences_.size(), false);
  flying_[slot] = yes;
}

void Rank::take_off(Plan& plan) {
  const auto is_in = [](const std::vector<std::uint32_t>& sorted, std::uint32_t slot) {
    return std::binary_search(sorted.begin(), sorted.end(), slot);
  };
  std::vector<std::uint32_t> left_out = plan.starved, first;
  std::sort(left_out.begin(), left_out.end());
  for (const PlannedPrefill& p : plan.prefills) {
    if (p.piece.samples) {
      first.push_back(p.slot);
    } else {
      plan.flights.push_back({p.slot, Flight::After::prompt, false});
    }
  }
  std::sort(first.begin(), first.end());
  scratch_.clear();  // who stays, in order
  for (std::size_t i = 0; i < static_cast<std::size_t>(group_.size()); ++i) {
    const std::uint32_t slot = group_.slot_at(i);
    if (is_in(left_out, slot))
      scratch_.push_back(slot);
    else
      plan.flights.push_back({slot, Flight::After::decode, !is_in(first, slot)});
  }
  for (const std::uint32_t slot : plan.finishing)
    plan.flights.push_back({slot, Flight::After::leave, !is_in(first, slot)});
  for (const Flight& f : plan.flights) {
    if (f.after == Flight::After::prompt) std::erase(prefilling_, f.slot);
    if (f.after == Flight::After::decode) sync_decoding(f.slot);
    set_flying(f.slot, true);
    if (f.after != Flight::After::leave) ++flights_;
  }
  // Others leaving has mixed them up.
  for (const std::uint32_t slot : scratch_) sync_decoding(slot);
  for (const std::uint32_t slot : scratch_) start_decoding(slot);
}

// Its sequences may be planned again; those that end are still there. Members come into the group
// in the order in which a plan without a pipeline leaves it: who decoded, who was left out, who
// begins.
void Rank::land(const Plan& plan) {
  scratch_.clear();
  for (std::size_t i = 0; i < static_cast<std::size_t>(group_.size()); ++i)
    scratch_.push_back(group_.slot_at(i));
  for (const std::uint32_t slot : scratch_) sync_decoding(slot);
  const auto join_group = [&](bool token) {
    for (const Flight& f : plan.flights)
      if (f.after == Flight::After::decode && f.token == token) start_decoding(f.slot);
  };
  join_group(true);
  for (const std::uint32_t slot : scratch_) start_decoding(slot);
  join_group(false);
  for (const Flight& f : plan.flights) {
    set_flying(f.slot, false);
    if (f.after == Flight::After::leave) continue;
    --flights_;
    if (f.after == Flight::After::decode) continue;
    const auto earlier = [this](std::uint32_t a, std::uint32_t b) {
      return sequences_[a].order < sequences_[b].order;
    };
    prefilling_.insert(std::upper_bound(prefilling_.begin(), prefilling_.end(), f.slot, earlier),
                       f.slot);
  }
}

// `spent` is the batch's own time in all stages, its stall what it waited for stages;
// `covered_ns` what no other batch's time has covered.
void Rank::account_flight(const Plan& plan, Time start, Time end, Spent spent,
                          std::int64_t covered_ns) {
  const std::int64_t stages = config_.pipeline_stages;
  pool_.set_now(end);
  // Of one GPU: the mean of the stages.
  totals_.gpu_ns += spent.gpu_ns / stages;
  totals_.host_ns += spent.host_ns / stages;
  totals_.mapping_ns += spent.mapping_ns / stages;
  totals_.busy_ns += covered_ns;
  totals_.pipeline.stages = stages;
  totals_.pipeline.span_ns += covered_ns;
  totals_.pipeline.work_ns += spent.gpu_ns + spent.host_ns;
  totals_.pipeline.batch_ns += to_ns(end - start);
  observe(plan.occupancy, covered_ns);
  ++totals_.iterations;
  if (plan.prefills.empty()) ++totals_.decode_iterations;
  totals_.decode_tokens += plan.shape.decodes;
  account_shared(1, plan.shape);
  account_adapters(1, plan);
  land(plan);
  for (const Flight& f : plan.flights) {
    if (!f.token) continue;
    Sequence& s = sequences_[f.slot];
    add(s.outcome.after_ns, Interval::decode_wait,
        to_ns(start - s.last_piece_end) + spent.stall_ns);
    add(s.outcome.after_ns, Interval::decode, spent.gpu_ns);
    add(s.outcome.after_ns, Interval::host, spent.host_ns);
    itl_.add(to_ns(end - s.late_since), 1);
    s.last_piece_end = s.late_since = end;
  }
  for (const PlannedPrefill& p : plan.prefills) account_prefill(p, start, end, spent);
  for (const std::uint32_t slot : plan.finishing) finish(slot, end);
  close_lost(end);
}

// The last of the running list that a plan may touch. Requires one.
std::uint32_t Rank::last_running() const {
  if (flying_.empty()) return running_.back();
  const auto at = std::find_if(running_.rbegin(), running_.rend(),
                               [this](std::uint32_t slot) { return !is_flying(slot); });
  KVSIM_CHECK(at != running_.rend(), "everybody is in flight");
  return *at;
}

}  // namespace kvsim
