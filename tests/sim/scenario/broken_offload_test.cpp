// Weights, KV and activations that do not fit where they are said to be.
#include "tests/sim/scenario/broken_scenario.h"

namespace kvsim {
namespace {

using test::BrokenScenario;

const std::string kRest =
    "workload: {generate: {requests: 5}}\nmodel: opt-30b\n"
    "engine: {max_batched_tokens: 8192, max_running: 16}\n";
const std::string kT4 = "deployment: {hardware: flexgen-t4}\n";

std::string cost(const std::string& weights, const std::string& kv) {
  return "cost: {model: flexgen, weights: " + weights + ", kv: " + kv + "}\n";
}
const std::string kHost = "{gpu: 0 %, cpu: 100 %}";

const BrokenScenario kBroken[] = {
    {"more_than_all", kRest + kT4 + cost("{gpu: 40 %, cpu: 80 %}", kHost),
     R"(s.yaml:5:7: error: cost: weights: 40 % on the GPU and 80 % in host memory are more than 100 %
    the rest, at least 0 %, is on drives)"},
    {"share_above_one", kRest + kT4 + cost("{gpu: 120 %}", kHost),
     R"(s.yaml:5:39: error: cost.weights.gpu: '120 %' is out of bounds: 0 to 1)"},
    {"gpu_overflows", kRest + kT4 + cost("{gpu: 100 %}", kHost),
     R"(s.yaml:5:7: error: cost: GPU memory: weights 55.8 GiB, KV 0.0 GiB, hidden states 0.1 GiB and 0.0 GiB that pass through are 42.5 GiB more than 13.4 GiB
    keep a smaller share there, lower engine.max_batched_tokens or kv_blocks, or use fewer bits)"},
    {"host_overflows_with_given_blocks",
     kRest + kT4 + cost("{gpu: 0 %, cpu: 100 %}", kHost),
     R"(s.yaml:5:7: error: cost: host memory: weights 55.8 GiB, KV 205.1 GiB, hidden states 0.0 GiB and 0.0 GiB that pass through are 56.9 GiB more than 204.0 GiB
    keep a smaller share there, lower engine.max_batched_tokens or kv_blocks, or use fewer bits)",
     {"engine.kv_blocks=10000"}},
    {"no_drive",
     kRest + "deployment: {hardware: {base: g4dn-12xlarge, devices: 1}}\n" +
         cost("{gpu: 0 %, cpu: 50 %}", kHost),
     R"(s.yaml:5:7: error: cost: the machine has nothing that gives ssd_to_cpu
    name a node with drives (kvsim list node), or keep everything above it)"},
    {"no_host_memory", kRest + "deployment: {hardware: t4}\n" + cost(kHost, kHost),
     R"(s.yaml:5:7: error: cost: host memory: weights 55.8 GiB, KV 0.0 GiB, hidden states 0.0 GiB and 0.0 GiB that pass through are 55.8 GiB more than 0.0 GiB
    name a node that has some (kvsim list node), or keep nothing there)"},
    {"tiers_beside_it",
     kRest + kT4 + cost(kHost, kHost) +
         "cache: {tiers: [{name: gpu}, {name: cpu, capacity: 1 GiB}]}\n",
     R"(s.yaml:6:8: error: cache: tiers below the GPU and a cost model that offloads KV exclude each other
    keep {name: gpu} only, or use another cost model)"},
    {"memory_manager_of_the_gpu",
     kRest + kT4 + cost(kHost, kHost) +
         "cache: {prefix: {index: none}, memory: {manager: reserved, by: pow2}}\n",
     R"(s.yaml:6:8: error: cache: memory manager reserved hands out GPU memory, but KV is offloaded
    set cache.memory: paged)"},
    {"shared_node",
     kRest + "deployment: {hardware: g4dn-12xlarge, replicas: 2}\n" + cost(kHost, kHost),
     R"(s.yaml:4:13: error: deployment: 2 instances that offload would share a node's memory
    give each its node: hardware: {base: ..., devices: 1})"},
    {"several_gpus",
     kRest + "deployment: {hardware: g4dn-12xlarge, parallel: {tensor: 2}}\n" + cost(kHost, kHost),
     R"(s.yaml:5:7: error: cost: flexgen offloads from one GPU, but an instance has several
    remove deployment.parallel, or use another cost model)"},
    {"experts",
     kRest + kT4 + cost(kHost, kHost),
     R"(s.yaml:5:7: error: cost: flexgen streams whole layers: routed experts are not modelled)",
     {"model=mixtral-8x7b"}},
};

class BrokenOffload : public testing::TestWithParam<BrokenScenario> {};

TEST_P(BrokenOffload, IsSaidWithPlaceAndCure) { test::expect_broken(GetParam()); }

INSTANTIATE_TEST_SUITE_P(All, BrokenOffload, testing::ValuesIn(kBroken),
                         [](const auto& p) { return std::string(p.param.name); });

}  // namespace
}  // namespace kvsim
