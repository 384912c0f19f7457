#pragma once
// Times of this project's own kernels on one device, as `kvsim kernels calibrate` measures them and
// the cost model `kernels` reads them: a part of the device's catalogue file.
#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

#include "sim/base/fields.h"
#include "sim/base/work.h"

namespace kvsim {

// Time of one matrix product: base + per_weight * (numbers in the matrix), for a number of rows
// (tokens).
struct LinearTime {
  std::string element = "f16";
  std::int64_t rows = 1;
  double base_ns = 0, per_weight_ns = 0;
  static constexpr Rows kFields{
      field("element", &LinearTime::element, any, "stored weights: f16 or f32"),
      field("rows", &LinearTime::rows, between<std::int64_t>(1, 1 << 20), "tokens"),
      field("base_ns", &LinearTime::base_ns, between(0.0, 1e9), "of a call"),
      field("per_weight_ns", &LinearTime::per_weight_ns, between(0.0, 1e6), "per weight")};
};

// Time of attention over one layer: base + per_unit * units. Decode: `count` sequences, a unit is a
// token of context (over all sequences). Prefill: chunks of `count` tokens, a unit is a pair of a
// query and a key that it sees.
struct AttentionTime {
  std::string element = "f16";
  std::int64_t q_heads = 0, kv_heads = 0, key_dim = 0, value_dim = 0;
  bool latent = false;
  std::int64_t count = 1;
  double base_ns = 0, per_unit_ns = 0;
  static constexpr Rows kFields{
      field("element", &AttentionTime::element, any, "stored KV: f32, f16, bf16, i8, i4 or i2"),
      field("q_heads", &AttentionTime::q_heads, between<std::int64_t>(1, 4096), "query heads"),
      field("kv_heads", &AttentionTime::kv_heads, between<std::int64_t>(1, 4096),
            "heads of the cache"),
      field("key_dim", &AttentionTime::key_dim, between<std::int64_t>(1, 4096), "width of a key"),
      field("value_dim", &AttentionTime::value_dim, between<std::int64_t>(1, 4096),
            "width of a value"),
      field("latent", &AttentionTime::latent, any, "values are the front of the keys (MLA)"),
      field("count", &AttentionTime::count, between<std::int64_t>(1, 1 << 20),
            "decode: sequences; prefill: tokens of a chunk"),
      field("base_ns", &AttentionTime::base_ns, between(0.0, 1e12), "of a call"),
      field("per_unit_ns", &AttentionTime::per_unit_ns, between(0.0, 1e6),
            "per token of context; prefill: per pair of query and key")};
};

inline bool is_of(const AttentionTime& t, const AttentionShape& s) {
  return t.q_heads == s.q_heads && t.kv_heads == s.kv_heads && t.key_dim == s.key_dim &&
         t.value_dim == s.value_dim && t.latent == s.latent && t.element == s.element;
}

struct KernelProfile {
  std::string device, driver, date, isa;
  int threads = 1;
  bool software = false;
  std::vector<LinearTime> linear;
  std::vector<AttentionTime> decode, prefill;
  // Norms, rotation, activations: a call, and a byte read or written. The sampler's softmax
  // likewise.
  double elementwise_base_ns = 0, elementwise_byte_ns = 0, softmax_base_ns = 0, softmax_byte_ns = 0;
  double worst_fit = 0;
  static constexpr Rows kFields{
      field("device", &KernelProfile::device, any, "as the system or the driver names it"),
      field("driver", &KernelProfile::driver, any, "of a Vulkan device; empty for a CPU"),
      field("date", &KernelProfile::date, any, "of the measurement"),
      field("isa", &KernelProfile::isa, any, "instruction set of a CPU"),
      field("threads", &KernelProfile::threads, between(1, 4096), "of a CPU"),
      field("software", &KernelProfile::software, any,
            "a Vulkan device that is a CPU: its times say nothing about a GPU"),
      field("linear", &KernelProfile::linear, any, "matrix products"),
      field("decode", &KernelProfile::decode, any, "attention of decoding sequences"),
      field("prefill", &KernelProfile::prefill, any, "attention of prompts"),
      field("elementwise_base_ns", &KernelProfile::elementwise_base_ns, between(0.0, 1e9),
            "norms, rotation, activations: of a call"),
      field("elementwise_byte_ns", &KernelProfile::elementwise_byte_ns, between(0.0, 1e6),
            "likewise, per byte read or written"),
      field("softmax_base_ns", &KernelProfile::softmax_base_ns, between(0.0, 1e9),
            "softmax of the logits: of a call"),
      field("softmax_byte_ns", &KernelProfile::softmax_byte_ns, between(0.0, 1e6),
            "likewise, per byte"),
      field("worst_fit", &KernelProfile::worst_fit, between(0.0, 1e6),
            "largest relative difference between a measured time and these lines")};
};

}  // namespace kvsim
