#pragma once
// Summary numbers of a run, defined as vLLM's serving benchmark defines them (names too), so that
// results can be compared field by field. Statistics run over finished requests; percentiles
// interpolate linearly.
//   ttft_ms    first token - arrival           e2el_ms   last token - arrival
//   tpot_ms    (last - first token) / (output tokens - 1), requests with two or more output tokens
//   itl_ms     gaps between tokens, of all requests; tbt_ms   mean of a request's longest tenth
//   queue_ms   first scheduled - arrival       normalized_latency_ms   e2el_ms / output tokens
//   duration   last token of all - first arrival of all, s; every throughput divides by it
//   request_goodput   finished requests that meet every objective / duration (all of them without
//   objectives) slo_attainment    the same requests / all requests prefix_hit_rate   hit / queried
//   tokens of first admissions (vLLM); cached_prompt_ratio: hit / prompt tokens (SGLang)
//   miss_<cause>      prompt tokens computed at first admission for that cause; recomputed_tokens
//   after preemptions peak_kv_usage   most KV blocks in use at once / all of them; busy_share: time
//   in iterations / simulated time output_token_throughput_per_user   1 / tpot of each request
//   mean_kv_usage   blocks held by requests / all of them, over the time in iterations, as the
//   next: kv_live_share   tokens in held blocks / places in them; kv_live_share_of_memory: / all
//   places internal_fragmentation   places in held blocks without a token / all places
//   external_fragmentation   places in holes too small for the head of the queue / all places
//   page_mapping   host time of iterations that waited for pages to be mapped
//   swaps_out, swaps_in   preemptions that kept KV in host memory, returns; layered_prompts:
//   admitted with only some layers on the GPU; to_host_bytes, from_host_bytes: what both moved
//   With token policies, means over decode steps: kv_bytes_per_token   stored in all / tokens of
//   the sequence (of one tensor-parallel rank); kv_reduction: tokens / uncompressed tokens that
//   take as much memory; kv_read_share: uncompressed tokens that take as long to read / tokens;
//   token_policy_prompts: prompts that were compressed; token_policy_<cause>_time: time of the GPU
//   (score, index, restore, merge, encode, prompt), of the host link (fetch, prompt_link) or of
//   where the KV lies (far) for what they do besides
//   With hidden states in place of KV: hidden_admissions that kept them; hidden_memory_saved: of the
//   KV of decoding requests, mean over their steps; hidden_projection_time of the GPU
//   Of a fleet that scales: instances_mean, instances_most (starting and draining ones counted),
//   instance_hours, scale_ups, scale_downs; of quotas: held_requests, held_ms (of those held)
//   Of instances that lend memory: loans, lent_blocks_most, remote_attention_tokens (that creditors
//   read, over the iterations), lending_copied_bytes and lending_message_bytes; lending_wait_time:
//   of debtors, for messages, attention elsewhere and copies; lending_served_time: of creditors
//   draft_verifications   sequences times iterations that verified drafts; drafted_tokens and
//   accepted_tokens: drafts, and those that became output; acceptance_rate: of these two;
//   tokens_per_verification: one and the accepted; draft_time: GPU time of the proposer
//   shared_prefix_tokens   of decodes' contexts, tokens in blocks that several of them hold, summed
//   over the iterations; shared_prefix_read_tokens: the same counted once a block
//   adapter_loads   copies of LoRA adapters into GPU slots; adapter_passed_over: requests
//   that waited because all slots were in use; adapter_time: GPU time of copies and
//   products
// completed, failed (rejected + timed_out), injected, total_input_tokens and total_output_tokens
// (of finished requests), request_, output_ and total_token_throughput, iterations,
// decode_iterations, iteration_mean_ms, tokens_per_iteration, prefill_tokens, decode_tokens,
// preemptions, evicted_blocks, kv_blocks are what they say. A ratio or statistic of nothing is left
// out.
#include <optional>
#include <string>
#include <vector>

#include "sim/base/time.h"
#include "sim/state/outcome.h"

namespace kvsim {

// Limits that a good request keeps; a missing one is met.
struct Slo {
  std::optional<Duration> ttft, tpot, e2e;
};

// Tenants whose requests are judged by limits of their own; without tenants: all that no other
// class names.
struct SloClass {
  std::string name;
  std::vector<std::uint32_t> tenants;
  Slo slo;
};

struct Metric {
  std::string scope;  // "run", "instance:N" or "class:NAME"
  std::string name, statistic;
  double value = 0;
  std::string unit;
};

// True for a finished request within every limit; without a second token any TPOT limit is met.
bool meets(const RequestOutcome&, const Slo&);

// With a scope for each class: requests, latencies, throughput and attainment of its tenants.
std::vector<Metric> compute_metrics(const RunOutcome&, const Slo&,
                                    const std::vector<SloClass>& classes = {});

}  // namespace kvsim
