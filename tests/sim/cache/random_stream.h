#pragma once
// Small block streams for tests.
#include <map>
#include <vector>

#include "sim/base/diagnostics.h"
#include "sim/base/random.h"
#include "sim/cache/stream.h"

namespace kvsim::test {

// Requests of ids as given (renumbered in order of appearance), one second apart.
inline BlockStream stream_of(const std::vector<std::vector<std::uint64_t>>& requests) {
  BlockStream s;
  std::map<std::uint64_t, ObjectId> known;
  for (const auto& ids : requests) {
    ObjectId before = kNoObject;
    for (const std::uint64_t key : ids) {
      const auto [at, fresh] = known.try_emplace(key, static_cast<ObjectId>(known.size()));
      if (fresh) s.objects.add(key, before);
      s.access.push_back(before = at->second);
    }
    s.begin.push_back(s.access.size());
    const auto second = static_cast<std::int64_t>(s.requests());
    s.request.push_back({Time{std::chrono::seconds(second)}, 1 + s.requests() % 3, 0, 0});
  }
  return s;
}

// `requests` walks from the root of a random trie of at most `nodes` nodes, at most `depth` long;
// walks prefer low-numbered children, so that some paths are popular.
inline BlockStream random_trie_stream(Rng& rng, std::size_t requests, std::size_t depth,
                                      std::size_t nodes) {
  std::map<std::pair<std::uint64_t, std::uint64_t>, std::uint64_t> child;  // of node, branch
  std::vector<std::vector<std::uint64_t>> all(requests);
  for (auto& path : all) {
    std::uint64_t node = 0;
    for (std::size_t k = 1 + rng.below(depth); k > 0; --k) {
      const std::uint64_t branch = rng.below(1 + rng.below(4));
      const auto at = child.find({node, branch});
      if (at == child.end() && child.size() >= nodes) break;
      node = at != child.end() ? at->second : child[{node, branch}] = child.size() + 1;
      path.push_back(node);
    }
  }
  return stream_of(all);
}

}  // namespace kvsim::test
