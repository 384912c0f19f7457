// Routing: what routers are shown, what they promised, and how good their decisions were.
#include <algorithm>
#include <cmath>

#include "sim/base/check.h"
#include "sim/engine/content.h"
#include "sim/engine/world.h"

namespace kvsim {

namespace {
// An iteration that ends at this very instant is completed by its event: what follows it is planned
// with what happens now in view, and must not have been planned silently before.
constexpr Duration kBefore{1};
}  // namespace

void World::build_pool(std::unique_ptr<Router> router, std::size_t instances) {
  const Router::Traits traits = router->traits();
  const bool words = traits.index == Router::Traits::Index::events;
  const bool truth = traits.index == Router::Traits::Index::exact || options_.record_decisions > 0;
  Pool& p = *pools_.emplace_back(
      std::make_unique<Pool>(PrefixDirectory::Options{truth, words, traits.lag}));
  p.first = static_cast<std::uint32_t>(views_.size());
  p.count = static_cast<std::uint32_t>(instances);
  p.router = std::move(router);
  p.traits = traits;
  p.hears = words || truth;
  p.promised.assign(instances, 0);
  p.cached.assign(instances, 0);
  p.scores.assign(options_.record_decisions > 0 ? instances : 0, 0);
}

void World::hear_caches(Pool& pool, Rank& rank, std::uint32_t instance) {
  const auto number = static_cast<std::uint32_t>(pool.instances.size());
  pool.instances.push_back(instance);
  rank.pool().on_cached(
      [&pool, number](std::uint64_t key, std::uint32_t& place, std::int64_t leading,
                      std::int64_t seen) {
        pool.directory.changed(number, key, place, leading, seen);
      },
      pool.hears);
}

// ---- what comes again and again

// Something may still happen by itself; without it run() says what is stuck.
bool World::goes_on() const {
  return (inside_ > 0 || arrival_at_ != kNever) && queue_.size() > ticks_;
}

void World::tick(EventKind kind, std::uint32_t target, Duration after) {
  if (after == Duration{0} || !goes_on()) return;
  ++ticks_;
  const Phase phase = kind == EventKind::sample ? Phase::sample : Phase::control;
  queue_.push({now_ + after, phase, kind, target, 0, 0});
}

void World::begin_ticks() {
  tick(EventKind::sample, 0, options_.sample_every);
  if (loans_) tick(EventKind::lend, 0, loans_->plan().every);
  for (std::uint32_t p = 0; p < pools_.size(); ++p) {
    if (pools_[p]->directory.options().words)
      tick(EventKind::publish, p, pools_[p]->traits.publish);
    if (options_.peers) tick(EventKind::migrate, p, pools_[p]->traits.every);
  }
}

void World::on_publish(std::uint32_t p, Time now) {
  Pool& pool = *pools_[p];
  for (const std::size_t g : pool.groups) groups_[g]->steps.sync(now - kBefore);
  for (std::uint32_t i = 0; i < pool.count; ++i)
    for (const auto& rank : instances_[pool.first + i]->ranks) rank->catch_up();
  pool.directory.publish(now);
  tick(EventKind::publish, p, pool.traits.publish);
}

// ---- loads

RequestOutcome World::outcome_of(const Request& r, std::uint32_t instance, Promise promise) {
  RequestOutcome o;
  o.index = r.index;
  o.session = r.session;
  o.turn = r.turn;
  o.tenant = r.tenant;
  o.instance = instance;
  o.prompt_tokens = r.prompt_tokens;
  o.output_tokens = r.output_tokens;
  o.arrival = r.arrival;
  o.promised_tokens = promise.tokens;
  o.promised_ns = to_ns(promise.work);
  return o;
}

void World::charge(std::size_t i, const RequestOutcome& o) {
  InstanceView& v = views_[i];
  ++v.in_flight;
  v.in_flight_tokens += o.prompt_tokens + o.output_tokens;
  v.prompt_tokens += o.prompt_tokens;
  if (o.first_token != kNever) return;
  v.pending_tokens += o.prompt_tokens - o.promised_tokens;
  v.pending_work += Duration{o.promised_ns};
}

void World::first_token(const RequestOutcome& o) {
  InstanceView& v = views_[o.instance];
  v.pending_tokens -= o.prompt_tokens - o.promised_tokens;
  v.pending_work -= Duration{o.promised_ns};
  if (scaling_.empty() || o.first_token == kNever) return;
  if (Scaling* s = scaling_of(o.instance)) s->hear_first_token(o.first_token - o.arrival);
}

void World::discharge(std::size_t i, const RequestOutcome& o) {
  InstanceView& v = views_[i];
  --v.in_flight;
  v.in_flight_tokens -= o.prompt_tokens + o.output_tokens;
  v.prompt_tokens -= o.prompt_tokens;
  if (o.first_token == kNever) first_token(o);
}

// ---- decisions

// Tokens by instance from matches_, which are blocks by rank.
void World::spread(Pool& pool, std::vector<std::int64_t>& to) {
  std::fill(to.begin(), to.end(), 0);
  const std::int64_t bt = instances_[pool.first]->spec.engine.block_tokens;
  for (const PrefixDirectory::Holder& h : matches_) {
    std::int64_t& tokens = to[pool.instances[h.instance]];
    tokens = std::max(tokens, h.blocks * bt);
  }
}

void World::find_prefixes(Pool& pool, const RoutedRequest& r) {
  const std::int64_t most = (r.prompt_tokens - 1) / r.block_tokens;
  late_outputs_.look(r.content);
  if (pool.directory.options().holders) {
    // Iterations that were skipped may have evicted what seems to be there.
    pool.directory.match(r.content, most, matches_);
    const std::uint64_t before = pool.directory.changes();
    for (const PrefixDirectory::Holder& h : matches_)
      groups_[pool.groups[h.instance]]->steps.sync(now_ - kBefore);
    if (pool.directory.changes() != before) pool.directory.match(r.content, most, matches_);
    spread(pool, pool.cached);
  }
  if (pool.directory.options().words) {
    pool.directory.match_words(r.content, most, now_, matches_);
    spread(pool, pool.promised);
  } else if (pool.traits.index == Router::Traits::Index::exact) {
    pool.promised = pool.cached;
  }
}

std::optional<std::size_t> World::route(Pool& pool, const Request& given) {
  RoutedRequest r{given.index, given.session, given.tenant, given.prompt_tokens, now_};
  if (pool.hears || pool.traits.content) {
    to_content(given, instances_[pool.first]->spec.engine.block_tokens, content_);
    r.content = content_;
  }
  return route(pool, r);
}

// Short prompts may be computed where they are decoded.
std::optional<std::size_t> World::route_arrival() {
  if (pools_.size() > 1 && options_.decode.local_prefill > 0) {
    const auto i = route(*pools_.back(), scratch_);
    if (i && scratch_.prompt_tokens - promise_.tokens <= options_.decode.local_prefill) return i;
  }
  return route(*pools_.front(), scratch_);
}

// The router's choice among the instances that are up; nothing when none is.
std::optional<std::size_t> World::route(Pool& pool, RoutedRequest r) {
  const std::span<const InstanceView> views(views_.data() + pool.first, pool.count);
  if (down_ > 0 && std::none_of(views.begin(), views.end(), [](const auto& v) { return v.up; }))
    return std::nullopt;
  r.block_tokens = instances_[pool.first]->spec.engine.block_tokens;
  r.steps = pool.steps;
  if (pool.hears) find_prefixes(pool, r);
  if (pool.traits.index != Router::Traits::Index::none) r.hit_tokens = pool.promised;
  std::fill(pool.scores.begin(), pool.scores.end(), std::nan(""));
  const std::size_t i = pool.router->pick(r, views, pool.scores);
  KVSIM_CHECK(i < views.size() && views[i].up, "the router chose instance {} of {}", i,
              views.size());
  promise_.tokens = r.hits(i);
  const bool estimates = pool.traits.estimates || options_.record_decisions > 0;
  promise_.source = Sequence::kNoSource;
  const std::size_t copied = pool.traits.copies ? pool.router->copy_from() : kNoInstance;
  if (copied != kNoInstance && options_.peers && r.hits(copied) > r.hits(i)) {
    promise_.tokens = r.hits(copied);
    promise_.source =
        new_source(Source::Kind::copied, static_cast<std::uint32_t>(pool.first + copied));
    sources_[promise_.source].tokens = promise_.tokens;
  }
  promise_.work = estimates ? r.prefill(i, promise_.tokens) : Duration{0};
  if (options_.record_decisions > 0) judge(pool, r, i);
  return pool.first + i;
}

// Every instance that is up, as it was in truth, to weighed_.
void World::weigh(const Pool& pool, const RoutedRequest& r) {
  weighed_.clear();
  for (std::uint32_t i = 0; i < pool.count; ++i) {
    const InstanceView& v = views_[pool.first + i];
    if (!v.up) continue;
    const Duration prefill = r.steps[i]->prefill(pool.cached[i], r.prompt_tokens);
    weighed_.push_back({pool.first + i, pool.scores[i], v.in_flight, v.pending_tokens, r.hits(i),
                        pool.cached[i], to_ns(v.pending_work + prefill)});
  }
}

void World::judge(const Pool& pool, const RoutedRequest& r, std::size_t chosen) {
  weigh(pool, r);
  DecisionRecord& d = out_.decisions.emplace_back();
  d.request = r.index;
  d.at = now_;
  const auto mine = std::find_if(weighed_.begin(), weighed_.end(),
                                 [&](const auto& a) { return a.instance == pool.first + chosen; });
  d.chosen = *mine;
  const auto cheaper = [](const auto& a, const auto& b) {
    return a.cost_ns != b.cost_ns ? a.cost_ns < b.cost_ns : a.instance < b.instance;
  };
  const auto best = std::min_element(weighed_.begin(), weighed_.end(), cheaper);
  d.best_instance = best->instance;
  d.best_ns = best->cost_ns;
  weighed_.erase(mine);
  const auto kept = std::min(weighed_.size(), static_cast<std::size_t>(options_.record_decisions));
  const auto end = weighed_.begin() + static_cast<std::ptrdiff_t>(kept);
  std::partial_sort(weighed_.begin(), end, weighed_.end(), cheaper);
  d.others.assign(weighed_.begin(), end);
}

}  // namespace kvsim
