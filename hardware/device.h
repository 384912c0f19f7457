#pragma once
// Devices and links as the catalogue describes them (hardware/catalog). Every figure of a catalogue
// file has its source beside it. Nodes: hardware/node.h.
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "hardware/kernel_profile.h"
#include "sim/base/fields.h"

namespace kvsim {

// Shares of the peak that real kernels reach: the nine numbers of the roofline law
// (hardware/README.md), fitted per accelerator, never per model.
struct Efficiency {
  double gemm = 0.7;  // of peak flops, large matrix products
  double gemm_half_tokens =
      100;  // rows at which a product reaches half of it: a product of n rows costs n + this
  double attention = 0.5;              // of peak flops, attention of long prefills
  double attention_half_tokens = 300;  // prefill tokens at which attention reaches half of it
  double memory = 0.85;                // of memory bandwidth, weights and activations
  double kv_memory = 0.8;              // of memory bandwidth, KV read by attention
  Duration launch{2200};               // fixed time of an operator that graphs cannot hide
  // Of memory bandwidth, weights of routed experts: grouped products of few rows each.
  double expert_memory = 0.75;
  // Of memory bandwidth, passes over the logits (softmax, sort for top-p): one pass counted, many
  // made, hence far below 1.
  double sampler = 0.1;
  std::string source;
  static constexpr Rows kFields{
      field("gemm", &Efficiency::gemm, between(0.01, 1.0),
            "share of peak compute in large matrix products"),
      field("gemm_half_tokens", &Efficiency::gemm_half_tokens, between(0.0, 4096.0),
            "rows at which a product reaches half of that share"),
      field("attention", &Efficiency::attention, between(0.01, 1.0),
            "share of peak compute in attention of long prefills"),
      field("attention_half_tokens", &Efficiency::attention_half_tokens, between(0.0, 65536.0),
            "prefill tokens at which attention reaches half of that share"),
      field("memory", &Efficiency::memory, between(0.01, 1.0),
            "share of memory bandwidth for weights and activations"),
      field("kv_memory", &Efficiency::kv_memory, between(0.01, 1.0),
            "share of memory bandwidth for KV read by attention"),
      field("launch", &Efficiency::launch, between<Duration>(Duration{0}, Duration{10'000'000}),
            "fixed time per operator"),
      field("expert_memory", &Efficiency::expert_memory, between(0.01, 1.0),
            "share of memory bandwidth for weights of routed experts"),
      field("sampler", &Efficiency::sampler, between(0.001, 1.0),
            "share of memory bandwidth in the sampler, its passes over the logits counted once"),
      field("source", &Efficiency::source, any, "how these were obtained")};
};

// Of a message or a request: sums over routes stay far from the end of time.
inline constexpr auto kLatencyBounds = between<Duration>(Duration{0}, Duration{60'000'000'000});

struct LinkSpec {
  std::string name;
  Bandwidth
      bandwidth;       // per direction and GPU, as transfers reach it (not the raw signalling rate)
  Duration latency{};  // of one message; a ring all-reduce over p GPUs pays 2 (p - 1)
  std::string source;
  Bytes chunk_half{};  // chunks of this size reach half the bandwidth: c / (c + chunk_half)
  static constexpr Rows kFields{
      field("name", &LinkSpec::name, any, "kind of link"),
      field("bandwidth", &LinkSpec::bandwidth, any, "per direction and GPU"),
      field("latency", &LinkSpec::latency, kLatencyBounds, "of one message"),
      field("source", &LinkSpec::source, any, "where the figures come from"),
      field("chunk_half", &LinkSpec::chunk_half, any, "size of chunks that reach half of it")};
};
KVSIM_FIELDS_ELSEWHERE(LinkSpec)

struct DeviceSpec {
  std::string name, vendor, text;
  Bytes memory;  // what a program finds (cudaMemGetInfo), a little less than the label says
  Bandwidth bandwidth;
  std::map<std::string, FlopRate>
      compute;  // dense peak by precision: fp32, tf32, fp16, bf16, fp8, int8, fp4
  Power idle_power, busy_power;
  Price price;
  LinkSpec gpu_link;   // to another of its kind in a usual machine: what a file that names only a
                       // device gets
  LinkSpec host_link;  // to host memory there
  Efficiency efficiency;
  std::optional<KernelProfile> kernels;       // of devices that ran this project's kernels
  std::map<std::string, std::string> source;  // figure -> where it comes from
  static constexpr Rows kFields{
      field("name", &DeviceSpec::name, any, "id in the catalogue"),
      field("vendor", &DeviceSpec::vendor, any, "maker"),
      field("text", &DeviceSpec::text, any, "one line"),
      field("memory", &DeviceSpec::memory, any, "device memory"),
      field("bandwidth", &DeviceSpec::bandwidth, any, "peak memory bandwidth"),
      field("compute", &DeviceSpec::compute, any, "dense peak compute rate by precision"),
      field("idle_power", &DeviceSpec::idle_power, any, "power when idle"),
      field("busy_power", &DeviceSpec::busy_power, any, "board power"),
      field("price", &DeviceSpec::price, any, "typical rent of one device"),
      field("gpu_link", &DeviceSpec::gpu_link, any,
            "link to another of its kind in a usual machine"),
      field("host_link", &DeviceSpec::host_link, any, "link to host memory in a usual machine"),
      field("efficiency", &DeviceSpec::efficiency, any, "fitted shares of the peaks"),
      field("kernels", &DeviceSpec::kernels, any,
            "measured times of this project's kernels, for the cost model of that name"),
      field("source", &DeviceSpec::source, any, "figure: where it comes from")};
};
KVSIM_FIELDS_ELSEWHERE(DeviceSpec)

}  // namespace kvsim
