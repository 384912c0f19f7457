#pragma once
// A scenario file as a value: what a run is asked to do. Field texts are the user's manual (`kvsim
// schema`, `kvsim show scenario`). Models, devices, traces and policies are named here and resolved
// by sim/run.
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "sim/base/fields.h"
#include "sim/base/registry.h"
#include "sim/base/work.h"
#include "sim/scenario/batch_spec.h"
#include "sim/scenario/cache_spec.h"
#include "sim/scenario/economics_spec.h"
#include "sim/scenario/encoder_spec.h"
#include "sim/scenario/fleet_spec.h"
#include "sim/scenario/lora_spec.h"
#include "sim/scenario/preemption_spec.h"
#include "sim/scenario/policy_rules.h"
#include "sim/scenario/speculative_spec.h"

namespace kvsim {

// Ranks that the experts of a layer are spread over: a number, true (all of tensor x data) or false
// (none: cut by tensor).
struct ExpertRanks {
  int count = 1;  // 0 = all
};
template <>
struct Codec<ExpertRanks> {
  static bool read(const Tree&, ExpertRanks&, Reader&);
  static Tree write(const ExpertRanks&);
  static TypeInfo info();
};

enum class ContextPrefill : std::uint8_t { ring, all_gather };
constexpr auto enum_names(ContextPrefill) {
  return std::array{std::pair{ContextPrefill::ring, "ring"},
                    std::pair{ContextPrefill::all_gather, "all-gather"}};
}
enum class ContextDecode : std::uint8_t { tree, ring };
constexpr auto enum_names(ContextDecode) {
  return std::array{std::pair{ContextDecode::tree, "tree"}, std::pair{ContextDecode::ring, "ring"}};
}

struct ParallelSpec {
  int tensor = 1, pipeline = 1, data = 1, context = 1;
  ContextPrefill context_prefill = ContextPrefill::ring;
  ContextDecode context_decode = ContextDecode::tree;
  ExpertRanks expert;
  static constexpr Rows kFields{
      field("tensor", &ParallelSpec::tensor, between(1, 1024), "GPUs that share every layer"),
      field("pipeline", &ParallelSpec::pipeline, between(1, 1024), "stages that share the layers"),
      field("data", &ParallelSpec::data, between(1, 1024),
            "ranks of one engine, each with its own scheduler and KV cache"),
      field(
          "context", &ParallelSpec::context, between(1, 1024),
          "groups of tensor x pipeline GPUs that share the tokens of every sequence: each has the "
          "weights, and a part of the KV of each sequence"),
      field("context_prefill", &ParallelSpec::context_prefill, any,
            "of a prompt's attention: KV goes round the groups behind the arithmetic (ring), or is "
            "collected first (all-gather)"),
      field("context_decode", &ParallelSpec::context_decode, any,
            "of a token's attention: groups attend to their parts and merge (max, sum, value) by a "
            "tree, or KV goes round (ring)"),
      field("expert", &ParallelSpec::expert, any,
            "ranks that the experts are spread over: tensor x data (or true), or 1 (or false): "
            "every expert is cut by tensor")};
  [[nodiscard]] bool spreads_experts() const { return expert.count != 1 && tensor * data > 1; }
  [[nodiscard]] Parallel parallel() const {
    return {tensor,
            pipeline,
            data,
            spreads_experts(),
            context,
            context_prefill == ContextPrefill::all_gather,
            context_decode == ContextDecode::ring};
  }
};

struct InterconnectSpec {
  std::optional<Bandwidth> bandwidth;
  std::optional<Duration> latency;
  static constexpr Rows kFields{
      field("bandwidth", &InterconnectSpec::bandwidth, any,
            "per GPU and direction, between the GPUs of an instance"),
      field("latency", &InterconnectSpec::latency, any, "of one message")};
};

enum class PoolRole : std::uint8_t { mixed, prefill, decode, encode };
constexpr auto enum_names(PoolRole) {
  return std::array<std::pair<PoolRole, const char*>, 4>{{{PoolRole::mixed, "mixed"},
                                                          {PoolRole::prefill, "prefill"},
                                                          {PoolRole::decode, "decode"},
                                                          {PoolRole::encode, "encode"}}};
}

// Like instances. What is not given is the scenario's.
struct PoolSpec {
  std::string name;
  PoolRole role = PoolRole::mixed;
  int replicas = 1;
  Tree hardware, parallel, interconnect, engine, cache, cost, autoscaling;
  static constexpr Rows kFields{
      field("name", &PoolSpec::name, any, "of the pool"),
      field(
          "role", &PoolSpec::role, any,
          "mixed: serves requests from beginning to end; prefill: computes prompts and their "
          "first token; decode: takes over from there; encode: makes tokens of images (`encoder`), "
          "one GPU an instance"),
      field("replicas", &PoolSpec::replicas, between(1, 4096), "instances"),
      field("hardware", &PoolSpec::hardware, any, "as deployment.hardware"),
      field("parallel", &PoolSpec::parallel, any, "as deployment.parallel"),
      field("interconnect", &PoolSpec::interconnect, any, "as deployment.interconnect"),
      field("engine", &PoolSpec::engine, any, "keys of engine that differ"),
      field("cache", &PoolSpec::cache, any, "keys of cache that differ"),
      field("cost", &PoolSpec::cost, any, "cost model, with all of its parameters"),
      field("autoscaling", &PoolSpec::autoscaling, any,
            "as deployment.autoscaling, of the instances of this pool")};
};

enum class HandoverMode : std::uint8_t { pull, layers, push };
constexpr auto enum_names(HandoverMode) {
  return std::array<std::pair<HandoverMode, const char*>, 3>{{{HandoverMode::pull, "pull"},
                                                              {HandoverMode::layers, "layers"},
                                                              {HandoverMode::push, "push"}}};
}

// KV from instance to instance.
struct HandoverSpec {
  HandoverMode mode = HandoverMode::pull;
  std::optional<Bandwidth> bandwidth;
  std::optional<Duration> latency;
  std::int64_t local_prefill = 0;
  Choice<"router", "policy"> router{"least-tokens"};
  static constexpr Rows kFields{
      field("mode", &HandoverSpec::mode, any,
            "pull: all of it once the instance that takes over has room (vLLM with NIXL); layers: "
            "layer by layer while the prompt is computed, so that little is left then; push: the "
            "taker's room is set aside before the prompt is computed, and each piece of it is sent "
            "at once, layer by layer"),
      field("bandwidth", &HandoverSpec::bandwidth, any,
            "of an instance, each direction; default: its share of the node's network adapters, "
            "between instances of one node the links of its GPUs"),
      field("latency", &HandoverSpec::latency, any, "of a transfer; default: the network's"),
      field("local_prefill", &HandoverSpec::local_prefill,
            between<std::int64_t>(0, std::int64_t{1} << 40),
            "prompts with at most so many tokens to compute are computed where they are decoded"),
      field("router", &HandoverSpec::router, any, "who takes over")};
};

// Instances that change between prompts and tokens by load.
struct RolesSpec {
  Duration every{std::chrono::seconds(5)}, switching{std::chrono::seconds(2)};
  std::int64_t to_prefill = 16384;
  Ratio to_decode{0.8};
  int least = 1;
  static constexpr Rows kFields{
      field("every", &RolesSpec::every,
            between<Duration>(Duration{1'000'000}, std::chrono::hours(24)),
            "how often it is looked at; one instance changes at a time"),
      field("switching", &RolesSpec::switching, any,
            "from the last of its requests until it serves the other stage, with an empty cache"),
      field("to_prefill", &RolesSpec::to_prefill, between<std::int64_t>(1, std::int64_t{1} << 40),
            "prompt tokens that wait, for each prefill instance: above, a decode instance changes"),
      field("to_decode", &RolesSpec::to_decode, between(Ratio{0}, Ratio{1}),
            "share of the decode instances' KV memory in use: above, a prefill instance changes"),
      field("least", &RolesSpec::least, between(1, 4096), "instances of each role that stay")};
};

struct DeploymentSpec {
  Tree hardware = Tree::scalar("h100-sxm");
  int replicas = 1;
  ParallelSpec parallel;
  InterconnectSpec interconnect;
  std::vector<PoolSpec> pools;
  std::optional<HandoverSpec> handover;
  std::optional<AutoscalingSpec> autoscaling;
  std::optional<RolesSpec> roles;
  std::optional<LendingSpec> lending;
  static constexpr Rows kFields{
      field("hardware", &DeploymentSpec::hardware, any,
            "node or device of the catalogue, a path to such a file, or a mapping {base: NAME, "
            "...} that overrides one"),
      field("replicas", &DeploymentSpec::replicas, between(1, 4096), "instances behind the router"),
      field("parallel", &DeploymentSpec::parallel, any, "how one instance spreads over its GPUs"),
      field("interconnect", &DeploymentSpec::interconnect, any,
            "overrides the catalogue's link between the GPUs of an instance"),
      field("pools", &DeploymentSpec::pools, any,
            "several sets of like instances, in place of replicas"),
      field("handover", &DeploymentSpec::handover, any,
            "how KV goes from one instance to another: between prefill and decode pools, with "
            "routers that copy prefixes or move requests"),
      field("autoscaling", &DeploymentSpec::autoscaling, any,
            "how many of the replicas serve when: {policy: NAME, ...}, the policy's parameters, "
            "and the rules below; default: all of them, always. With pools, each has its own"),
      field("roles", &DeploymentSpec::roles, any,
            "instances of a prefill and a decode pool change between the two by load"),
      field("lending", &DeploymentSpec::lending, any,
            "instances lend each other KV memory: a sequence may lie on several of them, each of "
            "which attends to its part (Infinite-LLM)")};
};

// Rules of admission that hold whatever the policy.
struct SchedulerRules {
  bool chunked_prefill = true;
  bool async = true;
  bool full_sequence_admission = true;
  std::int64_t long_prefill_threshold = 0;
  Ratio watermark{0};
  static constexpr Rows kFields{
      field("chunked_prefill", &SchedulerRules::chunked_prefill, any,
            "prompts may be computed in pieces"),
      field("async", &SchedulerRules::async, any,
            "iteration k+1 is decided when iteration k starts, so that the GPU never waits for the "
            "scheduler"),
      field("full_sequence_admission", &SchedulerRules::full_sequence_admission, any,
            "a request is admitted only when all of its known tokens fit (off: only its first "
            "piece)"),
      field("long_prefill_threshold", &SchedulerRules::long_prefill_threshold,
            between<std::int64_t>(0, 1 << 30),
            "most prompt tokens of one request in an iteration; 0 = no limit"),
      field("watermark", &SchedulerRules::watermark, between(Ratio{0}, Ratio{1}),
            "share of the KV blocks kept free at admission")};
};

using SchedulerSpec = PolicyAndRules<"scheduler", "fcfs", SchedulerRules>;

enum class Balancing : std::uint8_t { usage, waiting };
constexpr auto enum_names(Balancing) {
  return std::array{std::pair{Balancing::usage, "usage"}, std::pair{Balancing::waiting, "waiting"}};
}

enum class PrefixVisible : std::uint8_t { scheduled, computed };
constexpr auto enum_names(PrefixVisible) {
  return std::array{std::pair{PrefixVisible::scheduled, "scheduled"},
                    std::pair{PrefixVisible::computed, "computed"}};
}

enum class ToolReturn : std::uint8_t { last, arrival };
constexpr auto enum_names(ToolReturn) {
  return std::array{std::pair{ToolReturn::last, "last"}, std::pair{ToolReturn::arrival, "arrival"}};
}

struct ToolRules {
  ToolReturn returns = ToolReturn::last;
  static constexpr Rows kFields{
      field("returns", &ToolRules::returns, any,
            "where a request waits whose tool has returned, under a scheduler that goes by "
            "arrival: last, or where its own arrival puts it (INFERCEPT)")};
};

using ToolsSpec = PolicyAndRules<"pause", "discard", ToolRules>;

struct EngineSpec {
  std::string preset = "vllm-v1";
  std::int64_t block_tokens = 16;
  std::optional<std::int64_t> max_batched_tokens, max_running, max_model_len, kv_blocks;
  Ratio gpu_memory_utilization{0.92};
  std::optional<Bytes> graph_pool, activation_memory;
  SchedulerSpec scheduler;
  BatchSpec batch;
  Choice<"admission", "policy"> admission{"all"};
  std::optional<bool> unhashed_blocks_first;
  std::optional<PrefixVisible> prefix_visible;
  PreemptionSpec preemption;
  ToolsSpec tools;
  std::optional<bool> cache_preempted;
  std::optional<SpeculativeSpec> speculative;
  bool shared_prefix_attention = false;
  std::optional<LoraSpec> lora;
  std::optional<std::int64_t> pipeline_batches;
  Balancing data_balancing = Balancing::usage;
  bool cuda_graphs = true;
  std::vector<std::int64_t> graph_sizes;
  Duration overhead{}, layer_overhead{}, graph_overhead{}, graph_layer_overhead{};
  Duration schedule_time{}, front_end{}, back_end{}, request_timeout{};
  static constexpr Rows kFields{
      field("preset", &EngineSpec::preset, any,
            "engine and version whose rules are followed; gives defaults for everything below"),
      field("block_tokens", &EngineSpec::block_tokens, between<std::int64_t>(1, 1 << 16),
            "tokens of a KV block"),
      field("max_batched_tokens", &EngineSpec::max_batched_tokens,
            between<std::int64_t>(1, 1 << 24),
            "token budget of an iteration; default by GPU memory"),
      field("max_running", &EngineSpec::max_running, between<std::int64_t>(1, 1 << 20),
            "most running requests of a rank; default by GPU memory"),
      field("max_model_len", &EngineSpec::max_model_len, between<std::int64_t>(1, 1 << 30),
            "longest prompt plus output; default: what the model allows"),
      field("kv_blocks", &EngineSpec::kv_blocks, between<std::int64_t>(2, std::int64_t{1} << 32),
            "the engine's own number of KV blocks of block_tokens per rank (its null block "
            "included); "
            "default: computed from memory"),
      field("gpu_memory_utilization", &EngineSpec::gpu_memory_utilization,
            between(Ratio{0.01}, Ratio{1}), "share of GPU memory that the engine may use"),
      field("graph_pool", &EngineSpec::graph_pool, any,
            "memory taken by captured graphs, when the engine subtracts it"),
      field("activation_memory", &EngineSpec::activation_memory, any,
            "peak of activations, in place of the estimate"),
      field("scheduler", &EngineSpec::scheduler, any,
            "who takes part in an iteration: {policy: NAME, ...}, the policy's parameters, and the "
            "rules below"),
      field("batch", &EngineSpec::batch, any, "how an iteration is composed"),
      field("admission", &EngineSpec::admission, any, "who is taken in at all"),
      field("unhashed_blocks_first", &EngineSpec::unhashed_blocks_first, any,
            "freed blocks without a hash are reused first (vLLM since May 2026)"),
      field("prefix_visible", &EngineSpec::prefix_visible, any,
            "others may hit KV as soon as it is scheduled (vLLM), or once it is computed (SGLang); "
            "default: computed with an index radix or chunk-tree"),
      field("preemption", &EngineSpec::preemption, any,
            "what becomes of a running request when no KV block is free for another's next token"),
      field(
          "tools", &EngineSpec::tools, any,
          "what becomes of a request's KV while a tool runs that it called; host memory for it is "
          "preemption.space"),
      field("cache_preempted", &EngineSpec::cache_preempted, any,
            "what a preempted request has computed stays cached (vLLM); default: no with an index "
            "radix or chunk-tree (SGLang)"),
      field("speculative", &EngineSpec::speculative, any,
            "tokens drafted ahead and verified together: {tokens, acceptance, draft, ...}"),
      field("shared_prefix_attention", &EngineSpec::shared_prefix_attention, any,
            "attention of decodes reads KV blocks that several of them share once (ChunkAttention, "
            "Hydragen, bifurcated attention)"),
      field("lora", &EngineSpec::lora, any,
            "adapters that requests name: {adapters, zipf, share, rank, slots, ...}"),
      field(
          "pipeline_batches", &EngineSpec::pipeline_batches, between<std::int64_t>(0, 64),
          "batches in flight through the stages of parallel.pipeline, each planned by itself; 0 = "
          "as many as stages (vLLM, Sarathi-Serve); default: one passes all stages before the "
          "next starts"),
      field("data_balancing", &EngineSpec::data_balancing, any,
            "how the front end scores data-parallel ranks: usage (present) or waiting (4 waiting + "
            "running)"),
      field("cuda_graphs", &EngineSpec::cuda_graphs, any,
            "decode batches are padded to captured sizes"),
      field("graph_sizes", &EngineSpec::graph_sizes, between<std::int64_t>(1, 1 << 20),
            "captured sizes; empty = the engine's own list"),
      field("overhead", &EngineSpec::overhead, any,
            "host time that the GPU cannot hide, of an iteration launched kernel by kernel (with "
            "prefill, or too large for a captured graph)"),
      field("layer_overhead", &EngineSpec::layer_overhead, any,
            "the same per layer of the model, added to it"),
      field("graph_overhead", &EngineSpec::graph_overhead, any,
            "host time and gaps of an iteration that runs as a captured graph (decodes only)"),
      field("graph_layer_overhead", &EngineSpec::graph_layer_overhead, any,
            "the same per layer of the model, added to it"),
      field("schedule_time", &EngineSpec::schedule_time, any,
            "host time of an iteration that hides behind the GPU: an iteration takes at least this "
            "long"),
      field("front_end", &EngineSpec::front_end, any,
            "from a request's arrival until the scheduler sees it"),
      field("back_end", &EngineSpec::back_end, any,
            "from the end of an iteration until its tokens reach the client"),
      field("request_timeout", &EngineSpec::request_timeout, any,
            "a request that was not scheduled this long after its arrival is dropped; 0 = never")};
};

// A trace file: {file: F, format: NAME, ...parameters of the format}
struct TraceSpec {
  std::string file;
  bool lenient = false;
  Choice<"trace-format", "format"> format;
};

template <>
struct Codec<TraceSpec> {
  static bool read(const Tree&, TraceSpec&, Reader&);
  static Tree write(const TraceSpec&);
  static TypeInfo info();
};

struct WorkloadSpec {
  std::optional<TraceSpec> trace;
  Tree generate;
  Ratio rate_scale{1.0};
  std::int64_t limit = 0;
  static constexpr Rows kFields{
      field("trace", &WorkloadSpec::trace, any, "requests from a file: {file, format, ...}"),
      field("generate", &WorkloadSpec::generate, any,
            "requests from distributions (`kvsim show generate`)"),
      field("rate_scale", &WorkloadSpec::rate_scale, between(Ratio{1e-6}, Ratio{1e6}),
            "arrivals come this many times as fast"),
      field("limit", &WorkloadSpec::limit, between<std::int64_t>(0, std::int64_t{1} << 40),
            "stop after this many requests; 0 = all")};
};

enum class RecordLevel : std::uint8_t { none, all };
constexpr auto enum_names(RecordLevel) {
  return std::array{std::pair{RecordLevel::none, "none"}, std::pair{RecordLevel::all, "all"}};
}

struct RecordSpec {
  RecordLevel requests = RecordLevel::all, iterations = RecordLevel::none;
  RecordLevel transfers = RecordLevel::none, decisions = RecordLevel::none;
  std::int64_t alternatives = 3;
  Duration sample_every{std::chrono::seconds(10)};
  static constexpr Rows kFields{
      field("requests", &RecordSpec::requests, any, "a row per request"),
      field("iterations", &RecordSpec::iterations, any,
            "a row per iteration (large; turns fast-forwarding off)"),
      field("transfers", &RecordSpec::transfers, any,
            "a row per transfer of KV between tiers (totals of links and tiers are always kept)"),
      field("decisions", &RecordSpec::decisions, any,
            "a row per decision of a router, judged by what the instances really held (costs time "
            "with many instances)"),
      field("alternatives", &RecordSpec::alternatives, between<std::int64_t>(1, 4096),
            "of a decision: how many instances that were not chosen are kept, the cheapest"),
      field("sample_every", &RecordSpec::sample_every, any,
            "a row per rank with its queue, batch and KV use this often; 0 = never")};
};

enum class FaultTarget : std::uint8_t { instance, node, tier, link, directory };
constexpr auto enum_names(FaultTarget) {
  return std::array{std::pair{FaultTarget::instance, "instance"},
                    std::pair{FaultTarget::node, "node"}, std::pair{FaultTarget::tier, "tier"},
                    std::pair{FaultTarget::link, "link"},
                    std::pair{FaultTarget::directory, "directory"}};
}

// Something that breaks.
struct FaultSpec {
  FaultTarget kind = FaultTarget::instance;
  std::int64_t target = 0;
  std::string name;
  Duration at{}, down{}, mean_between{};
  Ratio left{0.0};
  bool keeps_data = false;
  static constexpr Rows kFields{
      field("kind", &FaultSpec::kind, any,
            "instance, node (its instances and the tiers in it), tier (one store), link, or "
            "directory (a tier's contents cannot be found, but stay)"),
      field("target", &FaultSpec::target, between<std::int64_t>(0, 1 << 20),
            "which instance, node, or store of the tier, from 0"),
      field("name", &FaultSpec::name, any,
            "of the tier, or a part of the names of links (every link that has it)"),
      field("at", &FaultSpec::at, any, "when it breaks; of random faults: the earliest"),
      field("down", &FaultSpec::down, any, "until it works again; 0 = never"),
      field("mean_between", &FaultSpec::mean_between, any,
            "random faults: mean time from start or repair to the next (exponential); 0 = once"),
      field("left", &FaultSpec::left, between(Ratio{0}, Ratio{1}),
            "of a link: share of its bandwidth that is left"),
      field("keeps_data", &FaultSpec::keeps_data, any,
            "of a tier: it cannot be reached, but comes back with what it held")};
};

// Measurements that `kvsim validate` compares with.
struct MeasuredSpec {
  std::string file;
  std::string format = "vllm-requests";
  static constexpr Rows kFields{
      field("file", &MeasuredSpec::file, any, "measured requests"),
      field("format", &MeasuredSpec::format, any,
            "vllm-requests: JSON lines with queued_ts, first_token_ts, last_token_ts in seconds; "
            "vidur: a folder with requests.csv.gz and batches.csv.gz of that simulator, compared "
            "value by value")};
};

struct Scenario {
  int kvsim = 1;
  std::string name = "unnamed";
  std::uint64_t seed = 0;
  Tree model = Tree::scalar("llama-3.1-8b");
  std::string weights;
  DeploymentSpec deployment;
  EngineSpec engine;
  CacheSpec cache;
  Choice<"router", "policy"> router{"round-robin"};
  Choice<"cost-model", "model"> cost{"roofline"};
  std::optional<ImageEncoderSpec> encoder;
  WorkloadSpec workload;
  SloSpec slo;
  std::vector<TenantClassSpec> tenants;
  EconomicsSpec economics;
  std::vector<FaultSpec> faults;
  RecordSpec record;
  Tree quality;
  std::optional<MeasuredSpec> measured;
  Tree variants;
  static constexpr Rows kFields{
      field("kvsim", &Scenario::kvsim, between(1, 1), "version of this file format"),
      field("name", &Scenario::name, any, "names the result file"),
      field("seed", &Scenario::seed, any, "of every random draw"),
      field("model", &Scenario::model, any,
            "model of the catalogue, a path, {hf_config: PATH}, or a mapping {base: NAME, ...} "
            "that overrides one"),
      field("weights", &Scenario::weights, any, "precision of the weights; empty = as published"),
      field("deployment", &Scenario::deployment, any, "hardware and how many of it"),
      field("engine", &Scenario::engine, any, "the serving engine"),
      field("cache", &Scenario::cache, any, "the KV cache"),
      field("router", &Scenario::router, any, "which instance serves a request"),
      field("cost", &Scenario::cost, any, "what an iteration costs"),
      field("encoder", &Scenario::encoder, any,
            "what makes tokens of images: in the instances that compute prompts, or in a pool of "
            "role encode"),
      field("workload", &Scenario::workload, any, "who asks when"),
      field("slo", &Scenario::slo, any, "latency objectives"),
      field("tenants", &Scenario::tenants, any,
            "classes of tenants with objectives and quotas of their own"),
      field("economics", &Scenario::economics, any, "prices and power, for cost and energy"),
      field("faults", &Scenario::faults, any, "what breaks when"),
      field("record", &Scenario::record, any, "what the database keeps"),
      field("quality", &Scenario::quality, any,
            "tensors that cache.token_policies are measured on, and what of it (`kvsim show "
            "quality`)"),
      field("measured", &Scenario::measured, any,
            "measurements to compare with (`kvsim validate`)"),
      field("variants", &Scenario::variants, any,
            "several runs in one file and one database: {AXIS: {NAME: {keys that differ}, ...}, "
            "...}; every combination of one name of each axis is run")};
};
KVSIM_FIELDS_ELSEWHERE(Scenario)

// A scenario, the tree it was read from, and the folder its relative paths start at.
struct LoadedScenario {
  Scenario value;
  std::string base_dir;
  Tree tree;
};

// Reads a file: includes, engine preset under it, `overrides` ("path=value") over it. Mistakes go
// to Diagnostics, all at once.
LoadedScenario load_scenario(const std::string& path, const std::vector<std::string>& overrides,
                             Diagnostics&);
// Every run of a file, one unless it has `variants`; names go on with the variant's.
std::vector<LoadedScenario> load_variants(const std::string& path,
                                          const std::vector<std::string>& overrides, Diagnostics&);
// The same for a tree that somebody built (tests, gallery); `base_dir` for relative paths.
LoadedScenario read_scenario(Tree, const std::string& base_dir,
                             const std::vector<std::string>& overrides, Diagnostics&);
// The mapping in a file of another kind: includes expanded, `overrides` over it.
Tree load_mapping(const std::string& path, const std::vector<std::string>& overrides, Diagnostics&);

}  // namespace kvsim
