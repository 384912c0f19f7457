#pragma once
// Miss ratios of LRU at every capacity from one pass (Mattson et al. 1970): an access hits in
// caches that are no smaller than its stack distance, the objects touched since its own last touch,
// itself included. O(log n) an access.
//
// Sampling makes it cheap for huge streams (SHARDS: Waldspurger et al., FAST 2015): only objects
// whose hash falls below a threshold are followed, their distances and their accesses counted up by
// the inverse rate. `most` bounds the objects followed: when there is one too many, the threshold
// falls to the largest hash and that object leaves. Accesses that the sample has too many or too
// few of (popular objects in or out of it) are set against the shortest distance.
#include <cstdint>
#include <vector>

#include "traces/key_table.h"

namespace kvsim {

// Number of distinct keys touched since a key was touched last: a Fenwick tree over touch
// positions, where only the latest position of each key counts. Positions are renumbered when they
// run out, so memory follows the keys that were not forgotten.
class StackDistance {
 public:
  // 1-based distance, or 0 for a key never touched before.
  std::size_t touch(std::uint64_t key);
  void forget(std::uint64_t key);  // was touched; must not be touched again
  [[nodiscard]] std::size_t distinct() const { return live_; }

 private:
  void add(std::size_t position, std::int64_t delta);
  [[nodiscard]] std::size_t sum(std::size_t position) const;  // live positions from 1 to `position`
  void renumber();

  KeyTable last_;  // key: position of its latest touch; 0 = forgotten
  std::size_t live_ = 0;
  std::vector<std::int64_t> tree_;
  std::size_t next_ = 0;  // first touch makes the tree
};

struct MissRatioCurve {
  std::uint64_t accesses = 0;
  std::uint64_t distinct = 0;  // objects; estimated under sampling
  double rate = 1;             // share of the objects followed (at the end)
  bool exact = true;
  std::vector<double> hits;  // [k]: accesses with a distance in bucket k or before (bucket_of)
  [[nodiscard]] double miss_ratio(std::uint64_t capacity) const;
};

class LruCurve {
 public:
  struct Sampling {
    double rate = 1;       // in (0, 1]; 1 = exact
    std::size_t most = 0;  // objects followed at most; 0 = no limit
    [[nodiscard]] bool on() const { return rate < 1 || most > 0; }
  };
  LruCurve() : LruCurve(Sampling{}) {}
  explicit LruCurve(Sampling);
  void access(std::uint64_t key);  // keys are names, mixed here
  [[nodiscard]] MissRatioCurve curve() const;

 private:
  void follow(std::uint64_t hash);

  Sampling sampling_;
  double threshold_;  // hashes below it are followed, of 2^64
  StackDistance stack_;
  std::vector<std::uint64_t> heap_;  // hashes followed, largest first, when `most` is set
  std::vector<double> weight_;       // accesses by bucket of their distance
  double sampled_ = 0;               // accesses the sample stands for
  std::uint64_t accesses_ = 0;
};

}  // namespace kvsim
