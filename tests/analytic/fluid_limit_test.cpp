// Fluid limits: with work always waiting and memory for a full batch, throughput is that of the
// roofline: a batch of B decodes produces B tokens in the time that the cost model gives it, and
// prompts take the time that it gives them.
#include <gtest/gtest.h>

#include "sim/run/build.h"
#include "sim/run/simulate.h"
#include "sim/scenario/yaml.h"

namespace kvsim {
namespace {

// Outputs are even between 128 and 384: 256 in the mean, and a decode has seen E[o^2] / 2 E[o] =
// 139 of them in the mean.
constexpr std::int64_t kBatch = 64, kPrompt = 256, kOutput = 256, kSeen = 139;

LoadedScenario scenario(const char* preset, Diagnostics& d) {
  const std::string text =
      std::string(R"(
kvsim: 1
name: saturated
model: llama-3.1-8b
deployment: {hardware: h100-sxm}
engine: {preset: )") +
      preset +
      R"(, max_running: 64, max_batched_tokens: 8192, max_model_len: 8192, cuda_graphs: false,
         layer_overhead: 0 us, graph_layer_overhead: 0 us, kv_blocks: 200000, block_tokens: 16}
cache: {prefix: {index: none}, tiers: []}
workload: {generate: {requests: 4096, arrivals: {rate: 100000 /s}, prompt: {value: 256}, output: {law: uniform, min: 128, max: 384}}}
)";
  return read_scenario(parse_yaml(text, "saturated", d), ".", {}, d);
}

TEST(FluidLimit, ThroughputAtSaturationIsTheRooflines) {
  for (const char* preset : {"vllm-v1", "vllm-0.8", "sarathi-serve", "vllm-paper"}) {
    Diagnostics d;
    const LoadedScenario loaded = scenario(preset, d);
    BuiltRun run = build_run(loaded, true, d);
    for (const Diagnostic& one : d.all()) ADD_FAILURE() << to_string(one);
    if (!d.empty()) continue;
    // A place in the batch is a request's for its outputs, the first of which its prompt brings.
    StepShape decodes;
    decodes.decodes = decodes.padded_decodes = kBatch;
    decodes.decode_context_sum = kBatch * (kPrompt + kSeen);
    decodes.decode_context_max = kPrompt + 2 * kSeen;
    const double decode = to_seconds(run.cost->decode_line(decodes).at(decodes));
    const PrefillPiece piece{kPrompt, 0, true};
    StepShape mixed = decodes, prompt;
    mixed.prefills = prompt.prefills = {&piece, 1};
    const bool apart = std::string(preset) == "vllm-paper";
    const double extra = apart ? to_seconds(run.cost->mixed_step(prompt))
                               : to_seconds(run.cost->mixed_step(mixed)) - decode;
    const double expected =
        static_cast<double>(kBatch) / (static_cast<double>(apart ? kOutput - 1 : kOutput) * decode +
                                       static_cast<double>(kBatch) * extra);
    const SimulateResult result = simulate(run, {});
    // Without the first and the last batch.
    std::vector<Time> ends;
    for (const RequestOutcome& r : result.outcome.requests) ends.push_back(r.last_token);
    std::sort(ends.begin(), ends.end());
    const std::size_t n = ends.size(), cut = n / 4;
    const double rate =
        static_cast<double>(n - 2 * cut) / to_seconds(ends[n - cut - 1] - ends[cut - 1]);
    EXPECT_NEAR(rate / expected, 1, 0.02) << preset;
  }
}

}  // namespace
}  // namespace kvsim
