#include "sim/engine/world.h"

#include <algorithm>

#include "sim/base/check.h"
#include "sim/engine/cost_estimator.h"

namespace kvsim {

namespace {
constexpr Duration kBalanceEvery =
    std::chrono::milliseconds(100);  // engine-semantics section 4, data parallel
constexpr std::size_t kFlushAt = 8192;
constexpr std::uint64_t kCheckEvery = 1 << 16;
}  // namespace

World::World(std::vector<InstanceSpec> specs, std::unique_ptr<Router> router, TraceSource& trace,
             Options options)
    : options_(std::move(options)), trace_(trace), specs_(std::move(specs)) {
  listener_ = transfers_.add_listener(*this);
  std::size_t instances = 0;
  for (const InstanceSpec& spec : specs_) instances += spec.count;
  const std::size_t entry = instances - options_.decode.instances;
  build_pool(std::move(router), entry);
  for (const InstanceSpec& spec : specs_) {
    estimators_.push_back(std::make_unique<CostEstimator>(
        *spec.cost, options_.tiers ? options_.tiers->offload.project_share : 0));
    for (std::size_t i = 0; i < spec.count; ++i) {
      if (instances_.size() == entry)
        build_pool(std::move(options_.decode.router), options_.decode.instances);
      build_instance(spec, *pools_.back());
    }
  }
  if (options_.tiers) build_tiers();
  if (options_.peers) show_peers();
  if (options_.lending) build_lending();
  if (options_.encode.encoders > 0) encoders_ = std::make_unique<EncoderPool>(options_.encode);
  if (!options_.quotas.empty()) gateway_ = std::make_unique<Gateway>(std::move(options_.quotas));
}

void World::build_instance(const InstanceSpec& spec, Pool& pool) {
  auto owned = std::make_unique<Instance>(spec);
  Instance& in = *owned;
  const auto id = static_cast<std::uint32_t>(instances_.size());
  const auto ranks = static_cast<std::size_t>(in.spec.data_parallel);
  instances_.push_back(std::move(owned));
  in.steps = estimators_.back().get();
  for (std::size_t r = 0; r < ranks; ++r) {
    const auto seen = [this, &pool, id, r](std::span<const ContentChunk> content, std::int64_t from,
                                           std::int64_t most) {
      // What only its own request may use stands in no directory.
      if (instances_[id]->spec.engine.forms == nullptr)
        return pool.directory.seen_blocks(content, from, most);
      std::int64_t best = 0;
      for (std::size_t i = 0; i < instances_.size(); ++i)
        for (std::size_t k = 0; k < instances_[i]->ranks.size(); ++k)
          if (i != id || k != r)
            best = std::max(best, instances_[i]->ranks[k]->seen_blocks(content, from, most));
      return best;
    };
    in.ranks.push_back(std::make_unique<Rank>(
        in.spec.engine, id, static_cast<std::uint32_t>(r),
        [this](const RequestOutcome& o) { request_done(o); }, seen, out_.itl, *in.steps));
    in.ranks.back()->on_first_token([this](const RequestOutcome& o) { first_token(o); });
    in.ranks.back()->attach_peers(*this);
    in.ranks.back()->attach_images(images_);
    hear_caches(pool, *in.ranks.back(), id - pool.first);
  }
  in.seen_waiting.assign(ranks, 0);
  in.seen_running.assign(ranks, 0);
  in.seen_usage.assign(ranks, 0);
  in.in_flight.assign(ranks, 0);
  std::vector<std::vector<Rank*>> lanes;
  for (std::size_t r = 0; r < ranks; ++r) {
    if (!in.spec.lockstep || r == 0) lanes.emplace_back();
    lanes.back().push_back(in.ranks[r].get());
    in.groups.push_back(groups_.size() + lanes.size() - 1);
    pool.groups.push_back(in.groups.back());
  }
  pool.steps.push_back(in.steps);
  InstanceView& view = views_.emplace_back();
  view.kv_tokens =
      in.spec.engine.kv_blocks * in.spec.engine.block_tokens * static_cast<std::int64_t>(ranks);
  for (auto& l : lanes) {
    groups_.push_back(std::make_unique<Group>(
        Group{StepGroup(in.spec.engine, std::move(l), *in.spec.cost, out_.itl, scratch_steps_), 0,
              false, id}));
    if (options_.record_iterations) groups_.back()->steps.record_iterations(&out_.iterations);
  }
}

// ---- arrivals

void World::push_arrival() {
  const auto at = trace_.next_arrival();
  const Time when = at ? std::max(*at, now_) : kNever;
  if (when == arrival_at_) return;
  arrival_at_ = when;
  ++arrival_generation_;
  if (at) queue_.push({when, Phase::arrival, EventKind::arrival, 0, arrival_generation_, 0});
}

void World::reject(const Request& r, std::uint32_t instance, Promise promise, const char* reason) {
  if (promise.source != Sequence::kNoSource) drop(promise.source, now_);
  RequestOutcome o = outcome_of(r, instance, promise);
  o.outcome = Outcome::rejected;
  o.reason = reason;
  o.last_token = now_;
  request_done(o);
}

void World::on_arrival(Time now) {
  arrival_at_ = kNever;
  trace_.pop(scratch_);
  if (const Adapters* a = instances_.front()->spec.engine.adapters)
    Adapters::set_apart(scratch_.segments, a->of(scratch_));
  if (!scratch_.images.empty()) take_images();
  ++injected_;
  ++inside_;
  if (!gateway_ || pass_gateway(now)) admit(now);
  push_arrival();
}

// scratch_ goes to an instance.
void World::admit(Time now) {
  if (const auto i = route_arrival()) {
    place(*i, now);
  } else {
    stranded_.push_back(scratch_);
    wake_fleet(now);
  }
}

// scratch_ goes to instance i.
void World::place(std::size_t i, Time now) {
  Instance& in = *instances_[i];
  const auto id = static_cast<std::uint32_t>(i);
  charge(i, outcome_of(scratch_, id, promise_));
  const char* reason = misfit(scratch_, id);
  if (reason == nullptr && pools_.size() > 1)  // where it will go on
    reason = misfit(scratch_, pools_.back()->first);
  if (encoders_ && reason == nullptr)
    promise_.waited = encoders_->ready(scratch_.images, now) - now;
  if (reason != nullptr) {
    reject(scratch_, id, promise_, reason);
  } else if (in.spec.engine.front_end + promise_.waited == Duration{0}) {
    deliver(scratch_, in, promise_, now);
  } else {
    std::uint32_t slot = 0;
    if (free_routed_.empty()) {
      slot = static_cast<std::uint32_t>(routed_.size());
      routed_.emplace_back();
    } else {
      slot = free_routed_.back();
      free_routed_.pop_back();
    }
    std::swap(routed_[slot].request, scratch_);
    routed_[slot].instance = id;
    routed_[slot].promise = promise_;
    queue_.push({now + in.spec.engine.front_end + promise_.waited, Phase::arrival,
                 EventKind::visible, slot, 0, 0});
  }
}

void World::on_visible(std::uint32_t slot, Time now) {
  Routed& r = routed_[slot];
  if (instances_[r.instance]->faults > 0) {  // lost on the way
    discharge(r.instance, outcome_of(r.request, r.instance, r.promise));
    if (r.promise.source != Sequence::kNoSource) drop(r.promise.source, now);
    const auto other = route(*pools_.front(), r.request);
    if (!other) {
      stranded_.push_back(r.request);
      free_routed_.push_back(slot);
      wake_fleet(now);
      return;
    }
    r.instance = static_cast<std::uint32_t>(*other);
    promise_.waited = r.promise.waited;
    r.promise = promise_;
    charge(*other, outcome_of(r.request, r.instance, r.promise));
  }
  deliver(r.request, *instances_[r.instance], r.promise, now);
  free_routed_.push_back(slot);
}

// The front end of a data-parallel instance: least score on counts that are up to 100 ms old.
std::size_t World::pick_rank(Instance& in) {
  const std::size_t n = in.ranks.size();
  if (n == 1) return 0;
  std::size_t best = 0;
  double best_score = 0;
  for (std::size_t k = 0; k < n; ++k) {
    const std::size_t r = (in.rotate + k) % n;
    const auto waiting = static_cast<double>(in.seen_waiting[r]),
               running = static_cast<double>(in.seen_running[r]);
    double score = 4 * waiting + running;
    if (!in.spec.old_balancing) {
      score = std::max(static_cast<double>(in.in_flight[r]), waiting + running) +
              6 * waiting * std::max(0.0, in.seen_usage[r] - 0.5);
    }
    if (k == 0 || score < best_score) best = r, best_score = score;
  }
  in.rotate = (best + 1) % n;
  ++in.seen_waiting[best];  // bumped locally until the next publication
  return best;
}

void World::deliver(const Request& r, Instance& in, Promise promise, Time visible) {
  in.spec.engine.pushes ? ask_for_room(r, in, promise, visible)
                        : deliver_now(r, in, promise, visible);
}

void World::deliver_now(const Request& r, Instance& in, Promise promise, Time visible) {
  const std::size_t rank = pick_rank(in);
  const std::size_t group = in.groups[rank];
  groups_[group]->steps.interrupt(now_);
  if (const char* reason = in.ranks[rank]->refuse(r, now_)) {
    reject(r, in.ranks[rank]->totals().instance, promise, reason);
    reschedule(group);
    return;
  }
  ++in.in_flight[rank];
  groups_[group]->steps.begin_at(r.arrival_fraction);
  in.ranks[rank]->enqueue(r, visible, promise);
  see_queues(in);
  reschedule(group);
  wake(group, now_);
  if (in.ranks.size() > 1 && !in.balancing) {
    in.balancing = true;
    const auto id = in.ranks[0]->totals().instance;
    queue_.push({now_ + kBalanceEvery, Phase::control, EventKind::balance, id, 0, 0});
  }
}

void World::on_balance(std::uint32_t id, Time now) {
  Instance& in = *instances_[id];
  std::int64_t inside = 0;
  for (std::size_t r = 0; r < in.ranks.size(); ++r) {
    groups_[in.groups[r]]->steps.sync(now - Duration{1});  // as in world_route.cpp
    in.seen_waiting[r] = in.ranks[r]->waiting();
    in.seen_running[r] = in.ranks[r]->running();
    in.seen_usage[r] = static_cast<double>(in.ranks[r]->used_blocks()) /
                       static_cast<double>(in.ranks[r]->pool().total());
    inside += in.in_flight[r];
  }
  in.balancing = inside > 0;
  if (in.balancing)
    queue_.push({now + kBalanceEvery, Phase::control, EventKind::balance, id, 0, 0});
}

// ---- iterations

// The group's next end may have changed: older events for it are stale.
void World::reschedule(std::size_t group) {
  Group& g = *groups_[group];
  ++g.generation;
  if (g.steps.busy() && !g.steps.stalled())
    queue_.push({g.steps.next_end(), Phase::completion, EventKind::step_end,
                 static_cast<std::uint32_t>(group), g.generation, 0});
}

void World::wake(std::size_t group, Time now) {
  Group& g = *groups_[group];
  if (!g.steps.wants_plan()) return;
  if (instances_[g.instance]->faults > 0) {
    queue_.push(
        {now, Phase::evacuation, EventKind::evacuate, static_cast<std::uint32_t>(group), 0, 0});
    return;
  }
  if (g.schedule_pending) return;
  g.schedule_pending = true;
  queue_.push({now, Phase::schedule, EventKind::schedule, static_cast<std::uint32_t>(group), 0, 0});
}

void World::on_step_end(std::uint32_t group, Time now) {
  Group& g = *groups_[group];
  g.steps.complete(now);
  if (!handed_.empty()) place_handed(now);
  for (const auto& [index, at] : ended_) trace_.finished(index, at);
  if (!ended_.empty()) {
    ended_.clear();
    push_arrival();
  }
  // Whatever else happens at this instant (arrivals above all) comes before the next plan.
  const bool first =
      queue_.empty() || queue_.top().at > now || queue_.top().phase >= Phase::schedule;
  if (!first || instances_[g.instance]->faults > 0) {
    wake(group, now);
  } else {
    on_schedule(group, now);
  }
}

void World::on_schedule(std::uint32_t group, Time now) {
  Group& g = *groups_[group];
  g.schedule_pending = false;
  g.steps.schedule(now);
  see_queues(*instances_[g.instance]);
  // A plan hands nothing over: others may have planned for this instant, or will (rank_handover).
  KVSIM_CHECK(handed_.empty(), "a request leaves instance {} in a plan", g.instance);
  reschedule(group);
  if (!g.steps.busy() && instances_[g.instance]->faults > 0) {
    evacuate(group, now);
    return;
  }
  if (!g.steps.busy() && g.steps.waits_for_tiers()) {
    const Time answer = g.steps.next_answer(now);
    if (answer != kNever)
      queue_.push({answer, Phase::completion, EventKind::answer, group, g.generation, 0});
  }
  // I5: nobody idles while admissible work waits (what can never fit was rejected).
  KVSIM_CHECK(g.steps.busy() || !g.steps.has_work() || g.steps.waits_for_tiers(),
              "step group {} idles at {} ns with requests inside", group, to_ns(now));
}

void World::see_queues(const Instance& in) {
  std::int64_t waiting = 0;
  for (const auto& r : in.ranks) waiting += r->waiting();
  views_[in.ranks.front()->totals().instance].waiting = waiting;
}

void World::request_done(const RequestOutcome& o) {
  ++completed_;
  --inside_;
  if (!images_.empty()) images_.erase(o.index);
  Instance& in = *instances_[o.instance];
  discharge(o.instance, o);
  if (!advanced_.empty())
    std::erase_if(advanced_, [&](const Advance& a) { return a.request == o.index; });
  if (o.outcome != Outcome::rejected) --in.in_flight[o.rank];
  look_at_drain(o.instance);
  if (!pushes_.empty())
    if (const auto p = pushes_.find(o.index); p != pushes_.end()) dismiss(p->second);
  ended_.emplace_back(o.index, o.last_token == kNever ? now_ : std::max(o.last_token, now_));
  digest_.add(o.index);
  digest_.add(static_cast<std::uint64_t>(o.outcome));
  for (const Time t : {o.arrival, o.scheduled, o.first_token, o.last_token}) digest_.add(to_ns(t));
  digest_.add(o.hit_tokens);
  digest_.add(static_cast<std::uint64_t>(o.preemptions));
  out_.requests.push_back(o);
  leave_gateway(out_.requests.back());
  if (options_.flush && out_.requests.size() >= kFlushAt) {
    options_.flush(out_.requests);
    out_.requests.clear();
  }
}

// ---- observation

void World::on_sample(Time now) {
  for (const auto& in : instances_) {
    for (std::size_t r = 0; r < in->ranks.size(); ++r) {
      groups_[in->groups[r]]->steps.sync(now);
      const Rank& rank = *in->ranks[r];
      InstanceSample s;
      s.at = now;
      s.instance = rank.totals().instance;
      s.rank = rank.totals().rank;
      s.running = rank.running();
      s.waiting = rank.waiting();
      s.total_blocks = rank.pool().total();
      s.used_blocks = rank.used_blocks();
      s.cached_blocks = rank.pool().cached_free();
      s.prompt_tokens = rank.totals().prefill_tokens;
      s.output_tokens = rank.totals().decode_tokens;
      const KvOccupancy memory = rank.occupancy();
      s.unfilled_tokens = memory.unfilled_tokens;
      s.stranded_blocks = memory.stranded_blocks;
      out_.samples.push_back(s);
    }
  }
  for (std::size_t i = 0; i < stores_.size(); ++i)
    out_.tier_samples.push_back({now, options_.tiers->stores[i].tier, store_number_[i],
                                 stores_[i]->resident(), stores_[i]->totals().read_bytes,
                                 stores_[i]->totals().written_bytes});
  tick(EventKind::sample, 0, options_.sample_every);
}

void World::on_reset(Time now) {
  for (const auto& in : instances_) {
    for (std::size_t r = 0; r < in->ranks.size(); ++r) {
      groups_[in->groups[r]]->steps.sync(now);
      in->ranks[r]->reset_cache();
    }
  }
}

void World::check_invariants() {
  for (const auto& in : instances_)
    for (const auto& r : in->ranks) r->check_invariants();
  if (loans_) loans_->check();
  for (const auto& s : stores_) s->check(false);
  for (const auto& p : tier_pools_)
    if (p) p->check();
  KVSIM_CHECK(injected_ == completed_ + inside_, "{} requests came in, {} are over, {} inside",
              injected_, completed_, inside_);
}

// ---- the loop

void World::dispatch(const Event& e) {
  switch (e.kind) {
    case EventKind::step_end:
      if (e.generation == groups_[e.target]->generation) on_step_end(e.target, e.at);
      break;
    case EventKind::arrival:
      if (e.generation == arrival_generation_) on_arrival(e.at);
      break;
    case EventKind::visible:
      on_visible(e.target, e.at);
      break;
    case EventKind::balance:
      on_balance(e.target, e.at);
      break;
    case EventKind::evacuate:
    case EventKind::schedule:
      on_schedule(e.target, e.at);
      break;
    case EventKind::sample:
      --ticks_;
      on_sample(e.at);
      break;
    case EventKind::publish:
      --ticks_;
      on_publish(e.target, e.at);
      break;
    case EventKind::migrate:
      --ticks_;
      on_migrate(e.target, e.at);
      break;
    case EventKind::grant:
      on_grant(e.at);
      break;
    case EventKind::roles:
      --ticks_;
      on_roles(e.at);
      break;
    case EventKind::switched:
      on_switched(e.target, e.at);
      break;
    case EventKind::tool:
      on_tool(e.target, e.at);
      break;
    case EventKind::reset:
      on_reset(e.at);
      break;
    case EventKind::transfer:
      if (e.generation == transfer_generation_) on_transfer(e.at);
      break;
    case EventKind::fault:
      on_fault(e.target, e.at);
      break;
    case EventKind::repair:
      on_repair(e.target, e.at);
      break;
    case EventKind::scale:
      --ticks_;
      on_scale(e.target, e.at);
      break;
    case EventKind::started:
      on_started(e.target, e.generation, e.at);
      break;
    case EventKind::drained:
      stop_drained(e.at);
      break;
    case EventKind::move:
      --ticks_;
      on_move(e.target, e.at);
      break;
    case EventKind::gateway:
      on_gateway(e.target, e.at);
      break;
    case EventKind::lend:
      on_lend(e.at);
      break;
    case EventKind::answer:
      if (e.generation == groups_[e.target]->generation) wake(e.target, e.at);
      break;
  }
}

RunOutcome World::run() {
  bool stopped = false;
  spare_memory();
  push_arrival();
  begin_scaling();
  begin_ticks();
  if (options_.roles) begin_roles();
  fault_states_.resize(options_.faults.size());
  evacuating_.resize(instances_.size());
  for (std::uint32_t f = 0; f < options_.faults.size(); ++f) push_fault(f, options_.faults[f].at);
  for (const Time at : options_.resets)
    queue_.push({at, Phase::control, EventKind::reset, 0, 0, 0});
  while (!queue_.empty()) {
    const Event e = queue_.pop();
    KVSIM_CHECK(e.at >= now_, "time falls from {} to {} ns", to_ns(now_), to_ns(e.at));
    if (inside_ == 0 && arrival_at_ == kNever) break;  // only observation is left
    if (arrival_at_ == kNever && all_gone()) break;
    now_ = e.at;
    if (!queue_.empty()) foresee(queue_.top());
    dispatch(e);
    if (!ended_.empty()) {  // rejections and time-outs outside an iteration
      for (const auto& [index, at] : ended_) trace_.finished(index, at);
      ended_.clear();
      push_arrival();
    }
    if (loans_ && loans_->take_freed()) wake_idle(now_);
    if (options_.tiers || options_.peers) schedule_transfers();
    if ((++events_ & (kCheckEvery - 1)) == 0 && options_.check_often) check_invariants();
    if ((events_ & 0xfff) == 0 && options_.progress && !options_.progress(now_, completed_)) {
      stopped = true;
      break;
    }
  }
  reject_stranded();
  reject_held();
  if (grants_) on_grant(now_);  // the last request gave its room back
  if (inside_ > 0 && !stopped && is_cut_off())
    throw InputError(fmt::format("faults: {} requests wait for ever for KV behind a link that does "
                                 "not come back",
                                 inside_),
                     "give the fault a duration (`down: 60 s`), or leave some bandwidth (`left`)");
  KVSIM_CHECK(inside_ == 0 || stopped, "{} requests are inside and nothing will ever happen",
              inside_);
  finish_outcome();
  return std::move(out_);
}

void World::finish_outcome() {
  check_invariants();
  out_.injected = injected_;
  for (const auto& in : instances_) {
    for (const auto& r : in->ranks) {
      out_.ranks.push_back(r->totals());
      RankTotals& t = out_.ranks.back();
      t.evicted_blocks = r->pool().evicted();
      t.forms = r->form_totals();
      if (const HostCopies* host = r->host()) host->report(t);
      if (const Snapshots* s = r->snapshots())
        t.snapshots = {r->config().snapshots.slots, s->saved(), s->used(), s->evicted()};
      for (const std::int64_t v :
           {t.iterations, t.gpu_ns, t.host_ns, t.prefill_tokens, t.decode_tokens, t.evicted_blocks})
        digest_.add(v);
      KVSIM_CHECK(inside_ > 0 || r->used_blocks() == 0,
                  "{} KV blocks are held although nothing runs", r->used_blocks());
    }
  }
  if (options_.tiers) report_tiers();
  out_.handovers = handovers_;
  out_.copies = copies_;
  out_.role_switches = role_switches_;
  if (loans_) out_.lending = loans_->totals();
  if (encoders_) out_.encoders = encoders_->totals();
  out_.peer_bytes = handover_bytes_;
  if (options_.peers) digest_.add(handover_bytes_);
  out_.end = now_;
  if (!scaling_.empty()) out_.instance_ns.assign(instances_.size(), to_ns(now_ - Time{}));
  for (const auto& s : scaling_) {
    const std::vector<std::int64_t> paid = s->paid(now_);
    std::copy(paid.begin(), paid.end(), out_.instance_ns.begin() + s->begin());
  }
  out_.digest = digest_.value();
  if (options_.flush && !out_.requests.empty()) {
    options_.flush(out_.requests);
    out_.requests.clear();
  }
}

}  // namespace kvsim
