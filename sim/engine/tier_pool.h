#pragma once
// Stores of one tier that are one pool: each node keeps what it wrote, or a copy of what others
// wrote. The pool knows who has ever held a chunk; whether one still does, its store says.
#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <span>
#include <vector>

#include "sim/state/object_table.h"

namespace kvsim {

class TierStore;

class TierPool {
 public:
  struct Holder {
    std::uint32_t member = 0;  // number of the store
    ObjectId id = kNoObject;   // of the chunk there
  };

  // Its number is how many joined before.
  void join(TierStore&);
  [[nodiscard]] TierStore& store(std::uint32_t member) const { return *stores_[member]; }
  [[nodiscard]] std::size_t size() const { return stores_.size(); }

  // Everyone who has it or had it, in the order in which they first did.
  [[nodiscard]] std::span<const Holder> holders(std::uint64_t key) const;
  // Stores that have the chunk, or are writing it.
  [[nodiscard]] std::int64_t copies(std::uint64_t key) const;
  enum class Elsewhere : std::uint8_t { no, unreachable, yes };
  // Whether another store has the whole chunk.
  [[nodiscard]] Elsewhere elsewhere(std::uint64_t key, std::uint32_t member) const;
  // Another node read the chunk: how often that happened since count_from_zero().
  std::uint32_t count_far_read(std::uint64_t key);
  void count_from_zero(std::uint64_t key);

  // For stores: a chunk is written there for the first time; it is whole.
  void list(std::uint64_t key, Holder);
  void whole(std::uint64_t key);
  // Aborts unless the holders are those of the stores, and every chunk with a copy is known to be
  // one. O(everything).
  void check() const;

 private:
  struct Entry {
    std::uint64_t key = 0;
    std::vector<Holder> holders;
    std::uint32_t far_reads = 0;
  };
  [[nodiscard]] const Entry* find(std::uint64_t key) const;

  std::vector<TierStore*> stores_;
  boost::unordered_flat_map<std::uint64_t, std::uint32_t> index_;
  std::vector<Entry> entries_;
};

}  // namespace kvsim
