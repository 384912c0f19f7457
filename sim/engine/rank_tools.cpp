// Requests that call a tool (LAMPS, INFERCEPT): each stretch of output between two calls is served
// like a request of its own, with a slot that stays and KV that the pause policy decides about.
#include <algorithm>
#include <utility>

#include "sim/base/check.h"
#include "sim/engine/rank.h"

namespace kvsim {

PauseFate Rank::fate_of(std::uint32_t slot, const ToolCall& call) {
  if (!config_.make_pause) return PauseFate::discard;
  if (!pauses_) pauses_ = config_.make_pause({config_.seed});
  const Sequence& s = sequences_[slot];
  PauseQuestion q;
  q.request = s.outcome.index;
  q.call = s.next_call;
  q.context = s.computed;
  for (const std::uint32_t other : running_)
    q.others += group_.contains(other) ? group_.computed(other) : sequences_[other].computed;
  q.pause = call.pause;
  q.recompute = steps_.prefill(0, s.computed);
  const std::int64_t blocks = kv_blocks(s, s.computed);
  if (host_ && blocks <= host_->free()) q.copy = host_->idle_time(blocks);
  return pauses_->decide(q);
}

// The token that makes the call is out at `at`.
void Rank::call_tool(std::uint32_t slot, Time at) {
  Sequence& s = sequences_[slot];
  const ToolCall call = s.calls[s.next_call];
  const bool lost = s.state == Sequence::State::waiting;  // preempted with that token on its way
  --draining_;
  s.draining = false;
  batch_full_ = false;
  if (lost) {
    const auto at_queue = std::find(waiting_.begin(), waiting_.end(), slot);
    KVSIM_CHECK(at_queue != waiting_.end(), "slot {} waits in no queue", slot);
    waiting_.erase(at_queue);
    s.outcome.recomputed_tokens += s.prompt + s.output - 1;
  } else {
    publish(s, s.computed / config_.block_tokens);
    if (tiers_ && tiers_->config().outputs) offer(slot, s.computed, at);
    draining_unfilled_ -= unfilled(s);
    std::erase(running_, slot);
    leave_adapter(s);
    end_known_output(slot);
    s.attained += Duration{totals_.busy_ns - s.joined};
  }
  close_segment(s, at);
  s.outcome.last_token = at + config_.back_end;
  s.state = Sequence::State::paused;
  s.lost = true;
  if (traits_.hears_tokens) tell_tokens(slot);
  if (scheduler_) scheduler_->left(request_of(slot));
  const PauseFate fate = lost ? PauseFate::discard : fate_of(slot, call);
  if (!lost) rest(slot);
  if (fate == PauseFate::keep) {
    ++totals_.tools_kept;
  } else if (fate == PauseFate::swap && send_to_host(slot, s.hold.blocks(), at)) {
    ++totals_.tools_swapped;
  } else {
    ++totals_.tools_discarded;
    if (!lost) drop_rest(slot);
  }
  ++s.outcome.tool_calls;
  // What comes next, once the tool has returned.
  s.prompt += s.output + call.returns;
  std::int64_t left = s.outcome.output_tokens;
  for (const ToolCall& c : s.calls) left -= c.after;
  s.output = ++s.next_call < s.calls.size() ? s.calls[s.next_call].after : left;
  s.sampled = s.told = 0;
  peers_->called(*this, slot, call.pause, at);
}

void Rank::tool_returned(std::uint32_t slot, Time now) {
  Sequence& s = sequences_[slot];
  KVSIM_CHECK(s.state == Sequence::State::paused, "slot {} waits for no tool", slot);
  add(s.outcome.after_ns, Interval::tool, to_ns(now - s.lost_at));
  s.lost_at = s.late_since = now;
  s.returned = true;
  s.settled = false;
  s.state = Sequence::State::waiting;
  pool_.set_now(now);
  make_ready(slot, now);
  tell_all_tokens();
  if (scheduler_) scheduler_->arrived(request_of(slot), now);
  if (config_.returns_by_arrival && traits_.queue == Scheduler::Traits::Queue::arrival) {
    const auto later = [&](std::uint32_t other) { return goes_before({}, slot, {}, other); };
    waiting_.insert(std::find_if(waiting_.begin(), waiting_.end(), later), slot);
  } else {
    push(waiting_, slot, false, now);
  }
}

}  // namespace kvsim
