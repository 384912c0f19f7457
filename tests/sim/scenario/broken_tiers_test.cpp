// Tiers and faults that do not suit the machine, or each other.
#include "tests/sim/scenario/broken_scenario.h"

namespace kvsim {
namespace {

using test::BrokenScenario;

const std::string kHead =
    "deployment: {hardware: dgx-a100, replicas: 2}\nworkload: {generate: {requests: 5}}\n";

const BrokenScenario kBroken[] = {
    {"gpu_is_not_first", kHead + "cache: {tiers: [{name: cpu, capacity: 1 GiB}, {name: ssd}]}\n",
     R"(s.yaml:3:24: error: cache.tiers.0.name: *
    begin the list with {name: gpu})"},
    {"kind_is_not_known", kHead + "cache: {tiers: [{name: gpu}, {name: slow, capacity: 1 GiB}]}\n",
     R"(s.yaml:3:37: error: cache.tiers.1.name: what kind of memory 'slow' is, its name does not say
    add kind: cpu, ssd or remote)"},
    {"no_capacity", kHead + "cache: {tiers: [{name: gpu}, {name: cpu}]}\n",
     R"(s.yaml:3:30: error: cache.tiers.1.capacity: 0 B holds 0 chunks of 2097152 bytes
    give a larger capacity)"},
    {"more_than_there_is", kHead + "cache: {tiers: [{name: gpu}, {name: cpu, capacity: 3 TiB}]}\n",
     R"(s.yaml:3:52: error: cache.tiers.1.capacity: the stores of one node take 6144 GiB, there are *
    lower it, or use a larger machine)"},
    {"no_drives",
     "deployment: {hardware: 4xa40}\nworkload: {generate: {requests: 5}}\n"
     "cache: {tiers: [{name: gpu}, {name: ssd, capacity: 1 GiB}]}\n",
     R"(s.yaml:3:30: error: cache.tiers.1: *
    add storage to the node (kvsim list storage), *)"},
    {"chunk_is_no_blocks",
     kHead + "cache: {tiers: [{name: gpu}, {name: cpu, capacity: 1 GiB}], offload: {chunk_tokens: "
             "100}}\n",
     R"(s.yaml:1:1: error: cache.offload.chunk_tokens: 100 is not a multiple of the block of 16 tokens)"},
    {"future_is_unknown",
     kHead + "cache: {tiers: [{name: gpu}, {name: cpu, capacity: 1 GiB, eviction: belady}]}\n",
     R"(s.yaml:3:69: error: cache.tiers.1.eviction: belady needs to know the future, which a simulation does not
    kvsim cache replays a trace with it)"},
    {"nothing_to_prefetch",
     kHead + "cache: {tiers: [{name: gpu}, {name: cpu, capacity: 1 GiB, prefetch: on-arrival}]}\n",
     R"(s.yaml:3:69: error: cache.tiers.1.prefetch: only a tier behind the first one is prefetched from
    put a cpu tier before it)"},
    {"placement_of_what_is_no_pool",
     kHead + "cache: {tiers: [{name: gpu}, {name: cpu, capacity: 1 GiB, placement: local}]}\n",
     R"(s.yaml:3:70: error: cache.tiers.1.placement: only a pool of all nodes' memory can be placed
    make it kind: remote, scope: cluster)"},
    {"copies_of_what_is_spread",
     kHead +
         "cache: {tiers: [{name: gpu}, {name: remote, capacity: 1 GiB, replicate: {after: 1}}]}\n",
     R"(s.yaml:3:73: error: cache.tiers.1.replicate: only a pool whose chunks lie with a node has copies of them
    add placement: local)"},
    {"nothing_to_convert",
     kHead + "cache: {tiers: [{name: gpu}, {name: cpu, capacity: 1 GiB, convert: 1 TB/s}]}\n",
     R"(s.yaml:3:68: error: cache.tiers.1.convert: nothing is converted: the tier above has the same precision
    give the tier a dtype of its own)"},
    {"hidden_states_in_another_precision",
     kHead + "cache: {tiers: [{name: gpu}, {name: cpu, capacity: 1 GiB, dtype: fp8}], offload: "
             "{restore: hidden}}\n",
     R"(s.yaml:3:66: error: cache.tiers.1.dtype: hidden states are stored in the precision of the activations)"},
    {"unknown_preset", kHead + "cache: {preset: lmcash, tiers: [{name: gpu}]}\n",
     R"(s.yaml:3:17: error: cache.preset: unknown cache preset 'lmcash'
    *)"},
    {"instance_that_is_not", kHead + "faults: [{kind: instance, target: 2, at: 1 s}]\n",
     R"(s.yaml:3:35: error: faults.0.target: there are 2 instances, counted from 0)"},
    {"links_without_tiers", kHead + "faults: [{kind: link, name: nic, at: 1 s}]\n",
     R"(s.yaml:3:29: error: faults.0.name: no link's name contains 'nic'
    links are simulated when cache.tiers has tiers below the GPU, or KV is swapped)"},
    {"fault_that_never_ends_comes_again",
     kHead + "faults: [{kind: instance, mean_between: 1 h}]\n",
     R"(s.yaml:3:10: error: faults.0.down: a fault that comes again must end
    give it a duration, such as down: 60 s)"},
};

class BrokenTiers : public testing::TestWithParam<BrokenScenario> {};

TEST_P(BrokenTiers, Says) { test::expect_broken(GetParam()); }

INSTANTIATE_TEST_SUITE_P(All, BrokenTiers, testing::ValuesIn(kBroken),
                         [](const auto& given) { return std::string(given.param.name); });

}  // namespace
}  // namespace kvsim
