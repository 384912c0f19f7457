#pragma once
// How many KV blocks an engine finds room for: total * utilization - weights - peak activation -
// graph pool - other, divided by the bytes of a block (vLLM v1). The engine measures the subtracted
// terms by a dummy run; here they are estimates:
//
// activation: the larger of two live sets of a rank, in activation precision:
//   forward   max_batched_tokens * (2 hidden + the widest inner activation of a layer and its input
//   projection) sampling  max_batched_tokens * 2 hidden + min(max_running, 200) * vocab * 58 B
// other: 0.16 GiB, and 0.2 GiB more for the collectives' buffers when tensor > 1.
//
// The constants were fitted to the block counts of vLLM 0.15.1 on H100 (thirteen deployments,
// tests/models) and agree within 0.4 GiB with start-up logs in public issues
// (vllm-project/vllm#10511: 1.26 GiB for 256 sequences of Llama-3-8B; 0.05 to 0.33 GiB non-torch).
// Residual error: below 1 % of the blocks of an 80 GB GPU, more on small ones. Give kv_blocks when
// known.
#include <cstdint>
#include <optional>
#include <string>

#include "models/geometry.h"

namespace kvsim {

struct MemoryPlan {
  Bytes total;  // of one GPU, as the driver reports it
  Ratio utilization{0.9};
  std::int64_t max_batched_tokens = 2048;
  std::int64_t max_running = 256;  // sequences
  std::int64_t block_tokens = 16;
  Bytes graph_pool{0};  // vLLM subtracts it since about 0.21; 0.1 to 0.7 GiB is typical
  std::optional<Bytes> activation, other;  // replace the estimates
  std::optional<Bytes> block;              // of a stage, where that is not the KV of all its layers
};

// Where the memory of the fullest rank goes.
struct MemoryBudget {
  Bytes usable, weights, activation, graph_pool, other, kv,
      block;      // kv: left for the cache; block: bytes of one block
  Blocks blocks;  // minimum over pipeline stages; vLLM keeps one of them as its null block
};

Bytes activation_estimate(const ModelSpec&, const Parallel&, const Precision&,
                          std::int64_t max_batched_tokens, std::int64_t max_running);
Bytes other_memory_estimate(const Parallel&);

// Throws InputError with the breakdown when not a single block fits, or when the split does not fit
// the model.
MemoryBudget plan_memory(const ModelSpec&, const Parallel&, const Precision&, const MemoryPlan&);

}  // namespace kvsim
