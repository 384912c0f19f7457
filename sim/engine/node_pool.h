#pragma once
// KvPool as a tree of nodes that an eviction policy of the registry orders. A node is a run of
// consecutive blocks that is cached, held and evicted as a whole: RadixPool cuts them where
// sequences part, ChunkPool makes all of one size.
//
// A sequence holds the path from the root to its deepest node: every node of it is locked. Blocks
// that it computed although the tree had them are given back, and it goes on with the tree's.
// An object of the policy is a node; it is pinned while locked and, in a tree that must stay one,
// while it has children. So any policy evicts leaves only. A policy cannot refuse what is computed:
// `admits` and `must_evict` are not asked.
#include <boost/unordered/unordered_flat_map.hpp>
#include <memory>

#include "policies/eviction/eviction.h"
#include "sim/engine/config.h"
#include "sim/state/kv_pool.h"

namespace kvsim {

class NodePool : public KvPool {
 public:
  struct Options {
    std::int64_t blocks = 0;        // usable ones
    std::int64_t share_blocks = 1;  // of a node, where all are equal
    bool leaves_only = true;        // a node outlives those that continue it
    MakeEvictionPolicy make_policy;
    std::uint64_t seed = 0;
  };

  [[nodiscard]] std::int64_t seen_blocks(std::span<const ContentChunk>, std::int64_t from,
                                         std::int64_t most) const final;
  void take_hit(Hold&, std::span<const ContentChunk>) final;
  // Evicts node after node until n blocks are blank; the last may give more than is needed.
  void pop(std::int64_t n) final;
  void release(Hold&) final;
  void runs(const Hold&, std::vector<Piece>& out) const final;
  bool reset() final;
  void check(std::span<const Hold* const> holders) const final;

  [[nodiscard]] std::int64_t nodes() const { return resident_; }

 protected:
  static constexpr ObjectId kRoot = 0;
  static constexpr std::uint32_t kNone = 0xffffffffU;
  // A place in a content: block `at` of the sequence, which lies in chunk `chunk`.
  struct Cursor {
    std::span<const ContentChunk> content;
    std::size_t chunk = 0;
    std::int64_t at = 0;

    // Steps over chunks that end here; false where the content ends.
    bool settle();
    [[nodiscard]] std::int64_t start() const {
      return at - (chunk == 0 ? 0 : content[chunk - 1].end);
    }
    // Content of block `at` and, as keys are chained, of all before it. Settled.
    [[nodiscard]] std::uint64_t identity() const;
  };
  struct Span {
    std::uint64_t key = 0;
    std::int64_t start = 0, count = 0;  // blocks [start, start + count) of the chunk
    std::uint32_t next = kNone;
  };
  struct Node {
    std::int64_t begin = 0, blocks = 0;  // of the sequence
    std::uint32_t first = kNone;         // of its spans
    std::uint32_t refs = 0;              // sequences that hold it
    bool resident = false;
  };

  explicit NodePool(Options);
  // The object of the node that ends with this block, the `depth`-th of the sequence: a node is
  // known by its last block, which it keeps when it is split.
  ObjectId intern(std::uint64_t last_block, std::int64_t depth);
  // kNoObject unless such a node is cached.
  [[nodiscard]] ObjectId find(std::uint64_t last_block) const;
  [[nodiscard]] static ObjectId deepest(const Hold& h) {
    return h.pieces.empty() ? kRoot : h.pieces.front().run;
  }
  // Blank blocks of the hold become a new node of content [c.at, until), below its deepest one.
  ObjectId add(Hold&, Cursor& c, std::int64_t until);
  // The hold goes on to a cached child, whose blocks it computed again.
  void adopt(Hold&, ObjectId child);
  // Node `id` keeps its blocks from the `at`-th; those before it go to a new node, which is given.
  ObjectId split(ObjectId id, std::int64_t at);
  // Makes a cached node end after its first `blocks` blocks; gives the node of these.
  virtual ObjectId cut(ObjectId id, std::int64_t blocks) = 0;
  virtual void forget(ObjectId) {}  // about to leave
  virtual void forget_all() {}

  Options options_;
  ObjectTable objects_;  // kRoot: the empty sequence, also the content of blocks not yet computed
  std::unique_ptr<EvictionPolicy> policy_;
  std::vector<Node> nodes_;  // by object
  std::vector<Span> spans_;
  // Path of the last look_up; of its last node only so many blocks.
  std::vector<ObjectId> path_;
  std::int64_t path_last_ = 0;

 private:
  std::uint32_t new_span(const Span&);
  Access access(ObjectId, const Owner&);
  void lock(ObjectId);
  void move_to(Hold&, ObjectId);
  void evict_one();
  void cached(const Span&);
  void left(const Span&);
  void remove(ObjectId);

  std::vector<std::uint32_t> free_spans_;
  boost::unordered_flat_map<std::uint64_t, ObjectId> ids_;
  // Of a chunk: blocks ever cached; blocks from its start that are cached without a gap (a policy
  // that evicts from the middle makes it an underestimate, as what lies behind the gap is
  // forgotten).
  struct Known {
    std::int64_t seen = 0, leading = 0;
    std::uint32_t place = kNoPlace;  // of who hears
  };
  boost::unordered_flat_map<std::uint64_t, Known> known_;
  std::int64_t resident_ = 0, tick_ = 0;
};

// The pool that a rank's settings ask for.
std::unique_ptr<KvPool> make_pool(const EngineConfig&, std::uint64_t rank);

}  // namespace kvsim
