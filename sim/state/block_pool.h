#pragma once
// The KV blocks of one rank: prefix cache, reference counts and the free queue whose order is the
// eviction order.
//
// Behaviour: vLLM v1 (engine-semantics sections 3 and 3a), block by block. Representation:
// consecutive blocks of one content that share their fate form a Run, so that a request of a
// thousand blocks costs a handful of steps; the random-operations test compares it with a
// block-by-block twin.
//
//   free queue, head first:  [blank blocks] [run: its last block first] [run] ...
//
// Blank blocks (never used, or without a hash) are interchangeable and stand as one run where they
// touch.
#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace kvsim {

// The content of a sequence in blocks: chunk i holds the blocks whose last token lies in segment i.
// `key` is chained (trace_source.h); `end` is the number of blocks up to and including this chunk.
struct ContentChunk {
  std::uint64_t key = 0;
  std::int64_t end = 0;
};

class BlockPool {
 public:
  struct Options {
    std::int64_t blocks = 0;     // usable blocks, the reserved null block not counted
    bool caching = true;         // prefix cache
    bool unhashed_first = true;  // freed blocks without a hash go to the head of the queue (before
                                 // PR 42656: to the tail)
  };
  explicit BlockPool(Options);
  // Hears of cached blocks that are reused: [first, first + count) of a content chunk, the first of
  // them the `at`-th of its sequence.
  using Leaving = std::function<void(std::uint64_t key, std::int64_t first, std::int64_t count,
                                     std::int64_t at)>;
  void on_leaving(Leaving hear) { leaving_ = std::move(hear); }

  // What one sequence holds: hashed blocks in order, then `blank` ones.
  struct Piece {
    std::uint32_t run = 0;
    std::int64_t blocks = 0;  // may go on over runs that were split off later
  };
  struct Hold {
    std::vector<Piece> pieces;
    std::int64_t hashed = 0, blank = 0;
    std::size_t chunk = 0;  // chunk of the next block to be hashed
    [[nodiscard]] std::int64_t blocks() const { return hashed + blank; }
  };
  // Result of a look-up; valid until the next call that changes the pool.
  struct Hit {
    std::int64_t blocks = 0;  // consecutive cached blocks from the start
    std::int64_t queued = 0;  // of those, unreferenced: they cost a free block each when taken
  };

  [[nodiscard]] std::int64_t total() const { return options_.blocks; }
  [[nodiscard]] std::int64_t free() const { return free_; }  // unreferenced, cached ones included
  [[nodiscard]] std::int64_t cached_free() const { return cached_free_; }
  [[nodiscard]] std::int64_t evicted() const { return evicted_; }  // cached blocks reused so far

  // Longest cached prefix, at most `most` blocks.
  Hit look_up(std::span<const ContentChunk>, std::int64_t most);
  // Blocks of this content, beyond the first `from`, that this pool has cached at some time
  // (present or evicted).
  [[nodiscard]] std::int64_t seen_blocks(std::span<const ContentChunk>, std::int64_t from,
                                         std::int64_t most) const;
  // References the blocks of the last look_up for an empty hold.
  void take_hit(Hold&, std::span<const ContentChunk>);
  // Takes n blocks from the head of the free queue, evicting what they cached. Requires n <=
  // free().
  void take(Hold& hold, std::int64_t n) {
    pop(n);
    hold.blank += n;
  }
  // The same for blocks whose holder adds them to its count later.
  void pop(std::int64_t n);
  // The first `full` blocks of the sequence now have their content: they become visible to look_up.
  void publish(Hold&, std::span<const ContentChunk>, std::int64_t full);
  // Drops every reference, last block first; the hold is empty afterwards.
  void release(Hold&);
  // Forgets all cached content; refused (false) while any block is referenced.
  bool reset();
  [[nodiscard]] bool was_reset() const { return resets_ > 0; }

  // Walks everything and aborts when counts, lists and references disagree (invariant I2).
  // O(blocks).
  void check(std::span<const Hold* const> holders) const;

 private:
  static constexpr std::uint32_t kNone = 0xffffffffU;
  struct Run {
    std::uint32_t node = kNone;  // kNone: blank
    std::uint32_t refs = 0;
    std::int64_t start = 0, blocks = 0;  // first block within the chunk, and how many
    std::uint32_t queue_previous = kNone, queue_next = kNone;
    std::uint32_t node_next = kNone;   // runs of one node, in the order of insertion
    std::uint32_t split_next = kNone;  // the part that was split off behind this one
    bool queued = false;
  };
  struct Node {
    std::uint64_t key = 0;
    std::uint32_t first = kNone, last = kNone;
    std::int64_t seen = 0;   // blocks of the chunk ever published
    std::int64_t begin = 0;  // blocks of the sequence before the chunk
  };
  struct Found {
    std::uint32_t run;
    std::int64_t offset, blocks;  // within the run
  };

  std::uint32_t new_run();
  void drop_run(std::uint32_t);
  std::uint32_t node_of(std::uint64_t key, std::int64_t begin);
  void split(std::uint32_t run, std::int64_t at);
  void unlink_from_node(std::uint32_t run);
  void append_to_node(std::uint32_t run);
  void enqueue_back(std::uint32_t);
  void enqueue_front(std::uint32_t);
  void insert_before(std::uint32_t run, std::uint32_t next);
  void dequeue(std::uint32_t);
  void add_blank(std::int64_t n);
  bool find_in_node(const Node&, std::int64_t from, std::int64_t end, std::int64_t& reached);
  void release_piece(const Piece&);

  Options options_;
  std::vector<Run> runs_;
  std::vector<std::uint32_t> free_runs_;
  std::vector<Node> nodes_;
  boost::unordered_flat_map<std::uint64_t, std::uint32_t> index_;
  std::uint32_t head_ = kNone, tail_ = kNone;
  std::int64_t free_ = 0, cached_free_ = 0, evicted_ = 0, resets_ = 0;
  Leaving leaving_;
  std::vector<Found> found_;
  std::vector<std::uint32_t> chain_;
};

}  // namespace kvsim
