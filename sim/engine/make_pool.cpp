#include "sim/base/hash.h"
#include "sim/engine/chunk_pool.h"
#include "sim/engine/radix_pool.h"
#include "sim/state/block_pool.h"

namespace kvsim {

std::unique_ptr<KvPool> make_pool(const EngineConfig& c, std::uint64_t rank) {
  const KvPoolConfig& p = c.pool;
  // Blocks are found again where a layer keeps every token.
  const bool caching = c.prefix_caching && c.hybrid.full > 0;
  if (!caching || !p.make_policy)
    return std::make_unique<BlockPool>(BlockPool::Options{c.kv_blocks, caching, c.unhashed_first});
  NodePool::Options o{c.kv_blocks, p.share_blocks, p.index != KvPoolConfig::Index::hash,
                      p.make_policy, hash_combine(p.seed, rank)};
  if (p.index == KvPoolConfig::Index::radix) return std::make_unique<RadixPool>(std::move(o));
  return std::make_unique<ChunkPool>(std::move(o));
}

}  // namespace kvsim
