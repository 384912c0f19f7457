// What running requests generate, where others may hit it: published in time, or late
// (late_outputs.h).
#include "sim/engine/rank.h"

namespace kvsim {

// Nothing but look-ups by key tells the two apart: who evicts by age, copies blocks elsewhere, or
// takes sequences out of the batch in other ways than giving them up would.
bool Rank::can_be_late(const EngineConfig& c) {
  return c.prefix_caching && c.pool.index == KvPoolConfig::Index::hash && !c.pool.make_policy &&
         c.forms == nullptr && !c.hybrid.on && c.snapshots.slots == 0 && c.speculation == nullptr &&
         c.pipeline_batches == 0 && c.host_blocks == 0 && !c.pauses() && !c.hands_over &&
         !c.shared_prefix_attention;
}

// The chunks that it generates and others may have.
std::span<const ContentChunk> Rank::output_of(const Sequence& s) const {
  const std::span<const ContentChunk> shared(s.content.data(),
                                             std::min(s.hold.own, s.content.size()));
  std::size_t first = shared.size();
  while (first > 0 && shared[first - 1].end > s.prompt / config_.block_tokens) --first;
  return shared.subspan(first);
}

void Rank::begin_known_output(std::uint32_t slot) {
  Sequence& s = sequences_[slot];
  ++known_outputs_running_;
  if (late_outputs_ == nullptr) return;
  s.owed = 0;
  s.late = late_outputs_->enter(output_of(s), *this, slot) && s.calls.empty();
  if (s.late) ++late_running_;
}

void Rank::end_known_output(std::uint32_t slot) {
  Sequence& s = sequences_[slot];
  if (!s.known_output) return;
  --known_outputs_running_;
  if (late_outputs_ != nullptr) late_outputs_->leave(output_of(s), *this, slot);
  if (std::exchange(s.late, false)) --late_running_;
}

// Somebody may be admitted now: what running requests have generated is published, but for the
// token that the running iteration computes.
void Rank::publish_known_outputs(bool ahead) {
  if (!config_.prefix_caching) return;
  owed_clock_ = std::max(owed_clock_, group_.clock() - (ahead ? 1 : 0));
  if (late_running_ == known_outputs_running_) return;
  for (std::size_t i = 0; i < static_cast<std::size_t>(group_.size()); ++i) {
    const std::uint32_t slot = group_.slot_at(i);
    if (!sequences_[slot].known_output || sequences_[slot].late) continue;
    publish_output(slot, group_.computed(slot) - (ahead ? 1 : 0));
  }
}

void Rank::publish_output(std::uint32_t slot, std::int64_t tokens) {
  Sequence& s = sequences_[slot];
  if (tokens / config_.block_tokens <= s.hold.hashed) return;
  if (group_.contains(slot)) s.hold.blank = blocks_at(s, group_.computed(slot)) - s.hold.hashed;
  publish(s, tokens / config_.block_tokens);
}

void Rank::catch_up(std::uint32_t slot) {
  const Sequence& s = sequences_[slot];
  if (!s.late) return;
  publish_output(slot, group_.contains(slot)
                           ? group_.computed(slot) - (group_.clock() - owed_clock_)
                           : s.owed);
}

void Rank::catch_up() {
  if (late_running_ == 0) return;
  for (const std::uint32_t slot : running_) catch_up(slot);
}

void Rank::publish_in_time(std::uint32_t slot) {
  catch_up(slot);
  if (std::exchange(sequences_[slot].late, false)) --late_running_;
}

}  // namespace kvsim
