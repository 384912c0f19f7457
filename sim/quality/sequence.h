#pragma once
// Queries, keys and values of one sequence: what a source gives and every policy is measured on.
#include <cstdint>
#include <optional>
#include <vector>

#include "policies/token/cache.h"
#include "sim/quality/compute.h"

namespace kvsim::quality {

// A token that the query of one step looks for.
struct Needle {
  std::int32_t position = 0, step = 0;
};

// Per layer, tokens first: `prompt` tokens, then `steps`; keys and queries with their positions.
struct Sequence {
  token::KvShape shape;
  float scale = 0;  // of logits
  std::optional<token::RopeShape> rope;
  std::int32_t prompt = 0, steps = 0;
  std::vector<std::vector<float>> keys, values;  // [layer][token][kv_heads][dim]
  std::vector<std::vector<float>> queries;       // [layer][token][q_heads][k_dim]
  std::vector<token::TokenClass> classes;        // of the prompt; empty = all plain
  std::vector<Needle> needles;
  std::vector<std::uint8_t>
      seeks;  // [layer][kv_heads]: 1 = its queries look for needles; empty = all

  [[nodiscard]] std::int32_t tokens() const { return prompt + steps; }
  [[nodiscard]] token::PromptTensors prompt_tensors(std::int64_t layer) const;
  [[nodiscard]] token::StepTensors step_tensors(std::int64_t layer, std::int32_t step) const;
  [[nodiscard]] token::TokenCache::Options options(std::uint64_t seed) const;
};

// What the steps of a sequence see with the whole cache.
struct FullAttention {
  std::int32_t columns = 0;                     // tokens of the sequence
  std::int32_t top = 0;                         // of `best`
  std::vector<std::vector<float>> weights;      // [layer][step][q_heads][columns]
  std::vector<std::vector<float>> outputs;      // [layer][step][q_heads][v_dim]
  std::vector<std::vector<std::int32_t>> best;  // [layer][step][q_heads][top]: largest weights
};
FullAttention full_attention(const Sequence&, std::int32_t top, const Compute&);

}  // namespace kvsim::quality
