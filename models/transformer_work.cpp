#include "models/transformer_work.h"

#include <algorithm>
#include <cmath>

#include "models/attention_pairs.h"
#include "models/recurrent.h"

namespace kvsim {

struct TransformerWork::Batch {
  double dense = 0;    // tokens that dense operators run on
  double tail = 0;     // of these, decodes and the last token of each finished prompt
  double real = 0;     // tokens that exist
  double decodes = 0;  // tokens of decoding sequences, drafts included
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
  sort_layers();
  facts_.layers = m_.layers;
  facts_.moe_layers = static_cast<std::int64_t>(moe_layers_);
  facts_.hidden = m_.hidden;
  facts_.vocab = m_.vocab;
  facts_.experts = m_.moe ? m_.moe->experts : 0;
  facts_.active_experts = m_.moe ? m_.moe->active : 0;
  facts_.activation_element_bytes = act_;
  facts_.weight_bits = linear_ * 8;
  for (const Group& g : groups_)
    if (g.like.window > 0) facts_.windows[0] = g.like.window;
  if (m_.encoder) facts_.windows[1] = m_.encoder->main_tokens;
  facts_.parallel = split_;
  set_attention_facts(bits(precision.kv));
  if (m_.moe && split_.expert)
    remote_ranks_ = expected_remote_ranks(m_.moe->experts, m_.moe->active,
                                          std::int64_t{split_.tensor} * split_.data);
}

void TransformerWork::sort_layers() {
  for (const Layer& l : layers_of(m_)) {
    const auto alike = [&](const Group& g) {
      const Layer& o = g.like;
      return o.attention == l.attention && o.window == l.window && o.owns_k == l.owns_k &&
             o.owns_v == l.owns_v && o.kv_heads == l.kv_heads && o.is_upper == l.is_upper;
    };
    auto group = std::find_if(groups_.begin(), groups_.end(), alike);
    if (group == groups_.end()) group = groups_.insert(groups_.end(), Group{l, 0});
    group->layers += 1;
    const bool pooled = l.attention == AttentionKind::pooled;
    if (l.moe || l.dense_width > 0) {
      const auto with = [&](const Feed& f) {
        return f.is_upper == l.is_upper && f.pooled == pooled && f.moe == l.moe;
      };
      auto feed = std::find_if(feeds_.begin(), feeds_.end(), with);
      if (feed == feeds_.end())
        feed = feeds_.insert(feeds_.end(), Feed{l.is_upper, pooled, l.moe, 0});
      feed->layers += 1;
    }
    const bool mixes = attends(l.attention);
    moe_layers_ += l.moe ? 1 : 0;
    kv_layers_ += l.owns_kv ? 1 : 0;
    mixers_ += mixes ? 1 : 0;
    upper_ += l.is_upper ? 1 : 0;
    upper_mixers_ += l.is_upper && mixes ? 1 : 0;
    written_ += d(layer_kv_elements(m_, l, split_.tensor)) / (pooled ? d(m_.pool_tokens) : 1);
  }
  // Dense parts before those with experts.
  std::stable_partition(feeds_.begin(), feeds_.end(), [](const Feed& f) { return !f.moe; });
}

double TransformerWork::tokens(const Batch& b, bool is_upper, bool pooled) const {
  return (is_upper ? b.tail : b.dense) / (pooled ? d(m_.pool_tokens) : 1);
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
  if (!m_.encoder) return add_decoder(s, out);
  // The decoder sees the first main_tokens of a sequence, and the token that samples.
  std::vector<PrefillPiece> pieces;
  const std::int64_t main = m_.encoder->main_tokens;
  for (const PrefillPiece& p : s.prefills) {
    const std::int64_t own = std::min(p.history + p.tokens, main) - std::min(p.history, main);
    if (own > 0)
      pieces.push_back({own, p.history, p.samples});
    else if (p.samples)
      pieces.push_back({1, main - 1, true});
  }
  StepShape decoder = s;
  decoder.prefills = pieces;
  decoder.decode_context_sum = s.decode_window_sum[1];
  add_decoder(decoder, out);
  add_encoder(s, d(s.decodes), out);
}

void TransformerWork::add_decoder(const StepShape& s, std::vector<Work>& out) const {
  Batch b;
  // Groups that share a context compute some tokens of a prompt each; a decode's token all of them.
  const double prefill = d(s.prefill_tokens()) / split_.context;
  b.decodes = d(s.decodes + s.draft_tokens);
  b.tail = d(std::max(s.padded_decodes, s.decodes) + s.draft_tokens);
  b.dense = b.tail + prefill * d(m_.prefill_passes);
  b.real = b.decodes + prefill;
  b.samples = d(s.sampling());
  b.tail += b.samples - b.decodes;
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
    if (g.like.attention == AttentionKind::none) continue;
    const std::int64_t kept = layer_kv_elements(m_, g.like, split_.tensor);
    if (g.like.is_upper && kept > 0)  // made of every token, whoever comes this far
      out.push_back(product(Operator::qkv_proj, g.layers, b.dense, d(m_.hidden), d(kept), linear_));
    if (g.like.is_upper && b.tail == 0) continue;
    if (g.like.attention == AttentionKind::recurrent) {
      add_recurrent(g, s, b, out);
      continue;
    }
    if (g.like.attention == AttentionKind::mla)
      add_mla_projections(g, s, b, out);
    else
      add_projections(g, b, out);
    add_attention(g, s, b, out);
    if (m_.memory) add_memory(g, s, b, out);
  }
  add_rotary(b, out);
  for (const Feed& f : feeds_) {
    if (f.is_upper && b.tail == 0) continue;
    if (f.moe)
      add_experts(f, s, b, out);
    else
      add_ffn(f.layers, m_.intermediate, tokens(b, f.is_upper, f.pooled), out);
  }
  add_head(b, out);
  add_collectives(s, b, out);
}

// Fused residual addition and norm: reads and writes both streams. Head norms read and write
// queries and keys.
void TransformerWork::add_norms(const Batch& b, std::vector<Work>& out) const {
  Work w;
  w.op = Operator::norm;
  const double count = d(m_.layers) * d(m_.norms_per_layer) + 1;
  const double upper = upper_ * d(m_.norms_per_layer);
  const double rows = (count - upper) * b.dense + upper * b.tail;
  w.flops = rows * 4 * d(m_.hidden);
  w.activation_bytes = rows * 4 * d(m_.hidden) * act_;
  w.launches = count;
  double width = m_.qk_norm ? (heads_ + kv_heads_) * d(m_.head_width()) : 0;
  if (m_.mla) width = d(m_.mla->q_lora_rank + m_.mla->kv_lora_rank);
  if (width > 0) {
    const double mixed = (mixers_ - upper_mixers_) * b.dense + upper_mixers_ * b.tail;
    w.flops += 4 * mixed * width;
    w.activation_bytes += 2 * mixed * width * act_;
    w.launches += mixers_ * 2;
  }
  out.push_back(w);
}

// Above an early exit, keys and values are projected apart.
void TransformerWork::add_projections(const Group& g, const Batch& b,
                                      std::vector<Work>& out) const {
  const QkvWidths w = qkv_widths(m_, g.like, split_.tensor);
  const double rows = tokens(b, g.like), hidden = d(m_.hidden),
               value = heads_ * d(m_.value_width());
  const auto add = [](Work& to, const Work& more) {
    to.flops += more.flops;
    to.weight_bytes += more.weight_bytes;
    to.activation_bytes += more.activation_bytes;
    to.launches += more.launches;
  };
  Work qkv = product(Operator::qkv_proj, g.layers, rows, hidden,
                     d(w.q + (g.like.is_upper ? 0 : w.kv)), linear_);
  if (m_.q_rank > 0) {
    add(qkv, product(Operator::qkv_proj, g.layers, rows, hidden, d(m_.q_rank), linear_));
    add(qkv, product(Operator::qkv_proj, g.layers, rows, d(m_.q_rank), heads_ * d(m_.head_width()),
                     linear_));
  }
  if (m_.tpa)  // queries from their factors
    qkv.flops += g.layers * 2 * rows * d(m_.tpa->q_rank) * heads_ * d(m_.head_width());
  out.push_back(qkv);
  out.push_back(product(Operator::o_proj, g.layers, rows, value, hidden, linear_));
}

// Down-projections to the latents (replicated), up-projection of queries; then per token either the
// absorbed products with the two halves of kv_b (decode) or their expansion for every key in reach
// (prefill, history included).
void TransformerWork::add_mla_projections(const Group& g, const StepShape& s, const Batch& b,
                                          std::vector<Work>& out) const {
  const MlaSpec& a = *m_.mla;
  const double hidden = d(m_.hidden);
  const double q_out = heads_ * d(a.qk_nope_head_dim + a.qk_rope_head_dim);
  const double latent = g.like.is_upper ? 0 : d(layer_kv_elements(m_, g.like, split_.tensor));
  const double rows = tokens(b, g.like);
  const double kv_b = d(a.kv_lora_rank) * heads_ * d(a.qk_nope_head_dim + a.v_head_dim);
  const double rank = d(a.q_lora_rank);
  Work w = product(Operator::qkv_proj, g.layers, rows, hidden, latent + (rank > 0 ? rank : q_out),
                   linear_);
  if (rank > 0) {
    const Work up = product(Operator::qkv_proj, g.layers, rows, rank, q_out, linear_);
    w.flops += up.flops;
    w.weight_bytes += up.weight_bytes;
    w.activation_bytes += up.activation_bytes;
    w.launches += up.launches;
  }
  double expanded = 0;  // the one token of a prompt that comes this far is absorbed like a decode
  if (!g.like.is_upper)
    for (const PrefillPiece& p : s.prefills) expanded += d(p.history + p.tokens);
  const double absorbed = g.like.is_upper ? rows : rows - (b.real - b.decodes);
  w.flops += g.layers * 2 * kv_b * (expanded + absorbed);
  w.weight_bytes += g.layers * kv_b * linear_;
  w.activation_bytes += g.layers * expanded *
                        (d(a.kv_lora_rank) + heads_ * d(a.qk_nope_head_dim + a.v_head_dim)) * act_;
  w.launches += g.layers * (b.prefill ? 1 : 0) + g.layers * (b.decodes > 0 ? 2 : 0);
  out.push_back(w);
  out.push_back(
      product(Operator::o_proj, g.layers, rows, heads_ * d(a.v_head_dim), hidden, linear_));
}

// Projections of the mixer as one product per token. A decode reads and writes the state of its
// sequence; a prompt's piece is scanned with the state on chip, which is read and written once.
void TransformerWork::add_recurrent(const Group& g, const StepShape& s, const Batch& b,
                                    std::vector<Work>& out) const {
  const double weights = d(mixer_parameters(m_)) / split_.tensor, rows = tokens(b, g.like);
  Work w;
  w.op = Operator::qkv_proj;
  w.flops = g.layers * 2 * rows * weights;
  w.weight_bytes = g.layers * weights * linear_;
  w.activation_bytes = g.layers * 2 * rows * d(m_.hidden) * act_;
  w.launches = g.layers * 2;
  out.push_back(w);
  const StateElements e = state_elements(m_);
  const double elements = d(e.state + e.conv) / split_.tensor;
  const double bytes = to_double(layer_state_bytes(m_, split_.tensor));
  const auto add = [&](Operator op, double sequences, double updates) {
    Work state;
    state.op = op;
    state.flops = g.layers * update_flops(m_) * updates * elements;
    state.kv_bytes = g.layers * 2 * sequences * bytes;
    state.launches = g.layers;
    out.push_back(state);
  };
  if (b.prefill)
    add(Operator::attention_prefill, d(std::int64_t(s.prefills.size())), b.real - b.decodes);
  if (s.decodes > 0) add(Operator::attention_decode, d(s.decodes), b.decodes);
}

// Every query reads the memory; a prompt's tokens, and in decode every token, are added to it.
void TransformerWork::add_memory(const Group& g, const StepShape& s, const Batch& b,
                                 std::vector<Work>& out) const {
  const double elements = d(m_.memory->state_elements) / split_.tensor;
  if (m_.memory->parameters > 0)
    out.push_back(product(Operator::qkv_proj, g.layers, tokens(b, g.like), d(m_.hidden),
                          d(m_.memory->parameters) / d(m_.hidden) / split_.tensor, linear_));
  const double bytes = to_double(layer_memory_bytes(m_, split_.tensor));
  const auto add = [&](Operator op, double sequences, double updates) {
    Work w;
    w.op = op;
    w.flops = g.layers * 4 * updates * elements;
    w.kv_bytes = g.layers * 2 * sequences * bytes;
    w.launches = g.layers;
    out.push_back(w);
  };
  if (b.prefill)
    add(Operator::attention_prefill, d(std::int64_t(s.prefills.size())), b.real - b.decodes);
  if (s.decodes > 0) add(Operator::attention_decode, d(s.decodes), b.decodes);
}

// Tokens of a sequence beyond main_tokens are context: encoded in chunks, and read by the cross
// attention of every decode. Its key and value projections are absorbed into query and output, as
// latent attention does it, so that the vectors themselves are scored. (What prompts ask of the
// context is left out.)
void TransformerWork::add_encoder(const StepShape& s, double decodes,
                                  std::vector<Work>& out) const {
  const EncoderSpec& e = *m_.encoder;
  const double weights = d(e.parameters) / split_.tensor, cross = d(e.cross_layers);
  double fresh = 0;
  for (const PrefillPiece& p : s.prefills)
    fresh +=
        d(std::max<std::int64_t>(0, p.history + p.tokens - std::max(p.history, e.main_tokens)));
  if (fresh > 0) {
    Work w;
    w.op = Operator::qkv_proj;
    w.flops = 2 * fresh * weights;
    w.weight_bytes = weights * linear_;
    w.activation_bytes = 2 * fresh * d(e.hidden) * act_ * cross;
    w.launches = cross * 4;
    out.push_back(w);
    Work scores;
    scores.op = Operator::attention_prefill;
    scores.flops = cross * 4 * fresh * d(e.chunk) * d(e.hidden);
    scores.kv_bytes = fresh * d(e.hidden) * 2;  // written once, for all layers
    scores.launches = cross;
    out.push_back(scores);
  }
  if (s.decodes == 0) return;
  const double context = d(s.decode_context_sum - s.decode_window_sum[1]);
  const double width = heads_ * d(m_.head_width());
  Work w;
  w.op = Operator::attention_decode;
  w.flops = cross * context * 4 * heads_ * d(e.hidden);
  w.weight_bytes = cross * d(e.cross_parameters) / split_.tensor * linear_;
  w.kv_bytes = cross * context * d(e.hidden) * 2;
  w.activation_bytes = cross * decodes * 2 * width * act_;
  w.launches = cross;
  out.push_back(w);
}

void TransformerWork::add_attention(const Group& g, const StepShape& s, const Batch& b,
                                    std::vector<Work>& out) const {
  const AttentionKind kind = g.like.attention;
  const std::int64_t window = g.like.window;
  const bool latent = kind == AttentionKind::mla;
  const double pool = kind == AttentionKind::pooled ? d(m_.pool_tokens) : 1;
  Layer whole = g.like;  // what it reads, whoever owns it
  whole.owns_kv = whole.owns_k = whole.owns_v = true;
  const double cached =
      d(layer_kv_elements(m_, whole, split_.tensor)) * kv_;  // per token and layer on this rank
  const double key =
      latent ? d(m_.mla->qk_nope_head_dim + m_.mla->qk_rope_head_dim) : d(m_.head_width());
  const double value = latent ? d(m_.mla->v_head_dim) : d(m_.value_width());
  // Absorbed MLA: scores over latent and rope part, values over the latent, for every head.
  // Factored keys and values: once per rank, and the head's coefficient.
  double score = key, mix = value;
  if (latent)
    score = d(m_.mla->kv_lora_rank + m_.mla->qk_rope_head_dim), mix = d(m_.mla->kv_lora_rank);
  if (m_.tpa) score = d(m_.tpa->k_rank) * (key + 1), mix = d(m_.tpa->v_rank) * (value + 1);
  if (b.prefill) {
    double pairs = 0, reads = 0;
    for (const PrefillPiece& p : s.prefills) {
      if (g.like.is_upper) {  // one query over what it may see
        const std::int64_t n = p.history + p.tokens;
        const double seen = p.samples ? d(window > 0 ? std::min(window, n) : n) : 0;
        pairs += seen;
        reads += seen;
        continue;
      }
      pairs += d(causal_pairs(kind, window, p.history, p.tokens));
      reads += d(prefill_kv_tokens(kind, window, p.history, p.tokens));
    }
    pairs *= d(m_.prefill_passes);
    reads *= d(m_.prefill_passes);
    Work w;
    w.op = Operator::attention_prefill;
    w.flops = g.layers * 2 * heads_ * (key + value) * (pairs / (pool * pool)) / split_.context;
    w.kv_bytes = g.layers * (reads / pool) * cached;
    if (split_.context > 1) {
      double reach = 0;
      for (const PrefillPiece& p : s.prefills) reach += d(p.history + p.tokens);
      w.comm_bytes = from_others(g.layers * reach * cached);
    }
    const double queries =
        g.like.is_upper ? b.samples - b.decodes : (b.real - b.decodes) * d(m_.prefill_passes);
    w.activation_bytes = g.layers * (queries / pool) * heads_ * (key + value) * act_;
    w.launches = g.layers;
    out.push_back(w);
  }
  if (s.decodes == 0) return;
  const double context = d(window > 0 ? s.decode_window_sum[0] : s.decode_context_sum);
  // Every token of a sequence looks at its context, which is read once, and at the drafts before
  // it.
  const double queries = b.decodes / d(s.decodes);
  Work w;
  w.op = Operator::attention_decode;
  // A pooled layer runs once per pool of tokens, over one entry per pool.
  w.flops =
      g.layers * 2 * heads_ * (score + mix) * (context * queries / (pool * pool)) / split_.context;
  w.kv_bytes = g.layers * ((context + d(s.draft_tokens)) / (pool * pool)) * cached / split_.context;
  w.activation_bytes = g.layers * b.decodes * heads_ * (score + mix) * act_;
  w.launches = g.layers;
  if (split_.context > 1 && split_.rings_context)
    w.comm_bytes = from_others(g.layers * context * cached);
  out.push_back(w);
  if (split_.context == 1 || split_.rings_context) return;
  Work merge;  // the value of every head, and the maximum and sum that it is weighted by
  merge.op = Operator::attention_merge;
  merge.comm_bytes = g.layers * b.decodes * heads_ * (mix + 2) * act_;
  merge.launches = g.layers;
  out.push_back(merge);
}

// Of the KV of a whole context, what the other groups that share it have.
double TransformerWork::from_others(double bytes) const {
  return bytes * (split_.context - 1) / split_.context;
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
    const double mixed = (mixers_ - upper_mixers_) * b.dense + upper_mixers_ * b.tail;
    w.flops = 6 * mixed * (query + fresh / 2);
    w.activation_bytes = 2 * mixed * (query + fresh / 2) * act_;
    w.launches = mixers_;
  }
  w.activation_bytes += b.real * written_ * act_;
  w.kv_bytes = b.real * written_ * kv_;
  w.launches += kv_layers_;
  out.push_back(w);
}

void TransformerWork::add_ffn(double layers, std::int64_t width, double rows,
                              std::vector<Work>& out) const {
  if (layers == 0 || width == 0) return;
  const double w = d(width) / split_.tensor;
  const double up = m_.gated ? 2 : 1;
  out.push_back(product(Operator::ffn_up, layers, rows, d(m_.hidden), up * w, linear_));
  Work act;
  act.op = Operator::ffn_act;
  act.flops = layers * 4 * rows * w;
  act.activation_bytes = layers * rows * (up + 1) * w * act_;
  act.launches = layers;
  out.push_back(act);
  out.push_back(product(Operator::ffn_down, layers, rows, w, d(m_.hidden), linear_));
}

// Routed experts: with expert parallelism a rank serves its share of the tokens of the whole group.
void TransformerWork::add_experts(const Feed& f, const StepShape& s, const Batch& b,
                                  std::vector<Work>& out) const {
  const MoeSpec& e = *m_.moe;
  const double dense = tokens(b, f.is_upper, f.pooled);
  add_ffn(f.layers, e.shared_intermediate, dense, out);
  Work router = product(Operator::moe_router, f.layers, dense, d(m_.hidden), d(e.experts), kept_);
  router.launches = 2 * f.layers;  // the product and the choice of the best
  out.push_back(router);
  const double ranks = split_.expert ? d(std::int64_t{split_.tensor} * split_.data) : 1;
  const double tokens = split_.expert ? std::max(dense, d(s.group_tokens)) : dense;
  const double width = d(e.intermediate) / (split_.expert ? 1 : split_.tensor);
  const double up = m_.gated ? 2 : 1;
  const double one = (up + 1) * d(m_.hidden) * width;  // weights of one expert here
  const double rows = tokens * d(e.active) / ranks;    // expert-tokens of this rank, balanced
  Work w;
  w.op = Operator::experts;
  w.flops = f.layers * 2 * rows * one;
  w.weight_bytes = f.layers * one * expert_ *
                   expected_experts(d(e.experts) / ranks, d(e.experts), d(e.active), tokens);
  w.activation_bytes = f.layers * rows * (2 * d(m_.hidden) + 2 * (up + 1) * width) * act_;
  w.launches = 3 * f.layers;  // up, activation, down: one grouped kernel each
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
    const double each = m_.parallel_residual ? 1 : 2;
    const double reduces = d(m_.layers) * each + 1;  // and the embedding
    w.comm_bytes = (reduces - upper_ * each) * b.dense * row + upper_ * each * b.tail * row +
                   b.samples * d(m_.vocab) * act_ / 2;
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
