#include "sim/engine/step_pipeline.h"

#include <algorithm>
#include <utility>

#include "sim/engine/step_group.h"

namespace kvsim {

StagePipeline::Batch& StagePipeline::enter(Batch batch, Time now) {
  const std::int64_t n = stages();
  Time at = now;
  for (std::int64_t stage = 0; stage < n; ++stage) {
    Time& free = free_at_[static_cast<std::size_t>(stage)];
    at = std::max(at, free);
    if (stage == 0) batch.start = at;
    at += Duration{batch.step_ns * (stage + 1) / n - batch.step_ns * stage / n};
    free = at;
  }
  batch.end = at;
  batches_.push_back(std::move(batch));
  Batch& placed = batches_.back();
  placed.plan.shape.prefills = placed.plan.pieces;  // which the move has not moved
  return placed;
}

StagePipeline::Batch StagePipeline::leave(std::int64_t& covered_ns) {
  Batch batch = std::move(batches_.front());
  batches_.pop_front();
  covered_ns = to_ns(batch.end - std::max(batch.start, covered_to_));
  covered_to_ = batch.end;
  return batch;
}

// ---- the step group whose iterations overlap

// Plans batches until as many are in flight as may be, or nobody is left to plan: who is in flight
// is not planned again. Like vLLM's engine loop this happens when a batch leaves, or when nothing
// is in flight.
void StepGroup::schedule_pipeline(Time now) {
  Lane& l = lanes_.front();
  left_ = false;
  while (!pipeline_->is_full() && !closed_) {
    l.rank->plan(*l.running, now, false);
    if (l.running->empty) {
      // A plan may preempt and then find nothing to run: with others in flight there is a next one.
      if (!pipeline_->is_empty()) break;
      if (l.running->preemptions > 0 || l.rank->break_deadlock(now)) continue;
      break;
    }
    l.running->shape.prefills = l.running->pieces;
    StagePipeline::Batch batch;
    batch.mapping_ns = l.running->mapping_ns + l.running->mapping_ahead_ns;
    batch.gpu_ns = price(l);
    batch.step_ns = batch.mapping_ns + step_ns(batch.gpu_ns, runs_graph());
    l.rank->take_off(*l.running);
    batch.plan = std::move(*l.running);
    *l.running = {};
    pipeline_->enter(std::move(batch), now);
  }
  busy_ = !pipeline_->is_empty();
  if (busy_) next_end_ = pipeline_->front().end;
}

void StepGroup::complete_pipeline(Time now) {
  Lane& l = lanes_.front();
  std::int64_t covered = 0;
  StagePipeline::Batch batch = pipeline_->leave(covered);
  if (iterations_ != nullptr) {
    std::swap(*l.running, batch.plan);
    record(l, batch.start, now);
    std::swap(*l.running, batch.plan);
  }
  const std::int64_t host = batch.step_ns - batch.gpu_ns;
  l.rank->account_flight(
      batch.plan, batch.start, now,
      {batch.gpu_ns, host, to_ns(now - batch.start) - batch.step_ns, batch.mapping_ns}, covered);
  if (iterations_ != nullptr) iterations_->back().held_blocks_end = l.rank->used_blocks();
  left_ = true;
  busy_ = !pipeline_->is_empty();
  if (busy_) next_end_ = pipeline_->front().end;
}

}  // namespace kvsim
