// The tiers of a world: stores, links, and the ends of transfers.
#include "sim/base/check.h"
#include "sim/engine/world.h"

namespace kvsim {

void World::build_tiers() {
  TierSystem& t = *options_.tiers;
  for (const TierSystem::Link& l : t.links) network_.add_link(l.bandwidth);
  std::vector<std::uint32_t> of_tier(t.offload.tiers.size(), 0);
  for (const TierConfig& tier : t.offload.tiers)
    tier_pools_.push_back(tier.pooled ? std::make_unique<TierPool>() : nullptr);
  for (TierSystem::Store& s : t.stores) {
    stores_.push_back(std::make_unique<TierStore>(std::move(s.options)));
    store_number_.push_back(of_tier[s.tier]++);
    if (tier_pools_[s.tier]) tier_pools_[s.tier]->join(*stores_.back());
  }
  std::vector<int> users(stores_.size(), 0);
  for (const auto& ways : t.ranks)
    for (const TierWay& w : ways) ++users[w.store];
  std::size_t i = 0;
  for (const auto& in : instances_) {
    for (const auto& rank : in->ranks) {
      if (!t.hosts.empty() && rank->config().host_blocks > 0) {
        rank->attach_host(t.hosts[i].in, t.hosts[i].out, transfers_);
        if (options_.record_transfers)
          rank->host()->record_transfers(&out_.transfers, rank->totals().instance,
                                         rank->totals().rank);
      }
      std::vector<RankTiers::Level> levels;
      for (const TierWay& w : t.ranks[i]) levels.push_back(level(w, users[w.store] > 1));
      ++i;
      if (levels.empty()) continue;
      rank->attach(t.offload, std::move(levels), transfers_);
      rank->tiers()->estimate_with(instances_[rank->totals().instance]->steps);
      if (options_.record_transfers)
        rank->tiers()->record_transfers(&out_.transfers, rank->totals().instance,
                                        rank->totals().rank);
    }
  }
  KVSIM_CHECK(i == t.ranks.size(), "{} ranks, ways for {}", i, t.ranks.size());
}

RankTiers::Level World::level(const TierWay& w, bool shared) {
  RankTiers::Level l;
  l.out = w.out;
  l.shared = shared;
  l.pool = tier_pools_[options_.tiers->stores[w.store].tier].get();
  if (l.pool == nullptr) {
    l.sources.push_back({stores_[w.store].get(), w.in, {}});
    return l;
  }
  KVSIM_CHECK(w.pool.size() == l.pool->size(), "ways from {} of {} stores of a pool", w.pool.size(),
              l.pool->size());
  l.own = store_number_[w.store];
  l.shared = shared || l.pool->size() > 1;
  for (std::uint32_t m = 0; m < w.pool.size(); ++m)
    l.sources.push_back({&l.pool->store(m), w.pool[m], {}});
  return l;
}

// Transfers that begin from now on avoid links that are down. (Of several faults at once the last
// one's detours are taken.)
void World::choose_ways() {
  const std::vector<std::vector<TierWay>>* ways = &options_.tiers->ranks;
  for (std::size_t f = 0; f < fault_states_.size(); ++f)
    if (fault_states_[f].present && !options_.faults[f].detours.empty())
      ways = &options_.faults[f].detours;
  std::size_t i = 0;
  for (const auto& in : instances_)
    for (const auto& rank : in->ranks) {
      // Without tiers, when only swapping uses the links: its copies keep their way and wait.
      if (RankTiers* tiers = rank->tiers()) tiers->take_ways((*ways)[i]);
      ++i;
    }
}

// Keeps one event in the queue: the network's next.
void World::schedule_transfers() {
  const Time next = transfers_.next();
  if (next == transfer_at_) return;
  transfer_at_ = next;
  ++transfer_generation_;
  if (next != kNever)
    queue_.push(
        {std::max(next, now_), Phase::completion, EventKind::transfer, 0, transfer_generation_, 0});
}

void World::on_transfer(Time now) {
  transfer_at_ = kNever;
  if (transfers_.advance(now)) transfers_ended(now);
}

// Iterations may go on whose loads have ended; requests set aside look again.
void World::transfers_ended(Time now) {
  for (std::size_t g = 0; g < groups_.size(); ++g) {
    StepGroup& steps = groups_[g]->steps;
    if (steps.stalled()) {
      steps.loads_ended(now);
      if (!steps.stalled()) reschedule(g);
    }
    if (!steps.waits_for_tiers()) continue;
    steps.interrupt(now);
    reschedule(g);
    wake(g, now);
  }
}

void World::report_tiers() {
  const TierSystem& t = *options_.tiers;
  for (std::size_t i = 0; i < stores_.size(); ++i) {
    const TierConfig& tier = t.offload.tiers[t.stores[i].tier];
    const TierStore::Totals& s = stores_[i]->totals();
    TierTotals out;
    out.tier = t.stores[i].tier;
    out.store = store_number_[i];
    out.name = tier.name;
    out.kind = tier.kind;
    out.capacity_chunks = stores_[i]->capacity();
    out.chunk_bytes = tier.chunk_bytes;
    out.chunk_tokens = t.offload.chunk_blocks * t.block_tokens;
    out.resident = stores_[i]->resident();
    out.peak = s.peak;
    out.inserted = s.inserted;
    out.evicted = s.evicted;
    out.expired = s.expired;
    out.lost = s.lost;
    out.refused = s.refused;
    out.abandoned = s.abandoned;
    out.read = s.read;
    out.stale = s.stale;
    out.read_bytes = s.read_bytes;
    std::int64_t written = 0;  // by all that share its drives
    for (std::size_t k = 0; k < stores_.size(); ++k)
      if (t.stores[k].tier == out.tier && t.stores[k].drives == t.stores[i].drives)
        written += stores_[k]->totals().written_bytes;
    if (t.stores[i].endurance_bytes > 0 && written > 0 && now_ > Time{}) {
      constexpr double kYear = 365.25 * 86400;
      const double per_second = static_cast<double>(written) / to_seconds(now_ - Time{});
      out.drive_life_years = t.stores[i].endurance_bytes / per_second / kYear;
    }
    out.written_bytes = s.written_bytes;
    out.pooled = tier.pooled;
    out.far_read = s.far_read;
    out.far_read_bytes = s.far_read_bytes;
    out.copied = s.copied;
    out.copied_bytes = s.copied_bytes;
    out.dropped = s.dropped;
    for (const std::int64_t v :
         {out.inserted, out.evicted, out.read, out.read_bytes, out.far_read, out.copied})
      digest_.add(v);
    out_.tiers.push_back(std::move(out));
  }
  for (std::size_t i = 0; i < t.links.size(); ++i) {
    const auto totals = network_.totals(LinkId{static_cast<std::uint32_t>(i)}, now_);
    out_.links.push_back({t.links[i].name, t.links[i].bandwidth, totals.bytes, to_ns(totals.busy),
                          totals.peak_flows, totals.flow_seconds});
    digest_.add(totals.bytes);
  }
}

}  // namespace kvsim
