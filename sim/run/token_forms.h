#pragma once
// From token policies to what the engine asks of compressed KV (sim/engine/kv_form.h): blocks,
// what steps read, and the time of what they do besides. Bytes and work are those of
// policies/token/footprint.h; times follow from the device's figures:
//
//   work of the GPU    max(flops / rate, bytes / (bandwidth e_m)), a launch per kernel and layer
//   restore            what is left of it beyond the time that reading the KV takes
//   fetch              bytes / (b c / (c + c_half)), c = bytes of a layer: what is scattered there
//   is
//                      gathered by the host, or read through mapped memory; a latency per layer
//   far                bytes read where they lie / bandwidth there, queries over the host link
#include <map>

#include "policies/token/footprint.h"
#include "sim/engine/kv_form.h"

namespace kvsim {

// Figures of one rank. Rates in flop/s and bytes/s.
struct TokenRates {
  double vector_flops = 0, matrix_flops = 0;
  double kv_bytes = 0, memory_bytes = 0;
  double link_bytes = 0, link_half = 0;  // host link, and the piece that reaches half of it
  double far_bytes = 0;                  // host memory, or drives
  std::int64_t launch_ns = 0, link_ns = 0;
};

class TokenForms final : public KvForms {
 public:
  // `caches`: prefixes are shared; `keep_exact`: of prompts that are compressed for one request
  // too, as they were before.
  TokenForms(token::TokenPolicies, token::KvShape, const TokenRates&, bool caches, bool keep_exact);

  const KvCurve& curve(std::int64_t prompt) override { return entry(prompt).curve; }
  PieceLoads piece(std::int64_t known, const PrefillPiece&, PrefillPiece& priced) override;

  // Bytes of a block of the pool over those of as many uncompressed tokens.
  [[nodiscard]] double block_share() const { return block_bytes_ / plain_block_bytes(); }
  [[nodiscard]] const token::FootprintModel& footprint() const { return model_; }

 private:
  struct Entry {
    KvCurve curve;
    double linear_share = 1, attention_share = 1;
    bool is_cumulative = false;  // prompts are compressed piece by piece
  };
  // Of the step after so many generated tokens: loads in tokens and nanoseconds.
  struct Sample {
    double memory = 0;  // bytes on the GPU, in whole pages
    std::array<double, kTokenLoads> loads{};
  };
  [[nodiscard]] double plain_block_bytes() const {
    return shape_.token_bytes() * static_cast<double>(shape_.block_tokens);
  }
  Entry& entry(std::int64_t prompt);
  void size_blocks();
  void choose_turn(bool caches, bool keep_exact);
  void describe_prompt(Entry&, std::int64_t prompt);
  void describe_steps(KvCurve&, std::int64_t prompt);
  [[nodiscard]] KvPhase phase(const KvCurve&, std::int64_t prompt, std::int64_t from,
                              std::int64_t until) const;
  [[nodiscard]] Sample sample(const KvCurve&, std::int64_t prompt, std::int64_t generated) const;
  [[nodiscard]] double gpu_ns(double flops, double bytes) const;
  [[nodiscard]] double fetch_ns(double bytes, double pieces) const;
  [[nodiscard]] double prompt_ns(std::int64_t tokens) const;

  token::KvShape shape_;
  token::FootprintModel model_;
  TokenRates rates_;
  bool leaves_gpu_ = false;
  double block_bytes_ = 0, slope_bytes_ = 0, buffer_bytes_ = 0, fixed_bytes_ = 0;
  std::map<std::int64_t, Entry> entries_;  // by prompt; none moves
};

}  // namespace kvsim
