#pragma once
// Which instances have which prefix in their GPU cache: an inverted index from the keys of content
// chunks to their holders, so that a look-up costs what it finds and not instances x blocks. Its
// words may arrive late: then it shows what was so some time ago (engine-semantics section 11).
#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "sim/base/time.h"
#include "sim/state/kv_pool.h"

namespace kvsim {

class PrefixDirectory {
 public:
  // Blocks of a prefix, or of a chunk from its start, that an instance has.
  struct Holder {
    std::uint32_t instance = 0;
    std::int32_t blocks = 0;
  };
  struct Options {
    bool holders = false;  // who has what now; else only what anybody ever had
    bool batched = false;  // changes show when publish() was called and `lag` has passed
    Duration lag{};
  };
  explicit PrefixDirectory(Options options) : options_(options) {}

  // An instance has so many blocks of a chunk from its start; `seen`: at most, ever.
  void changed(std::uint32_t instance, std::uint64_t key, std::int64_t leading, std::int64_t seen);
  // What changed until now goes on its way.
  void publish(Time now);
  // The longest cached prefix of each instance that has one, at most `most` blocks; in order.
  void match(std::span<const ContentChunk>, std::int64_t most, Time now, std::vector<Holder>& out);
  // Blocks of this content beyond the first `from` that some instance has cached at some time.
  [[nodiscard]] std::int64_t seen_blocks(std::span<const ContentChunk>, std::int64_t from,
                                         std::int64_t most) const;
  [[nodiscard]] const Options& options() const { return options_; }

 private:
  struct Change {
    std::uint64_t key = 0;
    Holder holder;
  };
  struct Batch {
    Time visible{};
    std::size_t changes = 0;
  };
  // Of a chunk. Small, as most chunks of a trace are nobody's: lists of holders lie elsewhere.
  static constexpr std::uint32_t kNone = 0xffffffffU;
  struct Entry {
    std::uint32_t seen = 0;         // blocks that somebody ever had
    std::uint32_t holders = kNone;  // place in lists_
  };
  void apply(Entry&, const Holder&);
  void narrow(const std::vector<Holder>& holders, std::int64_t blocks, std::vector<Holder>& out);

  Options options_;
  boost::unordered_flat_map<std::uint64_t, Entry> entries_;  // by key
  std::vector<std::vector<Holder>> lists_;                   // each by instance
  std::vector<std::uint32_t> free_lists_;                    // of lists_, empty ones
  std::deque<Change> changes_;
  std::deque<Batch> batches_;
  std::size_t sealed_ = 0;               // of changes_, those in batches
  std::vector<std::uint32_t> going_on_;  // places in `out` of those who have all so far
};

}  // namespace kvsim
