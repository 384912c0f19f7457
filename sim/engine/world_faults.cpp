// What breaks during a run, and how it goes on: requests of a lost instance are served elsewhere
// from what they had generated, a lost chunk is a miss, a lost link stalls what needs it.
//
// An instance is lost to the router at once; the iterations that were launched already still end
// (at most two), then its requests leave and its cache is gone.
#include <algorithm>

#include "sim/base/check.h"
#include "sim/engine/world.h"

namespace kvsim {

void World::push_fault(std::uint32_t f, Time after) {
  const FaultPlan& plan = options_.faults[f];
  Time at = after;
  if (plan.mean_between > Duration{0}) {
    Rng draw = Rng(plan.stream, "fault").at(fault_states_[f].draws++);
    at += Duration{static_cast<std::int64_t>(
        draw.exponential(static_cast<double>(plan.mean_between.count())))};
  }
  queue_.push({at, Phase::control, EventKind::fault, f, 0, 0});
}

void World::on_fault(std::uint32_t f, Time now) {
  const FaultPlan& plan = options_.faults[f];
  fault_states_[f].record = out_.faults.size();
  fault_states_[f].present = true;
  FaultRecord& record = out_.faults.emplace_back();
  record.kind = plan.kind;
  record.target = plan.name;
  record.at = now;
  for (const std::uint32_t t : plan.targets) {
    switch (plan.kind) {
      case FaultKind::instance:
      case FaultKind::node:
        lose_instance(t, record, now);
        break;
      case FaultKind::tier:
      case FaultKind::directory:
        lose_store(t, record, plan.kind == FaultKind::tier && plan.forgets, now);
        break;
      case FaultKind::link:
        network_.set_bandwidth(LinkId{t}, options_.tiers->links[t].bandwidth * plan.left, now);
        break;
    }
  }
  if (!plan.detours.empty()) choose_ways();
  for (const std::uint32_t s : plan.stores) lose_store(s, record, true, now);
  transfers_ended(now);
  if (plan.down == Duration{0} &&
      (plan.kind == FaultKind::instance || plan.kind == FaultKind::node))
    gone_ += static_cast<int>(plan.targets.size());
  if (plan.down > Duration{0})
    queue_.push({now + plan.down, Phase::control, EventKind::repair, f, 0, 0});
}

void World::on_repair(std::uint32_t f, Time now) {
  const FaultPlan& plan = options_.faults[f];
  out_.faults[fault_states_[f].record].end = now;
  fault_states_[f].present = false;
  for (const std::uint32_t t : plan.targets) {
    switch (plan.kind) {
      case FaultKind::instance:
      case FaultKind::node: {
        Instance& in = *instances_[t];
        if (--in.faults > 0) break;
        show_up(t);
        for (const std::size_t g : in.groups) {
          if (!groups_[g]->steps.busy() && groups_[g]->steps.has_work()) evacuate(g, now);
          groups_[g]->steps.close(false);
        }
        break;
      }
      case FaultKind::tier:
      case FaultKind::directory:
        stores_[t]->set_reachable(true);
        break;
      case FaultKind::link:
        network_.set_bandwidth(LinkId{t}, options_.tiers->links[t].bandwidth, now);
        break;
    }
  }
  if (!plan.detours.empty()) choose_ways();
  for (const std::uint32_t s : plan.stores) stores_[s]->set_reachable(true);
  transfers_ended(now);
  place_stranded(now);
  wake_fleet(now);  // who came back may be off
  if (plan.mean_between > Duration{0}) push_fault(f, now);
}

void World::lose_instance(std::uint32_t i, FaultRecord& record, Time now) {
  Instance& in = *instances_[i];
  if (in.faults++ > 0) return;  // it is down already
  show_up(i);
  evacuating_[i] = static_cast<std::size_t>(&record - out_.faults.data());
  for (const auto& rank : in.ranks) {
    if (rank->host() != nullptr) record.transfers_failed += rank->host()->cancel(now);
    if (rank->tiers() == nullptr) continue;
    const std::int64_t before = rank->tiers()->totals().failed;
    rank->tiers()->fail_all(now);
    record.transfers_failed += rank->tiers()->totals().failed - before;
  }
  std::size_t last = groups_.size();
  for (const std::size_t g : in.groups) {
    if (g == last) continue;  // ranks in lock-step share one
    last = g;
    StepGroup& steps = groups_[g]->steps;
    steps.interrupt(now);
    steps.loads_ended(now);
    steps.close(true);
    reschedule(g);
    wake(g, now);
  }
}

void World::lose_store(std::size_t s, FaultRecord& record, bool forgets, Time now) {
  TierStore& store = *stores_[s];
  if (forgets) {
    for (const auto& in : instances_) {
      for (const auto& rank : in->ranks) {
        if (rank->tiers() == nullptr) continue;
        const std::int64_t before = rank->tiers()->totals().failed;
        rank->tiers()->lost(store, now);
        record.transfers_failed += rank->tiers()->totals().failed - before;
      }
    }
    record.chunks_lost += store.lose_all(now);
  }
  store.set_reachable(false);
}

// The last iteration of a lost instance's group has ended.
void World::evacuate(std::size_t g, Time now) {
  const std::uint32_t id = groups_[g]->instance;
  Instance& in = *instances_[id];
  FaultRecord& record = out_.faults[evacuating_[id]];
  for (std::size_t r = 0; r < in.ranks.size(); ++r) {
    if (in.groups[r] != g) continue;
    moved_.clear();
    record.blocks_lost += in.ranks[r]->evacuate(now, moved_);
    record.requests_moved += static_cast<std::int64_t>(moved_.size());
    for (Sequence& s : moved_) {
      --in.in_flight[r];
      discharge(id, s.outcome);
      reroute(std::move(s), now);
    }
  }
}

void World::reroute(Sequence&& s, Time now) { hand_to(std::move(s), std::nullopt, now); }

// To this instance, or to one of the router's choice.
void World::hand_to(Sequence&& s, std::optional<std::size_t> i, Time now) {
  if (!i) {
    RoutedRequest r{s.outcome.index, s.outcome.session, s.outcome.tenant, s.outcome.prompt_tokens,
                    now};
    r.content = s.content;
    i = route(*pools_[s.outcome.handovers > 0 ? pools_.size() - 1 : 0], r);
    // What it has of its own is worth more than a copy of what others have.
    if (promise_.source != Sequence::kNoSource) drop(promise_.source, now);
  }
  if (!i) {
    stranded_sequences_.push_back(std::move(s));
    wake_fleet(now);
    return;
  }
  Instance& in = *instances_[*i];
  s.outcome.promised_tokens = promise_.tokens;
  s.outcome.promised_ns = to_ns(promise_.work);
  s.outcome.instance = static_cast<std::uint32_t>(*i);
  charge(*i, s.outcome);
  const std::size_t rank = pick_rank(in);
  ++in.in_flight[rank];
  const std::size_t g = in.groups[rank];
  groups_[g]->steps.interrupt(now);
  const std::uint32_t id = s.source;
  const std::uint32_t slot = in.ranks[rank]->accept(std::move(s), now);
  see_queues(in);
  if (id != Sequence::kNoSource) {
    sources_[id].to = static_cast<std::uint32_t>(*i);
    sources_[id].to_rank = static_cast<std::uint32_t>(rank);
    sources_[id].to_slot = slot;
  }
  reschedule(g);
  wake(g, now);
}

void World::place_stranded(Time now) {
  if (down_ == static_cast<int>(instances_.size())) return;
  std::vector<Sequence> sequences;
  sequences.swap(stranded_sequences_);
  for (Sequence& s : sequences) reroute(std::move(s), now);
  std::vector<Request> requests;
  requests.swap(stranded_);
  for (Request& r : requests) {
    const auto i = route(*pools_.front(), r);
    std::swap(scratch_, r);
    if (i) {
      place(*i, now);
    } else {  // another stage's instance came back
      stranded_.push_back(scratch_);
    }
  }
}

// Nobody is left to serve anything, ever. (An instance that two faults took for good counts twice:
// then the queue runs dry later.)
bool World::all_gone() const {
  return gone_ > 0 && gone_ >= static_cast<int>(instances_.size()) &&
         calls_.size() == free_calls_.size() && down_ == static_cast<int>(instances_.size()) &&
         std::none_of(groups_.begin(), groups_.end(),
                      [](const auto& g) { return g->steps.busy() || g->steps.has_work(); });
}

bool World::is_cut_off() const {
  for (std::size_t f = 0; f < fault_states_.size(); ++f)
    if (fault_states_[f].present && options_.faults[f].kind == FaultKind::link) return true;
  return false;
}

// No instance ever came back for them.
void World::reject_stranded() {
  constexpr const char* kReason = "no instance was up";
  for (const Request& r : stranded_) {
    charge(0, outcome_of(r, 0, {}));  // as if placed, so that the counts agree
    reject(r, 0, {}, kReason);
  }
  for (const Sequence& s : stranded_sequences_) {
    RequestOutcome o = s.outcome;
    charge(o.instance, o);
    o.outcome = Outcome::rejected;
    o.reason = kReason;
    o.last_token = now_;
    request_done(o);
  }
  stranded_.clear();
  stranded_sequences_.clear();
}

}  // namespace kvsim
