#pragma once
// What a pipeline costs, by arithmetic alone: bytes that a sequence takes and where, what a decode
// step reads and computes besides, what crosses a link. Numbers are means over a sequence's life
// where a policy works in bursts (a buffer that fills, a group that waits for its codes is exact).
// Decisions that need tensors are replaced by the expectation that the policy declares.
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "policies/token/shape.h"
#include "policies/token/spec.h"

namespace kvsim::token {

// Of one sequence, all layers.
struct StoredBytes {
  double exact = 0;      // numbers as the model made them
  double codes = 0;      // quantised numbers and coordinates
  double scales = 0;     // scales, zeros, lengths
  double outliers = 0;   // exact numbers kept apart, with their index
  double bases = 0;      // what belongs to the sequence as a whole: bases, codebooks
  double summaries = 0;  // of the retrieval index
  double state = 0;      // scores, counts
  [[nodiscard]] double total() const {
    return exact + codes + scales + outliers + bases + summaries + state;
  }
};

struct Footprint {
  double kept_tokens = 0;  // mean over layers and KV heads
  StoredBytes stored;
  double gpu_bytes = 0, host_bytes = 0, disk_bytes = 0;  // sum = stored.total() and GPU copies
  double page_bytes = 0;     // of GPU memory in whole blocks, one list per layer or per head
  double offload_bytes = 0;  // that a preempted or migrating sequence moves: the compressed form

  // One decode step, all layers.
  double read_tokens = 0;      // mean over layers and KV heads
  double read_bytes = 0;       // KV that attention reads in GPU memory, codes and scales included
  double attention_flops = 0;  // 2 (k_dim + v_dim) per query head and token read, on the GPU
  double restore_flops = 0;    // dequantising, rebuilding, rotating what is read
  double score_flops = 0, score_bytes = 0;  // importance of tokens; attention rows written out
  double index_flops = 0, index_bytes = 0;  // ranking units
  double merge_flops = 0, merge_bytes = 0;
  double encode_flops = 0, encode_bytes = 0;  // codes of new tokens, amortised
  double fetch_bytes = 0, fetches = 0;        // over the host link, and pieces it comes in
  double query_bytes = 0;                     // queries out, partial results back
  double far_bytes = 0, far_flops = 0;        // read and computed where the KV lies, off the GPU
};

// Once, when the prompt is computed; besides full attention and the layers themselves.
struct PrefillCost {
  double flops = 0, bytes = 0;  // scores, index, codes
  double offload_bytes = 0;     // KV that leaves the GPU
  double linear_share = 1;      // of the projections and feed-forward parts (tokens dropped below)
  double attention_share = 1;   // of attention (streaming heads, tokens dropped below)
  double peak_kv_bytes = 0;     // on the GPU before tokens leave
  bool needs_attention_rows =
      false;  // a fused kernel keeps none: an extra pass, in flops and bytes
};

// What the rest of the system has to know.
struct Traits {
  bool drops_tokens = false;
  bool shareable = true;  // a compressed prefix serves other requests with the same prefix
  std::string shareable_why;
  bool lists_by_head = false, lists_by_layer = false;  // kept tokens differ: block lists differ
  bool leaves_holes = false;  // tokens leave from the middle of groups that share scales
  bool replayable = true;     // recomputing the tokens gives the same state
  bool whole_prompt = false;  // decides at its end, so the last chunk of a prompt sees it all
};

class FootprintModel {
 public:
  // Requires policies that passed check_composition() for this shape.
  FootprintModel(TokenPolicies, KvShape);
  ~FootprintModel();
  FootprintModel(FootprintModel&&) noexcept;
  // After `generated` tokens behind a prompt of `prompt` (>= 1); the step is the next one.
  [[nodiscard]] Footprint at(std::int64_t prompt, std::int64_t generated) const;
  [[nodiscard]] PrefillCost prefill(std::int64_t prompt) const;
  [[nodiscard]] const Traits& traits() const;
  // Generated tokens at which something begins or ceases to grow; ascending, above 0.
  [[nodiscard]] std::vector<std::int64_t> bends(std::int64_t prompt) const;
  // Steps after which what fills and empties (an exact buffer, a budget's slack) is as it was.
  [[nodiscard]] std::int64_t burst(std::int64_t prompt) const;
  // Tokens of a sequence that are exact at most, where the others are not.
  [[nodiscard]] std::int64_t exact_tokens() const;
  // Kernels that a decode step starts in each layer besides the model's own.
  [[nodiscard]] std::int64_t kernels() const;
  [[nodiscard]] const TokenPolicies& policies() const;

 private:
  struct Body;
  std::unique_ptr<Body> body_;
};

}  // namespace kvsim::token
