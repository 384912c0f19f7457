#pragma once
// What is kept of each token of a sequence, and in what form, as a value: at most one mechanism of
// each family, composed in the order
//
//   select or retrieve (within a budget) -> merge -> low rank -> quantise
//
// Named systems (systems/*.cpp) are such values with their published parameters; compose.h builds a
// value from a scenario and says what conflicts. cache.h runs one on tensors, footprint.h counts
// its bytes and work. Token counts are per KV head unless said otherwise.
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <tuple>
#include <utility>

#include "sim/base/fields.h"
#include "sim/base/registry.h"

namespace kvsim::token {

// A count of tokens ("1024") or a share of the prompt ("20 %"); neither = no limit.
struct Size {
  std::int64_t tokens = 0;
  double share = 0;
  [[nodiscard]] bool unlimited() const { return tokens == 0 && share == 0; }
  // Tokens for a prompt of so many, rounded up, at least 1.
  [[nodiscard]] std::int64_t of(std::int64_t prompt) const;
};

// When tokens leave: once when the prompt is computed (later ones only come), after every step,
// every `every` steps, or `evict` of the budget at once when it is full.
enum class Trigger : std::uint8_t { prefill, step, interval, full };
constexpr auto enum_names(Trigger) {
  return std::array{std::pair{Trigger::prefill, "prefill"}, std::pair{Trigger::step, "step"},
                    std::pair{Trigger::interval, "interval"}, std::pair{Trigger::full, "full"}};
}
// Who shares one set of kept tokens.
enum class Scope : std::uint8_t { head, layer, all };
constexpr auto enum_names(Scope) {
  return std::array{std::pair{Scope::head, "head"}, std::pair{Scope::layer, "layer"},
                    std::pair{Scope::all, "all"}};
}
// Which tokens of the prompt never leave besides the first and the newest ones.
enum class Protect : std::uint8_t { none, separators, text };
constexpr auto enum_names(Protect) {
  return std::array{std::pair{Protect::none, "none"}, std::pair{Protect::separators, "separators"},
                    std::pair{Protect::text, "text"}};
}

// F3: how many tokens each KV head of each layer keeps (or reads, of what is kept).
struct BudgetSpec {
  Size size{};
  Choice<"token-budget", "allocator"> by{"uniform"};
  static constexpr Rows kFields{
      field("size", &BudgetSpec::size, any,
            "tokens per KV head, the mean over heads and layers; sinks and recent ones included"),
      field("by", &BudgetSpec::by, any, "how the mean is spread over layers and heads")};
};

// F1: a score decides which tokens stay; the others are gone for good.
struct SelectSpec {
  Choice<"token-score", "by"> score{"position"};
  Trigger trigger = Trigger::prefill;
  std::int64_t every = 1;
  Ratio evict{0.5};
  std::int64_t sinks = 0, recent = 0;
  Ratio recent_share{0};
  Protect protect = Protect::none;
  Ratio protected_share{0};
  Ratio random{0}, refine{0};
  std::int64_t stride = 0;
  Scope scope = Scope::head;
  std::int64_t dense_layers = 0;
  bool nested = false, stream_prompt = false, reindex = false;
  static constexpr Rows kFields{
      field("score", &SelectSpec::score, any, "importance of a token; the largest stay"),
      field("trigger", &SelectSpec::trigger, any,
            "prefill: once, later tokens only come; step: after every step; interval: every so "
            "many steps; full: many at once when the budget is reached"),
      field("every", &SelectSpec::every, between<std::int64_t>(1, 1 << 20), "steps of interval"),
      field("evict", &SelectSpec::evict, between(Ratio{0}, Ratio{1}),
            "of full: share of the budget that leaves at once"),
      field("sinks", &SelectSpec::sinks, between<std::int64_t>(0, 1 << 20),
            "first tokens, which never leave"),
      field("recent", &SelectSpec::recent, between<std::int64_t>(0, 1 << 20),
            "newest tokens, which do not leave"),
      field("recent_share", &SelectSpec::recent_share, between(Ratio{0}, Ratio{1}),
            "the same as a share of the budget; the larger of both counts"),
      field("protect", &SelectSpec::protect, any,
            "separators (or text, beside images) of the prompt never leave"),
      field("protected_share", &SelectSpec::protected_share, between(Ratio{0}, Ratio{1}),
            "expected share of those tokens, where there are no tensors to count them"),
      field("random", &SelectSpec::random, between(Ratio{0}, Ratio{1}),
            "share of the budget drawn at random, in proportion to the scores"),
      field("refine", &SelectSpec::refine, between(Ratio{0}, Ratio{1}),
            "share of the budget chosen by (score + 1e-4) |value|_1 after the rest"),
      field("stride", &SelectSpec::stride, between<std::int64_t>(0, 1 << 20),
            "above 0: the best of every run of so many tokens, before the best of all"),
      field("scope", &SelectSpec::scope, any, "heads that keep the same tokens"),
      field("dense_layers", &SelectSpec::dense_layers, between<std::int64_t>(0, 1024),
            "first layers, which keep all"),
      field("nested", &SelectSpec::nested, any,
            "a layer keeps only tokens that the layer below kept, and computes only them"),
      field("stream_prompt", &SelectSpec::stream_prompt, any,
            "heads that keep only first and newest tokens attend so in the prompt already"),
      field("reindex", &SelectSpec::reindex, any,
            "positions count kept tokens; keys are rotated when they are read")};
};

// Where the whole KV lies of which each step reads a part, and who reads it.
enum class Home : std::uint8_t { gpu, cpu_fetch, cpu_compute, ssd_compute };
constexpr auto enum_names(Home) {
  return std::array{std::pair{Home::gpu, "gpu"}, std::pair{Home::cpu_fetch, "cpu-fetch"},
                    std::pair{Home::cpu_compute, "cpu-compute"},
                    std::pair{Home::ssd_compute, "ssd-compute"}};
}

// F2: nothing is lost; an index over summaries picks what each step reads.
struct RetrieveSpec {
  Choice<"token-index", "summary"> index{"min-max"};
  std::int64_t sinks = 0, recent = 0, least_units = 0;
  double threshold = 0, margin = 0;
  Ratio expected_share{0};
  Home home = Home::gpu;
  bool values_only = false;
  std::int64_t gpu_tokens = 0, gpu_heads = 0;
  Ratio hit_rate{0};
  Ratio read_share{0};
  std::int64_t dense_layers = 0;
  bool ahead = false;
  static constexpr Rows kFields{
      field("index", &RetrieveSpec::index, any, "units of tokens, their summaries and scores"),
      field("sinks", &RetrieveSpec::sinks, between<std::int64_t>(0, 1 << 20),
            "first tokens, always read and on the GPU"),
      field("recent", &RetrieveSpec::recent, between<std::int64_t>(0, 1 << 20),
            "newest tokens, always read and on the GPU"),
      field("least_units", &RetrieveSpec::least_units, between<std::int64_t>(0, 1 << 20),
            "units read at least"),
      field("threshold", &RetrieveSpec::threshold, between(0.0, 1.0),
            "above 0: units whose expected share of the attention exceeds threshold / units are "
            "read, up to the budget"),
      field("margin", &RetrieveSpec::margin, between(0.0, 1000.0),
            "above 0: units whose logit is less than this below the best are read, up to the "
            "budget"),
      field("expected_share", &RetrieveSpec::expected_share, between(Ratio{0}, Ratio{1}),
            "of threshold and margin: share of the tokens that passes, where there are no tensors"),
      field("home", &RetrieveSpec::home, any,
            "gpu; cpu-fetch: picked tokens come over the link; cpu-compute, ssd-compute: queries "
            "and partial results cross it"),
      field("values_only", &RetrieveSpec::values_only, any,
            "only values leave the GPU; keys stay there, in low rank"),
      field("gpu_tokens", &RetrieveSpec::gpu_tokens, between<std::int64_t>(0, 1 << 30),
            "tokens per head of a cache on the GPU for what was fetched"),
      field("gpu_heads", &RetrieveSpec::gpu_heads, between<std::int64_t>(0, 1 << 20),
            "above 0: KV of so many heads of the whole model is on the GPU at a time"),
      field("hit_rate", &RetrieveSpec::hit_rate, between(Ratio{0}, Ratio{1}),
            "expected share of picked tokens that need no fetch"),
      field("read_share", &RetrieveSpec::read_share, between(Ratio{0}, Ratio{1}),
            "expected share of keys that a search in a graph visits; 0 = all summaries"),
      field("dense_layers", &RetrieveSpec::dense_layers, between<std::int64_t>(0, 1024),
            "first layers, which read all"),
      field("ahead", &RetrieveSpec::ahead, any,
            "fetches begin one layer earlier, behind its computation")};
};

// Where what leaves goes to.
enum class MergeTarget : std::uint8_t { nearest, next, pivot, residual, previous, layer, share };
constexpr auto enum_names(MergeTarget) {
  return std::array{
      std::pair{MergeTarget::nearest, "nearest"},   std::pair{MergeTarget::next, "next"},
      std::pair{MergeTarget::pivot, "pivot"},       std::pair{MergeTarget::residual, "residual"},
      std::pair{MergeTarget::previous, "previous"}, std::pair{MergeTarget::layer, "layer"},
      std::pair{MergeTarget::share, "share"}};
}
enum class MergeWeight : std::uint8_t { bernoulli, similarity, gaussian, count };
constexpr auto enum_names(MergeWeight) {
  return std::array{std::pair{MergeWeight::bernoulli, "bernoulli"},
                    std::pair{MergeWeight::similarity, "similarity"},
                    std::pair{MergeWeight::gaussian, "gaussian"},
                    std::pair{MergeWeight::count, "count"}};
}

// F4. nearest, next, pivot, residual: what a selection evicts is folded into kept tokens; previous:
// runs of tokens share a slot; layer: layers share directions; share: layers read another's cache.
struct MergeSpec {
  MergeTarget target = MergeTarget::nearest;
  MergeWeight weight = MergeWeight::similarity;
  bool keys = true, counted = false, moving_gate = false;
  double gate = 0;
  std::int64_t span = 1;
  Ratio slots{0};
  double ratio = 1;
  double at = 0.6;
  Ratio apart{0}, from_depth{0.5};
  static constexpr Rows kFields{
      field("target", &MergeSpec::target, any,
            "nearest: the kept token of most similar key; next: the next span kept ones; pivot: "
            "the kept token of its run of similar keys; residual: a slot for leftovers; previous: "
            "the slot before; layer: the same token one layer below; share: another layer's cache"),
      field("weight", &MergeSpec::weight, any, "of what is merged in"),
      field("keys", &MergeSpec::keys, any, "keys are merged too, not only values"),
      field("counted", &MergeSpec::counted, any,
            "a slot of m tokens adds log m to its attention logit"),
      field("moving_gate", &MergeSpec::moving_gate, any,
            "the gate follows the mean of best similarities: gate = (gate + mean) / 2"),
      field("gate", &MergeSpec::gate, between(-1.0, 1.0),
            "cosine below which a token is dropped instead"),
      field("span", &MergeSpec::span, between<std::int64_t>(1, 4096),
            "of next: kept tokens that share the value"),
      field("slots", &MergeSpec::slots, between(Ratio{0}, Ratio{1}),
            "of residual: share of the budget that holds leftovers"),
      field("ratio", &MergeSpec::ratio, between(1.0, 1024.0),
            "of previous: tokens per slot, the mean"),
      field("at", &MergeSpec::at, between(0.0, 1.0),
            "of layer: place of the shared direction between the lower (0) and the upper layer"),
      field("apart", &MergeSpec::apart, between(Ratio{0}, Ratio{1}),
            "of layer: share of tokens, those of largest angle, that stay apart"),
      field("from_depth", &MergeSpec::from_depth, between(Ratio{0}, Ratio{1}),
            "of layer: share of the layers, from below, that stay as they are; of share: share of "
            "layers that own a cache")};
};

// What shares a scale: neighbours in a token's row, or in a channel's column.
enum class Axis : std::uint8_t { token, channel };
constexpr auto enum_names(Axis) {
  return std::array{std::pair{Axis::token, "token"}, std::pair{Axis::channel, "channel"}};
}
enum class Code : std::uint8_t { uniform, symmetric, codebook, sign };
constexpr auto enum_names(Code) {
  return std::array{std::pair{Code::uniform, "uniform"}, std::pair{Code::symmetric, "symmetric"},
                    std::pair{Code::codebook, "codebook"}, std::pair{Code::sign, "sign"}};
}
enum class Transform : std::uint8_t { none, hadamard, smooth, reorder };
constexpr auto enum_names(Transform) {
  return std::array{std::pair{Transform::none, "none"}, std::pair{Transform::hadamard, "hadamard"},
                    std::pair{Transform::smooth, "smooth"},
                    std::pair{Transform::reorder, "reorder"}};
}

// F5. Widths: 16 (as it is), 8, 4, 3, 2, 1.5 (ternary, 1.6 bits as packed).
struct QuantizeSpec {
  std::optional<double> bits{};
  double key_bits = 4, value_bits = 4;
  Axis key_axis = Axis::channel, value_axis = Axis::token;
  std::int64_t key_group = 32, value_group = 32;
  Code key_code = Code::uniform, value_code = Code::uniform;
  std::int64_t scale_bits = 16;
  std::int64_t residual = 0, sinks = 0;
  Ratio outliers{0};
  std::int64_t outlier_channels = 0, projections = 0;
  Transform transform = Transform::none;
  double alpha = 0.5;
  bool pre_rope = false;
  double clip = 1;
  std::int64_t error_rank = 0;
  Ratio salient{1};
  double low_key_bits = 2, low_value_bits = 2;
  Choice<"token-score", "by"> importance{"accumulated-attention"};
  double operations = 2;
  static constexpr Rows kFields{
      field("bits", &QuantizeSpec::bits, between(1.5, 16.0), "of keys and values alike"),
      field("key_bits", &QuantizeSpec::key_bits, between(1.5, 16.0), "of a key's number"),
      field("value_bits", &QuantizeSpec::value_bits, between(1.5, 16.0), "of a value's number"),
      field("key_axis", &QuantizeSpec::key_axis, any,
            "keys that share a scale: one token's numbers, or one channel's over tokens"),
      field("value_axis", &QuantizeSpec::value_axis, any, "the same of values"),
      field("key_group", &QuantizeSpec::key_group, between<std::int64_t>(0, 1 << 20),
            "numbers that share a scale; 0 = the whole row (channel: of what is encoded at once)"),
      field("value_group", &QuantizeSpec::value_group, between<std::int64_t>(0, 1 << 20),
            "the same of values"),
      field("key_code", &QuantizeSpec::key_code, any,
            "uniform with a zero, symmetric, codebook: levels fitted to the prompt, sign: signs of "
            "random projections and the length"),
      field("value_code", &QuantizeSpec::value_code, any, "the same of values, without sign"),
      field("scale_bits", &QuantizeSpec::scale_bits, between<std::int64_t>(0, 32),
            "of a scale, and of a zero; arithmetic is that of 16"),
      field("residual", &QuantizeSpec::residual, between<std::int64_t>(0, 1 << 20),
            "newest tokens that stay exact"),
      field("sinks", &QuantizeSpec::sinks, between<std::int64_t>(0, 1 << 20),
            "first tokens that stay exact"),
      field("outliers", &QuantizeSpec::outliers, between(Ratio{0}, Ratio{1}),
            "share of numbers, the largest, kept exact with their index"),
      field("outlier_channels", &QuantizeSpec::outlier_channels, between<std::int64_t>(0, 1024),
            "of sign: key channels, the largest, kept exact"),
      field("projections", &QuantizeSpec::projections, between<std::int64_t>(0, 1 << 16),
            "of sign: random directions; 0 = twice the key's dimension"),
      field("transform", &QuantizeSpec::transform, any,
            "before the codes: hadamard rotation of keys and values, smooth: keys' channels over "
            "max^alpha, reorder: channels of like range in one group"),
      field("alpha", &QuantizeSpec::alpha, between(0.0, 1.0), "of smooth"),
      field("pre_rope", &QuantizeSpec::pre_rope, any,
            "keys are encoded before their rotary position is applied"),
      field("clip", &QuantizeSpec::clip, between(0.1, 1.0),
            "share of a group's range that is kept"),
      field("error_rank", &QuantizeSpec::error_rank, between<std::int64_t>(0, 1024),
            "rank of a low-rank copy of what the codes lose; 0 = none"),
      field("salient", &QuantizeSpec::salient, between(Ratio{0}, Ratio{1}),
            "share of tokens, the most important, at these widths; the others at the low ones"),
      field("low_key_bits", &QuantizeSpec::low_key_bits, between(1.5, 16.0), "of other tokens"),
      field("low_value_bits", &QuantizeSpec::low_value_bits, between(1.5, 16.0), "of other tokens"),
      field("importance", &QuantizeSpec::importance, any, "score that makes a token salient"),
      field("operations", &QuantizeSpec::operations, between(0.0, 100.0),
            "arithmetic per number when it is read back")};
};

// F6: coordinates in a basis of fewer dimensions.
struct LowRankSpec {
  Ratio key_share{0.5}, value_share{0.5};
  std::int64_t key_rank = 0, value_rank = 0;
  std::int64_t heads = 1;
  bool pre_rope = true, absorb_keys = false, absorb_values = false, per_prompt = false;
  bool flat = false;
  static constexpr Rows kFields{
      field("key_share", &LowRankSpec::key_share, between(Ratio{0}, Ratio{1}),
            "rank over width of a group of heads; 1 = keys stay as they are unless flat"),
      field("value_share", &LowRankSpec::value_share, between(Ratio{0}, Ratio{1}),
            "the same of values"),
      field("key_rank", &LowRankSpec::key_rank, between<std::int64_t>(0, 1 << 16),
            "rank itself; 0 = by share"),
      field("value_rank", &LowRankSpec::value_rank, between<std::int64_t>(0, 1 << 16),
            "the same of values"),
      field("heads", &LowRankSpec::heads, between<std::int64_t>(0, 1024),
            "KV heads that share a basis; 0 = all of a layer"),
      field("pre_rope", &LowRankSpec::pre_rope, any,
            "keys before their rotary position, which has to be applied whenever they are read"),
      field("absorb_keys", &LowRankSpec::absorb_keys, any,
            "scores are computed on coordinates: no key is rebuilt"),
      field("absorb_values", &LowRankSpec::absorb_values, any,
            "outputs are computed on coordinates: no value is rebuilt"),
      field("per_prompt", &LowRankSpec::per_prompt, any,
            "the basis belongs to the prompt and is stored with it; else it is the model's"),
      field("flat", &LowRankSpec::flat, any,
            "coordinates are divided by the singular values, which go into the basis: what is left "
            "has no outliers")};
};

// The whole pipeline; a section that is absent leaves tokens as they are.
struct TokenPolicies {
  static constexpr const char* kKind = "token-policy";
  std::optional<SelectSpec> select{};
  std::optional<RetrieveSpec> retrieve{};
  std::optional<BudgetSpec> budget{};
  std::optional<MergeSpec> merge{};
  std::optional<LowRankSpec> low_rank{};
  std::optional<QuantizeSpec> quantize{};
  static constexpr Rows kFields{
      field("select", &TokenPolicies::select, any, "which tokens stay"),
      field("retrieve", &TokenPolicies::retrieve, any, "which of all tokens a step reads"),
      field("budget", &TokenPolicies::budget, any, "how many, by layer and head"),
      field("merge", &TokenPolicies::merge, any, "where what leaves goes to"),
      field("low-rank", &TokenPolicies::low_rank, any, "coordinates instead of numbers"),
      field("quantize", &TokenPolicies::quantize, any, "codes instead of numbers")};
};

// {"window": "32", ...} as parameters of a plug-in that a section names.
Tree parameters(std::initializer_list<std::pair<const char*, const char*>>);

}  // namespace kvsim::token

namespace kvsim {
template <>
struct Codec<token::Size> {
  static bool read(const Tree&, token::Size&, Reader&);
  static Tree write(const token::Size&);
  static TypeInfo info();
};
KVSIM_FIELDS_ELSEWHERE(token::BudgetSpec)
KVSIM_FIELDS_ELSEWHERE(token::SelectSpec)
KVSIM_FIELDS_ELSEWHERE(token::RetrieveSpec)
KVSIM_FIELDS_ELSEWHERE(token::MergeSpec)
KVSIM_FIELDS_ELSEWHERE(token::QuantizeSpec)
KVSIM_FIELDS_ELSEWHERE(token::LowRankSpec)
KVSIM_FIELDS_ELSEWHERE(token::TokenPolicies)
}  // namespace kvsim
