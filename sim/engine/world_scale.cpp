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
  return std::clamp(plan_.rule->wanted(v), plan_.least, static_cast<std::int64_t>(size()));
}

ScaleEvent Scaling::change(std::size_t i, State to, Time now) {
  const State from = states_[i];
  KVSIM_CHECK(from != to, "instance {} is in that state already", i);
  using Kind = ScaleEvent::Kind;
  ScaleEvent e;
  e.at = now;
  e.instance = static_cast<std::uint32_t>(i);
  switch (to) {
    case State::off:
      e.kind = from == State::starting ? Kind::cancel : Kind::stop;
      paid_[i] += to_ns(now - since_[i]);
      break;
    case State::starting:
      e.kind = Kind::start;
      since_[i] = now;
      break;
    case State::up:
      e.kind = from == State::draining ? Kind::recall : Kind::up;
      if (from == State::off) since_[i] = now;
      break;
    case State::draining:
      e.kind = Kind::drain;
      break;
  }
  if (e.kind == Kind::start || e.kind == Kind::recall) up_from_ = now + plan_.up_cooldown;
  if (e.kind != Kind::stop && e.kind != Kind::up) down_from_ = now + plan_.down_cooldown;
  ++generations_[i];
  states_[i] = to;
  e.up = count(State::up);
  e.starting = count(State::starting);
  e.draining = count(State::draining);
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
  if (!options_.scaling) return;
  KVSIM_CHECK(pools_.size() == 1, "a fleet that scales is one pool");
  scaling_ = std::make_unique<Scaling>(std::move(*options_.scaling), instances_.size());
  options_.scaling.reset();
  for (std::uint32_t i = 0; i < instances_.size(); ++i) {
    if (static_cast<std::int64_t>(i) < scaling_->plan().first) {
      scale(i, State::up);
    } else {
      show_up(i);
    }
  }
  tick(EventKind::scale, 0, scaling_->plan().every);
}

void World::show_up(std::uint32_t i) {
  const bool up = instances_[i]->faults == 0 && (!scaling_ || scaling_->state(i) == State::up);
  if (views_[i].up == up) return;
  views_[i].up = up;
  down_ += up ? -1 : 1;
}

void World::scale(std::uint32_t i, State to) {
  ScaleEvent e = scaling_->change(i, to, now_);
  e.wanted = wanted_;
  const FleetView v = see_fleet();
  e.waiting = v.waiting;
  e.in_flight = v.in_flight;
  for (const std::int64_t part :
       {to_ns(e.at), std::int64_t{e.instance}, static_cast<std::int64_t>(e.kind)})
    digest_.add(part);
  out_.scaling.push_back(e);
  show_up(i);
  if (to == State::starting)
    queue_.push({now_ + scaling_->plan().start, Phase::control, EventKind::started, i,
                 scaling_->generation(i), 0});
}

// Without what takes time to find out: memory, first tokens.
FleetView World::see_fleet() const {
  FleetView v;
  v.now = now_;
  v.starting = scaling_->count(State::starting);
  for (const InstanceView& i : views_) {
    v.up += i.up ? 1 : 0;
    v.waiting += i.waiting;
  }
  v.waiting += static_cast<std::int64_t>(stranded_.size() + stranded_sequences_.size());
  v.in_flight = static_cast<std::int64_t>(inside_);
  return v;
}

double World::kv_usage(Time now) {
  std::int64_t used = 0, all = 0;
  for (std::uint32_t i = 0; i < instances_.size(); ++i) {
    if (!views_[i].up) continue;
    for (const std::size_t g : instances_[i]->groups) groups_[g]->steps.sync(now - kBefore);
    for (const auto& r : instances_[i]->ranks) {
      used += r->used_blocks();
      all += r->pool().total();
    }
  }
  return all > 0 ? static_cast<double>(used) / static_cast<double>(all) : 0;
}

void World::on_scale(Time now) {
  FleetView v = see_fleet();
  if (scaling_->traits().memory) v.kv_usage = kv_usage(now);
  wanted_ = scaling_->wanted(v);
  std::int64_t more = wanted_ - v.serving();
  if (more > 0 && scaling_->may_add(now)) {
    while (more-- > 0 && add_instance()) {
    }
    place_stranded(now);
  } else if (more < 0 && scaling_->may_take(now)) {
    while (more++ < 0 && take_instance(now)) {
    }
  }
  stop_drained(now);
  tick(EventKind::scale, 0, scaling_->plan().every);
}

// One that drains is called back before another is started.
bool World::add_instance() {
  for (const State from : {State::draining, State::off}) {
    for (std::uint32_t i = 0; i < instances_.size(); ++i) {
      if (scaling_->state(i) != from || instances_[i]->faults > 0) continue;
      scale(i, from == State::draining ? State::up : State::starting);
      return true;
    }
  }
  return false;
}

// The start that began last is called off; without any, the instance with the fewest requests
// drains.
bool World::take_instance(Time now) {
  for (auto i = static_cast<std::uint32_t>(instances_.size()); i-- > 0;) {
    if (scaling_->state(i) != State::starting) continue;
    scale(i, State::off);
    return true;
  }
  std::optional<std::uint32_t> least;
  for (std::uint32_t i = 0; i < instances_.size(); ++i)
    if (views_[i].up && (!least || views_[i].in_flight <= views_[*least].in_flight)) least = i;
  if (!least) return false;
  scale(*least, State::draining);
  if (scaling_->plan().migrates) on_move(*least, now);
  return true;
}

void World::on_started(std::uint32_t i, std::uint32_t generation, Time now) {
  if (scaling_->generation(i) != generation) return;
  scale(i, State::up);
  place_stranded(now);
}

// Somebody came and nobody serves: whatever the rule says, one instance must.
void World::wake_fleet(Time now) {
  if (!scaling_ || scaling_->count(State::starting) > 0) return;
  if (std::any_of(views_.begin(), views_.end(), [](const auto& v) { return v.up; })) return;
  if (add_instance()) place_stranded(now);
}

// Requests of a draining instance may be over.
void World::look_at_drain(std::uint32_t i) {
  if (scaling_ && scaling_->state(i) == State::draining && views_[i].in_flight == 0)
    queue_.push({now_, Phase::control, EventKind::drained, 0, 0, 0});
}

// Drained instances that hold nothing any more, for others either, are off, and so is their cache.
void World::stop_drained(Time now) {
  for (std::uint32_t i = 0; i < instances_.size(); ++i) {
    if (scaling_->state(i) != State::draining || views_[i].in_flight > 0) continue;
    Instance& in = *instances_[i];
    bool busy = false;
    for (std::size_t r = 0; r < in.ranks.size(); ++r) {
      groups_[in.groups[r]]->steps.sync(now);
      busy = busy || groups_[in.groups[r]]->steps.busy() || in.ranks[r]->has_work() ||
             in.ranks[r]->used_blocks() > 0;
    }
    if (busy) continue;
    for (const auto& r : in.ranks) r->reset_cache();
    scale(i, State::off);
  }
}

// ---- requests that leave a draining instance

// Nothing was computed for them yet: they go elsewhere at once, if anybody is there.
void World::move_waiting(std::uint32_t i, Time now) {
  if (down_ == static_cast<int>(instances_.size())) return;
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
  if (scaling_->state(i) != State::draining) return;
  std::optional<std::uint32_t> to;
  for (std::uint32_t k = 0; k < instances_.size(); ++k)
    if (views_[k].up && (!to || views_[k].prompt_tokens < views_[*to].prompt_tokens)) to = k;
  if (to) {
    move_waiting(i, now);
    move_lightest(i, *to, now);
  }
  stop_drained(now);
  tick(EventKind::move, i, scaling_->plan().move_every);
}

}  // namespace kvsim
