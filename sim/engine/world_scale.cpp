// Autoscaling: instances start, drain and stop while the run goes on. An instance that is off or
// starting looks to the router as if it were down; one that drains too, but it serves what it has.
#include <algorithm>

#include "sim/base/check.h"
#include "sim/engine/world.h"

namespace kvsim {

using State = Scaling::State;

namespace {
// An iteration that ends at this very instant is completed by its event (world_route.cpp).
constexpr Duration kBefore{1};

// The value that 90 % do not exceed.
Duration most_of(std::vector<Duration>& all) {
  if (all.empty()) return {};
  const std::size_t at = (9 * all.size() + 9) / 10 - 1;
  std::nth_element(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(at), all.end());
  return all[at];
}
}  // namespace

// ---- the state of the fleet

std::int64_t Scaling::wanted(FleetView v) {
  v.first_tokens = static_cast<std::int64_t>(ttfts_.size());
  if (traits_.ttft)
    v.late =
        std::count_if(ttfts_.begin(), ttfts_.end(), [&](Duration d) { return d > *traits_.ttft; });
  v.ttft = most_of(ttfts_);
  ttfts_.clear();
  return wanted_ =
             std::clamp(plan_.rule->wanted(v), plan_.least, static_cast<std::int64_t>(size()));
}

ScaleEvent Scaling::change(std::size_t i, State to, Time now) {
  const std::size_t at = i - plan_.from;
  const State from = states_[at];
  KVSIM_CHECK(from != to, "instance {} is in that state already", i);
  using Kind = ScaleEvent::Kind;
  ScaleEvent e;
  e.at = now;
  e.instance = static_cast<std::uint32_t>(i);
  switch (to) {
    case State::off:
      e.kind = from == State::starting ? Kind::cancel : Kind::stop;
      paid_[at] += to_ns(now - since_[at]);
      break;
    case State::starting:
      e.kind = Kind::start;
      since_[at] = now;
      break;
    case State::up:
      e.kind = from == State::draining ? Kind::recall : Kind::up;
      if (from == State::off) since_[at] = now;
      break;
    case State::draining:
      e.kind = Kind::drain;
      break;
  }
  if (e.kind == Kind::start || e.kind == Kind::recall) up_from_ = now + plan_.up_cooldown;
  if (e.kind != Kind::stop && e.kind != Kind::up) down_from_ = now + plan_.down_cooldown;
  ++generations_[at];
  states_[at] = to;
  return e;
}

std::vector<std::int64_t> Scaling::paid(Time end) const {
  std::vector<std::int64_t> all = paid_;
  for (std::size_t i = 0; i < size(); ++i)
    if (states_[i] != State::off) all[i] += to_ns(end - since_[i]);
  return all;
}

// ---- instances come and go

void World::begin_scaling() {
  for (ScalingPlan& plan : options_.scaling) {
    const std::size_t n = plan.count > 0 ? plan.count : instances_.size();
    scaling_.push_back(std::make_unique<Scaling>(std::move(plan), n));
  }
  options_.scaling.clear();
  for (const auto& s : scaling_)
    for (std::uint32_t i = s->begin(); i < s->end(); ++i) {
      if (static_cast<std::int64_t>(i - s->begin()) < s->plan().first) {
        scale(i, State::up);
      } else {
        show_up(i);
      }
    }
  for (std::uint32_t k = 0; k < scaling_.size(); ++k)
    tick(EventKind::scale, k, scaling_[k]->plan().every);
}

// Null: it is up from the start.
Scaling* World::scaling_of(std::uint32_t i) const {
  for (const auto& s : scaling_)
    if (i >= s->begin() && i < s->end()) return s.get();
  return nullptr;
}

const World::Pool& World::stage_of(std::uint32_t i) const {
  return *pools_[i >= pools_.back()->first ? pools_.size() - 1 : 0];
}

bool World::is_up(const Pool& stage) const {
  return std::any_of(views_.begin() + stage.first, views_.begin() + stage.first + stage.count,
                     [](const InstanceView& v) { return v.up; });
}

void World::show_up(std::uint32_t i) {
  const Scaling* s = scaling_of(i);
  const bool up = instances_[i]->faults == 0 && (s == nullptr || s->state(i) == State::up);
  if (views_[i].up == up) return;
  views_[i].up = up;
  down_ += up ? -1 : 1;
}

void World::scale(std::uint32_t i, State to) {
  Scaling& s = *scaling_of(i);
  ScaleEvent e = s.change(i, to, now_);
  e.wanted = s.last_wanted();
  for (const auto& one : scaling_) {
    e.up += one->count(State::up);
    e.starting += one->count(State::starting);
    e.draining += one->count(State::draining);
  }
  for (std::uint32_t k = 0; k < instances_.size(); ++k) e.up += scaling_of(k) == nullptr;
  const FleetView v = see_fleet(s);
  e.waiting = v.waiting;
  e.in_flight = v.in_flight;
  for (const std::int64_t part :
       {to_ns(e.at), std::int64_t{e.instance}, static_cast<std::int64_t>(e.kind)})
    digest_.add(part);
  out_.scaling.push_back(e);
  show_up(i);
  if (to == State::starting)
    queue_.push({now_ + s.plan().start, Phase::control, EventKind::started, i, s.generation(i), 0});
}

// Requests that found nobody up in a stage.
std::int64_t World::stranded_at(const Pool& stage) const {
  const bool first = &stage == pools_.front().get(), last = &stage == pools_.back().get();
  return (first ? static_cast<std::int64_t>(stranded_.size()) : 0) +
         std::count_if(stranded_sequences_.begin(), stranded_sequences_.end(),
                       [&](const Sequence& s) { return s.outcome.handovers > 0 ? last : first; });
}

// Without what takes time to find out: memory, first tokens.
FleetView World::see_fleet(const Scaling& s) const {
  FleetView v;
  v.now = now_;
  v.starting = s.count(State::starting);
  for (std::uint32_t i = s.begin(); i < s.end(); ++i) {
    v.up += views_[i].up ? 1 : 0;
    v.waiting += views_[i].waiting;
    v.in_flight += views_[i].in_flight;
  }
  const std::int64_t stranded = stranded_at(stage_of(s.begin()));
  v.waiting += stranded;
  v.in_flight += stranded;
  // Those on their way to an instance, and held back by quotas, are nobody's in particular.
  if (s.size() == instances_.size()) v.in_flight = static_cast<std::int64_t>(inside_);
  return v;
}

double World::kv_usage(const Scaling& s, Time now) {
  std::int64_t used = 0, all = 0;
  for (std::uint32_t i = s.begin(); i < s.end(); ++i) {
    if (!views_[i].up) continue;
    for (const std::size_t g : instances_[i]->groups) groups_[g]->steps.sync(now - kBefore);
    for (const auto& r : instances_[i]->ranks) {
      used += r->used_blocks();
      all += r->pool().total();
    }
  }
  return all > 0 ? static_cast<double>(used) / static_cast<double>(all) : 0;
}

void World::on_scale(std::uint32_t k, Time now) {
  Scaling& s = *scaling_[k];
  FleetView v = see_fleet(s);
  if (s.traits().memory) v.kv_usage = kv_usage(s, now);
  std::int64_t more = s.wanted(v) - v.serving();
  if (more > 0 && s.may_add(now)) {
    while (more-- > 0 && add_instance(s)) {
    }
    place_stranded(now);
  } else if (more < 0 && s.may_take(now)) {
    while (more++ < 0 && take_instance(s, now)) {
    }
  }
  stop_drained(now);
  tick(EventKind::scale, k, s.plan().every);
}

// One that drains is called back before another is started.
bool World::add_instance(const Scaling& s) {
  for (const State from : {State::draining, State::off}) {
    for (std::uint32_t i = s.begin(); i < s.end(); ++i) {
      if (s.state(i) != from || instances_[i]->faults > 0) continue;
      scale(i, from == State::draining ? State::up : State::starting);
      return true;
    }
  }
  return false;
}

// The start that began last is called off; without any, the instance with the fewest requests
// drains.
bool World::take_instance(const Scaling& s, Time now) {
  for (std::uint32_t i = s.end(); i-- > s.begin();) {
    if (s.state(i) != State::starting) continue;
    scale(i, State::off);
    return true;
  }
  std::optional<std::uint32_t> least;
  for (std::uint32_t i = s.begin(); i < s.end(); ++i)
    if (views_[i].up && (!least || views_[i].in_flight <= views_[*least].in_flight)) least = i;
  if (!least) return false;
  scale(*least, State::draining);
  if (s.plan().migrates) on_move(*least, now);
  return true;
}

void World::on_started(std::uint32_t i, std::uint32_t generation, Time now) {
  if (scaling_of(i)->generation(i) != generation) return;
  scale(i, State::up);
  place_stranded(now);
}

// Somebody came to a stage in which nobody serves: whatever its rules say, one instance must.
void World::wake_fleet(Time now) {
  for (const auto& stage : pools_) {
    if (stranded_at(*stage) == 0 || is_up(*stage)) continue;
    const auto is_of = [&](const auto& s) { return &stage_of(s->begin()) == stage.get(); };
    if (std::any_of(scaling_.begin(), scaling_.end(),
                    [&](const auto& s) { return is_of(s) && s->count(State::starting) > 0; }))
      continue;
    const auto woken = std::find_if(scaling_.begin(), scaling_.end(),
                                    [&](const auto& s) { return is_of(s) && add_instance(*s); });
    if (woken != scaling_.end()) return place_stranded(now);
  }
}

// Requests of a draining instance may be over.
void World::look_at_drain(std::uint32_t i) {
  const Scaling* s = scaling_of(i);
  if (s != nullptr && s->state(i) == State::draining && views_[i].in_flight == 0)
    queue_.push({now_, Phase::control, EventKind::drained, 0, 0, 0});
}

// Drained instances that hold nothing any more, for others either, are off, and so is their cache.
void World::stop_drained(Time now) {
  for (const auto& s : scaling_)
    for (std::uint32_t i = s->begin(); i < s->end(); ++i) {
      if (s->state(i) != State::draining || views_[i].in_flight > 0) continue;
      Instance& in = *instances_[i];
      bool busy = false;
      for (std::size_t r = 0; r < in.ranks.size(); ++r) {
        groups_[in.groups[r]]->steps.sync(now);
        busy = busy || groups_[in.groups[r]]->steps.busy() || in.ranks[r]->has_work() ||
               in.ranks[r]->waits_for_tiers() || in.ranks[r]->used_blocks() > 0;
      }
      if (busy) continue;
      for (const auto& r : in.ranks) r->reset_cache();
      scale(i, State::off);
      leave_machine(i, now);
    }
}

// What lies below the GPU goes with the last instance that uses it.
void World::leave_machine(std::uint32_t i, Time now) {
  if (!options_.tiers || stores_.empty()) return;
  std::vector<bool> mine(stores_.size(), false), kept(stores_.size(), false);
  std::size_t rank = 0;
  for (std::uint32_t k = 0; k < instances_.size(); ++k) {
    const Scaling* s = scaling_of(k);
    const bool is_off = s != nullptr && s->state(k) == State::off;
    for (std::size_t r = 0; r < instances_[k]->ranks.size(); ++r, ++rank)
      for (const TierWay& way : options_.tiers->ranks[rank]) {
        if (k == i) mine[way.store] = true;
        if (!is_off) kept[way.store] = true;
      }
  }
  for (std::size_t n = 0; n < stores_.size(); ++n) {
    if (!mine[n] || kept[n]) continue;
    for (const auto& in : instances_)
      for (const auto& r : in->ranks)
        if (r->tiers() != nullptr) r->tiers()->lost(*stores_[n], now);
    stores_[n]->lose_all(now);
  }
}

// ---- requests that leave a draining instance

// Nothing was computed for them yet: they go elsewhere at once, if anybody is there.
void World::move_waiting(std::uint32_t i, Time now) {
  if (!is_up(stage_of(i))) return;
  Instance& in = *instances_[i];
  std::vector<Sequence> left;
  for (std::size_t r = 0; r < in.ranks.size(); ++r) {
    const std::size_t g = in.groups[r], before = left.size();
    groups_[g]->steps.interrupt(now);
    in.ranks[r]->withdraw(now, left);
    in.in_flight[r] -= static_cast<std::int64_t>(left.size() - before);
    reschedule(g);
    wake(g, now);
  }
  see_queues(in);
  for (Sequence& s : left) {
    discharge(i, s.outcome);
    reroute(std::move(s), now);
  }
  look_at_drain(i);
}

// Those that decode follow one by one, the lightest first, to who holds the fewest prompts.
void World::on_move(std::uint32_t i, Time now) {
  const Scaling& s = *scaling_of(i);
  if (s.state(i) != State::draining) return;
  const Pool& stage = stage_of(i);
  std::optional<std::uint32_t> to;
  for (std::uint32_t k = stage.first; k < stage.first + stage.count; ++k)
    if (views_[k].up && (!to || views_[k].prompt_tokens < views_[*to].prompt_tokens)) to = k;
  if (to) {
    move_waiting(i, now);
    move_lightest(i, *to, MoveBy::copy, now);
  }
  stop_drained(now);
  tick(EventKind::move, i, s.plan().move_every);
}

}  // namespace kvsim
