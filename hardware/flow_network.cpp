#include "hardware/flow_network.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "sim/base/check.h"

namespace kvsim {

namespace {

std::int64_t part_of(std::int64_t bytes, double part) {
  return part == 1 ? bytes : static_cast<std::int64_t>(static_cast<double>(bytes) * part + 0.5);
}

constexpr double kInfinite = std::numeric_limits<double>::infinity();
constexpr std::int64_t kWhole = std::int64_t{1} << 40;      // all of a link
constexpr std::int64_t kTolerance = std::int64_t{1} << 10;  // 1e-9: shares are rounded up
constexpr std::size_t kRun = 64;

// Later first, so that the standard heap gives the earliest.
constexpr auto later = [](const auto& a, const auto& b) {
  return a.until != b.until ? a.until > b.until : a.order > b.order;
};

}  // namespace

LinkId FlowNetwork::add_link(double capacity) {
  KVSIM_CHECK(capacity >= 0 && capacity < kInfinite, "capacity {} of link {}", capacity,
              links_.size());
  Link l;
  l.capacity = capacity;
  l.counted = now_;
  links_.push_back(std::move(l));
  return LinkId{static_cast<std::uint32_t>(links_.size() - 1)};
}

FlowId FlowNetwork::start(Time now, std::span<const Use> route, std::int64_t bytes,
                          Duration latency, std::uint64_t tag, double rate_cap) {
  KVSIM_CHECK(bytes >= 0 && latency >= Duration{0} && rate_cap >= 0,
              "flow of {} bytes, latency {} ns, cap {} at {} ns", bytes, to_ns(latency), rate_cap,
              to_ns(now));
  move_to(now);
  std::uint32_t slot = 0;
  if (free_.empty()) {
    slot = static_cast<std::uint32_t>(flows_.size());
    flows_.emplace_back();
    ends_.push_back(kNever);
    if (least_.size() * kRun < ends_.size()) least_.push_back(kNever), stale_.push_back(0);
  } else {
    slot = free_.back();
    free_.pop_back();
  }
  Flow& f = flows_[slot];
  f.hops.clear();
  for (const Use& u : route) {
    KVSIM_CHECK(u.link.index < links_.size() && u.weight > 0, "flow over link {} with weight {}",
                u.link.index, u.weight);
    f.hops.push_back({u.link.index, 0, u.weight, u.share, 0});
  }
  f.rate = f.next_rate = 0;
  f.remaining = static_cast<double>(bytes);
  f.rate_cap = rate_cap;
  f.settled = f.started = now;
  f.bytes = bytes;
  f.order = orders_++;
  f.tag = tag;
  f.state = State::waiting;
  ++totals_.started;
  totals_.offered += bytes;
  if (bytes == 0) {
    set_end(slot, now + latency);
  } else if (latency == Duration{0}) {
    begin_moving(slot);
  } else {
    waits_.push_back({now + latency, f.order, slot, f.generation});
    std::push_heap(waits_.begin(), waits_.end(), later);
  }
  return {slot, f.generation};
}

Time FlowNetwork::next_completion() {
  reprice();
  return std::min(earliest_end(), next_wait());
}

void FlowNetwork::advance(Time now, std::vector<Done>& done) {
  KVSIM_CHECK(now >= now_, "time falls from {} to {} ns", to_ns(now_), to_ns(now));
  for (;;) {
    const Time next = next_completion();
    if (next > now || next == kNever) break;
    now_ = next;
    end_flows(next, done);
    while (next_wait() == next) {
      const std::uint32_t slot = waits_.front().slot;
      std::pop_heap(waits_.begin(), waits_.end(), later);
      waits_.pop_back();
      begin_moving(slot);
    }
  }
  now_ = now;
}

std::int64_t FlowNetwork::cancel(FlowId id, Time now) {
  move_to(now);
  if (!active(id)) return 0;
  Flow& f = flows_[id.slot];
  const double left = f.remaining - f.rate * to_seconds(now - f.settled);
  const std::int64_t moved =
      f.bytes - std::min(f.bytes, static_cast<std::int64_t>(std::ceil(std::max(left, 0.0))));
  for (const Hop& h : f.hops) links_[h.link].bytes += part_of(moved, h.part);
  ++totals_.cancelled;
  totals_.delivered += moved;
  totals_.dropped += f.bytes - moved;
  leave_links(f);
  release(id.slot);
  return moved;
}

void FlowNetwork::set_bandwidth(LinkId id, double capacity, Time now) {
  KVSIM_CHECK(id.index < links_.size() && capacity >= 0 && capacity < kInfinite,
              "capacity {} for link {}", capacity, id.index);
  move_to(now);
  Link& l = links_[id.index];
  if (l.capacity == capacity) return;
  mark(id.index);
  l.capacity = capacity;
  for (const Member& m : l.members) {
    Flow& f = flows_[m.slot];
    set_bound(f);
    for (Hop& h : f.hops) {
      // Flows elsewhere feel it only where this flow competes, before or after.
      if (can_fill(links_[h.link])) mark(h.link);
      set_share(f, h);
      if (can_fill(links_[h.link])) mark(h.link);
    }
  }
}

bool FlowNetwork::active(FlowId id) const {
  return id.slot < flows_.size() && flows_[id.slot].generation == id.generation &&
         flows_[id.slot].state != State::free;
}

double FlowNetwork::rate(FlowId id) {
  reprice();
  return active(id) ? flows_[id.slot].rate : 0;
}

FlowNetwork::LinkTotals FlowNetwork::totals(LinkId id, Time now) const {
  const Link& l = links_[id.index];
  LinkTotals t{l.bytes, l.busy, l.flow_seconds, static_cast<std::int64_t>(l.members.size()),
               l.peak};
  if (!l.members.empty() && now > l.counted) {
    t.busy += now - l.counted;
    t.flow_seconds += static_cast<double>(t.flows) * to_seconds(now - l.counted);
  }
  return t;
}

FlowNetwork::Totals FlowNetwork::totals() const {
  Totals t = totals_;
  for (const Flow& f : flows_)
    if (f.state != State::free) t.in_flight += f.bytes;
  return t;
}

// A link that all of its flows at their bounds would not fill constrains nobody.
bool FlowNetwork::can_fill(const Link& l) { return l.demand > kWhole + kTolerance; }

void FlowNetwork::move_to(Time now) {
  if (now == now_) return;
  const Time next = next_completion();
  KVSIM_CHECK(now > now_ && now <= next, "at {} ns: clock at {}, but advance() is due at {}",
              to_ns(now), to_ns(now_), to_ns(next));
  now_ = now;
}

void FlowNetwork::begin_moving(std::uint32_t slot) {
  Flow& f = flows_[slot];
  f.state = State::moving;
  f.settled = now_;
  set_bound(f);
  for (std::uint32_t i = 0; i < f.hops.size(); ++i) {
    Hop& h = f.hops[i];
    Link& l = links_[h.link];
    count(l);
    h.position = static_cast<std::uint32_t>(l.members.size());
    l.members.push_back({slot, i, h.weight});
    l.peak = std::max(l.peak, static_cast<std::int64_t>(l.members.size()));
    set_share(f, h);
    if (can_fill(l)) mark(h.link);
  }
  dirty_flows_.push_back(slot);
}

void FlowNetwork::leave_links(Flow& f) {
  if (f.state != State::moving) return;
  for (const Hop& h : f.hops) {
    Link& l = links_[h.link];
    if (can_fill(l)) mark(h.link);
    count(l);
    l.demand -= h.share;
    const Member last = l.members.back();
    l.members[h.position] = last;
    flows_[last.slot].hops[last.hop].position = h.position;
    l.members.pop_back();
  }
  for (Hop& h : f.hops) h.share = 0;
}

void FlowNetwork::release(std::uint32_t slot) {
  Flow& f = flows_[slot];
  f.state = State::free;
  ++f.generation;
  set_end(slot, kNever);
  free_.push_back(slot);
}

void FlowNetwork::set_bound(Flow& f) {
  f.bound = f.rate_cap > 0 ? f.rate_cap : kInfinite;
  for (const Hop& h : f.hops) f.bound = std::min(f.bound, links_[h.link].capacity / h.weight);
}

void FlowNetwork::set_share(const Flow& f, Hop& h) {
  Link& l = links_[h.link];
  l.demand -= h.share;
  const double part = l.capacity > 0 ? f.bound * h.weight / l.capacity : 0;
  h.share = static_cast<std::int64_t>(std::ceil(part * static_cast<double>(kWhole)));
  l.demand += h.share;
}

void FlowNetwork::mark(std::uint32_t link) {
  if (links_[link].dirty) return;
  links_[link].dirty = true;
  dirty_links_.push_back(link);
}

void FlowNetwork::count(Link& l) const {
  if (!l.members.empty() && now_ > l.counted) {
    l.busy += now_ - l.counted;
    l.flow_seconds += static_cast<double>(l.members.size()) * to_seconds(now_ - l.counted);
  }
  l.counted = now_;
}

void FlowNetwork::reprice() {
  if (dirty_links_.empty() && dirty_flows_.empty()) return;
  collect();
  fill();
  for (const std::uint32_t slot : touched_) take_rate(slot);
}

// Every flow whose rate may change: those on marked links, those that began, and whoever shares a
// link that can be full with one of them.
void FlowNetwork::collect() {
  ++round_;
  touched_.clear();
  contested_.clear();
  for (const std::uint32_t link : dirty_links_) {
    links_[link].dirty = false;
    visit_link(link);
  }
  for (const std::uint32_t slot : dirty_flows_)
    if (flows_[slot].state == State::moving) visit_flow(slot);
  dirty_links_.clear();
  dirty_flows_.clear();
  for (std::size_t i = 0; i < touched_.size(); ++i)  // grows on the way
    for (const Hop& h : flows_[touched_[i]].hops)
      if (can_fill(links_[h.link])) visit_link(h.link);
}

void FlowNetwork::visit_flow(std::uint32_t slot) {
  Flow& f = flows_[slot];
  if (f.visited == round_) return;
  f.visited = round_;
  f.next_rate = f.bound;
  touched_.push_back(slot);
}

void FlowNetwork::visit_link(std::uint32_t link) {
  Link& l = links_[link];
  if (l.visited == round_) return;
  l.visited = round_;
  double weight = 0;
  for (const Member& m : l.members) {
    visit_flow(m.slot);
    weight += m.weight;
  }
  if (!can_fill(l)) return;
  l.contested = round_;
  l.place = static_cast<std::uint32_t>(contested_.size());
  l.left = l.capacity;
  l.weight = weight;
  l.open = static_cast<std::uint32_t>(l.members.size());
  contested_.push_back(link);
}

// Progressive filling: the link with the lowest level is a bottleneck; its flows get that level, or
// their own bound where that is lower, and leave the rest of their links to others.
void FlowNetwork::fill() {
  level_.clear();
  for (const std::uint32_t link : contested_)
    level_.push_back(links_[link].left / links_[link].weight);
  while (!level_.empty()) {
    const auto least = std::min_element(level_.begin(), level_.end());
    const double level = *least;
    if (level == kInfinite) break;  // nothing is open
    const Link& l = links_[contested_[static_cast<std::size_t>(least - level_.begin())]];
    bool bounded = false;
    for (const Member& m : l.members)
      if (flows_[m.slot].frozen != round_ && flows_[m.slot].bound < level) {
        freeze(m.slot, flows_[m.slot].bound);
        bounded = true;
      }
    if (bounded) continue;  // there is more for the others now
    for (const Member& m : l.members)
      if (flows_[m.slot].frozen != round_) freeze(m.slot, level);
  }
}

void FlowNetwork::freeze(std::uint32_t slot, double rate) {
  Flow& f = flows_[slot];
  f.frozen = round_;
  f.next_rate = rate;
  for (const Hop& h : f.hops) {
    Link& l = links_[h.link];
    if (l.contested != round_) continue;
    l.left = std::max(0.0, l.left - rate * h.weight);
    l.weight -= h.weight;
    level_[l.place] = --l.open == 0 ? kInfinite : l.left / l.weight;
  }
}

void FlowNetwork::take_rate(std::uint32_t slot) {
  Flow& f = flows_[slot];
  if (f.rate == f.next_rate) return;
  if (now_ > f.settled)
    f.remaining = std::max(0.0, f.remaining - f.rate * to_seconds(now_ - f.settled));
  f.settled = now_;
  f.rate = f.next_rate;
  if (f.rate <= 0) return set_end(slot, kNever);
  // A thousandth of a nanosecond is noise of the division, not work.
  const double ns = f.remaining / f.rate * 1e9 - 1e-3;
  set_end(slot, ns < 9e18 - static_cast<double>(to_ns(now_)) ? now_ + from_ns_ceil(ns) : kNever);
}

void FlowNetwork::set_end(std::uint32_t slot, Time end) {
  ends_[slot] = end;
  stale_[slot / kRun] = 1;
}

Time FlowNetwork::earliest_end() {
  Time least = kNever;
  for (std::size_t run = 0; run < least_.size(); ++run) {
    if (stale_[run] != 0) {
      const auto first = ends_.begin() + static_cast<std::ptrdiff_t>(run * kRun);
      const auto left = static_cast<std::size_t>(ends_.end() - first);
      least_[run] =
          *std::min_element(first, first + static_cast<std::ptrdiff_t>(std::min(kRun, left)));
      stale_[run] = 0;
    }
    least = std::min(least, least_[run]);
  }
  return least;
}

Time FlowNetwork::next_wait() {
  while (!waits_.empty()) {
    const Wait& w = waits_.front();
    const Flow& f = flows_[w.slot];
    if (f.generation == w.generation && f.state == State::waiting) return w.until;
    std::pop_heap(waits_.begin(), waits_.end(), later);
    waits_.pop_back();
  }
  return kNever;
}

void FlowNetwork::end_flows(Time at, std::vector<Done>& done) {
  ending_.clear();
  for (std::size_t run = 0; run < least_.size(); ++run) {
    if (least_[run] != at) continue;
    for (std::size_t slot = run * kRun; slot < std::min(ends_.size(), (run + 1) * kRun); ++slot)
      if (ends_[slot] == at) ending_.push_back(static_cast<std::uint32_t>(slot));
  }
  std::sort(ending_.begin(), ending_.end(),
            [&](std::uint32_t a, std::uint32_t b) { return flows_[a].order < flows_[b].order; });
  for (const std::uint32_t slot : ending_) {
    Flow& f = flows_[slot];
    for (const Hop& h : f.hops) links_[h.link].bytes += part_of(f.bytes, h.part);
    ++totals_.finished;
    totals_.delivered += f.bytes;
    done.push_back({{slot, f.generation}, f.tag, at, f.started});
    leave_links(f);
    release(slot);
  }
}

}  // namespace kvsim
