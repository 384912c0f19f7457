#pragma once
// A transformer's shape, layer by layer: what decides KV bytes, weights, flops and bytes. A
// catalogue file (models/catalog/<name>.yaml) is one ModelSpec; hf_config.h reads one from a
// Hugging Face config.json. Not modelled: vocabulary padding, attention sinks' scalars, vision
// towers (text part only).
#include <array>
#include <cstdint>
#include <optional>
#include <string>
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
// token; recurrent: a constant state, no KV; pooled: every earlier run of `pool_tokens` tokens, one
// entry each, computed once per run (Block Transformer, arXiv:2406.02657); none: no mixer at all.
enum class AttentionKind : std::uint8_t { full, sliding, chunked, mla, recurrent, pooled, none };
constexpr auto enum_names(AttentionKind) {
  return std::array{std::pair{AttentionKind::full, "full"},
                    std::pair{AttentionKind::sliding, "sliding"},
                    std::pair{AttentionKind::chunked, "chunked"},
                    std::pair{AttentionKind::mla, "mla"},
                    std::pair{AttentionKind::recurrent, "recurrent"},
                    std::pair{AttentionKind::pooled, "pooled"},
                    std::pair{AttentionKind::none, "none"}};
}
// Neither keeps tokens nor scores them.
constexpr bool attends(AttentionKind k) {
  return k != AttentionKind::recurrent && k != AttentionKind::none;
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

// Tensor product attention (arXiv:2501.06425): keys and values are sums of `rank` outer products of
// a vector over heads and one over the head's width; the cache holds these factors.
struct TpaSpec {
  std::int64_t q_rank = 6, k_rank = 2, v_rank = 2;
  static constexpr Rows kFields{
      field("q_rank", &TpaSpec::q_rank, between<std::int64_t>(1, 1024), "of queries"),
      field("k_rank", &TpaSpec::k_rank, between<std::int64_t>(1, 1024), "of keys, cached"),
      field("v_rank", &TpaSpec::v_rank, between<std::int64_t>(1, 1024), "of values, cached")};
};

// Recurrent mixers whose state and weights follow from their widths (recurrent.h has the formulas
// and their sources); given: the two numbers themselves.
enum class Mixer : std::uint8_t {
  given,
  mamba,
  mamba_2,
  rwkv_4,
  rwkv_6,
  retention,
  gated_linear,
  delta,
  gated_delta,
  rg_lru
};
constexpr auto enum_names(Mixer) {
  return std::array{std::pair{Mixer::given, "given"},
                    std::pair{Mixer::mamba, "mamba"},
                    std::pair{Mixer::mamba_2, "mamba-2"},
                    std::pair{Mixer::rwkv_4, "rwkv-4"},
                    std::pair{Mixer::rwkv_6, "rwkv-6"},
                    std::pair{Mixer::retention, "retention"},
                    std::pair{Mixer::gated_linear, "gated-linear"},
                    std::pair{Mixer::delta, "delta"},
                    std::pair{Mixer::gated_delta, "gated-delta"},
                    std::pair{Mixer::rg_lru, "rg-lru"}};
}

// A layer with a constant state per sequence in place of KV (Mamba and its kin).
struct RecurrentSpec {
  Mixer mixer = Mixer::given;
  std::int64_t inner = 0, state = 16, heads = 1, key_heads = 0, key_dim = 64, value_dim = 0;
  std::int64_t conv = 0, rank = 0, groups = 1;
  std::int64_t state_elements = 0;
  std::int64_t parameters = 0;
  Dtype dtype = Dtype::bf16;
  static constexpr Rows kFields{
      field("mixer", &RecurrentSpec::mixer, any,
            "kind of the state; given = state_elements and parameters say it"),
      field("inner", &RecurrentSpec::inner, between<std::int64_t>(0, 1 << 20),
            "channels of mamba, mamba-2 and rg-lru; 0 = hidden"),
      field("state", &RecurrentSpec::state, between<std::int64_t>(1, 4096),
            "numbers per channel (mamba) or per channel and head (mamba-2)"),
      field("heads", &RecurrentSpec::heads, between<std::int64_t>(1, 65536),
            "heads, of values where keys have fewer; blocks of rg-lru's gates"),
      field("key_heads", &RecurrentSpec::key_heads, between<std::int64_t>(0, 65536),
            "heads of queries and keys; 0 = heads"),
      field("key_dim", &RecurrentSpec::key_dim, between<std::int64_t>(1, 65536),
            "width of a key, the state's rows"),
      field("value_dim", &RecurrentSpec::value_dim, between<std::int64_t>(0, 65536),
            "width of a value, the state's columns; 0 = key_dim"),
      field("conv", &RecurrentSpec::conv, between<std::int64_t>(0, 64),
            "taps of the short convolution; its last inputs belong to the state"),
      field("rank", &RecurrentSpec::rank, between<std::int64_t>(0, 65536),
            "of the projection of time steps (mamba) or gates; 0 = hidden / 16"),
      field("groups", &RecurrentSpec::groups, between<std::int64_t>(1, 1024),
            "groups that share input and output projections (mamba-2)"),
      field("state_elements", &RecurrentSpec::state_elements,
            between<std::int64_t>(0, std::int64_t{1} << 40),
            "numbers of state per layer and sequence; 0 = those of the mixer"),
      field("parameters", &RecurrentSpec::parameters,
            between<std::int64_t>(0, std::int64_t{1} << 40),
            "weights of the mixer per layer; 0 = those of the mixer"),
      field("dtype", &RecurrentSpec::dtype, any,
            "precision of the state; the inputs of a convolution have 16 bits")};
};

// A memory of constant size beside the window of every attention layer (Infini-attention,
// arXiv:2404.07143): older segments live on in it.
struct MemorySpec {
  std::int64_t state_elements = 1, parameters = 0;
  static constexpr Rows kFields{
      field("state_elements", &MemorySpec::state_elements,
            between<std::int64_t>(1, std::int64_t{1} << 40),
            "numbers of memory per attention layer and sequence"),
      field("parameters", &MemorySpec::parameters, between<std::int64_t>(0, std::int64_t{1} << 40),
            "weights per attention layer")};
};

// A small encoder reads what does not fit into the decoder's own context; the decoder's cross
// attention reads one vector per token of it (CEPE, arXiv:2402.16617; XC-Cache, arXiv:2404.15420).
struct EncoderSpec {
  std::int64_t hidden = 1, chunk = 256, parameters = 0, cross_layers = 1, cross_parameters = 0;
  std::int64_t main_tokens = 1;
  static constexpr Rows kFields{
      field("hidden", &EncoderSpec::hidden, between<std::int64_t>(1, 1 << 20),
            "numbers cached per token of the context, once for all layers"),
      field("chunk", &EncoderSpec::chunk, between<std::int64_t>(1, 1 << 30),
            "tokens that it encodes together"),
      field("parameters", &EncoderSpec::parameters, between<std::int64_t>(0, std::int64_t{1} << 40),
            "weights of the encoder"),
      field("cross_layers", &EncoderSpec::cross_layers, between<std::int64_t>(1, 1024),
            "layers of the decoder with cross attention"),
      field("cross_parameters", &EncoderSpec::cross_parameters,
            between<std::int64_t>(0, std::int64_t{1} << 40), "weights of one of these"),
      field("main_tokens", &EncoderSpec::main_tokens, between<std::int64_t>(1, 1 << 30),
            "tokens of a sequence with KV of their own; all others are context")};
};

struct ModelSpec {
  std::string name, text, family, source;
  double published_parameters = 0;
  std::int64_t layers = 1, hidden = 1, heads = 1, kv_heads = 0, head_dim = 0, v_head_dim = 0;
  std::int64_t intermediate = 0, vocab = 1, max_context = 4096;
  std::vector<AttentionKind> attention;
  std::int64_t window = 0, pool_tokens = 0;
  std::vector<std::int64_t> kv_source, v_source, layer_kv_heads, ffn_layers;
  bool tied_kv = false;
  std::int64_t q_rank = 0;
  std::int64_t prefill_layers = 0, prefill_passes = 1, shared_blocks = 0;
  std::optional<MlaSpec> mla;
  std::optional<TpaSpec> tpa;
  std::optional<MoeSpec> moe;
  std::optional<RecurrentSpec> recurrent;
  std::optional<MemorySpec> memory;
  std::optional<EncoderSpec> encoder;
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
      field("v_source", &ModelSpec::v_source, between<std::int64_t>(0, 1023),
            "layer whose cached values each layer reads; empty = as kv_source"),
      field("pool_tokens", &ModelSpec::pool_tokens, between<std::int64_t>(0, 1 << 20),
            "tokens of one entry of a pooled layer"),
      field("layer_kv_heads", &ModelSpec::layer_kv_heads, between<std::int64_t>(1, 65536),
            "key and value heads of each layer, repeated over the layers; empty = kv_heads"),
      field("ffn_layers", &ModelSpec::ffn_layers, between<std::int64_t>(0, 1),
            "1 where a layer has a feed-forward part, repeated over the layers; empty = all have"),
      field("tied_kv", &ModelSpec::tied_kv, any, "the values are the keys: one of them is cached"),
      field("q_rank", &ModelSpec::q_rank, between<std::int64_t>(0, 65536),
            "rank of a factored query projection; 0 = not factored"),
      field("prefill_layers", &ModelSpec::prefill_layers, between<std::int64_t>(0, 1024),
            "layers that a prompt's tokens pass; only its last one goes on; 0 = all"),
      field("prefill_passes", &ModelSpec::prefill_passes, between<std::int64_t>(1, 64),
            "times that a prompt runs through the model, where layers read the KV of later ones"),
      field("shared_blocks", &ModelSpec::shared_blocks, between<std::int64_t>(0, 1024),
            "distinct sets of weights that the attention layers share in turn; 0 = each its own"),
      field("mla", &ModelSpec::mla, any, "latent attention"),
      field("tpa", &ModelSpec::tpa, any, "factored keys and values"),
      field("moe", &ModelSpec::moe, any, "mixture of experts"),
      field("recurrent", &ModelSpec::recurrent, any, "layers of kind recurrent"),
      field("memory", &ModelSpec::memory, any, "compressive memory of the attention layers"),
      field("encoder", &ModelSpec::encoder, any, "reads the context beyond the decoder's own"),
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
  std::int64_t kv_source = 0;  // index of the layer whose cache (keys, at least) it reads
  std::int64_t v_source = 0;   // of the layer whose values it reads
  std::int64_t kv_heads = 0;
  bool owns_kv = true;  // stores keys, values or both
  bool owns_k = true, owns_v = true;
  bool moe = false;       // has routed experts
  bool is_upper = false;  // a prompt's tokens but the last do not reach it
  // Inner width of its dense part: the layer's own, or that of the shared experts; 0 = none.
  std::int64_t dense_width = 0;
};

// Requires a spec that passed check_model().
std::vector<Layer> layers_of(const ModelSpec&);

// Reports shapes that contradict themselves (no window for sliding layers, kv_heads that do not
// divide heads, ...). `at` is the place errors point to.
bool check_model(const ModelSpec&, const Tree& at, Reader&);
// A catalogue file, or a mapping that overrides one: reads the fields and checks them.
bool read_model(const Tree&, ModelSpec&, Reader&);

}  // namespace kvsim
