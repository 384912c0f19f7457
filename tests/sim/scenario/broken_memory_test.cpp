// Memory managers that do not suit the rest of the scenario.
#include "tests/sim/scenario/broken_scenario.h"

namespace kvsim {
namespace {

using test::BrokenScenario;

const std::string kWork = "workload: {generate: {requests: 5}}\n";

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
}

}  // namespace
}  // namespace kvsim
