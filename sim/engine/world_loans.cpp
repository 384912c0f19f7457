// KV memory lent between instances: who is asked when, and who looks again afterwards.
#include <algorithm>

#include "sim/base/check.h"
#include "sim/engine/world.h"

namespace kvsim {

void World::build_lending() {
  const PeerSystem& peers = *options_.peers;
  loans_ =
      std::make_unique<Loans>(std::move(*options_.lending), static_cast<double>(peers.token_bytes),
                              [this](std::uint32_t from, std::uint32_t to) {
                                const TransferPath way = options_.peers->way(from, to);
                                return Loans::Way{transfers_.bandwidth(way), way.latency};
                              });
  options_.lending.reset();
  for (const auto& in : instances_) {
    KVSIM_CHECK(in->ranks.size() == 1, "an instance that lends has one rank");
    Rank& rank = *in->ranks.front();
    loans_->add(rank.pool(), *in->spec.cost, in->spec.engine.block_tokens);
    rank.attach_loans(*loans_);
  }
}

// Nobody skips iterations meanwhile: what is seen and taken is the present.
void World::on_lend(Time now) {
  --ticks_;
  std::vector<LendingView> views(instances_.size());
  for (std::size_t i = 0; i < views.size(); ++i) instances_[i]->ranks.front()->look(views[i]);
  std::vector<Loan> loans;
  loans_->plan().rule->plan(views, *loans_, loans);
  for (const Loan& l : loans)
    instances_[l.debtor]->ranks.front()->move_out(l.blocks, static_cast<std::uint32_t>(l.creditor));
  wake_idle(now);
  tick(EventKind::lend, 0, loans_->plan().every);
}

// Who waits for memory that others had may find it now.
void World::wake_idle(Time now) {
  for (std::size_t g = 0; g < groups_.size(); ++g)
    if (!groups_[g]->steps.busy() && groups_[g]->steps.has_work()) wake(g, now);
}

}  // namespace kvsim
