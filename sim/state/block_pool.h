#pragma once
// KvPool with the free queue of vLLM v1 (engine-semantics sections 3 and 3a), block by block: a
// chain of block hashes as prefix index, and a queue whose order is the eviction order.
//
// Representation: consecutive blocks of one content that share their fate form a Run, so that a
// request of a thousand blocks costs a handful of steps; the random-operations test compares it
// with a block-by-block twin.
//
//   free queue, head first:  [blank blocks] [run: its last block first] [run] ...
//
// Blank blocks (never used, or without a hash) are interchangeable and stand as one run where they
// touch.
#include <cstdint>
#include <span>
#include <vector>

#include "sim/state/key_index.h"
#include "sim/state/kv_pool.h"

namespace kvsim {

class BlockPool final : public KvPool {
 public:
  struct Options {
    std::int64_t blocks = 0;     // usable blocks, the reserved null block not counted
    bool caching = true;         // prefix cache
    bool unhashed_first = true;  // freed blocks without a hash go to the head of the queue (before
                                 // PR 42656: to the tail)
  };
  explicit BlockPool(Options);

  Hit look_up(std::span<const ContentChunk>, std::int64_t most) override;
  [[nodiscard]] std::int64_t seen_blocks(std::span<const ContentChunk>, std::int64_t from,
                                         std::int64_t most) const override;
  void take_hit(Hold&, std::span<const ContentChunk>) override;
  // From the head of the free queue.
  void pop(std::int64_t n) override;
  void publish(Hold&, std::span<const ContentChunk>, std::int64_t full) override;
  // Last block first.
  void release(Hold&) override;
  void runs(const Hold&, std::vector<Piece>& out) const override;
  bool reset() override;
  void check(std::span<const Hold* const> holders) const override;

 private:
  static constexpr std::uint32_t kNone = 0xffffffffU;
  // Block counts fit: see the constructor. Half a line of memory, as a node: pools of a fleet do
  // not stay in the caches.
  struct alignas(32) Run {
    std::uint32_t node = kNone;           // kNone: blank
    std::uint32_t refs = 0;               // 0: in the free queue
    std::uint32_t start = 0, blocks = 0;  // first block within the chunk, and how many
    std::uint32_t queue_previous = kNone, queue_next = kNone;
    std::uint32_t node_next = kNone;   // runs of one node, in the order of insertion
    std::uint32_t split_next = kNone;  // the part that was split off behind this one
    [[nodiscard]] std::int64_t first() const { return start; }
    [[nodiscard]] std::int64_t end() const { return std::int64_t{start} + blocks; }
    [[nodiscard]] bool has(std::int64_t block) const { return start <= block && block < end(); }
    void grow(std::int64_t by) { blocks = static_cast<std::uint32_t>(blocks + by); }
  };
  static_assert(sizeof(Run) == 32);
  // Of a content chunk that was cached here at some time.
  struct alignas(32) Node {
    std::uint64_t key = 0;
    std::uint32_t first = kNone, last = kNone;
    std::uint32_t seen = 0;     // blocks of the chunk ever published
    std::uint32_t leading = 0;  // blocks from its start that are cached without a gap; kept for who
                                // hears of it
    std::uint32_t place = kNoPlace;  // of who hears
    std::uint32_t begin : 30 = 0;    // blocks of the sequence before the chunk
    std::uint32_t own : 1 = 0;       // of one sequence (Hold::own): forgotten with its last run
    std::uint32_t listed : 1 = 0;    // not forgotten
  };
  static_assert(sizeof(Node) == 32, "a run remembers millions of them");
  struct Found {
    std::uint32_t run;
    std::int64_t offset, blocks;  // within the run
  };

  std::uint32_t new_run();
  void drop_run(std::uint32_t);
  // Nodes are sought from the one of the chunk before (kNone: there is none). Chunks that came
  // together have nodes that follow each other, and only the first of such is in the index.
  [[nodiscard]] bool is_node_of(std::uint64_t key, std::uint32_t node) const {
    return node < nodes_.size() && nodes_[node].key == key && nodes_[node].listed;
  }
  [[nodiscard]] std::uint32_t find(std::uint64_t key, std::uint32_t before) const {
    return is_node_of(key, before + 1) ? before + 1 : index_.find(key);
  }
  std::uint32_t node_of(std::uint64_t key, std::uint32_t before, std::int64_t begin, bool own);
  void forget(std::uint32_t node);
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
  [[nodiscard]] std::int64_t covered_from(const Node&, std::int64_t at) const;
  void tell(Node&, std::int64_t leading, bool grew);
  // Chunks that came together have nodes behind each other and leave together, the last first, each
  // from another place in memory: fetches what will be needed kAhead chunks from now, or 2 kAhead.
  static constexpr std::uint32_t kAhead = 8;
  void foresee(std::uint32_t leaving) const;

  Options options_;
  std::vector<Run> runs_;
  std::vector<std::uint32_t> free_runs_;
  std::vector<Node> nodes_;
  std::vector<std::uint32_t> free_nodes_;
  KeyIndex<Node> index_{nodes_};
  std::uint32_t head_ = kNone, tail_ = kNone;
  std::vector<Found> found_;
  std::vector<std::uint32_t> chain_;
};

}  // namespace kvsim
