// Memory managers that do not suit the rest of the scenario.
#include "tests/sim/scenario/broken_scenario.h"

namespace kvsim {
namespace {

using test::BrokenScenario;

const std::string kWork = "workload: {generate: {requests: 5}}\n";

const std::string kNoHost =
    "deployment: {hardware: {base: h100-sxm, host_link: {bandwidth: 0 GB/s}}}\n";

const BrokenScenario kBroken[] = {
    {"regions_cannot_share", "cache: {memory: {manager: reserved, by: pow2}}\n" + kWork,
     R"(s.yaml:1:17: error: cache.memory: contiguous regions cannot share prefixes
    set cache.prefix.index: none, or cache.memory: paged)"},
    {"kept_pages_cannot_be_shared", "cache: {memory: virtual}\n" + kWork,
     R"(s.yaml:1:17: error: cache.memory: pages kept for the next request cannot be shared
    set cache.prefix.index: none (vAttention), or deferred: false and eager_tokens: 0 (vTensor))"},
    {"eager_pages_cannot_be_shared",
     "cache: {memory: {manager: virtual, deferred: false, eager_tokens: 64}}\n" + kWork,
     R"(s.yaml:1:17: error: cache.memory: pages kept for the next request cannot be shared
    set cache.prefix.index: none (vAttention), or deferred: false and eager_tokens: 0 (vTensor))"},
    {"page_below_a_token",
     "model: opt-13b\ncache: {prefix: {index: none}, memory: {manager: virtual, page: 8 KiB}}\n" +
         kWork,
     R"(s.yaml:2:40: error: cache.memory: the page is smaller than K or V of one token in one layer
    use a larger page, or more tensor ranks)"},
    {"nothing_to_lend", "engine: {activation_memory: 0 GiB}\ncache: {memory: pooled}\n" + kWork,
     R"(s.yaml:2:17: error: cache.memory: no memory is set aside for activations, so nothing can be lent
    give engine.activation_memory, or set cache.memory: paged)"},
    {"unknown_manager", "cache: {memory: buddy}\n" + kWork,
     R"(s.yaml:1:17: error: cache.memory: *
    valid: *)"},
    {"unknown_parameter_of_a_manager",
     "cache: {memory: {manager: virtual, pages: 2 MiB}}\n" + kWork,
     R"(s.yaml:1:36: error: cache.memory.pages: unknown key
    did you mean 'page'? valid: *)"},
    {"layers_cannot_share", "cache: {memory: layer-wise}\n" + kWork,
     R"(s.yaml:1:17: error: cache.memory: a prompt whose layers lie apart cannot share its prefix
    set cache.prefix.index: none, or cache.memory: paged)"},
    {"more_layers_than_the_model_has",
     "cache: {prefix: {index: none}, memory: {manager: layer-wise, resident: 33}}\n" + kWork,
     R"(s.yaml:1:40: error: cache.memory: 33 layers are to stay, the model has 32 with KV
    lower cache.memory.resident, or 0 to have it chosen)"},
    {"swapping_without_host_memory", "engine: {preemption: swap}\n" + kNoHost + kWork,
     R"(s.yaml:1:22: error: engine.preemption: h100-sxm has no host memory that its GPUs reach over a link
    use a node of the catalogue (kvsim list node), or give it host_memory and a host_link)"},
    {"layers_without_host_memory",
     "cache: {prefix: {index: none}, memory: layer-wise}\n" + kNoHost + kWork,
     R"(s.yaml:1:40: error: cache.memory: h100-sxm has no host memory that its GPUs reach over a link
    use a node of the catalogue (kvsim list node), or give it host_memory and a host_link)"},
    {"swap_space_below_a_block",
     "engine: {preemption: {mode: swap, space: 1 MiB}}\ndeployment: {hardware: dgx-h100}\n" + kWork,
     R"(s.yaml:1:42: error: engine.preemption.space: holds not one block of KV
    give more)"},
    {"more_swap_space_than_memory",
     "engine: {preemption: {mode: swap, space: 3 TiB}}\ndeployment: {hardware: dgx-h100}\n" + kWork,
     R"(s.yaml:1:42: error: engine.preemption.space: with the cpu tiers, 1 GPUs of a node take 3072 GiB of host memory, there are 2048 GiB
    lower it, or use a larger machine)"},
    {"layers_and_swapping",
     "engine: {preemption: swap}\ndeployment: {hardware: dgx-h100}\n"
     "cache: {prefix: {index: none}, memory: layer-wise}\n" +
         kWork,
     R"(s.yaml:1:22: error: engine.preemption: layer-wise memory moves KV to the host by itself
    set mode: recompute, or another cache.memory)"},
    {"unknown_mode_of_preemption", "engine: {preemption: swop}\n" + kWork,
     R"(s.yaml:1:22: error: engine.preemption: *
    did you mean 'swap'? *)"},
    {"page_out_of_bounds", "cache: {memory: {manager: virtual, page: 1 KiB}}\n" + kWork,
     R"(s.yaml:1:42: error: cache.memory.page: *)"},
};

class BrokenMemory : public testing::TestWithParam<BrokenScenario> {};
TEST_P(BrokenMemory, SaysWhatIsWrongAndWhere) { test::expect_broken(GetParam()); }
INSTANTIATE_TEST_SUITE_P(All, BrokenMemory, testing::ValuesIn(kBroken),
                         [](const auto& p) { return std::string(p.param.name); });

// What a message advises, works.
TEST(MemoryScenario, TheCuresAreGood) {
  for (const char* cache : {"{prefix: {index: none}, memory: {manager: reserved, by: pow2}}",
                            "{prefix: {index: none}, memory: virtual}",
                            "{memory: {manager: virtual, deferred: false}}", "{memory: pooled}"})
    EXPECT_EQ(test::BrokenFolder("cache: " + std::string(cache) + "\n" + kWork).check({}), "")
        << cache;
  const std::string node = "deployment: {hardware: dgx-h100}\n" + kWork;
  for (const char* text :
       {"engine: {preemption: swap}\n", "engine: {preemption: {mode: swap, space: 100 GiB}}\n",
        "cache: {prefix: {index: none}, memory: layer-wise}\n"})
    EXPECT_EQ(test::BrokenFolder(text + node).check({}), "") << text;
}

}  // namespace
}  // namespace kvsim
