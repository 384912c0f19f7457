#include "traces/session_source.h"

#include <algorithm>
#include <cmath>
#include <tuple>
#include <utility>

#include "sim/base/check.h"
#include "sim/base/diagnostics.h"
#include "traces/record_check.h"

namespace kvsim {
namespace {
constexpr std::uint32_t kNobodyWaits = 0xffffffffU;  // InFlight::turn that no other waits for
}

Time later(Time at, Duration pause) {
  if (pause > kNever - at) throw InputError("a session goes on beyond 292 years of simulated time");
  return at + pause;
}

PoissonStarts::PoissonStarts(Rate rate, double rate_scale, std::uint64_t seed,
                             std::string_view path)
    : mean_gap_(1.0 / (rate.value * rate_scale)), gaps_(seed, path) {
  if (!(rate.value > 0) || !(rate_scale > 0) || !std::isfinite(mean_gap_))
    throw InputError("the rate of sessions and rate_scale have to be above 0");
}

Time PoissonStarts::next() {
  if (count_ > 0) now_ += gaps_.at(count_).exponential(mean_gap_);
  ++count_;
  if (now_ > kMaxSeconds) throw InputError("sessions begin after more than 100 years at this rate");
  return Time{duration_of_seconds(now_)};
}

void SessionSource::fill_segments(const Session& session, std::uint32_t turn, Request& out) {
  const std::vector<Segment>& from = session.turns[turn].segments;
  out.segments.assign(from.begin(), from.end());
}

bool SessionSource::load() {
  if (pending_ || ended_) return pending_.has_value();
  // Every session delivers a request, so this many are enough; a source may know of sessions
  // without end.
  if (limit_ > 0 && begun_ >= static_cast<std::uint64_t>(limit_)) return false;
  pending_.emplace();
  if (next_session(*pending_)) {
    KVSIM_CHECK(!pending_->turns.empty(), "a session without turns");
    return true;
  }
  pending_.reset();
  ended_ = true;
  return false;
}

void SessionSource::push(Time at, std::uint32_t slot, std::uint32_t turn) {
  const auto later_first = [](const Ready& a, const Ready& b) {
    return std::tie(a.at, a.order) > std::tie(b.at, b.order);
  };
  heap_.push_back({at, pushed_++, slot, turn});
  std::push_heap(heap_.begin(), heap_.end(), later_first);
}

void SessionSource::begin(Time at) {
  std::uint32_t s = 0;
  if (free_.empty()) {
    s = static_cast<std::uint32_t>(slots_.size());
    slots_.emplace_back();
  } else {
    s = free_.back();
    free_.pop_back();
  }
  Slot& slot = slots_[s];
  slot.session = std::move(*pending_);
  pending_.reset();
  const std::vector<Turn>& turns = slot.session.turns;
  slot.left = turns.size();
  slot.after.assign(turns.size(), at);
  slot.waits.clear();
  for (const Turn& t : turns) slot.waits.push_back(t.waits_for);
  ++active_;
  ++begun_;
  for (std::uint32_t t = 0; t < turns.size(); ++t)
    if (turns[t].waits_for == 0) push(later(at, turns[t].pause), s, t);
}

void SessionSource::admit() {
  if (at_once_ == 0) {
    while (load() && (heap_.empty() || pending_->start <= heap_.front().at)) begin(pending_->start);
    return;
  }
  while (active_ < at_once_ && load()) {
    Time at = kTimeZero;
    if (!ended_at_.empty()) {
      at = ended_at_.back();
      ended_at_.pop_back();
    }
    begin(at);
  }
}

std::optional<Time> SessionSource::next_arrival() {
  if (limit_ > 0 && delivered_ >= static_cast<std::uint64_t>(limit_)) return std::nullopt;
  admit();
  if (heap_.empty()) return std::nullopt;
  return heap_.front().at;
}

void SessionSource::pop(Request& out) {
  if (!next_arrival()) throw InputError("the trace has no further request now");
  const auto later_first = [](const Ready& a, const Ready& b) {
    return std::tie(a.at, a.order) > std::tie(b.at, b.order);
  };
  std::pop_heap(heap_.begin(), heap_.end(), later_first);
  const Ready ready = heap_.back();
  heap_.pop_back();
  const Session& session = slots_[ready.slot].session;
  const Turn& turn = session.turns[ready.turn];
  out.index = delivered_++;
  out.arrival = ready.at;
  out.prompt_tokens = turn.prompt_tokens;
  out.output_tokens = turn.output_tokens;
  out.session = session.id;
  out.turn = ready.turn;
  out.tenant = session.tenant;
  out.priority = session.priority;
  out.segments.clear();
  out.calls = turn.calls;
  out.images = turn.images;
  fill_segments(session, ready.turn, out);
  in_flight_.emplace(out.index,
                     InFlight{ready.slot, turn.then.empty() ? kNobodyWaits : ready.turn});
  // Of a session of one request nothing is asked for again.
  if (session.turns.size() == 1) slots_[ready.slot].session.clear();
}

void SessionSource::finished(std::uint64_t index, Time at) {
  const auto found = in_flight_.find(index);
  KVSIM_CHECK(found != in_flight_.end(), "request {} ends at {} ns but is not in flight", index,
              to_ns(at));
  const auto [s, t] = found->second;
  in_flight_.erase(found);
  Slot& slot = slots_[s];
  if (t != kNobodyWaits) {
    for (const std::uint32_t next : slot.session.turns[t].then) {
      slot.after[next] = std::max(slot.after[next], at);
      if (--slot.waits[next] == 0)
        push(later(slot.after[next], slot.session.turns[next].pause), s, next);
    }
  }
  if (--slot.left > 0) return;
  if (!slot.session.turns.empty()) slot.session.clear();
  free_.push_back(s);
  --active_;
  if (at_once_ > 0 && !ended_) ended_at_.push_back(at);
}

}  // namespace kvsim
