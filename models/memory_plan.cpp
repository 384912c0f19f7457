#include "models/memory_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace kvsim {

namespace {

constexpr double kGiB = 1024.0 * 1024 * 1024;
constexpr double kSamplerBytesPerLogit = 58;
constexpr std::int64_t kSamplerRows = 200;
constexpr double kOtherGiB = 0.16, kCollectiveGiB = 0.2;

double d(std::int64_t v) { return static_cast<double>(v); }
Bytes whole(double v) { return Bytes{static_cast<std::int64_t>(std::ceil(v))}; }

// Widest set of inner values per token that are alive at once: projection outputs, or both sides of
// the feed-forward part.
double inner_width(const ModelSpec& m, const Parallel& split) {
  const double heads = d(m.heads) / split.tensor;
  double widest = heads * d(m.head_width() + m.value_width()) + d(kv_elements(m, split.tensor));
  if (m.mla) {
    const MlaSpec& a = *m.mla;
    widest = heads * d(2 * a.qk_nope_head_dim + 2 * a.qk_rope_head_dim + 2 * a.v_head_dim);
  }
  const double up = m.gated ? 3 : 2;
  widest = std::max(widest, up * d(m.intermediate) / split.tensor);
  if (m.moe) {
    const double cut = split.expert ? 1 : split.tensor;
    widest = std::max(widest, d(m.moe->active) * (d(m.hidden) + up * d(m.moe->intermediate) / cut));
  }
  return widest;
}

[[noreturn]] void no_room(const ModelSpec& m, const MemoryBudget& b) {
  const auto gib = [](Bytes v) { return fmt::format("{:.2f} GiB", d(v.count()) / kGiB); };
  throw InputError(fmt::format("model {}: no room for the KV cache on a GPU: usable {}, weights "
                               "{}, activations {}, graph pool {}, other {}; a block needs {}",
                               m.name, gib(b.usable), gib(b.weights), gib(b.activation),
                               gib(b.graph_pool), gib(b.other), gib(b.block)),
                   "use more tensor or pipeline ranks, a GPU with more memory, a higher "
                   "gpu_memory_utilization or smaller weights");
}

}  // namespace

Bytes activation_estimate(const ModelSpec& m, const Parallel& split, const Precision& p,
                          std::int64_t max_batched_tokens, std::int64_t max_running) {
  const double act = bits(p.activations) / 8.0;
  const double residual = d(max_batched_tokens) * 2 * d(m.hidden) * act;
  const double forward = residual + d(max_batched_tokens) * inner_width(m, split) * act;
  const double sampling =
      residual + d(std::min(max_running, kSamplerRows)) * d(m.vocab) * kSamplerBytesPerLogit;
  return whole(std::max(forward, sampling));
}

Bytes other_memory_estimate(const Parallel& split) {
  return whole((kOtherGiB + (split.tensor > 1 ? kCollectiveGiB : 0)) * kGiB);
}

MemoryBudget plan_memory(const ModelSpec& m, const Parallel& split, const Precision& p,
                         const MemoryPlan& plan) {
  check_split(m, split);
  MemoryBudget best;
  bool first = true;
  for (int s = 0; s < split.pipeline; ++s) {
    MemoryBudget b;
    b.usable = Bytes{static_cast<std::int64_t>(d(plan.total.count()) * plan.utilization.value)};
    b.weights = stage_weight_bytes(m, split, p, s);
    b.activation = plan.activation.value_or(
        activation_estimate(m, split, p, plan.max_batched_tokens, plan.max_running));
    b.graph_pool = plan.graph_pool;
    b.other = plan.other.value_or(other_memory_estimate(split));
    b.kv = b.usable - b.weights - b.activation - b.graph_pool - b.other;
    b.block = plan.block.value_or(stage_block_bytes(m, split, p.kv, plan.block_tokens, s));
    if (b.block.count() == 0) continue;  // a stage of recurrent layers only sets no limit
    b.blocks = Blocks{std::max<std::int64_t>(0, b.kv / b.block)};
    if (first || b.blocks < best.blocks || (b.blocks == best.blocks && b.kv < best.kv)) best = b;
    first = false;
  }
  if (!first && best.blocks.count() < 1) no_room(m, best);
  return best;
}

}  // namespace kvsim
