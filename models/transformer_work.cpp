#include "models/transformer_work.h"

#include <algorithm>
#include <cmath>

#include "models/attention_pairs.h"

namespace kvsim {

struct TransformerWork::Batch {
  double dense = 0;  // tokens that dense operators run on
  double real = 0;   // tokens that exist
  double decodes = 0;
  double samples = 0;  // rows of logits
  bool prefill = false;
};

namespace {

double d(std::int64_t v) { return static_cast<double>(v); }

// Kernels of the sampler besides the head's product: widening to fp32, the pick itself.
constexpr double kSamplerLaunches = 2;
// As kernels name numbers of this width.
const char* element_name(double width) {
  return width == 32 ? "f32" : width == 16 ? "f16" : width == 8 ? "i8" : "i4";
}

// Bytes per logit that the sampler touches: written once and read once as fp32.
constexpr double kSamplerBytes = 8;

}  // namespace

TransformerWork::TransformerWork(ModelSpec model, Parallel split, Precision precision)
    : m_(std::move(model)), split_(split) {
  check_split(m_, split_);
  heads_ = d(m_.heads) / split_.tensor;
  kv_heads_ = d(std::max<std::int64_t>(1, m_.kv_head_count() / split_.tensor));
  act_ = bits(precision.activations) / 8.0;
  linear_ = linear_weight_bits(precision) / 8.0;
  kept_ = kept_weight_bits(precision) / 8.0;
  expert_ = expert_weight_bits(m_, precision) / 8.0;
  kv_ = bits(precision.kv) / 8.0;
  for (const Layer& l : layers_of(m_)) {
    const auto same = [&](const Group& g) {
      return g.kind == l.attention && g.window == l.window && g.owns_kv == l.owns_kv;
    };
    auto it = std::find_if(groups_.begin(), groups_.end(), same);
    if (it == groups_.end())
      it = groups_.insert(groups_.end(), Group{l.attention, l.window, l.owns_kv, 0});
    it->layers += 1;
    (l.moe ? moe_layers_ : dense_layers_) += 1;
    kv_layers_ += l.owns_kv ? 1 : 0;
    mixers_ += l.attention == AttentionKind::recurrent ? 0 : 1;
  }
  facts_.layers = m_.layers;
  facts_.moe_layers = static_cast<std::int64_t>(moe_layers_);
  facts_.hidden = m_.hidden;
  facts_.vocab = m_.vocab;
  facts_.experts = m_.moe ? m_.moe->experts : 0;
  facts_.active_experts = m_.moe ? m_.moe->active : 0;
  facts_.activation_element_bytes = act_;
  facts_.weight_bits = linear_ * 8;
  for (const Group& g : groups_)
    if (g.window > 0) facts_.windows[0] = g.window;
  facts_.parallel = split_;
  set_attention_facts(bits(precision.kv));
  if (m_.moe && split_.expert)
    remote_ranks_ = expected_remote_ranks(m_.moe->experts, m_.moe->active,
                                          std::int64_t{split_.tensor} * split_.data);
}

void TransformerWork::set_attention_facts(double kv_bits) {
  AttentionShape& a = facts_.prefill_attention;
  const auto heads = static_cast<std::int64_t>(heads_);
  a = {heads,
       static_cast<std::int64_t>(kv_heads_),
       m_.head_width(),
       m_.value_width(),
       false,
       element_name(kv_bits),
       d(kv_elements(m_, split_.tensor)) * kv_};
  if (m_.mla)  // prompts see latents expanded to heads, decodes the latents themselves
    a = {heads,
         heads,
         m_.mla->qk_nope_head_dim + m_.mla->qk_rope_head_dim,
         m_.mla->v_head_dim,
         false,
         a.element,
         a.token_bytes};
  facts_.decode_attention = a;
  if (m_.mla)
    facts_.decode_attention = {heads,
                               1,
                               m_.mla->kv_lora_rank + m_.mla->qk_rope_head_dim,
                               m_.mla->kv_lora_rank,
                               true,
                               a.element,
                               a.token_bytes};
}

double TransformerWork::expected_experts(double local, double experts, double active,
                                         double tokens) {
  return local * (1.0 - std::pow(1.0 - active / experts, tokens));
}

double TransformerWork::expected_remote_ranks(std::int64_t experts, std::int64_t active,
                                              std::int64_t ranks) {
  const double local = d(experts) / d(ranks);
  double none = 1;  // chance that a given rank holds none of the token's experts
  for (std::int64_t i = 0; i < active; ++i)
    none *= std::max(0.0, d(experts) - local - d(i)) / d(experts - i);
  return d(ranks - 1) * (1.0 - none);
}

Work TransformerWork::product(Operator op, double layers, double tokens, double in, double out,
                              double weight_bytes_each) const {
  Work w;
  w.op = op;
  w.flops = layers * 2 * tokens * in * out;
  w.weight_bytes = layers * in * out * weight_bytes_each;
  w.activation_bytes = layers * tokens * (in + out) * act_;
  w.launches = layers;
  return w;
}

void TransformerWork::step(const StepShape& s, std::vector<Work>& out) const {
  out.clear();
  Batch b;
  const double prefill = d(s.prefill_tokens());
  b.decodes = d(s.decodes);
  b.dense = d(std::max(s.padded_decodes, s.decodes)) + prefill;
  b.real = b.decodes + prefill;
  b.samples = d(s.sampling());
  b.prefill = !s.prefills.empty();
  if (b.dense == 0) return;
  Work lookup;
  lookup.op = Operator::embedding;
  lookup.activation_bytes =
      b.dense * d(m_.hidden) * (kept_ + act_) * (m_.learned_positions > 0 ? 2 : 1);
  lookup.launches = m_.learned_positions > 0 ? 2 : 1;
  out.push_back(lookup);
  add_norms(b, out);
  for (const Group& g : groups_) {
    if (g.kind == AttentionKind::recurrent) {
      add_recurrent(g, b, out);
      continue;
    }
    if (g.kind == AttentionKind::mla)
      add_mla_projections(g, s, b, out);
    else
      add_projections(g, b, out);
    add_attention(g, s, b, out);
  }
  add_rotary(b, out);
  add_ffn(dense_layers_, m_.intermediate, b, out);
  if (moe_layers_ > 0) add_experts(s, b, out);
  add_head(b, out);
  add_collectives(s, b, out);
}

// Fused residual addition and norm: reads and writes both streams. Head norms read and write
// queries and keys.
void TransformerWork::add_norms(const Batch& b, std::vector<Work>& out) const {
  Work w;
  w.op = Operator::norm;
  const double count = d(m_.layers) * d(m_.norms_per_layer) + 1;
  w.flops = count * 4 * b.dense * d(m_.hidden);
  w.activation_bytes = count * 4 * b.dense * d(m_.hidden) * act_;
  w.launches = count;
  double width = m_.qk_norm ? (heads_ + kv_heads_) * d(m_.head_width()) : 0;
  if (m_.mla) width = d(m_.mla->q_lora_rank + m_.mla->kv_lora_rank);
  if (width > 0) {
    w.flops += mixers_ * 4 * b.dense * width;
    w.activation_bytes += mixers_ * 2 * b.dense * width * act_;
    w.launches += mixers_ * 2;
  }
  out.push_back(w);
}

void TransformerWork::add_projections(const Group& g, const Batch& b,
                                      std::vector<Work>& out) const {
  const double kv = g.owns_kv ? kv_heads_ * d(m_.head_width() + m_.value_width()) : 0;
  out.push_back(product(Operator::qkv_proj, g.layers, b.dense, d(m_.hidden),
                        heads_ * d(m_.head_width()) + kv, linear_));
  out.push_back(product(Operator::o_proj, g.layers, b.dense, heads_ * d(m_.value_width()),
                        d(m_.hidden), linear_));
}

// Down-projections to the latents (replicated), up-projection of queries; then per token either the
// absorbed products with the two halves of kv_b (decode) or their expansion for every key in reach
// (prefill, history included).
void TransformerWork::add_mla_projections(const Group& g, const StepShape& s, const Batch& b,
                                          std::vector<Work>& out) const {
  const MlaSpec& a = *m_.mla;
  const double hidden = d(m_.hidden);
  const double q_out = heads_ * d(a.qk_nope_head_dim + a.qk_rope_head_dim);
  const double latent = d(a.kv_lora_rank + a.qk_rope_head_dim);
  const double kv_b = d(a.kv_lora_rank) * heads_ * d(a.qk_nope_head_dim + a.v_head_dim);
  const double rank = d(a.q_lora_rank);
  Work w = product(Operator::qkv_proj, g.layers, b.dense, hidden,
                   latent + (rank > 0 ? rank : q_out), linear_);
  if (rank > 0) {
    const Work up = product(Operator::qkv_proj, g.layers, b.dense, rank, q_out, linear_);
    w.flops += up.flops;
    w.weight_bytes += up.weight_bytes;
    w.activation_bytes += up.activation_bytes;
    w.launches += up.launches;
  }
  double expanded = 0;
  for (const PrefillPiece& p : s.prefills) expanded += d(p.history + p.tokens);
  w.flops += g.layers * 2 * kv_b * (expanded + b.dense - (b.real - b.decodes));
  w.weight_bytes += g.layers * kv_b * linear_;
  w.activation_bytes += g.layers * expanded *
                        (d(a.kv_lora_rank) + heads_ * d(a.qk_nope_head_dim + a.v_head_dim)) * act_;
  w.launches += g.layers * (b.prefill ? 1 : 0) + g.layers * (b.decodes > 0 ? 2 : 0);
  out.push_back(w);
  out.push_back(
      product(Operator::o_proj, g.layers, b.dense, heads_ * d(a.v_head_dim), hidden, linear_));
}

// Projections of the mixer as one product per token; the state is read and written once per
// sequence in 16 bits.
void TransformerWork::add_recurrent(const Group& g, const Batch& b, std::vector<Work>& out) const {
  const double weights = d(m_.recurrent->parameters) / split_.tensor;
  Work w;
  w.op = Operator::qkv_proj;
  w.flops = g.layers * 2 * b.dense * weights;
  w.weight_bytes = g.layers * weights * linear_;
  w.activation_bytes = g.layers * 2 * b.dense * d(m_.hidden) * act_;
  w.launches = g.layers * 2;
  out.push_back(w);
  Work state;
  state.op = Operator::attention_decode;
  state.flops = g.layers * 6 * b.real * d(m_.recurrent->state_elements) / split_.tensor;
  state.kv_bytes = g.layers * 2 * std::max(b.samples, b.decodes) * d(m_.recurrent->state_elements) *
                   2 / split_.tensor;
  state.launches = g.layers;
  out.push_back(state);
}

void TransformerWork::add_attention(const Group& g, const StepShape& s, const Batch& b,
                                    std::vector<Work>& out) const {
  const bool latent = g.kind == AttentionKind::mla;
  const double cached =
      d(kv_elements(m_, split_.tensor)) * kv_;  // per token and layer on this rank
  const double key =
      latent ? d(m_.mla->qk_nope_head_dim + m_.mla->qk_rope_head_dim) : d(m_.head_width());
  const double value = latent ? d(m_.mla->v_head_dim) : d(m_.value_width());
  if (b.prefill) {
    double pairs = 0, reads = 0;
    for (const PrefillPiece& p : s.prefills) {
      pairs += d(causal_pairs(g.kind, g.window, p.history, p.tokens));
      reads += d(prefill_kv_tokens(g.kind, g.window, p.history, p.tokens));
    }
    Work w;
    w.op = Operator::attention_prefill;
    w.flops = g.layers * 2 * heads_ * (key + value) * pairs;
    w.kv_bytes = g.layers * reads * cached;
    w.activation_bytes = g.layers * (b.real - b.decodes) * heads_ * (key + value) * act_;
    w.launches = g.layers;
    out.push_back(w);
  }
  if (s.decodes == 0) return;
  // Absorbed MLA: scores over latent and rope part, values over the latent, for every head.
  const double score = latent ? d(m_.mla->kv_lora_rank + m_.mla->qk_rope_head_dim) : key;
  const double mix = latent ? d(m_.mla->kv_lora_rank) : value;
  const double context = d(g.window > 0 ? s.decode_window_sum[0] : s.decode_context_sum);
  Work w;
  w.op = Operator::attention_decode;
  w.flops = g.layers * 2 * heads_ * (score + mix) * context;
  w.kv_bytes = g.layers * context * cached;
  w.activation_bytes = g.layers * b.decodes * heads_ * (score + mix) * act_;
  w.launches = g.layers;
  out.push_back(w);
}

// Rotation of queries and keys, and the write of this iteration's KV into the cache.
void TransformerWork::add_rotary(const Batch& b, std::vector<Work>& out) const {
  if (mixers_ == 0) return;
  Work w;
  w.op = Operator::rotary;
  const double query = m_.mla ? heads_ * d(m_.mla->qk_rope_head_dim) : heads_ * d(m_.head_width());
  const double fresh = d(kv_elements(m_, split_.tensor));
  const bool rotates = m_.learned_positions == 0;
  if (rotates) {
    w.flops = mixers_ * 6 * b.dense * (query + fresh / 2);
    w.activation_bytes = mixers_ * 2 * b.dense * (query + fresh / 2) * act_;
    w.launches = mixers_;
  }
  w.activation_bytes += kv_layers_ * b.real * fresh * act_;
  w.kv_bytes = kv_layers_ * b.real * fresh * kv_;
  w.launches += kv_layers_;
  out.push_back(w);
}

void TransformerWork::add_ffn(double layers, std::int64_t width, const Batch& b,
                              std::vector<Work>& out) const {
  if (layers == 0 || width == 0) return;
  const double w = d(width) / split_.tensor;
  const double up = m_.gated ? 2 : 1;
  out.push_back(product(Operator::ffn_up, layers, b.dense, d(m_.hidden), up * w, linear_));
  Work act;
  act.op = Operator::ffn_act;
  act.flops = layers * 4 * b.dense * w;
  act.activation_bytes = layers * b.dense * (up + 1) * w * act_;
  act.launches = layers;
  out.push_back(act);
  out.push_back(product(Operator::ffn_down, layers, b.dense, w, d(m_.hidden), linear_));
}

// Routed experts: with expert parallelism a rank serves its share of the tokens of the whole group.
void TransformerWork::add_experts(const StepShape& s, const Batch& b,
                                  std::vector<Work>& out) const {
  const MoeSpec& e = *m_.moe;
  add_ffn(moe_layers_, e.shared_intermediate, b, out);
  Work router =
      product(Operator::moe_router, moe_layers_, b.dense, d(m_.hidden), d(e.experts), kept_);
  router.launches = 2 * moe_layers_;  // the product and the choice of the best
  out.push_back(router);
  const double ranks = split_.expert ? d(std::int64_t{split_.tensor} * split_.data) : 1;
  const double tokens = split_.expert ? std::max(b.dense, d(s.group_tokens)) : b.dense;
  const double width = d(e.intermediate) / (split_.expert ? 1 : split_.tensor);
  const double up = m_.gated ? 2 : 1;
  const double one = (up + 1) * d(m_.hidden) * width;  // weights of one expert here
  const double rows = tokens * d(e.active) / ranks;    // expert-tokens of this rank, balanced
  Work w;
  w.op = Operator::experts;
  w.flops = moe_layers_ * 2 * rows * one;
  w.weight_bytes = moe_layers_ * one * expert_ *
                   expected_experts(d(e.experts) / ranks, d(e.experts), d(e.active), tokens);
  w.activation_bytes = moe_layers_ * rows * (2 * d(m_.hidden) + 2 * (up + 1) * width) * act_;
  w.launches = 3 * moe_layers_;  // up, activation, down: one grouped kernel each
  out.push_back(w);
}

void TransformerWork::add_head(const Batch& b, std::vector<Work>& out) const {
  if (b.samples == 0) return;
  out.push_back(
      product(Operator::lm_head, 1, b.samples, d(m_.hidden), d(m_.vocab) / split_.tensor, kept_));
  Work w;
  w.op = Operator::sampler;
  w.activation_bytes = b.samples * d(m_.vocab) * (act_ + kSamplerBytes);
  w.launches = kSamplerLaunches;
  out.push_back(w);
}

void TransformerWork::add_collectives(const StepShape& s, const Batch& b,
                                      std::vector<Work>& out) const {
  const double row = d(m_.hidden) * act_;
  if (split_.tensor > 1) {
    Work w;
    w.op = Operator::all_reduce;
    const double reduces = d(m_.layers) * (m_.parallel_residual ? 1 : 2) + 1;  // and the embedding
    w.comm_bytes = reduces * b.dense * row + b.samples * d(m_.vocab) * act_ / 2;
    w.launches = reduces + (b.samples > 0 ? 1 : 0);
    out.push_back(w);
  }
  if (moe_layers_ > 0 && split_.expert && split_.data > 1) {
    Work w;
    w.op = Operator::all_to_all;
    // Tensor ranks hold the same tokens and share their dispatch; the fullest rank sets the pace of
    // the group.
    const double tokens = std::max(b.dense, d(s.group_tokens_max)) / split_.tensor;
    w.comm_bytes = moe_layers_ * 2 * tokens * row * remote_ranks_;
    w.launches = moe_layers_ * 2;
    out.push_back(w);
  }
  if (split_.pipeline > 1) {
    Work w;
    w.op = Operator::stage_transfer;
    w.comm_bytes =
        (split_.pipeline - 1) * 2 * b.dense * row;  // the branch's output and the residual stream
    w.launches = split_.pipeline - 1;
    out.push_back(w);
  }
}

}  // namespace kvsim
