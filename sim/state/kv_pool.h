#pragma once
// The KV blocks of one rank, as its scheduler sees them: which prefix is cached, which blocks are
// held, how many could be taken. What leaves when blocks are needed is the implementation's choice.
//
// A block is blank (nothing in it that another sequence may use), or cached: its content is known
// and can be hit. Cached blocks that nobody holds count as free.
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "sim/base/time.h"

namespace kvsim {

// The content of a sequence in blocks: chunk i holds the blocks whose last token lies in segment i.
// `key` is chained (trace_source.h); `end` is the number of blocks up to and including this chunk.
struct ContentChunk {
  std::uint64_t key = 0;
  std::int64_t end = 0;
};

class KvPool {
 public:
  // What one sequence holds: cached blocks from its start, then `blank` ones.
  struct Piece {
    std::uint32_t run = 0;
    std::int64_t blocks = 0;  // may go on over runs that were split off later
  };
  // Who holds them.
  struct Owner {
    std::uint64_t session = 0;
    std::uint32_t tenant = 0;
    std::int32_t priority = 0;
  };
  struct Hold {
    std::vector<Piece> pieces;
    std::int64_t hashed = 0, blank = 0;
    std::size_t chunk = 0;  // chunk of the next block to be published
    // The chunks from here on are of this sequence alone, nobody else's content has their keys:
    // what is remembered of them, and told about them, may end when their blocks leave.
    std::size_t own = static_cast<std::size_t>(-1);
    Owner owner;
    [[nodiscard]] std::int64_t blocks() const { return hashed + blank; }
  };
  // Result of a look-up; valid until the next call that changes the pool.
  struct Hit {
    std::int64_t blocks = 0;  // consecutive cached blocks from the start
    std::int64_t queued = 0;  // of those, held by nobody: they cost a free block each when taken
  };
  // Hears of cached blocks that are reused: [first, first + count) of a content chunk, the first of
  // them the `at`-th of its sequence.
  using Leaving = std::function<void(std::uint64_t key, std::int64_t first, std::int64_t count,
                                     std::int64_t at)>;

  // Hears of the content chunks that are cached: the blocks from the chunk's start without a gap,
  // and the most of it that was ever cached. `place` is the listener's: the pool keeps it with the
  // chunk, kNoPlace at first.
  static constexpr std::uint32_t kNoPlace = 0xffffffffU;
  using Cached = std::function<void(std::uint64_t key, std::uint32_t& place, std::int64_t leading,
                                    std::int64_t seen)>;

  virtual ~KvPool() = default;
  KvPool(const KvPool&) = delete;
  KvPool& operator=(const KvPool&) = delete;
  void on_leaving(Leaving hear) { leaving_ = std::move(hear); }
  // Before the first request. Calls are made when `seen` grows and, if `all`, whenever `leading`
  // changes.
  void on_cached(Cached hear, bool all) {
    cached_ = std::move(hear);
    hears_all_ = all;
  }
  // The instant of the calls that follow.
  void set_now(Time now) { now_ = now; }

  [[nodiscard]] std::int64_t total() const { return total_; }
  [[nodiscard]] std::int64_t free() const { return free_; }  // held by nobody, cached ones included
  [[nodiscard]] std::int64_t cached_free() const { return cached_free_; }
  [[nodiscard]] std::int64_t evicted() const { return evicted_; }  // cached blocks reused so far
  [[nodiscard]] bool was_reset() const { return resets_ > 0; }

  // Longest cached prefix, at most `most` blocks.
  virtual Hit look_up(std::span<const ContentChunk>, std::int64_t most) = 0;
  // Blocks of this content, beyond the first `from`, that this pool has cached at some time
  // (present or evicted).
  [[nodiscard]] virtual std::int64_t seen_blocks(std::span<const ContentChunk>, std::int64_t from,
                                                 std::int64_t most) const = 0;
  // Gives the blocks of the last look_up to an empty hold.
  virtual void take_hit(Hold&, std::span<const ContentChunk>) = 0;
  // Takes n blank blocks, evicting what must leave for them. Requires n <= free().
  void take(Hold& hold, std::int64_t n) {
    pop(n);
    hold.blank += n;
  }
  // The same for blocks whose holder adds them to its count later.
  virtual void pop(std::int64_t n) = 0;
  // The first `full` blocks of the sequence now have their content: they become visible to look_up.
  // A pool that shares only larger units may leave the last of them blank.
  virtual void publish(Hold&, std::span<const ContentChunk>, std::int64_t full) = 0;
  // Gives everything back; the hold is empty afterwards.
  virtual void release(Hold&) = 0;
  // Appends the runs of cached blocks that a hold consists of. Holds with equal `run` share it.
  virtual void runs(const Hold&, std::vector<Piece>& out) const = 0;
  // Forgets all cached content; refused (false) while any block is held.
  virtual bool reset() = 0;

  // Walks everything and aborts when counts, lists and holders disagree (invariant I2). O(blocks).
  virtual void check(std::span<const Hold* const> holders) const = 0;

 protected:
  explicit KvPool(std::int64_t blocks) : total_(blocks) {}
  std::int64_t total_, free_ = 0, cached_free_ = 0, evicted_ = 0, resets_ = 0;
  Time now_{};
  Leaving leaving_;
  Cached cached_;
  bool hears_all_ = false;
};

}  // namespace kvsim
