// Scenarios with wrong keys, values, names, workloads and sizes: every mistake of a file at once,
// with its place.
#include "tests/sim/scenario/broken_scenario.h"

namespace kvsim {
namespace {

using test::BrokenScenario;

const std::string kWork = "workload: {generate: {requests: 5}}\n";

const BrokenScenario kBroken[] = {
    {"unknown_keys_at_every_level",
     "sed: 1\nengine: {max_runing: 4, scheduler: {polizy: fcfs}}\ncache: {prefix: {indx: "
     "hash}}\ndeployment: {parallel: {tensors: 2}}\n" +
         kWork,
     R"(s.yaml:1:1: error: sed: unknown key
    did you mean 'seed'? valid: *
s.yaml:2:10: error: engine.max_runing: unknown key
    did you mean 'max_running'? valid: *
s.yaml:2:37: error: engine.scheduler.polizy: unknown key
    did you mean 'policy'? valid: *
s.yaml:3:18: error: cache.prefix.indx: unknown key
    did you mean 'index'? valid: index, chunk_tokens, reset_at, keep_exact
s.yaml:4:25: error: deployment.parallel.tensors: unknown key
    did you mean 'tensor'? valid: tensor, pipeline, data, context, context_prefill, context_decode, expert)"},
    {"unknown_key_nothing_near", "zzzzzzzzzz: 1\n" + kWork,
     R"(s.yaml:1:1: error: zzzzzzzzzz: unknown key
    valid: *)"},
    {"unknown_key_of_the_generator",
     "workload:\n  generate: {request: 5, arrivals: {rat: 1 /s}, prompt: {valu: 1}}\n",
     R"(s.yaml:2:14: error: workload.generate.request: unknown key
    did you mean 'requests'? valid: *
s.yaml:2:37: error: workload.generate.arrivals.rat: unknown key
    did you mean 'rate'? valid: *
s.yaml:2:58: error: workload.generate.prompt.valu: unknown key
    did you mean 'value' or 'values'? valid: *)"},
    {"unknown_key_of_a_router", "router: {policy: least-loaded, wait_weight: 1}\n" + kWork,
     R"(s.yaml:1:32: error: router.wait_weight: unknown key
    valid: by)"},
    {"unknown_key_of_a_cost_model", "cost: {model: roofline, gem: 0.5}\n" + kWork,
     R"(s.yaml:1:25: error: cost.gem: unknown key
    did you mean 'gemm' or 'gemm_half_tokens'? valid: *)"},
    {"unknown_key_of_a_trace", "workload: {trace: {file: good.csv, format: vidur, rte: 1 /s}}\n",
     R"(s.yaml:1:51: error: workload.trace.rte: unknown key
    did you mean 'rate'? valid: rate, zero_lengths)"},
    {"unknown_key_of_a_model", "model: {base: llama-3.1-8b, layer: 3}\n" + kWork,
     R"(s.yaml:1:29: error: model.layer: unknown key
    did you mean 'layers' or 'layer_kv_heads'? valid: *)"},
    {"unknown_key_of_a_device", "deployment: {hardware: {base: h100-sxm, memry: 1 GiB}}\n" + kWork,
     R"(s.yaml:1:41: error: deployment.hardware.memry: unknown key
    did you mean 'memory'? valid: *)"},
    {"wrong_types",
     "seed: many\nname: [a]\nengine: {cuda_graphs: maybe, max_running: 1.5, scheduler: fcfs, "
     "graph_sizes: 8}\ndeployment: [h100-sxm]\n" +
         kWork,
     R"(s.yaml:1:7: error: seed: read 'many', expected a whole number
s.yaml:2:7: error: name: read a list, expected text
s.yaml:3:23: error: engine.cuda_graphs: read 'maybe', expected true or false
s.yaml:3:43: error: engine.max_running: read '1.5', expected a whole number
s.yaml:3:59: error: engine.scheduler: expected a map of key: value
    such as {policy: fcfs}
s.yaml:3:78: error: engine.graph_sizes: expected a list, such as [a, b]
s.yaml:4:13: error: deployment: expected a map of key: value)"},
    {"bare_numbers",
     "engine: {overhead: 150, graph_pool: 1000}\nslo: {ttft: 2}\ndeployment: {interconnect: "
     "{bandwidth: 64}}\n" +
         kWork,
     R"(s.yaml:1:20: error: engine.overhead: '150' has no unit, expected a duration such as 150 us or 2 s (units: ns, us, ms, s, min, h, d)
s.yaml:1:37: error: engine.graph_pool: '1000' has no unit, expected a size such as 80 GiB (units: B, kB, MB, GB, TB, PB, KiB, MiB, GiB, TiB, PiB)
s.yaml:2:13: error: slo.ttft: '2' has no unit, expected a duration such as 150 us or 2 s (units: ns, us, ms, s, min, h, d)
s.yaml:3:40: error: deployment.interconnect.bandwidth: '64' has no unit, expected a bandwidth such as 3.35 TB/s (units: B/s, kB/s, MB/s, GB/s, TB/s, their binary forms, Gbit/s))"},
    {"unknown_units",
     "engine: {overhead: 150 usec, graph_pool: 1 gb}\nslo: {ttft: 2 sec}\n" + kWork,
     R"(s.yaml:1:20: error: engine.overhead: unknown unit 'usec' in '150 usec', expected a duration such as 150 us or 2 s (units: ns, us, ms, s, min, h, d)
s.yaml:1:42: error: engine.graph_pool: unknown unit 'gb' in '1 gb', expected a size such as 80 GiB (units: B, kB, MB, GB, TB, PB, KiB, MiB, GiB, TiB, PiB)
s.yaml:2:13: error: slo.ttft: unknown unit 'sec' in '2 sec', expected a duration such as 150 us or 2 s (units: ns, us, ms, s, min, h, d))"},
    {"negative",
     "engine: {overhead: -1 us, max_running: -4}\nseed: -1\nworkload: {generate: {requests: 5}, "
     "rate_scale: -2}\n",
     R"(s.yaml:1:20: error: engine.overhead: '-1 us' is negative
s.yaml:1:40: error: engine.max_running: '-4' is out of bounds: 1 to 1048576
s.yaml:2:7: error: seed: '-1' is out of bounds: 0 to 18446744073709551615
s.yaml:3:49: error: workload.rate_scale: '-2' is negative)"},
    {"out_of_bounds",
     "kvsim: 2\nengine: {block_tokens: 0, gpu_memory_utilization: 120 %, kv_blocks: "
     "1}\ndeployment: {replicas: 100000}\n" +
         kWork,
     R"(s.yaml:1:8: error: kvsim: '2' is out of bounds: only 1
s.yaml:2:24: error: engine.block_tokens: '0' is out of bounds: 1 to 65536
s.yaml:2:51: error: engine.gpu_memory_utilization: '120 %' is out of bounds: 0.01 to 1
s.yaml:2:69: error: engine.kv_blocks: '1' is out of bounds: 2 to 4294967296
s.yaml:3:24: error: deployment.replicas: '100000' is out of bounds: 1 to 4096)"},
    {"too_large_numbers",
     "seed: 99999999999999999999\nengine: {max_running: 9223372036854775808, overhead: 1e30 d}\n" +
         kWork,
     R"(s.yaml:1:7: error: seed: '99999999999999999999' is too large a number, expected at most 9223372036854775807 in size
s.yaml:2:23: error: engine.max_running: '9223372036854775808' is too large a number, expected at most 9223372036854775807 in size
s.yaml:2:54: error: engine.overhead: '1e30 d' is too large)"},
    {"unknown_enum",
     "engine: {scheduler: {policy: sjff, async: maybe}, data_balancing: use}\ncache: {prefix: "
     "{index: "
     "radx}}\nrecord: {requests: some}\n" +
         kWork,
     R"(s.yaml:1:30: error: engine.scheduler.policy: unknown scheduler 'sjff'
    did you mean 'sjf'? valid: *
s.yaml:1:43: error: engine.scheduler.async: read 'maybe', expected true or false
s.yaml:1:67: error: engine.data_balancing: unknown value 'use'
    did you mean 'usage'? valid: usage, waiting
s.yaml:2:25: error: cache.prefix.index: unknown value 'radx'
    did you mean 'radix'? valid: none, hash, radix, chunk-tree
s.yaml:3:20: error: record.requests: unknown value 'some'
    did you mean 'none'? valid: none, all)"},
    {"nothing_where_text_is_due", "name:\nengine: {overhead: }\n" + kWork,
     R"(s.yaml:2:1: error: name: read nothing, expected text
s.yaml:2:20: error: engine.overhead: read nothing, expected a duration such as 150 us or 2 s (units: ns, us, ms, s, min, h, d))"},
    {"infinite_and_nan", "engine: {overhead: inf s, gpu_memory_utilization: nan}\n" + kWork,
     R"(s.yaml:1:20: error: engine.overhead: read 'inf s', expected a duration such as 150 us or 2 s (units: ns, us, ms, s, min, h, d)
s.yaml:1:51: error: engine.gpu_memory_utilization: read 'nan', expected a share such as 10 % or 0.1)"},
    {"unknown_model", "model: llama-3.1-8\n" + kWork,
     R"(s.yaml:1:8: error: model: unknown model 'llama-3.1-8'
    did you mean 'llama-3.1-8b'? valid: *)"},
    {"unknown_device", "deployment: {hardware: h100-smx}\n" + kWork,
     R"(s.yaml:1:24: error: deployment.hardware: unknown hardware 'h100-smx'
    did you mean 'h100-sxm'? valid: *)"},
    {"unknown_preset", "engine: {preset: vllm-v2}\n" + kWork,
     R"(s.yaml:1:18: error: engine.preset: unknown engine preset 'vllm-v2'
    did you mean 'vllm-v1'? valid: *)"},
    {"unknown_router", "router: rund-robin\n" + kWork,
     R"(s.yaml:1:9: error: router: unknown router 'rund-robin'
    did you mean 'round-robin'? valid: *)"},
    {"unknown_cost_model", "cost: {model: rofline}\n" + kWork,
     R"(s.yaml:1:15: error: cost: unknown cost-model 'rofline'
    did you mean 'roofline'? valid: *)"},
    {"unknown_format", "workload: {trace: {file: good.csv, format: vidor}}\n",
     R"(s.yaml:1:44: error: workload.trace: unknown trace-format 'vidor'
    did you mean 'vidur'? valid: *)"},
    {"unknown_precisions", "weights: fp7\ncache: {dtype: b16}\n" + kWork,
     R"(s.yaml:1:10: error: weights: unknown value 'fp7'
    did you mean 'fp8'? valid: fp32, bf16, fp16, fp8, int8, int4, fp4
s.yaml:2:16: error: cache.dtype: unknown value 'b16'
    did you mean 'bf16'? valid: fp32, bf16, fp16, fp8, int8, int4, fp4)"},
    {"several_unknown_names",
     "model: llama\ndeployment: {hardware: a100}\nengine: {preset: magic}\nrouter: random\ncost: "
     "magic\n" +
         kWork,
     R"(s.yaml:1:8: error: model: unknown model 'llama'
    did you mean 'llama-13b' or 'llama-2-13b' or 'llama-2-70b' or 'llama-2-7b' or 'llama-3-70b'? valid: *
s.yaml:2:24: error: deployment.hardware: unknown hardware 'a100'
    did you mean 'a100-40' or 'a100-80'? valid: *
s.yaml:3:18: error: engine.preset: unknown engine preset 'magic'
    valid: *
s.yaml:4:9: error: router: unknown router 'random'
    valid: *
s.yaml:5:7: error: cost: unknown cost-model 'magic'
    valid: *)"},
    {"router_without_name", "router: {}\ncost: {gemm: 0.5}\nworkload: {trace: {file: good.csv}}\n",
     R"(s.yaml:3:19: error: workload.trace: has no 'format'
    valid: *)"},
    {"no_workload", "name: a\n",
     R"(s.yaml:1:1: error: workload: has neither 'trace' nor 'generate'
    for example: workload: {trace: {file: requests.jsonl, format: mooncake}})"},
    {"empty_workload", "workload: {limit: 5}\n",
     R"(s.yaml:1:11: error: workload: has neither 'trace' nor 'generate'
    for example: workload: {trace: {file: requests.jsonl, format: mooncake}})"},
    {"workload_of_nothing", "workload:\n",
     R"(s.yaml:2:1: error: workload: has neither 'trace' nor 'generate'
    for example: workload: {trace: {file: requests.jsonl, format: mooncake}})"},
    {"workload_is_text", "workload: good.csv\n",
     R"(s.yaml:1:11: error: workload: expected a map of key: value)"},
    {"trace_and_generate",
     "workload:\n  trace: {file: good.csv, format: vidur}\n  generate: {requests: 5}\n",
     R"(s.yaml:2:3: error: workload: has both 'trace' and 'generate'
    keep one of them)"},
    {"trace_without_file", "workload: {trace: {format: vidur}}\n",
     R"(s.yaml:1:19: error: workload.trace: has no 'file')"},
    {"trace_is_text", "workload: {trace: good.csv}\n",
     R"(s.yaml:1:19: error: workload.trace: expected {file: PATH, format: NAME})"},
    {"missing_trace_file", "workload: {trace: {file: absent.csv, format: vidur}}\n",
     R"(absent.csv: error: workload.trace: cannot open: No such file or directory
    check the path of the trace)"},
    {"trace_without_requests", "workload: {trace: {file: empty.csv, format: vidur}}\n",
     R"(empty.csv:1: error: workload.trace: the trace holds no records)"},
    {"trace_without_columns", "workload: {trace: {file: bad.csv, format: vidur}}\n",
     R"(bad.csv:1: error: workload.trace: has no column 'num_prefill_tokens', expected in the first line; it names: a, b
    is the file in this format?)"},
    {"trace_of_another_format", "workload: {trace: {file: good.csv, format: mooncake}}\n",
     R"(good.csv:1: error: workload.trace: read 'arrived_at,num_prefill_tokens,num_decode_tokens', expected a JSON object
    fix the record, or read the trace leniently to leave such records out)"},
    {"generator_that_does_not_fit",
     "workload: {generate: {requests: 5, prompt: {law: uniform, min: 10, max: 5}}}\n",
     R"(s.yaml:1:22: error: workload.generate: generate.prompt: min 10 is above max 5)"},
    {"generator_lacks_a_mean", "workload: {generate: {requests: 5, prompt: {law: lognormal}}}\n",
     R"(s.yaml:1:22: error: workload.generate: generate.prompt: law 'lognormal' needs either 'mean' (with cv) or 'median' (with sigma))"},
    {"too_few_kv_blocks", "engine: {kv_blocks: 1}\n" + kWork,
     R"(s.yaml:1:21: error: engine.kv_blocks: '1' is out of bounds: 2 to 4294967296)"},
    {"model_does_not_fit", "model: llama-3.1-405b\n" + kWork,
     R"(s.yaml:1:1: error: engine: model llama-3.1-405b: no room for the KV cache on a GPU: usable 72.85 GiB, weights 755.96 GiB, activations 2.94 GiB, graph pool 0.00 GiB, other 0.16 GiB; a block needs 0.01 GiB
    use more tensor or pipeline ranks, a GPU with more memory, a higher gpu_memory_utilization or smaller weights)"},
    {"no_room_for_kv", "model: llama-3.1-8b\ndeployment: {hardware: v100-16}\n" + kWork,
     R"(s.yaml:1:1: error: engine: model llama-3.1-8b: no room for the KV cache on a GPU: usable 14.51 GiB, weights 14.96 GiB, activations 1.42 GiB, graph pool 0.00 GiB, other 0.16 GiB; a block needs 0.00 GiB
    use more tensor or pipeline ranks, a GPU with more memory, a higher gpu_memory_utilization or smaller weights)"},
    {"heads_do_not_divide", "deployment: {hardware: dgx-h100, parallel: {tensor: 3}}\n" + kWork,
     R"(s.yaml:1:44: error: deployment.parallel: model llama-3.1-8b: tensor 3 does not divide 32 heads
    choose a divisor of the number of heads)"},
    {"more_stages_than_layers",
     "deployment: {hardware: dgx-h100, parallel: {pipeline: 64}}\n" + kWork,
     R"(s.yaml:1:44: error: deployment.parallel: model llama-3.1-8b: pipeline 64 for 32 layers
    give at most one stage per layer)"},
    {"more_gpus_than_the_node_has",
     "deployment: {hardware: dgx-h100, parallel: {tensor: 8, pipeline: 2}}\n" + kWork,
     R"(s.yaml:1:44: error: deployment.parallel: an instance of 16 GPUs does not fit into dgx-h100, which has 8
    lower tensor, pipeline, data or context, or describe what joins more of them: hardware: {base: dgx-h100, devices: 16, gpu_link: {...}})"},
    {"no_link_between_gpus",
     "deployment: {hardware: {base: h100-sxm, name: lonely, gpu_link: {bandwidth: 0}}, parallel: "
     "{tensor: 2}}\n" +
         kWork,
     R"(s.yaml:1:13: error: deployment.interconnect: the catalogue has no link between GPUs of lonely
    add interconnect: {bandwidth: 64 GB/s, latency: 10 us})"},
    {"budget_below_running", "engine: {max_running: 512, max_batched_tokens: 256}\n" + kWork,
     R"(s.yaml:1:23: error: engine.max_running: 512 running requests exceed the budget of 256 tokens
    raise max_batched_tokens or lower max_running)"},
    {"longer_than_the_model", "engine: {max_model_len: 1000000}\n" + kWork,
     R"(s.yaml:1:25: error: engine.max_model_len: 1000000 tokens are more than 131072 of llama-3.1-8b)"},
    {"graph_sizes_unsorted", "engine: {graph_sizes: [8, 4, 2]}\n" + kWork,
     R"(s.yaml:1:23: error: engine.graph_sizes: the sizes must ascend)"},
    {"reset_at_zero", "cache: {prefix: {reset_at: [0 s]}}\n" + kWork,
     R"(s.yaml:1:28: error: cache.prefix.reset_at: an instant must be after the start)"},
    {"parameters_of_another_scheduler",
     "engine: {scheduler: {policy: vtc, weigths: [1], by: time}, admission: queue_limit}\n" + kWork,
     R"(s.yaml:1:35: error: engine.scheduler.weigths: unknown key
    did you mean 'weights'? valid: *
s.yaml:1:49: error: engine.scheduler.by: unknown key
    valid: *
s.yaml:1:71: error: engine.admission: unknown admission 'queue_limit'
    did you mean 'queue-limit'? valid: *)"},
    {"deadlines_without_objectives",
     "engine: {scheduler: {policy: edf}, admission: predicted-ttft}\n" + kWork,
     R"(s.yaml:1:21: error: engine.scheduler: there is no deadline to go by
    set slo.ttft, or engine.scheduler.deadline.ttft
s.yaml:1:47: error: engine.admission: there is no limit to compare with
    set engine.admission.limit, or slo.ttft)"},
    {"profile_that_is_absent", "cost: {model: layer-profile, path: absent}\n" + kWork,
     R"(s.yaml:1:7: error: cost: layer-profile: no folder 'absent'
    cost.path is relative to the scenario file)"},
};

class BrokenScenarios : public testing::TestWithParam<BrokenScenario> {};

TEST_P(BrokenScenarios, Says) { test::expect_broken(GetParam()); }

INSTANTIATE_TEST_SUITE_P(All, BrokenScenarios, testing::ValuesIn(kBroken),
                         [](const auto& each) { return std::string(each.param.name); });

}  // namespace
}  // namespace kvsim
