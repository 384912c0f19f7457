#pragma once
// A transformer's shape, layer by layer: what decides KV bytes, weights, flops and bytes. A
// catalogue file (models/catalog/<name>.yaml) is one ModelSpec; hf_config.h reads one from a
// Hugging Face config.json. Not modelled: vocabulary padding, attention sinks' scalars, vision
// towers (text part only).
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "sim/base/fields.h"

namespace kvsim {

enum class Dtype : std::uint8_t { fp32, bf16, fp16, fp8, int8, int4, fp4 };
constexpr auto enum_names(Dtype) {
  return std::array{std::pair{Dtype::fp32, "fp32"}, std::pair{Dtype::bf16, "bf16"},
                    std::pair{Dtype::fp16, "fp16"}, std::pair{Dtype::fp8, "fp8"},
                    std::pair{Dtype::int8, "int8"}, std::pair{Dtype::int4, "int4"},
                    std::pair{Dtype::fp4, "fp4"}};
}
constexpr int bits(Dtype d) {
  switch (d) {
    case Dtype::fp32:
      return 32;
    case Dtype::bf16:
    case Dtype::fp16:
      return 16;
    case Dtype::fp8:
    case Dtype::int8:
      return 8;
    case Dtype::int4:
    case Dtype::fp4:
      return 4;
  }
  return 16;
}

// full: every earlier token; sliding: the last `window` tokens, itself included; chunked: the
// tokens of its own chunk of `window` tokens; mla: every earlier token through one latent per
// token; recurrent: a constant state, no KV.
enum class AttentionKind : std::uint8_t { full, sliding, chunked, mla, recurrent };
constexpr auto enum_names(AttentionKind) {
  return std::array{
      std::pair{AttentionKind::full, "full"}, std::pair{AttentionKind::sliding, "sliding"},
      std::pair{AttentionKind::chunked, "chunked"}, std::pair{AttentionKind::mla, "mla"},
      std::pair{AttentionKind::recurrent, "recurrent"}};
}

// Which linear layers carry a bias vector; `all` includes norms and the feed-forward part.
enum class Bias : std::uint8_t { none, qkv, all };
constexpr auto enum_names(Bias) {
  return std::array{std::pair{Bias::none, "none"}, std::pair{Bias::qkv, "qkv"},
                    std::pair{Bias::all, "all"}};
}

// Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434). The cache holds kv_lora_rank +
// qk_rope_head_dim numbers per token and layer.
struct MlaSpec {
  std::int64_t q_lora_rank = 0;
  std::int64_t kv_lora_rank = 512;
  std::int64_t qk_nope_head_dim = 128;
  std::int64_t qk_rope_head_dim = 64;
  std::int64_t v_head_dim = 128;
  static constexpr Rows kFields{
      field("q_lora_rank", &MlaSpec::q_lora_rank, between<std::int64_t>(0, 65536),
            "rank of the query projection; 0 = not factored"),
      field("kv_lora_rank", &MlaSpec::kv_lora_rank, between<std::int64_t>(1, 65536),
            "width of the cached latent"),
      field("qk_nope_head_dim", &MlaSpec::qk_nope_head_dim, between<std::int64_t>(1, 4096),
            "query and key width without position, per head"),
      field("qk_rope_head_dim", &MlaSpec::qk_rope_head_dim, between<std::int64_t>(0, 4096),
            "width with rotary position; the key's is shared by all heads"),
      field("v_head_dim", &MlaSpec::v_head_dim, between<std::int64_t>(1, 4096),
            "value width per head")};
};

// Layer l has routed experts iff l >= first_dense, l % every == offset and l is not in
// dense_layers.
struct MoeSpec {
  std::int64_t experts = 1;
  std::int64_t active = 1;
  std::int64_t intermediate = 1;
  std::int64_t shared_intermediate = 0;
  std::int64_t first_dense = 0;
  std::int64_t every = 1;
  std::int64_t offset = 0;
  std::vector<std::int64_t> dense_layers;
  static constexpr Rows kFields{
      field("experts", &MoeSpec::experts, between<std::int64_t>(1, 65536),
            "routed experts per layer"),
      field("active", &MoeSpec::active, between<std::int64_t>(1, 65536),
            "routed experts per token"),
      field("intermediate", &MoeSpec::intermediate, between<std::int64_t>(1, 1 << 20),
            "inner width of one routed expert"),
      field("shared_intermediate", &MoeSpec::shared_intermediate, between<std::int64_t>(0, 1 << 20),
            "inner width of all shared experts together; 0 = none"),
      field("first_dense", &MoeSpec::first_dense, between<std::int64_t>(0, 1024),
            "leading layers with a dense feed-forward part"),
      field("every", &MoeSpec::every, between<std::int64_t>(1, 1024),
            "one layer in this many has experts"),
      field("offset", &MoeSpec::offset, between<std::int64_t>(0, 1023),
            "which one: layer % every == offset"),
      field("dense_layers", &MoeSpec::dense_layers, between<std::int64_t>(0, 1023),
            "further layers without experts")};
};

// A layer with a constant state per sequence in place of KV (Mamba and its kin).
struct RecurrentSpec {
  std::int64_t state_elements = 0;
  std::int64_t parameters = 0;
  static constexpr Rows kFields{
      field("state_elements", &RecurrentSpec::state_elements,
            between<std::int64_t>(0, std::int64_t{1} << 40),
            "numbers of state per layer and sequence"),
      field("parameters", &RecurrentSpec::parameters,
            between<std::int64_t>(0, std::int64_t{1} << 40), "weights of the mixer per layer")};
};

struct ModelSpec {
  std::string name, text, family, source;
  double published_parameters = 0;
  std::int64_t layers = 1, hidden = 1, heads = 1, kv_heads = 0, head_dim = 0, v_head_dim = 0;
  std::int64_t intermediate = 0, vocab = 1, max_context = 4096;
  std::vector<AttentionKind> attention;
  std::int64_t window = 0;
  std::vector<std::int64_t> kv_source;
  std::optional<MlaSpec> mla;
  std::optional<MoeSpec> moe;
  std::optional<RecurrentSpec> recurrent;
  bool gated = true, qk_norm = false, tied_embeddings = false, parallel_residual = false;
  Bias bias = Bias::none;
  std::int64_t norms_per_layer = 2, learned_positions = 0;
  Dtype weights = Dtype::bf16;
  double expert_bits = 0;

  static constexpr std::int64_t kMaxWidth = 1 << 20;
  static constexpr Rows kFields{
      field("name", &ModelSpec::name, any, "id in the catalogue"),
      field("text", &ModelSpec::text, any, "one line"),
      field("family", &ModelSpec::family, any,
            "architecture, as model_type of a config.json names it"),
      field("source", &ModelSpec::source, any, "where the shape comes from"),
      field("published_parameters", &ModelSpec::published_parameters, between(0.0, 1e15),
            "published number of weights, a check on the shape; 0 = unknown"),
      field("layers", &ModelSpec::layers, between<std::int64_t>(1, 1024), "transformer layers"),
      field("hidden", &ModelSpec::hidden, between<std::int64_t>(1, kMaxWidth),
            "width of the residual stream"),
      field("heads", &ModelSpec::heads, between<std::int64_t>(1, 65536), "query heads"),
      field("kv_heads", &ModelSpec::kv_heads, between<std::int64_t>(0, 65536),
            "key and value heads; 0 = as many as heads"),
      field("head_dim", &ModelSpec::head_dim, between<std::int64_t>(0, 65536),
            "width of a head; 0 = hidden / heads"),
      field("v_head_dim", &ModelSpec::v_head_dim, between<std::int64_t>(0, 65536),
            "width of a value head; 0 = head_dim"),
      field("intermediate", &ModelSpec::intermediate, between<std::int64_t>(0, kMaxWidth),
            "inner width of the dense feed-forward part"),
      field("vocab", &ModelSpec::vocab, between<std::int64_t>(1, 1 << 24), "vocabulary"),
      field("max_context", &ModelSpec::max_context, between<std::int64_t>(1, 1 << 30),
            "longest sequence in tokens"),
      field("attention", &ModelSpec::attention, any,
            "kind of each layer, repeated over the layers; empty = all full, or all mla when mla "
            "is given"),
      field("window", &ModelSpec::window, between<std::int64_t>(0, 1 << 30),
            "tokens of a sliding window or chunk"),
      field("kv_source", &ModelSpec::kv_source, between<std::int64_t>(0, 1023),
            "layer whose cache each layer reads; empty = its own"),
      field("mla", &ModelSpec::mla, any, "latent attention"),
      field("moe", &ModelSpec::moe, any, "mixture of experts"),
      field("recurrent", &ModelSpec::recurrent, any, "layers of kind recurrent"),
      field("gated", &ModelSpec::gated, any,
            "feed-forward part has gate, up and down (3 matrices) rather than up and down"),
      field("qk_norm", &ModelSpec::qk_norm, any, "queries and keys are normalised per head"),
      field("tied_embeddings", &ModelSpec::tied_embeddings, any,
            "output head shares the embedding's weights"),
      field("parallel_residual", &ModelSpec::parallel_residual, any,
            "attention and feed-forward part read the same input: one all-reduce per layer"),
      field("bias", &ModelSpec::bias, any, "linear layers with a bias vector"),
      field("norms_per_layer", &ModelSpec::norms_per_layer, between<std::int64_t>(0, 8),
            "normalisations of the residual stream per layer"),
      field("learned_positions", &ModelSpec::learned_positions, between<std::int64_t>(0, 1 << 24),
            "rows of a learned position embedding; 0 = rotary"),
      field("weights", &ModelSpec::weights, any,
            "precision of the published checkpoint's linear layers"),
      field("expert_bits", &ModelSpec::expert_bits, between(0.0, 32.0),
            "bits per routed-expert weight in the published checkpoint, scales included; 0 = as "
            "weights")};

  // Resolved values of the fields whose 0 means "derived".
  [[nodiscard]] std::int64_t kv_head_count() const { return kv_heads > 0 ? kv_heads : heads; }
  [[nodiscard]] std::int64_t head_width() const { return head_dim > 0 ? head_dim : hidden / heads; }
  [[nodiscard]] std::int64_t value_width() const {
    return v_head_dim > 0 ? v_head_dim : head_width();
  }
};
KVSIM_FIELDS_ELSEWHERE(ModelSpec)

struct Layer {
  AttentionKind attention = AttentionKind::full;
  std::int64_t window = 0;     // tokens; 0 = unbounded
  std::int64_t kv_source = 0;  // index of the layer whose cache it reads
  bool owns_kv = true;         // stores KV (false for sharers and recurrent layers)
  bool moe = false;            // has routed experts
  std::int64_t dense_width =
      0;  // inner width of its dense part: the layer's own, or that of the shared experts
};

// Requires a spec that passed check_model().
std::vector<Layer> layers_of(const ModelSpec&);

// Reports shapes that contradict themselves (no window for sliding layers, kv_heads that do not
// divide heads, ...). `at` is the place errors point to.
bool check_model(const ModelSpec&, const Tree& at, Reader&);
// A catalogue file, or a mapping that overrides one: reads the fields and checks them.
bool read_model(const Tree&, ModelSpec&, Reader&);

}  // namespace kvsim
