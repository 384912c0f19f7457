#pragma once
// What one iteration asks of one rank, and what that costs in arithmetic and bytes. The engine
// describes the iteration (StepShape), a model turns it into Work, a cost model prices it: models
// and hardware never meet.
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace kvsim {

// A run of prompt (or recomputed) tokens of one sequence in this iteration.
struct PrefillPiece {
  std::int64_t tokens = 0;   // computed now, >= 1
  std::int64_t history = 0;  // KV tokens of the sequence that exist before
  bool samples = false;      // reaches the last known token, so that a token is sampled
};

// A model may have this many distinct attention windows (sliding or chunked).
inline constexpr std::size_t kMaxWindows = 2;

// One iteration of one rank. Token counts; a decoding sequence's context includes the token being
// computed.
struct StepShape {
  std::int64_t decodes = 0;             // sequences that compute one token each
  std::int64_t decode_context_sum = 0;  // over those sequences
  std::int64_t decode_context_max = 0;
  std::array<std::int64_t, kMaxWindows>
      decode_window_sum{};  // sum of min(context, window) per window
  std::int64_t padded_decodes =
      0;  // decodes rounded up to the captured graph size; = decodes when eager
  std::span<const PrefillPiece> prefills;
  // Lock-step expert parallelism: tokens of all data-parallel ranks in this iteration, this one's
  // included (0 = no other rank), and the largest count of one rank.
  std::int64_t group_tokens = 0;
  std::int64_t group_tokens_max = 0;
  // Drafts of the decodes that are verified with their own tokens: a sequence with m of them is m +
  // 1 queries over one context.
  std::int64_t draft_tokens = 0;
  // Shared prefixes that are read once for all who share them (0 = none is): of decode_context_sum,
  // the tokens that lie in shared blocks, and those blocks' tokens counted once.
  std::int64_t decode_shared_sum = 0, decode_shared_read = 0;

  [[nodiscard]] std::int64_t prefill_tokens() const {
    std::int64_t n = 0;
    for (const PrefillPiece& p : prefills) n += p.tokens;
    return n;
  }
  [[nodiscard]] std::int64_t tokens() const { return decodes + draft_tokens + prefill_tokens(); }
  [[nodiscard]] std::int64_t sampling() const {
    std::int64_t n = decodes + draft_tokens;
    for (const PrefillPiece& p : prefills) n += p.samples ? 1 : 0;
    return n;
  }
};

// How the weights of one instance are split over its GPUs.
struct Parallel {
  int tensor = 1, pipeline = 1, data = 1;
  bool expert =
      false;  // experts are spread over tensor x data ranks instead of being cut by tensor
  // Groups of tensor x pipeline GPUs that share the tokens of every sequence; how KV gets to the
  // queries: collected first instead of going round, and going round instead of partial results.
  int context = 1;
  bool gathers_context = false, rings_context = false;
  [[nodiscard]] int gpus() const { return tensor * pipeline * data * context; }
};

enum class Operator : std::uint8_t {
  embedding,
  norm,
  qkv_proj,
  rotary,
  attention_prefill,
  attention_decode,
  o_proj,
  ffn_up,
  ffn_act,
  ffn_down,
  moe_router,
  experts,
  lm_head,
  sampler,
  all_reduce,
  all_to_all,
  stage_transfer,
  attention_merge
};
inline constexpr std::size_t kOperators = 18;

// The work of one operator over all layers of the rank in one iteration. Per rank, after the split.
struct Work {
  Operator op{};
  double flops = 0;             // multiply and add count as two
  double weight_bytes = 0;      // parameters read
  double kv_bytes = 0;          // KV read and written
  double activation_bytes = 0;  // activations read and written
  double comm_bytes = 0;        // payload of one rank through the interconnect, all calls together
  double launches = 0;          // kernels or collectives started
};

const char* operator_name(Operator);

// One layer's attention on a rank as a kernel sees it. The most frequent kind of the model's layers
// decides.
struct AttentionShape {
  std::int64_t q_heads = 0, kv_heads = 0, key_dim = 0, value_dim = 0;
  bool latent = false;     // values are the front of the keys (absorbed MLA)
  std::string element;     // as kernels name stored numbers: f32, f16, i8 ...
  double token_bytes = 0;  // of KV per token and layer
};

// A model under a given split and precision, seen by the cost models. Implemented in models/.
class ModelWork {
 public:
  struct Facts {
    std::int64_t layers = 0;      // of the whole model
    std::int64_t moe_layers = 0;  // of those, with experts
    std::int64_t hidden = 0;      // width of the residual stream
    std::int64_t vocab = 0;
    std::int64_t experts = 0, active_experts = 0;  // routed experts per layer, and per token
    double activation_element_bytes = 2;           // of the residual stream
    double weight_bits = 16;
    std::array<std::int64_t, kMaxWindows>
        windows{};  // distinct attention windows in tokens; 0 = unused
    AttentionShape decode_attention, prefill_attention;
    Parallel parallel;
  };
  virtual ~ModelWork() = default;
  [[nodiscard]] virtual const Facts& facts() const = 0;
  // Replaces `out` by the work of the iteration on one rank, summed over all pipeline stages (each
  // operator of each kind of layer at most once). `stage_transfer` and the collectives carry
  // comm_bytes and launches.
  virtual void step(const StepShape&, std::vector<Work>& out) const = 0;
};

}  // namespace kvsim
