#pragma once
// The engine's settings as plain values; sim/run fills them from a scenario.
#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "policies/admission/admission.h"
#include "policies/eviction/eviction.h"
#include "policies/memory/memory.h"
#include "policies/pause/pause.h"
#include "policies/scheduler/scheduler.h"
#include "sim/base/time.h"
#include "sim/base/work.h"
#include "sim/engine/batch_rules.h"
#include "sim/engine/hybrid.h"
#include "sim/engine/kv_form.h"

namespace kvsim {

class Adapters;       // sim/engine/adapters.h
struct EncoderRules;  // sim/engine/encoder.h
class Speculation;    // sim/engine/speculation.h

using MakeEvictionPolicy =
    std::function<std::unique_ptr<EvictionPolicy>(const EvictionPolicy::Context&)>;

using MakeScheduler = std::function<std::unique_ptr<Scheduler>(const Scheduler::Context&)>;
using MakePausePolicy = std::function<std::unique_ptr<PausePolicy>(const PausePolicy::Context&)>;
using MakeAdmission = std::function<std::unique_ptr<Admission>(const Admission::Context&)>;

// How cached KV is found on the GPU, and which of it leaves.
struct KvPoolConfig {
  enum class Index : std::uint8_t { hash, radix, chunks };
  Index index = Index::hash;
  std::int64_t share_blocks = 1;   // unit in which prefixes are shared; more only for chunks
  MakeEvictionPolicy make_policy;  // none: vLLM's free queue, for hash only
  std::uint64_t seed = 0;
};

struct EngineConfig {
  std::int64_t block_tokens = 16;
  std::int64_t kv_blocks = 0;              // usable blocks of one rank, the null block not counted
  std::int64_t max_batched_tokens = 8192;  // token budget of an iteration
  std::int64_t max_running = 256;
  std::int64_t max_model_len = 0;  // prompt + output tokens of a sequence; 0 = no limit
  std::int64_t long_prefill_threshold =
      0;  // most prompt tokens of one request in an iteration; 0 = no limit
  bool chunked_prefill = true;
  BatchRules batch;
  bool prefix_caching = true;
  KvPoolConfig pool;
  bool publish_computed = false;        // KV can be hit when the iteration that computes it is over
                                        // (SGLang), not as soon as that is planned (vLLM)
  bool publish_preempted = true;        // what a preempted request has computed is cached
  bool full_sequence_admission = true;  // admit only when the whole known sequence fits
  bool unhashed_first = true;           // free-queue order (block_pool.h)
  MakeScheduler make_scheduler;         // none: fcfs
  MakeAdmission make_admission;         // none: everybody is taken in
  MakePausePolicy make_pause;           // none: KV is given up while a tool runs
  bool returns_by_arrival = false;      // whose tool has returned waits by its arrival, not last
  std::optional<Duration> ttft_objective, tpot_objective, e2e_objective;  // for these two to know
  std::uint64_t seed = 0;                                                 // likewise
  bool async_scheduling = true;  // decide iteration k+1 when iteration k starts
  double watermark = 0;          // share of the blocks kept free at admission while something runs
  Duration
      overhead{};  // host time that the GPU cannot hide, of an iteration launched kernel by kernel
  Duration graph_overhead{};  // the same when a captured graph runs (decodes only)
  Duration schedule_time{};  // host time of an iteration that async scheduling hides behind the GPU
  Duration front_end{},
      back_end{};              // of a request before the scheduler, of a token after the iteration
  Duration request_timeout{};  // a request not scheduled this long after its arrival is dropped; 0
                               // = never
  std::vector<std::int64_t> graph_sizes;  // captured decode batch sizes, ascending; empty = eager
  std::array<std::int64_t, kMaxWindows>
      windows{};            // attention windows the cost model wants sums of; 0 = unused
  MemoryRules memory;       // block_tokens and kv_blocks above follow from it
  HybridMemory hybrid;      // layers that keep different things
  SnapshotRules snapshots;  // of these
  MakeEvictionPolicy make_snapshot_policy;
  const MemoryManager* memory_manager = nullptr;  // not owned; null: nothing is reserved
  KvForms* forms = nullptr;                       // not owned; null: KV stays as it was computed
  // Host memory outside the tiers that KV of admitted requests may move to, of one rank.
  std::int64_t host_blocks = 0, host_block_bytes = 0;  // bytes: of one block on all its GPUs
  bool swap = false;          // preempted requests move there instead of being computed again
  bool keeps_copies = false;  // and what came back stays there while there is room
  // When KV of preempted requests moves there: in the iteration that needs its blocks, or that goes
  // on with it; beside iterations, from the preemption on and when its turn has come; or ahead of
  // both, so that `idle_blocks` are free.
  enum class Copies : std::uint8_t { waited, beside, ahead };
  Copies copies = Copies::waited;
  std::int64_t idle_blocks = 0;
  bool gives_tails = false;  // a preempted request loses only as many of its last blocks as others
                             // need
  std::int64_t part_layers = 0;  // these are of whole layers of so many; 0 = of all layers
  std::int64_t copy_layers = 0;  // each layer of an iteration waits for its own copies only, of so
                                 // many; 0 = all wait for the last
  // KV of preempted requests stays on the GPU until its blocks are needed.
  [[nodiscard]] bool pauses() const { return copies != Copies::waited || gives_tails; }
  bool hands_over = false;  // only prompts are computed here: with its first token a request goes
                            // on to another instance
  const Speculation* speculation = nullptr;  // not owned; null: a token a sequence and iteration
  const Adapters* adapters = nullptr;        // not owned; null: all use the base model
  const EncoderRules* encoder = nullptr;     // not owned; null: images are encoded elsewhere
  // Attention of decodes reads blocks that several of them share once.
  bool shared_prefix_attention = false;
  bool pushes = false;  // with it: KV is sent there as it is computed
  // Batches in flight through the stages of a pipeline (step_pipeline.h); 0 = an iteration is over
  // before the next one starts.
  std::int64_t pipeline_batches = 0, pipeline_stages = 1;
  bool exact_steps = false;  // take the per-sequence path always (slow; the results are the same)

  // Of the tokens of a sequence, and of the pool for all that it keeps of them.
  [[nodiscard]] std::int64_t token_blocks(std::int64_t tokens) const {
    return (tokens + block_tokens - 1) / block_tokens;
  }
  [[nodiscard]] std::int64_t blocks_for(std::int64_t tokens) const {
    return hybrid.on ? hybrid.units(token_blocks(tokens)) : token_blocks(tokens);
  }
  [[nodiscard]] bool is_captured(std::int64_t decodes) const {
    return !graph_sizes.empty() && decodes <= graph_sizes.back();
  }
  // A decode batch padded to the next captured size; eager above the largest.
  [[nodiscard]] std::int64_t padded(std::int64_t decodes) const {
    for (const std::int64_t size : graph_sizes)
      if (decodes <= size) return size;
    return decodes;
  }
};

// Blocks that a request must find in one piece. Requires contiguous memory.
inline std::int64_t region_blocks(const MemoryRules& rules, const MemoryManager& manager,
                                  std::int64_t prompt, std::int64_t output) {
  return (manager.reserve(prompt, output) + rules.block_tokens - 1) / rules.block_tokens;
}

// Blocks of the pool that the activations of an iteration of `tokens` take. Requires lent memory.
inline std::int64_t activation_blocks(const MemoryRules& r, std::int64_t tokens) {
  const std::int64_t per = r.activation_tokens, block = r.pool_block_bytes;
  const std::int64_t bytes =
      r.activation_bytes / per * tokens + (r.activation_bytes % per * tokens + per - 1) / per;
  return std::max<std::int64_t>(0, bytes - r.unlent_bytes + block - 1) / block;
}

}  // namespace kvsim
