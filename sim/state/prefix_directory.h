#pragma once
// Which instances have which prefix in their GPU cache: an inverted index from the keys of content
// chunks to their holders, so that a look-up costs what it finds and not instances x blocks. What
// it says is so now, or, where words travel, was so some time ago (engine-semantics section 11).
#include <array>
#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "sim/base/time.h"
#include "sim/state/key_index.h"
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
    bool holders = false;  // who has what now is kept; what anybody ever had always is
    bool words = false;    // who was said to have what: shows when publish() was called and `lag`
                           // has passed
    Duration lag{};
  };
  explicit PrefixDirectory(Options options) : options_(options) {}
  PrefixDirectory(const PrefixDirectory&) = delete;
  PrefixDirectory& operator=(const PrefixDirectory&) = delete;

  // An instance has so many blocks of a chunk from its start; `seen`: at most, ever. `place` is
  // where the chunk stands: who tells keeps it for the next time (KvPool::Cached).
  void changed(std::uint32_t instance, std::uint64_t key, std::uint32_t& place,
               std::int64_t leading, std::int64_t seen);
  // What changed until now goes on its way.
  void publish(Time now);
  // The longest cached prefix of each instance that has one, at most `most` blocks; by instance.
  void match(std::span<const ContentChunk>, std::int64_t most, std::vector<Holder>& out);
  // The same by what has arrived.
  void match_words(std::span<const ContentChunk>, std::int64_t most, Time now,
                   std::vector<Holder>& out);
  // Blocks of this content beyond the first `from` that some instance has cached at some time.
  [[nodiscard]] std::int64_t seen_blocks(std::span<const ContentChunk>, std::int64_t from,
                                         std::int64_t most) const;
  // Grows with every change of who has what.
  [[nodiscard]] std::uint64_t changes() const { return changes_; }
  [[nodiscard]] const Options& options() const { return options_; }

 private:
  static constexpr std::uint32_t kNone = KvPool::kNoPlace;
  static constexpr std::uint32_t kAhead = 8;  // places that are fetched before their turn
  // Of a chunk, by place. Chunks that came together stand together, and are found so.
  struct Entry {
    std::uint64_t key = 0;
    std::uint32_t seen = 0;  // blocks that somebody ever had
  };
  // A set of instances, 64 to a word.
  using Bits = std::vector<std::uint64_t>;
  // The holders of each chunk. Most chunks have none, most others a few.
  class Holders {
   public:
    // Those who have `most` blocks of a chunk, which nobody exceeds, and other ones, in no order.
    struct View {
      std::span<const std::uint64_t> with_most;
      std::int64_t most = 0;
      std::span<const Holder> others;
    };
    void set(std::uint32_t place, Holder);
    [[nodiscard]] View of(std::uint32_t place) const;
    // Fetches what the next call for this place will read.
    void foresee(std::uint32_t place) const {
      if (place < list_of_.size() && list_of_[place] != kNone)
        __builtin_prefetch(&lists_[list_of_[place]], 1);
    }

   private:
    // One line of memory, which does for a chunk of which all in a fleet of 64 have as much as any,
    // or for a few in any fleet.
    static constexpr std::uint32_t kFew = 5;
    struct alignas(64) List {
      std::uint32_t many = kNone;  // in many_, once this line has not been enough
      std::uint32_t most = 0;
      std::uint32_t count = 0;      // of `few`
      std::uint64_t with_most = 0;  // of instances below 64
      std::array<Holder, kFew> few{};

      void remove(std::uint32_t instance);
      bool add(Holder);  // false: no room
      [[nodiscard]] bool empty() const { return with_most == 0 && count == 0; }
    };
    struct Many {
      std::uint32_t most = 0;
      std::uint32_t count = 0;  // of all
      Bits with_most;
      std::vector<Holder> others;

      void remove(std::uint32_t instance);
      void add(Holder);
    };
    void spill(List&);

    std::vector<std::uint32_t> list_of_;  // by place; kNone: nobody
    std::vector<List> lists_;
    std::vector<Many> many_;
    std::vector<std::uint32_t> free_lists_, free_many_;
  };
  struct Word {
    std::uint32_t place = 0;
    Holder holder;
  };
  struct Batch {
    Time visible{};
    std::size_t words = 0;
  };
  // kNone where nobody ever had it; `guess`: where it may well be.
  [[nodiscard]] std::uint32_t find(std::uint64_t key, std::uint32_t guess) const;
  void match_in(const Holders&, std::span<const ContentChunk>, std::int64_t most,
                std::vector<Holder>& out);
  void begin_with(const Holders::View&, std::int64_t blocks);
  void go_on_with(const Holders::View&, std::int64_t blocks, std::int64_t so_far);

  Options options_;
  std::vector<Entry> entries_;
  KeyIndex<Entry> index_{entries_};
  Holders holders_, told_;
  std::deque<Word> words_;
  std::deque<Batch> batches_;
  std::size_t sealed_ = 0;     // of words_, those in batches
  std::size_t instances_ = 0;  // heard of
  std::uint64_t changes_ = 0;
  std::uint32_t last_ = kNone;  // place of the last change
  // Of a match: who has something, who has all so far, what the others have.
  Bits found_, going_on_, next_;
  std::vector<std::int32_t> reached_;  // by instance
};

}  // namespace kvsim
