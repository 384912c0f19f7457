#pragma once
// Replay of a stream through a prefix cache, without timing. A request hits its longest leading run
// of resident blocks; then all its blocks were computed, so each is touched if it is resident
// (orphans beyond the run too) and else offered to the policy, in order of the prefix or against
// it. The blocks of the request stay pinned meanwhile: a request larger than the cache keeps its
// head.
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "policies/eviction/eviction.h"
#include "sim/base/tree.h"
#include "sim/cache/bounds.h"
#include "sim/cache/stream.h"

namespace kvsim {

struct PrefixReplayOptions {
  bool tail_first = false;  // blocks are touched and inserted from the last to the first, as vLLM
                            // frees them; else from the first. Policies that refuse blocks without
                            // their parent then keep little
  std::int64_t queue = 0;   // requests after the one served that wait already (ObjectTable::queued)
};

class PrefixReplay {
 public:
  // Keeps a reference to the stream and a table of its own. `seed` names the random streams of
  // policies.
  explicit PrefixReplay(const BlockStream& stream, PrefixReplayOptions = {},
                        std::uint64_t seed = 0);
  // An empty cache of `capacity` >= 1 blocks; `params` must have passed PluginInfo::resolve.
  void start(std::string_view policy, const Tree& params, std::int64_t capacity);
  // All requests, once, after each start(). Access::tick counts accesses of the stream; Access::now
  // is the arrival.
  PrefixHits run();

 private:
  void serve(std::size_t request);
  void touch(Access&, std::size_t access);
  void insert(const Access&);
  void leave(ObjectId);
  void move_queue(std::size_t request);

  const BlockStream& stream_;
  PrefixReplayOptions options_;
  std::uint64_t seed_;
  ObjectTable objects_;
  std::vector<std::int64_t> next_use_;  // filled for the first policy that reads it
  std::vector<char> resident_;
  std::int64_t residents_ = 0, capacity_ = 1;
  std::size_t queued_to_ = 0;  // requests that entered the queue so far
  std::unique_ptr<EvictionPolicy> policy_;
  PrefixHits out_;
};

}  // namespace kvsim
