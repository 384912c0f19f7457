#pragma once
// The parts of a TokenCache: cache.cpp takes tensors in and attends, cache_seal.cpp lets tokens
// leave, merges and encodes.
#include <memory>
#include <vector>

#include "policies/token/cache.h"
#include "policies/token/merge.h"
#include "policies/token/pick.h"
#include "policies/token/plan.h"
#include "policies/token/stage.h"
#include "policies/token/tensor_encoder.h"

namespace kvsim::token {

struct TokenCache::Body {
  TokenPolicies policies;
  Options options;
  kernels::Threads& threads;
  EncodedForm form;
  float scale = 1;
  std::unique_ptr<TokenBudget> budget;
  // Per layer and KV head; null where nothing needs them.
  std::vector<std::unique_ptr<TokenScore>> scores, importance;
  std::vector<std::unique_ptr<TokenIndex>> indices;
  std::vector<Head> heads;
  std::vector<HeadPlan> plans;
  std::vector<std::vector<float>> attention;  // of the prompt, for the budget
  std::vector<std::vector<float>> queries;    // [layer * heads + head] newest of the prompt
  std::vector<double> gates;
  std::vector<TensorEncoder> encoders;  // [layer * groups + group]
  std::vector<LayerAngles> angles;      // [layer * heads + head], of the upper layer of a pair
  std::vector<std::int64_t> pairs, sources;
  std::vector<TokenClass> classes;
  std::int32_t prompt = 0, tokens = 0;
  std::int64_t generated = 0;
  double state_bytes = 0;

  Body(TokenPolicies, Options, kernels::Threads&);
  [[nodiscard]] std::size_t at(std::int64_t layer, std::int64_t head) const {
    return static_cast<std::size_t>(layer * options.shape.kv_heads + head);
  }
  [[nodiscard]] bool selects(std::int64_t layer) const {
    return policies.select && layer >= policies.select->dense_layers;
  }
  [[nodiscard]] bool retrieves(std::int64_t layer) const {
    return policies.retrieve && layer >= policies.retrieve->dense_layers;
  }
  [[nodiscard]] bool merges(MergeTarget target) const {
    return policies.merge && policies.merge->target == target;
  }
  [[nodiscard]] Rng rng(const char* what, std::size_t head) const {
    return Rng(options.seed, what).at(head);
  }

  // cache.cpp
  void begin(std::int32_t n, std::span<const TokenClass>);
  void take_prompt(std::int32_t layer, const PromptTensors&);
  void observe_prompt(std::int32_t layer, const PromptTensors&);
  [[nodiscard]] std::int64_t rows_wanted() const;
  void feed(std::int32_t layer, const StagedHeads::Rows*, std::span<const float> q,
            std::int32_t first, std::int32_t count);
  void attend(std::int32_t layer, const StepTensors&, std::span<float> out);
  void add_token(std::int32_t layer, const StepTensors&);
  struct HeadStep {
    std::vector<float> logits, weights;
  };
  [[nodiscard]] HeadStep head_step(std::int64_t head_index, const Head&,
                                   std::span<const std::int32_t> read,
                                   const StagedHeads::Rows&) const;
  void score_step(std::int32_t layer, const StepTensors&,
                  const std::vector<std::vector<std::int32_t>>& slots, const StagedHeads::Rows&);
  void show_step(std::int32_t layer, const std::vector<std::vector<std::int32_t>>& slots,
                 const StagedHeads::Rows&) const;
  [[nodiscard]] std::vector<std::vector<std::int32_t>> slots_to_read(std::int32_t layer,
                                                                     const StepTensors&);
  void stage_head(StagedHeads&, const Head&, std::span<const std::int32_t> slots);
  [[nodiscard]] std::vector<float> turned(std::span<const float> rows, std::size_t dim,
                                          std::span<const std::int32_t> by);

  // cache_seal.cpp
  void seal();
  void plan_budgets();
  [[nodiscard]] std::vector<std::vector<float>> all_scores();
  void drop(bool sealing);
  [[nodiscard]] std::int64_t capacity(const HeadPlan&, std::size_t slots, bool sealing) const;
  void drop_head(std::int64_t layer, std::int64_t head, std::int64_t capacity,
                 std::span<const float> scores, bool sealing);
  [[nodiscard]] std::vector<std::uint8_t> banned(std::int64_t layer, const Head&) const;
  void merge_pairs(bool sealing);
  void encode(bool sealing);
  void encode_group(std::int64_t layer, std::int64_t group, bool sealing);
  void finish_step();
};

}  // namespace kvsim::token
