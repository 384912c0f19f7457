#pragma once
// Counts that follow from a model's shape: KV bytes, parameters, weight bytes, and how a split over
// GPUs divides them. Split rules (as vLLM and SGLang do it): tensor ranks cut heads, feed-forward
// width and vocabulary; key heads are cut down to one per rank and then replicated; an MLA latent
// is replicated; routers and norms are replicated; experts are cut by tensor or, with
// Parallel::expert, dealt out whole over tensor x data ranks; pipeline stages take runs of layers.
#include <cstdint>
#include <vector>

#include "models/model.h"
#include "sim/base/quantity.h"
#include "sim/base/work.h"

namespace kvsim {

// Precision of a deployment. Embedding, output head, router and norms stay in at least 16 bits
// whatever `weights` says (so do FP8, INT8, AWQ and MXFP4 checkpoints). Scales of quantised weights
// are not counted, except through ModelSpec::expert_bits.
struct Precision {
  Dtype weights = Dtype::bf16, kv = Dtype::bf16, activations = Dtype::bf16;
};
double linear_weight_bits(const Precision&);
double kept_weight_bits(const Precision&);
// Never wider than the published checkpoint's experts.
double expert_weight_bits(const ModelSpec&, const Precision&);

// Throws InputError when `split` cannot divide the model (heads, experts, layers), naming the rule
// and valid values.
void check_split(const ModelSpec&, const Parallel& split);

// Layers per pipeline stage: as even as can be, the surplus to the last stages but the very last
// (vLLM's rule: the ends also hold embedding and output head).
std::vector<std::int64_t> stage_layers(std::int64_t layers, int stages);

// Key-value cache.

// Numbers cached per token by one layer that owns all it reads, on one rank: heads * (key width +
// value width), the latent, or the factors (tpa).
std::int64_t kv_elements(const ModelSpec&, int tensor = 1);
// What this layer caches per token (of a pooled layer: per entry): keys, values, both or nothing.
std::int64_t layer_kv_elements(const ModelSpec&, const Layer&, int tensor = 1);
// Per token and layer, rounded up to a byte. `kv_bits` per number (6 = DeepSeek-V2's deployed
// average).
Bytes kv_layer_bytes(const ModelSpec&, double kv_bits, int tensor = 1);
// Per token over all layers that own a cache, windows not considered.
Bytes kv_token_bytes(const ModelSpec&, double kv_bits, int tensor = 1);
Bytes kv_token_bytes(const ModelSpec&, Dtype kv, int tensor = 1);
// Of one sequence of `tokens`: full layers keep all, windowed layers at most their window, pooled
// layers an entry per full pool, recurrent layers and memories their state; context that an encoder
// reads, a vector per token.
Bytes kv_sequence_bytes(const ModelSpec&, std::int64_t tokens, Dtype kv, int tensor = 1);
// One layer's page of a block, and the whole block on the pipeline stage with the most caches.
Bytes kv_page_bytes(const ModelSpec&, const Parallel&, Dtype kv, std::int64_t block_tokens);
Bytes kv_block_bytes(const ModelSpec&, const Parallel&, Dtype kv, std::int64_t block_tokens);
Bytes stage_block_bytes(const ModelSpec&, const Parallel&, Dtype kv, std::int64_t block_tokens,
                        int stage);
// Layers that own a cache, per stage.
std::vector<std::int64_t> stage_kv_layers(const ModelSpec&, int stages);

// What the layers of a stage keep of one sequence, on one rank: of block_tokens tokens those that
// keep every token (an encoder's vectors, where it reads what lies before the decoder's window) and
// those with a window, and the states. `window` in tokens: as many as the windowed layers keep.
struct KeptBytes {
  Bytes full{0}, windowed{0}, states{0};
  std::int64_t window = 0;
};
KeptBytes kept_bytes(const ModelSpec&, const Parallel&, Dtype kv, std::int64_t block_tokens,
                     int stage);
// Whether some layer keeps less than every token: such layers may share memory with the others, and
// a prefix of theirs can be used only where what they keep was saved.
bool forgets(const ModelSpec&);

// Layers that keep the same tokens and as much of each: one entry per (kind, window, numbers per
// token) that owns caches, in order of first layer.
struct KvGroup {
  AttentionKind kind = AttentionKind::full;
  std::int64_t window = 0;    // tokens; 0 = unbounded
  std::int64_t elements = 0;  // numbers per token (or entry) and layer, on one GPU
  std::int64_t layers = 0;
  std::int64_t readers = 0;  // further layers that read a cache of this group
};
std::vector<KvGroup> kv_groups(const ModelSpec&);

// Parameters and weights.

// Numbers of weights by part.
struct Parameters {
  std::int64_t embedding = 0, lm_head = 0;  // lm_head 0 when tied (on one stage)
  std::int64_t attention = 0;               // projections, latent projections, recurrent mixers
  std::int64_t dense = 0, shared = 0;       // feed-forward parts; shared experts
  std::int64_t router = 0, experts = 0;     // routed experts
  std::int64_t norms = 0;                   // with qk norms
  std::int64_t encoder = 0;                 // with the cross attention to it
  [[nodiscard]] std::int64_t total() const {
    return embedding + lm_head + attention + dense + shared + router + experts + norms + encoder;
  }
};
Parameters parameters(const ModelSpec&);
// Touched by one token (routed experts scaled by active / experts).
std::int64_t active_parameters(const ModelSpec&);
// On one tensor (and, with split.expert, data) rank of pipeline stage `stage`. Requires a checked
// split.
Parameters rank_parameters(const ModelSpec&, const Parallel& split, int stage);

Bytes weight_bytes(const ModelSpec&, const Precision&);
// Of the fullest rank: the maximum over stages.
Bytes rank_weight_bytes(const ModelSpec&, const Parallel&, const Precision&);
Bytes stage_weight_bytes(const ModelSpec&, const Parallel&, const Precision&, int stage);

// Weights of one layer's attention mixer on one tensor rank, without norms: no projection of keys
// or values that it reads from another layer.
std::int64_t attention_parameters(const ModelSpec&, const Layer&, int tensor);
// Of these, output widths of the projections from the residual stream: queries (0 when factored
// first), keys and values.
struct QkvWidths {
  std::int64_t q = 0, kv = 0;
};
QkvWidths qkv_widths(const ModelSpec&, const Layer&, int tensor);
// Of a feed-forward part of inner width `width`, which `tensor` ranks cut.
std::int64_t ffn_parameters(const ModelSpec&, std::int64_t width, int tensor);

}  // namespace kvsim
