#pragma once
// KV memory lent between instances (Infinite-LLM, arXiv:2401.02669): the first blocks of a sequence
// lie on other instances, its creditors, which attend to them beside their own iterations.
//
// Each iteration of the debtor sends, in every layer, the queries of such sequences to the
// creditors and takes back partial values with their maximum and sum. That and the creditors'
// attention go on beside the attention at home: an iteration waits
//   max(0, layers x (2 latency + bytes / bandwidth) + max over creditors of attention there
//          - attention at home),
// and lasts at least as long as the copies of KV that were begun with it. What a creditor reads for
// others its own next iteration lasts longer, if it runs at all.
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "hardware/cost_model.h"
#include "policies/lending/lending.h"
#include "sim/engine/sequence.h"
#include "sim/state/kv_pool.h"
#include "sim/state/outcome.h"

namespace kvsim {

// Memory lending as plain values; sim/run fills them from a scenario.
struct LendingPlan {
  std::unique_ptr<LendingPolicy> rule;
  Duration every = std::chrono::seconds(1);
  double keep = 0.1;               // share of its memory that an instance does not lend
  std::int64_t chunk_blocks = 64;  // KV of a running request moves in pieces of at least so many
  std::int64_t layers = 1;
  // Of one token and layer, all heads: its query, and the partial result that comes back.
  double query_bytes = 0, answer_bytes = 0;
};

class Loans final : public LendingPrices {
 public:
  struct Way {
    double bandwidth = 0;  // bytes/s
    Duration latency{};
  };
  using Ways = std::function<Way(std::uint32_t from, std::uint32_t to)>;
  Loans(LendingPlan plan, double token_bytes, Ways ways)
      : plan_(std::move(plan)), token_bytes_(token_bytes), ways_(std::move(ways)) {}
  // Instances in order, before the first request.
  void add(KvPool&, CostModel&, std::int64_t block_tokens);

  [[nodiscard]] const LendingPlan& plan() const { return plan_; }
  [[nodiscard]] const LendingTotals& totals() const { return totals_; }
  // Of a sequence of the instance, blocks that lie elsewhere.
  [[nodiscard]] std::int64_t away(std::uint32_t instance, std::uint32_t slot) const {
    const auto& debts = members_[instance].debts;
    return slot < debts.size() ? debts[slot].blocks : 0;
  }
  // What it holds for others.
  [[nodiscard]] const KvPool::Hold& lent(std::uint32_t instance) const {
    return members_[instance].lent;
  }
  [[nodiscard]] std::int64_t borrowed(std::uint32_t instance) const {
    return members_[instance].borrowed;
  }
  // Blocks that it may lend now: nobody lends and borrows at once.
  [[nodiscard]] std::int64_t spare(std::uint32_t instance) const;
  // Most blocks that a sequence of the instance may take when nothing else runs anywhere.
  [[nodiscard]] std::int64_t reach(std::uint32_t instance) const;

  // All of the blocks or none, from those who have the most to spare.
  bool borrow_all(std::uint32_t instance, std::uint32_t slot, std::int64_t blocks);
  // As many as the creditor, or who has the most to spare, can give; their KV goes there.
  static constexpr std::uint32_t kAnybody = 0xffffffffU;
  std::int64_t move_out(std::uint32_t instance, std::uint32_t slot, std::int64_t blocks,
                        std::uint32_t creditor = kAnybody);
  // The sequence gives everything back.
  void repay(std::uint32_t instance, std::uint32_t slot);
  // Somebody has since the last call: who waits for memory looks again.
  [[nodiscard]] bool take_freed() { return std::exchange(freed_, false); }

  // A decode of the sequence: what others attend to of its context. Gives those tokens.
  std::int64_t read(std::uint32_t instance, std::uint32_t slot, std::int64_t context, Plan&) const;
  // The same for a piece of a prompt, whose history is cut to what lies at home; KV that it
  // computes for blocks elsewhere goes there.
  void read(std::uint32_t instance, std::uint32_t slot, PrefillPiece&, Plan&);

  // An iteration of the instance begins. What it read for others since the last one:
  [[nodiscard]] std::int64_t begin(std::uint32_t instance) {
    members_[instance].busy = true;
    return std::exchange(members_[instance].owed_ns, 0);
  }
  // and what it waits, when it would take step_ns by itself.
  std::int64_t wait_ns(std::uint32_t instance, const Plan&, std::int64_t step_ns);
  void end(std::uint32_t instance) { members_[instance].busy = false; }

  [[nodiscard]] double debtor(std::size_t i, std::size_t creditor, std::int64_t running,
                              std::int64_t context, std::int64_t remote) const override;
  [[nodiscard]] double creditor(std::size_t i, std::int64_t running, std::int64_t context,
                                std::int64_t read) const override;
  // Every block that is lent is somebody's debt.
  void check() const;

 private:
  struct Part {
    std::uint32_t creditor = 0;
    std::int64_t blocks = 0;
  };
  struct Debt {  // of one sequence; parts in the order of its blocks
    std::int64_t blocks = 0;
    std::vector<Part> parts;
  };
  struct Member {
    KvPool* pool = nullptr;
    CostModel* cost = nullptr;
    std::vector<Debt> debts;  // by slot
    KvPool::Hold lent;
    std::int64_t borrowed = 0;
    std::int64_t owed_ns = 0;  // attention for others that no iteration of its own has paid for
    std::int64_t copy_ns = 0;  // KV that goes out with its next iteration
    bool busy = false;
  };
  [[nodiscard]] std::uint32_t richest(std::uint32_t but) const;
  void lend(std::uint32_t debtor, std::uint32_t slot, std::uint32_t creditor, std::int64_t blocks);
  void copy(std::uint32_t from, std::uint32_t to, std::int64_t tokens);
  [[nodiscard]] std::int64_t message_ns(std::uint32_t instance, const Plan&);

  LendingPlan plan_;
  double token_bytes_;
  Ways ways_;
  std::int64_t block_tokens_ = 16;
  std::vector<Member> members_;
  std::vector<std::int64_t> served_;  // scratch, by creditor
  std::int64_t blocks_lent_ = 0;
  bool freed_ = false;
  LendingTotals totals_;
};

}  // namespace kvsim
