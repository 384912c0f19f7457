#pragma once
// A pipeline at work on the tensors of one sequence: the real algorithms through the real kernels,
// so that quality is measured and never assumed.
//
//   TokenCache cache(policies, options, threads);
//   cache.begin(tokens, classes);
//   for each layer: cache.prompt(layer, tensors);     // any order
//   cache.seal();                                     // budgets, selection, merging, codes
//   for each step, for each layer in order: cache.attend(layer, new token, out);
//
// The prompt itself attends in full (its outputs are the caller's); policies act when it is sealed,
// and after every step once the last layer has attended. Same inputs and seed: same results, on any
// number of threads.
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "kernels/threads.h"
#include "kernels/transformer.h"
#include "policies/token/footprint.h"
#include "policies/token/shape.h"
#include "policies/token/spec.h"

namespace kvsim::kernels::vulkan {
class Device;
}

namespace kvsim::token {

// How positions are in the keys, for what is done before them. Without it pre_rope and reindex
// leave keys as they come.
struct RopeShape {
  kernels::RopePairs pairs = kernels::RopePairs::halves;
  double theta = 10000;
};

// Tensors of one layer, tokens first, as a transformer makes them; keys and queries rotated.
struct PromptTensors {
  std::span<const float> keys;     // [tokens][kv_heads][k_dim]
  std::span<const float> values;   // [tokens][kv_heads][v_dim]
  std::span<const float> queries;  // [tokens][q_heads][k_dim], or of the last so many tokens
};
struct StepTensors {
  std::span<const float> key, value;  // [kv_heads][dim] of the new token
  std::span<const float> query;       // [q_heads][k_dim]
  // What retrieval ranks by instead of the query, guessed a layer earlier; empty = the query.
  std::span<const float> speculated;
};

// What attention of a KV head sees. Slots ascend by position; a slot that took others in carries
// the position of its own token (of a run: of the newest).
struct HeadView {
  std::span<const std::int32_t> positions;
  std::span<const float> keys, values;  // [slots][dim], as read back from their stored form
  std::span<const float> counts;        // tokens that a slot stands for in the softmax
  std::span<const std::uint8_t> read;   // 1 = read in the last step
  double gone = 0;                      // tokens that one more key and value stand for
  std::span<const float> gone_key, gone_value;
  std::span<const float> weights;  // [query heads of the group][slots], only in Options::observe
};

class TokenCache {
 public:
  struct Options {
    KvShape shape;
    float scale = 0;  // of logits; 0 = 1 / sqrt(k_dim)
    std::optional<RopeShape> rope;
    std::uint64_t seed = 0;
    // Attention of steps runs on this device; what decides (scores, indices) stays on the CPU, so
    // that both keep the same tokens.
    kernels::vulkan::Device* vulkan = nullptr;
    // Hears of every KV head what a step's attention saw, before tokens leave. `weights` asks for
    // the attention rows besides.
    std::function<void(std::int32_t layer, std::int32_t head, const HeadView&)> observe;
    bool weights = false;
  };
  // Requires policies that passed check_composition().
  TokenCache(TokenPolicies, Options, kernels::Threads&);
  ~TokenCache();
  TokenCache(const TokenCache&) = delete;
  TokenCache& operator=(const TokenCache&) = delete;

  void begin(std::int32_t tokens, std::span<const TokenClass> classes = {});
  void prompt(std::int32_t layer, const PromptTensors&);
  void seal();
  // Adds the token and writes what its queries read: out [q_heads][v_dim].
  void attend(std::int32_t layer, const StepTensors&, std::span<float> out);

  [[nodiscard]] HeadView view(std::int32_t layer, std::int32_t head) const;
  // Bytes in the form that is stored, wherever it lies; equals Footprint::stored where that needs
  // no expectation.
  [[nodiscard]] StoredBytes stored() const;
  // Mean over layers and KV heads: slots held, and slots read in the last step.
  [[nodiscard]] double kept_tokens() const;
  [[nodiscard]] double read_tokens() const;

 private:
  struct Body;
  std::unique_ptr<Body> body_;
};

}  // namespace kvsim::token
