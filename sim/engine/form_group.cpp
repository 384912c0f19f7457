#include "sim/engine/form_group.h"

#include <algorithm>

#include "sim/base/check.h"

namespace kvsim {

FormGroup::Gear& FormGroup::gear(std::int64_t period) {
  for (Gear& g : gears_)
    if (g.period == period) return g;
  gears_.push_back({period, 0, std::vector<std::int64_t>(static_cast<std::size_t>(period), 0)});
  return gears_.back();
}

void FormGroup::count(const Member& m, std::int64_t sign) {
  const KvPhase& p = m.curve->phases[m.phase];
  const std::int64_t start = p.from - m.shift;  // clock at which the phase begins
  for (std::size_t i = 0; i < kTokenLoads; ++i) {
    base_[i] += sign * (p.level[i] - p.slope[i] * start);
    slope_[i] += sign * p.slope[i];
  }
  if (p.period == 0) return;
  Gear& g = gear(p.period);
  // Due at clock t when (t + 1 - start + offset) is a multiple of the period.
  const std::int64_t at = (start - p.offset - 1) % p.period;
  g.due[static_cast<std::size_t>(at < 0 ? at + p.period : at)] += sign;
  g.members += sign;
}

void FormGroup::enter(std::uint32_t slot, std::int64_t clock) {
  Member& m = members_[slot];
  m.since = clock;
  count(m, 1);
  if (m.phase + 1 == m.curve->phases.size()) return;
  changes_.push_back({m.curve->phases[m.phase + 1].from - m.shift, slot, m.generation});
  std::push_heap(changes_.begin(), changes_.end(), later);
}

// Adds up the steps that it took part in since it entered the phase.
void FormGroup::leave(std::uint32_t slot, std::int64_t clock) {
  const Member& m = members_[slot];
  count(m, -1);
  const KvPhase& p = m.curve->phases[m.phase];
  const std::int64_t n = clock - m.since, first = m.since + m.shift - p.from;
  for (std::size_t i = 0; i < kTokenLoads; ++i)
    done_[i] += (n * p.level[i] + p.slope[i] * (n * first + n * (n - 1) / 2)) / kLoadOne;
}

void FormGroup::add(std::uint32_t slot, const KvCurve& curve, std::int64_t generated,
                    std::int64_t clock) {
  if (slot >= members_.size()) members_.resize(slot + 1);
  Member& m = members_[slot];
  m = {&curve, curve.phase_at(generated), generated - clock, clock, m.generation + 1};
  enter(slot, clock);
}

void FormGroup::remove(std::uint32_t slot, std::int64_t clock) {
  leave(slot, clock);
  ++members_[slot].generation;
  // Stale entries must not pile up when sequences come and go before their phase ends.
  if (changes_.size() > 2 * members_.size() + 64) {
    std::erase_if(changes_,
                  [&](const Change& c) { return members_[c.slot].generation != c.generation; });
    std::make_heap(changes_.begin(), changes_.end(), later);
  }
}

void FormGroup::drop_stale() {
  while (!changes_.empty() &&
         members_[changes_.front().slot].generation != changes_.front().generation) {
    std::pop_heap(changes_.begin(), changes_.end(), later);
    changes_.pop_back();
  }
}

void FormGroup::change(std::int64_t clock) {
  for (drop_stale(); !changes_.empty() && changes_.front().clock <= clock; drop_stale()) {
    const std::uint32_t slot = changes_.front().slot;
    KVSIM_CHECK(changes_.front().clock == clock, "a phase began {} steps ago",
                clock - changes_.front().clock);
    std::pop_heap(changes_.begin(), changes_.end(), later);
    changes_.pop_back();
    leave(slot, clock);
    ++members_[slot].phase;
    enter(slot, clock);
  }
}

std::int64_t FormGroup::next_change() {
  drop_stale();
  return changes_.empty() ? kNoChange : changes_.front().clock;
}

std::int64_t FormGroup::due(std::int64_t clock) const {
  std::int64_t n = 0;
  for (const Gear& g : gears_) n += g.due[static_cast<std::size_t>(clock % g.period)];
  return n;
}

std::int64_t FormGroup::due(std::int64_t clock, std::int64_t n) const {
  std::int64_t blocks = 0;
  for (const Gear& g : gears_) {
    if (g.members == 0) continue;
    blocks += n / g.period * g.members;
    for (std::int64_t i = 0; i < n % g.period; ++i)
      blocks += g.due[static_cast<std::size_t>((clock + i) % g.period)];
  }
  return blocks;
}

TokenLoads FormGroup::loads(std::int64_t clock) const {
  TokenLoads sum;
  for (std::size_t i = 0; i < kTokenLoads; ++i) sum[i] = base_[i] + slope_[i] * clock;
  return sum;
}

std::int64_t KvForms::time(std::int64_t gpu_ns, const TokenLoads& loads, const PieceLoads& prompts,
                           bool decodes) const {
  const auto of = [&](TokenLoad l) { return loads[static_cast<std::size_t>(l)]; };
  const std::int64_t more = of(TokenLoad::score) + of(TokenLoad::index) + of(TokenLoad::restore) +
                            of(TokenLoad::merge) + of(TokenLoad::encode) + of(TokenLoad::far);
  const std::int64_t compute = gpu_ns + prompts.gpu_ns + more / kLoadOne + (decodes ? step_ns_ : 0);
  const std::int64_t fetch = of(TokenLoad::fetch) / kLoadOne;
  // What prompts write leaves behind their computation, layer by layer.
  const std::int64_t behind = prompts.link_ns + (ahead_ ? fetch : 0);
  const std::int64_t serial = compute + (ahead_ ? 0 : fetch);
  if (behind == 0) return serial;
  return std::max(behind / layers_ + serial, behind + serial / layers_);
}

}  // namespace kvsim
