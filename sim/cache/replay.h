#pragma once
// Flat replay: the accesses of a stream, one by one, through a cache of so many objects that one
// eviction policy rules. Every access counts, the first of an object included; nothing is pinned.
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "policies/eviction/eviction.h"
#include "sim/base/tree.h"
#include "sim/cache/stream.h"

namespace kvsim {

struct ReplayCounts {
  std::uint64_t accesses = 0, hits = 0;
  [[nodiscard]] std::uint64_t misses() const { return accesses - hits; }
  [[nodiscard]] double miss_ratio() const {
    return accesses == 0 ? 0 : static_cast<double>(misses()) / static_cast<double>(accesses);
  }
};

class Replay {
 public:
  // Keeps a reference to the stream and a table of its own, so that several threads may replay one
  // stream. `seed` names the random streams of policies.
  explicit Replay(const BlockStream& stream, std::uint64_t seed = 0);
  // An empty cache of `capacity` >= 1 objects; `params` must have passed PluginInfo::resolve.
  void start(std::string_view policy, const Tree& params, std::int64_t capacity);
  // All accesses, once, after each start().
  ReplayCounts run();

 private:
  void insert(const Access&);
  void leave(ObjectId);

  const BlockStream& stream_;
  std::uint64_t seed_;
  bool chained_;  // some object has a parent, so that ObjectTable::children has to be kept
  ObjectTable objects_;
  std::vector<std::int64_t> next_use_;  // filled for the first policy that reads it
  std::vector<char> resident_;
  std::int64_t residents_ = 0;
  std::unique_ptr<EvictionPolicy> policy_;
};

}  // namespace kvsim
