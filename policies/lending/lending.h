#pragma once
// KV memory that instances lend each other: which instance gives memory to which, asked at regular
// instants. What cannot wait (a sequence that no longer fits, or never did) the engine borrows by
// itself; a rule only decides what makes room for others. It answers loans, the engine moves KV.
#include <cstdint>
#include <span>
#include <vector>

#include "sim/base/registry.h"

namespace kvsim {

// An instance when the rule is asked. Blocks are of one size everywhere.
struct LendingView {
  std::int64_t running = 0, most_running = 0;  // sequences in the batch
  std::int64_t context = 0;                    // their tokens with KV, wherever that lies
  std::int64_t waiting = 0, wanted = 0;        // requests, and blocks of all their known tokens
  std::int64_t blocks = 0, free = 0;
  std::int64_t spare = 0;               // that it may still lend; 0 while it borrows
  std::int64_t lent = 0, borrowed = 0;  // blocks
  std::int64_t movable = 0;  // full blocks, at home, of the request that has the most of them
};

// So many blocks of the debtor's request with the most KV at home go to the creditor.
struct Loan {
  std::size_t debtor = 0, creditor = 0;
  std::int64_t blocks = 0;
};

// Seconds of iterations in which every sequence decodes, by the engine's own formulas.
class LendingPrices {
 public:
  // Of instance i with so many sequences and tokens of context, when the creditor reads `remote`
  // tokens more for it.
  [[nodiscard]] virtual double debtor(std::size_t i, std::size_t creditor, std::int64_t running,
                                      std::int64_t context, std::int64_t remote) const = 0;
  // Of an instance that reads so many tokens for others.
  [[nodiscard]] virtual double creditor(std::size_t i, std::int64_t running, std::int64_t context,
                                        std::int64_t read) const = 0;

 protected:
  ~LendingPrices() = default;
};

class LendingPolicy {
 public:
  using Contract = LendingPolicy;
  static constexpr const char* kKind = "lending";
  struct Context {
    std::int64_t block_tokens = 16;
    std::int64_t chunk_blocks = 64;  // KV moves in pieces of so many
  };
  virtual ~LendingPolicy() = default;
  // Loans, in the order in which they are made: of at most `movable` and `spare` blocks.
  virtual void plan(std::span<const LendingView>, const LendingPrices&, std::vector<Loan>&) = 0;
};

}  // namespace kvsim
