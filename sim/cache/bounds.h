#pragma once
// The most hits any cache could have had, knowing the future, and which misses are whose fault.
//
// Blocks one by one: keep the blocks whose next use is nearest, the incoming one included (Belady
// with bypass). That is interval scheduling on `capacity` machines, where this greedy rule is
// optimal for objects of one size (Faigle and Nawijn 1995; Carlisle and Lloyd 1995).
//
// Prefix caches: a request hits its longest leading run of resident blocks; after it, the cache
// keeps any subset of what it held and what the request brought. The optimum is again to keep the
// blocks whose next use (in requests) is nearest, the shallower one first among equals:
//  1. A leading run holds no more blocks than are resident at all, so no prefix cache has more hits
//     than the best cache that counts every resident block of a request as a hit. For that
//     relaxation the rule is optimal (same intervals, counted in requests).
//  2. Every request that uses a block uses its ancestors. So an ancestor's next use is never later
//     than its descendant's, and the rule ranks it first. If the cache holds the ancestors of all
//     it holds, then so does cache + request, and so do the first `capacity` of them by rank.
//  3. Hence the resident blocks of a request always are a leading run, the relaxation's hits are
//     prefix hits, and the bound is met: the flat optimum is the optimum of the prefix cache.
// A real cache has less freedom (it must hold the blocks of a request while serving it).
#include <cstdint>
#include <vector>

#include "sim/cache/stream.h"

namespace kvsim {

// Hits of the optimum over accesses one by one. Capacity >= 0 in blocks.
std::uint64_t flat_optimum(const BlockStream&, std::int64_t capacity);

// Throws InputError when ids do not name prefixes: a block appears after two different ones, or
// twice in a request. Prefix replays and bounds need it (step 2 above).
void check_prefix_ids(const BlockStream&);

// Leading blocks of each request that hit.
struct PrefixHits {
  std::vector<std::uint32_t> hits;
  std::uint64_t total = 0;
};
PrefixHits prefix_optimum(const BlockStream&, std::int64_t capacity);
// Without limit of capacity: leading blocks that an earlier request had.
PrefixHits prefix_ceiling(const BlockStream&);

// What became of every access under a policy; the first four add up to the accesses.
struct MissClasses {
  std::uint64_t hits = 0;
  std::uint64_t compulsory = 0;  // beyond what an unlimited cache would hit
  std::uint64_t capacity = 0;    // the optimum of this capacity misses it too
  std::uint64_t policy = 0;      // the optimum hits it
  std::uint64_t beyond = 0;      // of the hits: the optimum misses it (it kept something better)
  std::uint64_t bound = 0;       // hits of the optimum = hits - beyond + policy
  [[nodiscard]] std::uint64_t accesses() const { return hits + compulsory + capacity + policy; }
  // Of the hits that were possible.
  [[nodiscard]] double attained() const {
    return bound == 0 ? 1 : static_cast<double>(hits) / static_cast<double>(bound);
  }
};
// `hits` per request, of a prefix replay of the same stream.
MissClasses classify_misses(const BlockStream&, const PrefixHits& policy, const PrefixHits& optimum,
                            const PrefixHits& ceiling);

}  // namespace kvsim
