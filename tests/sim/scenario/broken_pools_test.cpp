// Prefix indices, eviction on the GPU and engine settings that contradict each other.
#include "tests/sim/scenario/broken_scenario.h"

namespace kvsim {
namespace {

using test::BrokenScenario;

const std::string kWork = "workload: {generate: {requests: 5}}\n";

const BrokenScenario kBroken[] = {
    {"free_queue_with_a_tree",
     "engine: {unhashed_blocks_first: true}\ncache: {prefix: {index: radix}}\n" + kWork,
     R"(s.yaml:1:33: error: engine.unhashed_blocks_first: orders vLLM's free queue, but here lru decides what is reused
    remove it, or use cache.prefix.index: hash with the eviction lru)"},
    {"free_queue_with_a_policy",
     "engine: {unhashed_blocks_first: false}\ncache:\n  tiers: [{name: gpu, eviction: sieve}]\n" +
         kWork,
     R"(s.yaml:1:33: error: engine.unhashed_blocks_first: orders vLLM's free queue, but here sieve decides what is reused
    remove it, or use cache.prefix.index: hash with the eviction lru)"},
    {"eviction_without_an_index",
     "cache:\n  prefix: {index: none}\n  tiers: [{name: gpu, eviction: sieve}]\n" + kWork,
     R"(s.yaml:3:33: error: cache.tiers.0.eviction: without a prefix index nothing is cached, and so nothing evicted
    set cache.prefix.index: hash, radix or chunk-tree, or remove it)"},
    {"policy_that_knows_the_future", "cache:\n  tiers: [{name: gpu, eviction: belady}]\n" + kWork,
     R"(s.yaml:2:33: error: cache.tiers.0.eviction: belady needs to know the future, which a simulation does not
    kvsim cache replays a trace with it)"},
    {"chunks_that_are_no_blocks",
     "cache: {prefix: {index: chunk-tree, chunk_tokens: 40}}\n" + kWork,
     R"(s.yaml:1:51: error: cache.prefix.chunk_tokens: 40 is not a multiple of the block of 16 tokens
    change it or engine.block_tokens)"},
    {"chunks_of_another_index", "cache: {prefix: {index: radix, chunk_tokens: 32}}\n" + kWork,
     R"(s.yaml:1:46: error: cache.prefix.chunk_tokens: the index radix has no chunks
    set cache.prefix.index: chunk-tree, or remove it)"},
    {"a_gpu_with_a_capacity",
     "cache:\n  tiers:\n    - {name: gpu, capacity: 8 GiB, ttl: 3 s}\n" + kWork,
     R"(s.yaml:3:29: error: cache.tiers.0.capacity: has no meaning for the GPU, which only has an eviction
    its size is engine.kv_blocks
s.yaml:3:41: error: cache.tiers.0.ttl: has no meaning for the GPU, which only has an eviction
    remove it)"},
};

class BrokenPools : public testing::TestWithParam<BrokenScenario> {};

TEST_P(BrokenPools, Says) { test::expect_broken(GetParam()); }

INSTANTIATE_TEST_SUITE_P(All, BrokenPools, testing::ValuesIn(kBroken),
                         [](const auto& each) { return std::string(each.param.name); });

TEST(Pools, PresetsMayNameAnOrderOfAQueueThatIsNotUsed) {
  const test::BrokenFolder folder("engine: {preset: vllm-0.19}\ncache: {prefix: {index: radix}}\n" +
                                  kWork);
  EXPECT_EQ(folder.check({}), "");
}

}  // namespace
}  // namespace kvsim
