#include "sim/engine/loans.h"

#include <algorithm>
#include <cmath>

#include "sim/base/check.h"

namespace kvsim {

namespace {

std::int64_t up(double ns) { return static_cast<std::int64_t>(std::ceil(ns)); }

std::int64_t price(CostModel& cost, const StepShape& s) {
  return to_ns(s.prefills.empty() ? cost.decode_line(s).at(s) : cost.mixed_step(s));
}

StepShape decodes(std::int64_t sequences, std::int64_t context, std::int64_t most) {
  StepShape s;
  s.decodes = s.padded_decodes = sequences;
  s.decode_context_sum = context;
  s.decode_context_max = most;
  return s;
}

// What an iteration of this shape takes longer than one whose sequences have nothing behind them.
std::int64_t attention_ns(CostModel& cost, const StepShape& s) {
  StepShape bare = s;
  bare.decode_context_sum = s.decodes;
  bare.decode_context_max = std::min<std::int64_t>(s.decodes, 1);
  std::vector<PrefillPiece> pieces(s.prefills.begin(), s.prefills.end());
  for (PrefillPiece& p : pieces) p.history = 0;
  bare.prefills = pieces;
  return std::max<std::int64_t>(0, price(cost, s) - price(cost, bare));
}

// Of queries that come from elsewhere, over the tokens that lie here.
std::int64_t attention_ns(CostModel& cost, const RemoteAttention& r) {
  if (!r.prompt) return attention_ns(cost, decodes(r.queries, r.tokens + r.queries, r.most + 1));
  const PrefillPiece piece{r.queries, r.tokens, false};
  StepShape s;
  s.prefills = {&piece, 1};
  return attention_ns(cost, s);
}

}  // namespace

void Loans::add(KvPool& pool, CostModel& cost, std::int64_t block_tokens) {
  Member& m = members_.emplace_back();
  m.pool = &pool;
  m.cost = &cost;
  block_tokens_ = block_tokens;
  served_.push_back(0);
}

// ---- who has what

std::int64_t Loans::spare(std::uint32_t instance) const {
  const Member& m = members_[instance];
  const auto kept = up(plan_.keep * static_cast<double>(m.pool->total()));
  return m.borrowed > 0 ? 0 : std::max<std::int64_t>(0, m.pool->free() - kept);
}

std::int64_t Loans::reach(std::uint32_t instance) const {
  std::int64_t blocks = 0;
  for (std::uint32_t i = 0; i < members_.size(); ++i) {
    const std::int64_t total = members_[i].pool->total();
    blocks += i == instance ? total : total - up(plan_.keep * static_cast<double>(total));
  }
  return blocks;
}

std::uint32_t Loans::richest(std::uint32_t but) const {
  std::uint32_t best = kAnybody;
  for (std::uint32_t i = 0; i < members_.size(); ++i)
    if (i != but && spare(i) > 0 && (best == kAnybody || spare(i) > spare(best))) best = i;
  return best;
}

void Loans::lend(std::uint32_t debtor, std::uint32_t slot, std::uint32_t creditor,
                 std::int64_t blocks) {
  Member &from = members_[creditor], &to = members_[debtor];
  from.pool->take(from.lent, blocks);
  if (to.debts.size() <= slot) to.debts.resize(slot + 1);
  Debt& debt = to.debts[slot];
  debt.blocks += blocks;
  if (!debt.parts.empty() && debt.parts.back().creditor == creditor)
    debt.parts.back().blocks += blocks;
  else
    debt.parts.push_back({creditor, blocks});
  to.borrowed += blocks;
  blocks_lent_ += blocks;
  ++totals_.loans;
  totals_.peak_blocks = std::max(totals_.peak_blocks, blocks_lent_);
}

bool Loans::borrow_all(std::uint32_t instance, std::uint32_t slot, std::int64_t blocks) {
  if (members_[instance].lent.blank > 0) return false;
  std::int64_t there = 0;
  for (std::uint32_t i = 0; i < members_.size(); ++i) there += i == instance ? 0 : spare(i);
  if (there < blocks) return false;
  while (blocks > 0) {
    const std::uint32_t creditor = richest(instance);
    const std::int64_t n = std::min(blocks, spare(creditor));
    lend(instance, slot, creditor, n);
    blocks -= n;
  }
  return true;
}

std::int64_t Loans::move_out(std::uint32_t instance, std::uint32_t slot, std::int64_t blocks,
                             std::uint32_t creditor) {
  if (members_[instance].lent.blank > 0) return 0;
  if (creditor == kAnybody) creditor = richest(instance);
  if (creditor == kAnybody) return 0;
  const std::int64_t n = std::min(blocks, spare(creditor));
  if (n <= 0) return 0;
  lend(instance, slot, creditor, n);
  copy(instance, creditor, n * block_tokens_);
  return n;
}

void Loans::repay(std::uint32_t instance, std::uint32_t slot) {
  Member& m = members_[instance];
  if (slot >= m.debts.size() || m.debts[slot].blocks == 0) return;
  Debt& debt = m.debts[slot];
  for (const Part& p : debt.parts) {
    Member& from = members_[p.creditor];
    KvPool::Hold back;
    back.blank = p.blocks;
    from.lent.blank -= p.blocks;
    from.pool->release(back);
  }
  m.borrowed -= debt.blocks;
  blocks_lent_ -= debt.blocks;
  debt.blocks = 0;
  debt.parts.clear();
  freed_ = true;
}

void Loans::check() const {
  std::vector<std::int64_t> owed(members_.size(), 0);
  std::int64_t all = 0;
  for (const Member& m : members_) {
    std::int64_t borrowed = 0;
    for (const Debt& d : m.debts) {
      std::int64_t sum = 0;
      for (const Part& p : d.parts) {
        owed[p.creditor] += p.blocks;
        sum += p.blocks;
      }
      KVSIM_CHECK(sum == d.blocks, "a sequence owes {} blocks, its creditors have {}", d.blocks,
                  sum);
      borrowed += sum;
    }
    KVSIM_CHECK(borrowed == m.borrowed, "{} blocks are borrowed, {} counted", borrowed, m.borrowed);
    KVSIM_CHECK(m.borrowed == 0 || m.lent.blank == 0, "an instance lends {} blocks and borrows {}",
                m.lent.blank, m.borrowed);
    all += borrowed;
  }
  for (std::size_t i = 0; i < members_.size(); ++i)
    KVSIM_CHECK(owed[i] == members_[i].lent.blank, "instance {} lends {} blocks, {} are owed", i,
                members_[i].lent.blank, owed[i]);
  KVSIM_CHECK(all == blocks_lent_, "{} blocks are lent, {} counted", all, blocks_lent_);
}

// ---- what is read where

std::int64_t Loans::read(std::uint32_t instance, std::uint32_t slot, std::int64_t context,
                         Plan& plan) const {
  const auto& debts = members_[instance].debts;
  if (slot >= debts.size() || debts[slot].blocks == 0) return 0;
  std::int64_t left = context;
  for (const Part& p : debts[slot].parts) {
    const std::int64_t tokens = std::min(left, p.blocks * block_tokens_);
    if (tokens == 0) break;
    left -= tokens;
    auto at = std::find_if(plan.remote.begin(), plan.remote.end(), [&](const RemoteAttention& r) {
      return !r.prompt && r.creditor == p.creditor;
    });
    if (at == plan.remote.end()) at = plan.remote.insert(at, {p.creditor, false, 0, 0, 0});
    ++at->queries;
    at->tokens += tokens;
    at->most = std::max(at->most, tokens);
  }
  return context - left;
}

void Loans::read(std::uint32_t instance, std::uint32_t slot, PrefillPiece& piece, Plan& plan) {
  const auto& debts = members_[instance].debts;
  if (slot >= debts.size() || debts[slot].blocks == 0) return;
  std::int64_t at = 0, elsewhere = 0;
  for (const Part& p : debts[slot].parts) {
    const std::int64_t end = at + p.blocks * block_tokens_;
    const std::int64_t old = std::min(end, piece.history) - at;
    if (old > 0) {
      plan.remote.push_back({p.creditor, true, piece.tokens, old, old});
      elsewhere += old;
    }
    const std::int64_t fresh =
        std::min(end, piece.history + piece.tokens) - std::max(at, piece.history);
    if (fresh > 0) copy(instance, p.creditor, fresh);
    at = end;
  }
  piece.history -= elsewhere;
}

void Loans::copy(std::uint32_t from, std::uint32_t to, std::int64_t tokens) {
  const Way way = ways_(from, to);
  const double bytes = static_cast<double>(tokens) * token_bytes_;
  members_[from].copy_ns += to_ns(way.latency) + up(1e9 * bytes / way.bandwidth);
  totals_.copied_bytes += up(bytes);
}

// ---- time

std::int64_t Loans::message_ns(std::uint32_t instance, const Plan& plan) {
  const double per_query =
      static_cast<double>(plan_.layers) * (plan_.query_bytes + plan_.answer_bytes);
  double bytes = 0, ns = 0;
  std::int64_t latency = 0;
  for (const RemoteAttention& r : plan.remote) {
    const Way way = ways_(instance, r.creditor);
    const double sent = static_cast<double>(r.queries) * per_query;
    bytes += sent;
    ns += 1e9 * sent / way.bandwidth;
    latency = std::max(latency, to_ns(way.latency));
  }
  totals_.message_bytes += up(bytes);
  return 2 * plan_.layers * latency + up(ns);
}

std::int64_t Loans::wait_ns(std::uint32_t instance, const Plan& plan, std::int64_t step_ns) {
  Member& m = members_[instance];
  std::int64_t wait = 0;
  if (!plan.remote.empty()) {
    std::fill(served_.begin(), served_.end(), 0);
    for (const RemoteAttention& r : plan.remote) {
      served_[r.creditor] += attention_ns(*members_[r.creditor].cost, r);
      totals_.remote_tokens += r.tokens;
    }
    for (std::size_t i = 0; i < members_.size(); ++i) {
      totals_.served_ns += served_[i];
      if (members_[i].busy) members_[i].owed_ns += served_[i];
    }
    const std::int64_t longest = *std::max_element(served_.begin(), served_.end());
    wait = std::max<std::int64_t>(
        0, message_ns(instance, plan) + longest - attention_ns(*m.cost, plan.shape));
  }
  wait = std::max(wait, std::exchange(m.copy_ns, 0) - step_ns);
  totals_.wait_ns += wait;
  return wait;
}

double Loans::debtor(std::size_t i, std::size_t creditor, std::int64_t running,
                     std::int64_t context, std::int64_t remote) const {
  CostModel& cost = *members_[i].cost;
  remote = std::min(remote, context);
  const StepShape home =
      decodes(running, std::max(running, context - remote), (context - remote) / running + 1);
  double ns = static_cast<double>(price(cost, home));
  if (remote > 0) {
    const Way way = ways_(static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(creditor));
    const double layers = static_cast<double>(plan_.layers);
    const double there =
        static_cast<double>(
            attention_ns(*members_[creditor].cost, RemoteAttention{0, false, 1, remote, remote})) +
        layers * (2 * static_cast<double>(to_ns(way.latency)) +
                  1e9 * (plan_.query_bytes + plan_.answer_bytes) / way.bandwidth);
    ns += std::max(0.0, there - static_cast<double>(attention_ns(cost, home)));
  }
  return ns * 1e-9;
}

double Loans::creditor(std::size_t i, std::int64_t running, std::int64_t context,
                       std::int64_t read) const {
  CostModel& cost = *members_[i].cost;
  std::int64_t ns =
      price(cost, decodes(running, std::max(running, context), context / running + 1));
  if (read > 0) ns += attention_ns(cost, RemoteAttention{0, false, 1, read, read});
  return static_cast<double>(ns) * 1e-9;
}

}  // namespace kvsim
