#pragma once
// A small transformer of Llama's architecture run by the kernels, in f32: RMSNorm, rotary
// embedding, grouped-query attention, SwiGLU. Weights from llama2.c's legacy .bin, from
// safetensors with the config.json beside it, or from GGUF.
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "policies/token/cache.h"
#include "sim/quality/compute.h"

namespace kvsim::quality {

struct LlamaShape {
  std::int64_t dim = 0, hidden = 0, layers = 0, heads = 0, kv_heads = 0, head_dim = 0;
  std::int64_t vocabulary = 0, context = 0;
  float epsilon = 1e-5F;
  kernels::RopePairs pairs = kernels::RopePairs::adjacent;
  double theta = 10000;
};

// Rows are outputs.
struct LlamaLayer {
  std::vector<float> norm_attention, q, k, v, o, norm_ffn, gate, up, down;
};
struct LlamaWeights {
  LlamaShape shape;
  std::vector<float> embedding, norm_last, output;  // output empty = the embedding
  std::vector<LlamaLayer> layers;
};

// By the file's first bytes. Throws InputError: what is missing, of the wrong size, or not Llama.
LlamaWeights load_llama(const std::string& path);

class Llama {
 public:
  explicit Llama(LlamaWeights w) : w_(std::move(w)) {}
  [[nodiscard]] const LlamaShape& shape() const { return w_.shape; }

  // Every layer's tensors of a text in full attention, tokens first; keys and queries rotated.
  struct Pass {
    std::vector<std::vector<float>> keys, values, queries;
    std::vector<float> logits;  // [tokens][vocabulary]
  };
  [[nodiscard]] Pass forward(std::span<const std::int32_t> ids, const Compute&) const;

  // One token behind others that only `attend` knows: logits [vocabulary].
  using Attend =
      std::function<void(std::int32_t layer, const token::StepTensors&, std::span<float> out)>;
  [[nodiscard]] std::vector<float> next(std::int32_t id, std::int32_t position, const Attend&,
                                        const Compute&) const;

 private:
  using Mix = std::function<std::vector<float>(std::size_t layer, std::vector<float> q,
                                               std::vector<float> k, std::vector<float> v)>;
  [[nodiscard]] std::vector<float> run(std::span<const std::int32_t> ids, std::int32_t first,
                                       const Mix&, const Compute&) const;
  LlamaWeights w_;
};

}  // namespace kvsim::quality
