// The tiers of a world: stores, links, and the ends of transfers.
#include <cmath>

#include "sim/base/check.h"
#include "sim/engine/world.h"

namespace kvsim {

namespace {

// What a restore policy asks, answered by the instance's cost model: one sequence alone.
class CostEstimator final : public StepEstimator {
 public:
  CostEstimator(CostModel& cost, double project_share)
      : cost_(cost), project_share_(project_share) {}
  [[nodiscard]] Duration prefill(std::int64_t from, std::int64_t to) const override {
    if (to <= from) return Duration{0};
    const PrefillPiece piece{to - from, from, false};
    StepShape shape;
    shape.prefills = {&piece, 1};
    return cost_.mixed_step(shape);
  }
  // Products of K and V only: a share of the layer's, attention apart (so without history).
  [[nodiscard]] Duration project(std::int64_t tokens) const override {
    const double ns = project_share_ * static_cast<double>(prefill(0, tokens).count());
    return Duration{static_cast<std::int64_t>(std::ceil(ns))};
  }

 private:
  CostModel& cost_;
  double project_share_;
};

}  // namespace

void World::build_tiers() {
  TierSystem& t = *options_.tiers;
  for (const TierSystem::Link& l : t.links) network_.add_link(l.bandwidth);
  std::vector<std::uint32_t> of_tier(t.offload.tiers.size(), 0);
  for (TierSystem::Store& s : t.stores) {
    stores_.push_back(std::make_unique<TierStore>(std::move(s.options)));
    store_number_.push_back(of_tier[s.tier]++);
  }
  std::vector<int> users(stores_.size(), 0);
  for (const auto& ways : t.ranks)
    for (const TierSystem::Way& w : ways) ++users[w.store];
  std::size_t i = 0;
  for (const auto& in : instances_) {
    estimators_.push_back(std::make_unique<CostEstimator>(*in->spec.cost, t.offload.project_share));
    for (const auto& rank : in->ranks) {
      if (!t.hosts.empty()) {
        rank->attach_host(t.hosts[i].in, t.hosts[i].out, transfers_, *estimators_.back());
        if (options_.record_transfers)
          rank->host()->record_transfers(&out_.transfers, rank->totals().instance,
                                         rank->totals().rank);
      }
      std::vector<RankTiers::Level> levels;
      for (const TierSystem::Way& w : t.ranks[i])
        levels.push_back({stores_[w.store].get(), w.in, w.out, users[w.store] > 1});
      ++i;
      if (levels.empty()) continue;
      rank->attach(t.offload, std::move(levels), transfers_);
      rank->tiers()->estimate_with(estimators_.back().get());
      if (options_.record_transfers)
        rank->tiers()->record_transfers(&out_.transfers, rank->totals().instance,
                                        rank->totals().rank);
    }
  }
  KVSIM_CHECK(i == t.ranks.size(), "{} ranks, ways for {}", i, t.ranks.size());
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
    for (const std::int64_t v : {out.inserted, out.evicted, out.read, out.read_bytes})
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
