#pragma once
// Contents and options for tests of the pools whose nodes an eviction policy orders.
#include <string>
#include <utility>
#include <vector>

#include "sim/base/hash.h"
#include "sim/engine/node_pool.h"

namespace kvsim::test {

using Content = std::vector<ContentChunk>;
using Block = std::pair<std::uint64_t, std::int64_t>;  // chunk key, block within the chunk

inline Block block_at(const Content& content, std::int64_t block) {
  std::int64_t begin = 0;
  for (const ContentChunk& c : content) {
    if (block < c.end) return {c.key, block - begin};
    begin = c.end;
  }
  return {0, block};
}

// Contents form a tree: chunk keys are chained by hashing the parent's key with a small choice.
inline Content random_content(Rng& rng) {
  Content content;
  std::uint64_t key = 1;
  std::int64_t end = 0;
  const std::uint64_t chunks = 1 + rng.below(5);
  for (std::uint64_t i = 0; i < chunks; ++i) {
    key = hash_combine(key, rng.below(2));
    end += static_cast<std::int64_t>(key % 9);  // a key decides its length; some hold no block
    content.push_back({key, end});
  }
  content.push_back({hash_combine(key, 99), end + 40});
  return content;
}

struct Policy {
  std::string name;
  std::vector<std::pair<std::string, std::string>> params;
};

inline MakeEvictionPolicy make_policy(const Policy& p) {
  return [p](const EvictionPolicy::Context& c) {
    Tree params = Tree::map();
    for (const auto& [key, value] : p.params) params.set(key, Tree::scalar(value));
    return Registry::instance().make<EvictionPolicy>(p.name, params, c);
  };
}

inline NodePool::Options node_options(std::int64_t blocks, const Policy& policy) {
  NodePool::Options o;
  o.blocks = blocks;
  o.make_policy = make_policy(policy);
  o.seed = 7;
  return o;
}

}  // namespace kvsim::test
