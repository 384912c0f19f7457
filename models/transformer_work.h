#pragma once
// The work of one iteration of a transformer on one rank, operator by operator (contract:
// sim/base/work.h).
//
// Affinity: for a fixed number of decodes and no prefill, every row is affine in decode_context_sum
// and decode_window_sum; only the rows `attention_decode` depend on them at all, one row per kind
// of attention layer, with kv_bytes and flops proportional to the sum. KV written by the iteration
// is counted in `rotary`. Dense operators run on max(padded_decodes, decodes) + drafts + prefill
// tokens; attention, KV writes and sampling on real ones. Drafts are taken to be spread evenly over
// the decodes. Shared prefixes are the cost model's business (StepShape::decode_shared_sum).
//
// Chunked layers price a decode at decode_window_sum = sum of min(context, window): exact inside
// the first chunk, about twice the truth beyond it.
//
// comm_bytes is the size of the messages (the tensor that a collective reduces or that a rank
// sends), summed over calls; what a ring makes of it, 2 (p - 1) / p for an all-reduce over p ranks,
// is the cost model's factor. The all-gather of logits counts half of its result in all_reduce,
// because it moves half of what an all-reduce of that size moves. all_to_all counts what one rank
// sends to other ranks, dispatch and combine. Where groups share a context, attention's comm_bytes
// is the KV that comes from the other groups (of decodes: where it goes round), attention_merge's
// the partial results of one group.
//
// Formulas and their sources: models/README.md.
#include <vector>

#include "models/geometry.h"
#include "models/model.h"
#include "sim/base/work.h"

namespace kvsim {

class TransformerWork final : public ModelWork {
 public:
  // Requires a checked model; throws InputError if `split` does not fit it.
  TransformerWork(ModelSpec, Parallel split, Precision);

  [[nodiscard]] const Facts& facts() const override { return facts_; }
  void step(const StepShape&, std::vector<Work>& out) const override;

  // Distinct experts of `local` on a rank that a group of `tokens` tokens touches in one layer,
  // when each token picks `active` of `experts` uniformly: local * (1 - (1 - active /
  // experts)^tokens).
  static double expected_experts(double local, double experts, double active, double tokens);
  // Other ranks that hold at least one of a token's experts, expected (hypergeometric; experts
  // dealt out evenly).
  static double expected_remote_ranks(std::int64_t experts, std::int64_t active,
                                      std::int64_t ranks);

 private:
  void set_attention_facts(double kv_bits);
  // Layers that do the same. A prompt's tokens but the last do not reach those that are upper.
  struct Group {
    Layer like;  // any of them
    double layers = 0;
  };
  // Feed-forward parts that the same tokens run through.
  struct Feed {
    bool is_upper = false, pooled = false, moe = false;
    double layers = 0;
  };
  struct Batch;  // token counts of one iteration

  void sort_layers();
  // Tokens that a dense operator of such layers runs on.
  [[nodiscard]] double tokens(const Batch&, bool is_upper, bool pooled) const;
  [[nodiscard]] double tokens(const Batch& b, const Layer& l) const {
    return tokens(b, l.is_upper, l.attention == AttentionKind::pooled);
  }
  void add_attention(const Group&, const StepShape&, const Batch&, std::vector<Work>&) const;
  void add_projections(const Group&, const Batch&, std::vector<Work>&) const;
  void add_mla_projections(const Group&, const StepShape&, const Batch&, std::vector<Work>&) const;
  void add_recurrent(const Group&, const StepShape&, const Batch&, std::vector<Work>&) const;
  void add_memory(const Group&, const StepShape&, const Batch&, std::vector<Work>&) const;
  void add_decoder(const StepShape&, std::vector<Work>&) const;
  void add_encoder(const StepShape&, double decodes, std::vector<Work>&) const;
  void add_rotary(const Batch&, std::vector<Work>&) const;
  void add_norms(const Batch&, std::vector<Work>&) const;
  void add_ffn(double layers, std::int64_t width, double tokens, std::vector<Work>&) const;
  void add_experts(const Feed&, const StepShape&, const Batch&, std::vector<Work>&) const;
  void add_head(const Batch&, std::vector<Work>&) const;
  [[nodiscard]] double from_others(double bytes) const;
  void add_collectives(const StepShape&, const Batch&, std::vector<Work>&) const;
  // A product of `tokens` rows: in -> out, in `layers` layers.
  [[nodiscard]] Work product(Operator, double layers, double tokens, double in, double out,
                             double weight_bytes_each) const;

  ModelSpec m_;
  Parallel split_;
  Facts facts_;
  std::vector<Group> groups_;
  double heads_ = 0, kv_heads_ = 0;                     // on this rank
  double act_ = 2;                                      // bytes of an activation
  double linear_ = 2, kept_ = 2, expert_ = 2, kv_ = 2;  // bytes of a weight; of a cached number
  double moe_layers_ = 0, written_ = 0;  // KV numbers that a token adds, over all layers
  double kv_layers_ = 0, mixers_ = 0;
  double upper_ = 0, upper_mixers_ = 0;  // of the layers, and of those with attention
  std::vector<Feed> feeds_;
  double remote_ranks_ = 0;
};

}  // namespace kvsim
