#pragma once
// The slots of one KV head at work, in order of position: what attention reads, and in which form
// each is stored.
#include <cstdint>
#include <span>
#include <vector>

#include "policies/token/encode.h"
#include "policies/token/score.h"

namespace kvsim::token {

// Tokens encoded together. Scales of a channel's group stay until the last of its tokens is gone.
struct CodedBatch {
  StoredBytes by_token, whole;
  std::int32_t tokens = 0, live = 0;
};

struct Head {
  std::size_t k_dim = 0, v_dim = 0;
  std::vector<std::int32_t> positions;
  std::vector<float> keys, values;  // [slots][dim]
  std::vector<float> counts;        // tokens that a slot stands for in the softmax
  std::vector<float> merged;        // tokens that went into a slot
  std::vector<TokenClass> classes;
  std::vector<std::uint8_t> leftover;  // 1 = a slot for what leaves
  std::vector<std::int32_t> batch;     // of `batches`, -1 = exact
  std::vector<std::uint8_t> read;      // in the last step
  std::vector<CodedBatch> batches;
  // The mean of all that left, where it is kept.
  std::vector<float> gone_key, gone_value;
  double gone = 0;

  [[nodiscard]] std::size_t slots() const { return positions.size(); }
  [[nodiscard]] std::span<float> key(std::size_t slot) {
    return std::span(keys).subspan(slot * k_dim, k_dim);
  }
  [[nodiscard]] std::span<float> value(std::size_t slot) {
    return std::span(values).subspan(slot * v_dim, v_dim);
  }
  [[nodiscard]] HeadTokens tokens() const;
  void append(std::int32_t position, std::span<const float> new_key,
              std::span<const float> new_value, TokenClass);
  // Adds the slots that are not in `kept` (ascending) to the mean of those that left.
  void compensate(std::span<const std::int32_t> kept);
  void keep(std::span<const std::int32_t> kept);
  // Marks slots [from, to) as one batch of these bytes.
  void set_coded(std::size_t from, std::size_t to, const StoredBytes& by_token,
                 const StoredBytes& whole);
  // In the form that each slot has; `exact` = of one exact token.
  [[nodiscard]] StoredBytes stored(const StoredBytes& exact) const;
};

}  // namespace kvsim::token
