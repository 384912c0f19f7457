#pragma once
// The stored form of tokens (low rank, then codes): how many bytes, and which tokens are in it.
// Shared by the arithmetic (footprint.h) and the tensors (cache.h), so that both count alike.
//
// A group of heads is encoded together: one head, or those that share a low-rank basis. Of its
// slots the first `sinks` stay exact; of the others the oldest are encoded in batches of whole
// grains, as soon as more than `residual` + grain - 1 are exact.
#include <cstdint>

#include "kernels/quantize.h"
#include "policies/token/footprint.h"
#include "policies/token/shape.h"
#include "policies/token/spec.h"

namespace kvsim::token {

// Keys and values apart: where retrieval leaves keys on the GPU, only values move.
struct TokenForm {
  StoredBytes keys, values;
};
StoredBytes sum_of(const TokenForm&);
StoredBytes& operator+=(StoredBytes&, const StoredBytes&);
StoredBytes operator*(StoredBytes, double);

class EncodedForm {
 public:
  EncodedForm(const TokenPolicies&, const KvShape&);
  // False: tokens stay as the model made them.
  [[nodiscard]] bool encodes() const { return quantize_ != nullptr || low_rank_ != nullptr; }
  [[nodiscard]] std::int64_t grain() const { return grain_; }
  [[nodiscard]] std::int64_t sinks() const { return sinks_; }
  [[nodiscard]] std::int64_t residual() const { return residual_; }
  // Only the prompt's tokens are encoded.
  [[nodiscard]] bool prompt_only() const { return low_rank_ != nullptr && low_rank_->per_prompt; }
  [[nodiscard]] std::int64_t heads() const { return heads_; }            // of a group
  [[nodiscard]] std::int64_t key_rank() const { return key_rank_; }      // 0 = no basis
  [[nodiscard]] std::int64_t value_rank() const { return value_rank_; }  // 0 = no basis
  // Numbers per token and group that are coded.
  [[nodiscard]] std::int64_t key_width() const;
  [[nodiscard]] std::int64_t value_width() const;

  // How many of so many slots are encoded.
  [[nodiscard]] std::int64_t encoded(std::int64_t slots) const;
  // A batch of so many tokens of one group.
  [[nodiscard]] TokenForm batch(std::int64_t tokens) const;
  // One exact token of one head.
  [[nodiscard]] TokenForm exact() const;
  // What belongs to a sequence's group besides tokens.
  [[nodiscard]] TokenForm bases() const;
  // The codec of a batch's keys or values (codes 8 to ternary; not 16 bits, not signs).
  [[nodiscard]] kernels::Codec codec(bool keys, bool low, std::int64_t tokens) const;
  // Of so many tokens, those at the full width.
  [[nodiscard]] std::int64_t salient(std::int64_t tokens) const;

 private:
  [[nodiscard]] StoredBytes coded(bool keys, std::int64_t tokens) const;
  const QuantizeSpec* quantize_ = nullptr;
  const LowRankSpec* low_rank_ = nullptr;
  KvShape shape_;
  std::int64_t heads_ = 1, key_rank_ = 0, value_rank_ = 0;
  std::int64_t grain_ = 1, sinks_ = 0, residual_ = 0;
};

// Width of keys or values after `bits`.
double key_bits(const QuantizeSpec&);
double value_bits(const QuantizeSpec&);
// Whether codecs have codes of so many bits: 8, 4, 3, 2 or 1.5.
bool has_codes(double bits);
kernels::CodeWidth code_width(double bits);

}  // namespace kvsim::token
