#include "sim/run/build_pool.h"
#include "sim/run/place_of.h"

#include <fmt/format.h>

#include "sim/base/hash.h"
#include "sim/scenario/catalog.h"

namespace kvsim {
namespace {

class PoolBuilder {
 public:
  PoolBuilder(BuiltRun& run, const Tree& scenario, Diagnostics& d)
      : scenario_(scenario),
        d_(d),
        cache_(run.scenario.cache),
        spec_(run.scenario.engine),
        engine_(run.engine),
        seed_(run.scenario.seed) {}

  void build() {
    const PrefixIndex index = cache_.prefix.index;
    engine_.prefix_caching = index != PrefixIndex::none;
    if (cache_.tiers.empty() || cache_.tiers.front().name != "gpu") {
      choose_policy(Choice<"eviction", "policy">{"lru"});
    } else {
      check_tier(cache_.tiers.front());
      choose_policy(cache_.tiers.front().eviction);
    }
    size_chunks();
    free_queue();
    const bool tree = index == PrefixIndex::radix || index == PrefixIndex::chunk_tree;
    if (!spec_.prefix_visible)
      spec_.prefix_visible = tree ? PrefixVisible::computed : PrefixVisible::scheduled;
    if (!spec_.cache_preempted) spec_.cache_preempted = !tree;
    engine_.publish_computed = *spec_.prefix_visible == PrefixVisible::computed;
    engine_.publish_preempted = *spec_.cache_preempted;
  }

 private:
  void error(const std::string& path, const std::string& message, const std::string& hint) {
    d_.add(place_of(scenario_, path), path, message, hint);
  }

  // The GPU's size follows from the engine, and what leaves it is a matter of the tier below.
  void check_tier(const TierSpec& tier) {
    TierSpec plain;
    plain.name = tier.name;
    plain.eviction = tier.eviction;
    const Tree given = write_fields(tier), expected = write_fields(plain);
    for (const Tree::Entry& e : given.entries()) {
      const Tree* other = expected.find(e.key);
      if (other != nullptr && to_yaml(*other) == to_yaml(*given.find(e.key))) continue;
      error("cache.tiers.0." + e.key, "has no meaning for the GPU, which only has an eviction",
            e.key == "capacity" ? "its size is engine.kv_blocks" : "remove it");
    }
  }

  void choose_policy(const Choice<"eviction", "policy">& choice) {
    const PrefixIndex index = cache_.prefix.index;
    const std::string key = "cache.tiers.0.eviction";
    if (index == PrefixIndex::none) {
      if (choice.name != "lru")
        error(key, "without a prefix index nothing is cached, and so nothing evicted",
              "set cache.prefix.index: hash, radix or chunk-tree, or remove it");
      return;
    }
    KvPoolConfig& p = engine_.pool;
    p.seed = hash_combine(hash_text("kv-pool"), seed_);
    if (index == PrefixIndex::radix) p.index = KvPoolConfig::Index::radix;
    if (index == PrefixIndex::chunk_tree) p.index = KvPoolConfig::Index::chunks;
    if (index == PrefixIndex::hash && choice.name == "lru") return;  // the free queue
    p.make_policy = [name = choice.name, params = choice.params](const EvictionPolicy::Context& c) {
      return Registry::instance().make<EvictionPolicy>(name, params, c);
    };
    const ObjectTable none;
    EvictionPolicy::Context context;
    context.objects = &none;
    if (p.make_policy(context)->needs_future())
      error(key,
            fmt::format("{} needs to know the future, which a simulation does not", choice.name),
            "kvsim cache replays a trace with it");
  }

  void size_chunks() {
    const PrefixSpec& p = cache_.prefix;
    const std::string key = "cache.prefix.chunk_tokens";
    if (p.index != PrefixIndex::chunk_tree) {
      if (p.chunk_tokens != PrefixSpec{}.chunk_tokens)
        error(key, fmt::format("the index {} has no chunks", name_of(p.index)),
              "set cache.prefix.index: chunk-tree, or remove it");
      return;
    }
    if (p.chunk_tokens % spec_.block_tokens != 0)
      return error(key,
                   fmt::format("{} is not a multiple of the block of {} tokens", p.chunk_tokens,
                               spec_.block_tokens),
                   "change it or engine.block_tokens");
    engine_.pool.share_blocks = p.chunk_tokens / spec_.block_tokens;
  }

  // Presets name an order of the free queue; where there is none, only a scenario's own is refused.
  void free_queue() {
    const bool queue = !engine_.pool.make_policy;
    engine_.unhashed_first = spec_.unhashed_blocks_first.value_or(true);
    if (queue || !spec_.unhashed_blocks_first) return;
    const Place place = place_of(scenario_, "engine.unhashed_blocks_first");
    const auto preset = catalog_file(CatalogKind::preset, spec_.preset);
    if (place.file && (!preset || *place.file != *preset))
      error("engine.unhashed_blocks_first",
            fmt::format("orders vLLM's free queue, but here {} decides what is reused",
                        cache_.tiers.empty() ? "lru" : cache_.tiers.front().eviction.name),
            "remove it, or use cache.prefix.index: hash with the eviction lru");
    spec_.unhashed_blocks_first.reset();
  }

  const Tree& scenario_;
  Diagnostics& d_;
  CacheSpec& cache_;
  EngineSpec& spec_;
  EngineConfig& engine_;
  std::uint64_t seed_;
};

}  // namespace

void build_pool(BuiltRun& run, const Tree& scenario, Diagnostics& d) {
  PoolBuilder(run, scenario, d).build();
}

}  // namespace kvsim
