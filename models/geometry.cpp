#include "models/geometry.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "models/recurrent.h"

namespace kvsim {

namespace {

constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

Bytes bytes_of(std::int64_t elements, double bits_each) {
  return Bytes{
      static_cast<std::int64_t>(std::ceil(static_cast<double>(elements) * bits_each / 8.0))};
}

std::int64_t norm_width(const ModelSpec& m) { return m.hidden * (m.bias == Bias::all ? 2 : 1); }

void add_layer(const ModelSpec& m, const Layer& layer, const Parallel& split, Parameters& p) {
  const int tp = split.tensor;
  p.attention += attention_parameters(m, layer, tp);
  p.norms += m.norms_per_layer * norm_width(m);
  if (m.qk_norm && attends(layer.attention)) p.norms += 2 * m.head_width();
  if (layer.attention == AttentionKind::mla) p.norms += m.mla->q_lora_rank + m.mla->kv_lora_rank;
  (layer.moe ? p.shared : p.dense) += ffn_parameters(m, layer.dense_width, tp);
  if (!layer.moe) return;
  p.router += m.hidden * m.moe->experts;
  p.experts += split.expert ? ceil_div(m.moe->experts, std::int64_t{tp} * split.data) *
                                  ffn_parameters(m, m.moe->intermediate, 1)
                            : m.moe->experts * ffn_parameters(m, m.moe->intermediate, tp);
}

double weight_bytes_of(const ModelSpec& m, const Parameters& p, const Precision& precision) {
  const auto linear = static_cast<double>(p.attention + p.dense + p.shared + p.encoder);
  const auto kept = static_cast<double>(p.embedding + p.lm_head + p.router + p.norms);
  return (linear * linear_weight_bits(precision) + kept * kept_weight_bits(precision) +
          static_cast<double>(p.experts) * expert_weight_bits(m, precision)) /
         8.0;
}

Bytes round_up(double v) { return Bytes{static_cast<std::int64_t>(std::ceil(v))}; }

}  // namespace

double linear_weight_bits(const Precision& p) { return bits(p.weights); }
double kept_weight_bits(const Precision& p) { return std::max(bits(p.weights), 16); }
double expert_weight_bits(const ModelSpec& m, const Precision& p) {
  const double wanted = bits(p.weights);
  return m.expert_bits > 0 ? std::min(wanted, m.expert_bits) : wanted;
}

void check_split(const ModelSpec& m, const Parallel& s) {
  const auto wrong = [&](const std::string& what, const std::string& hint) {
    throw InputError(fmt::format("model {}: {}", m.name.empty() ? "(unnamed)" : m.name, what),
                     hint);
  };
  if (s.tensor < 1 || s.pipeline < 1 || s.data < 1 || s.context < 1)
    wrong("a parallel degree is below 1", "give whole numbers from 1");
  if (m.heads % s.tensor != 0)
    wrong(fmt::format("tensor {} does not divide {} heads", s.tensor, m.heads),
          "choose a divisor of the number of heads");
  const std::int64_t g = m.kv_head_count();
  if (!m.mla && g % s.tensor != 0 && s.tensor % g != 0)
    wrong(fmt::format("{} key heads cannot be cut into or replicated over tensor {}", g, s.tensor),
          "choose a divisor or a multiple of kv_heads");
  if (s.pipeline > m.layers)
    wrong(fmt::format("pipeline {} for {} layers", s.pipeline, m.layers),
          "give at most one stage per layer");
  if (s.expert && m.moe && std::int64_t{s.tensor} * s.data > m.moe->experts)
    wrong(fmt::format("{} ranks for {} experts", s.tensor * s.data, m.moe->experts),
          "give at most one rank per expert");
  if (s.context == 1) return;
  const auto keeps_all = [](const Layer& l) {
    return (l.attention == AttentionKind::full || l.attention == AttentionKind::mla) && !l.is_upper;
  };
  const std::vector<Layer> all = layers_of(m);
  if (m.encoder || m.memory || m.tpa || m.prefill_passes != 1 ||
      !std::all_of(all.begin(), all.end(), keeps_all))
    wrong("its layers do not all attend to every token, and only such a context is shared",
          "set deployment.parallel.context: 1, or choose a model with plain attention");
  if (s.expert && m.moe)
    wrong("experts over several ranks beside a shared context are not modelled",
          "set deployment.parallel.expert: 1 or context: 1");
}

std::vector<std::int64_t> stage_layers(std::int64_t layers, int stages) {
  const auto n = static_cast<std::size_t>(stages);
  std::vector<std::int64_t> all(n, layers / stages);
  // With fewer surplus layers than stages, walk back from the last but one and then reach the
  // first.
  for (std::int64_t i = 0; i < layers % stages; ++i) ++all[n - 2 - static_cast<std::size_t>(i)];
  return all;
}

std::int64_t kv_elements(const ModelSpec& m, int tensor) {
  Layer whole;
  whole.kv_heads = m.kv_head_count();
  if (m.mla) whole.attention = AttentionKind::mla;
  return layer_kv_elements(m, whole, tensor);
}

std::int64_t layer_kv_elements(const ModelSpec& m, const Layer& l, int tensor) {
  if (!l.owns_kv) return 0;
  if (l.attention == AttentionKind::mla) return m.mla->kv_lora_rank + m.mla->qk_rope_head_dim;
  const std::int64_t g = std::max<std::int64_t>(1, l.kv_heads / tensor);
  if (m.tpa)
    return (l.owns_k ? m.tpa->k_rank * (g + m.head_width()) : 0) +
           (l.owns_v ? m.tpa->v_rank * (g + m.value_width()) : 0);
  return g * ((l.owns_k ? m.head_width() : 0) + (l.owns_v && !m.tied_kv ? m.value_width() : 0));
}

Bytes kv_layer_bytes(const ModelSpec& m, double kv_bits, int tensor) {
  return bytes_of(kv_elements(m, tensor), kv_bits);
}

Bytes kv_token_bytes(const ModelSpec& m, double kv_bits, int tensor) {
  Bytes sum{0};
  for (const Layer& l : layers_of(m))
    sum += l.attention == AttentionKind::pooled
               ? bytes_of(layer_kv_elements(m, l, tensor),
                          kv_bits / static_cast<double>(m.pool_tokens))
               : bytes_of(layer_kv_elements(m, l, tensor), kv_bits);
  return sum;
}
Bytes kv_token_bytes(const ModelSpec& m, Dtype kv, int tensor) {
  return kv_token_bytes(m, static_cast<double>(bits(kv)), tensor);
}

Bytes kv_sequence_bytes(const ModelSpec& m, std::int64_t tokens, Dtype kv, int tensor) {
  Bytes sum = sequence_state_bytes(m, tensor);
  const std::int64_t own = m.encoder ? std::min(tokens, m.encoder->main_tokens) : tokens;
  if (m.encoder) sum += bytes_of(m.encoder->hidden, 16) * (tokens - own);
  for (const Layer& l : layers_of(m)) {
    const Bytes each = bytes_of(layer_kv_elements(m, l, tensor), bits(kv));
    if (l.attention == AttentionKind::pooled)
      sum += each * (own / m.pool_tokens);
    else
      sum += each * (l.window > 0 ? std::min(l.window, own) : own);
  }
  return sum;
}

Bytes kv_page_bytes(const ModelSpec& m, const Parallel& split, Dtype kv,
                    std::int64_t block_tokens) {
  return bytes_of(kv_elements(m, split.tensor) * block_tokens, bits(kv));
}

std::vector<std::int64_t> stage_kv_layers(const ModelSpec& m, int stages) {
  const auto layers = layers_of(m);
  std::vector<std::int64_t> all;
  std::size_t next = 0;
  for (const std::int64_t n : stage_layers(m.layers, stages)) {
    std::int64_t owners = 0;
    for (std::int64_t i = 0; i < n; ++i) owners += layers[next++].owns_kv ? 1 : 0;
    all.push_back(owners);
  }
  return all;
}

Bytes kv_block_bytes(const ModelSpec& m, const Parallel& split, Dtype kv,
                     std::int64_t block_tokens) {
  Bytes most{0};
  for (int s = 0; s < split.pipeline; ++s)
    most = std::max(most, stage_block_bytes(m, split, kv, block_tokens, s));
  return most;
}

Bytes stage_block_bytes(const ModelSpec& m, const Parallel& split, Dtype kv,
                        std::int64_t block_tokens, int stage) {
  const auto counts = stage_layers(m.layers, split.pipeline);
  const auto layers = layers_of(m);
  std::size_t at = 0;
  for (int s = 0; s < stage; ++s)
    at += static_cast<std::size_t>(counts[static_cast<std::size_t>(s)]);
  Bytes sum{0};
  for (std::int64_t i = 0; i < counts[static_cast<std::size_t>(stage)]; ++i) {
    const Layer& l = layers[at++];
    const bool pooled = l.attention == AttentionKind::pooled;
    sum += bytes_of(layer_kv_elements(m, l, split.tensor) *
                        (pooled ? ceil_div(block_tokens, m.pool_tokens) : block_tokens),
                    bits(kv));
  }
  // Groups that share the context hold some of a block's tokens each.
  if (split.context > 1)
    return Bytes{static_cast<std::int64_t>(std::ceil(to_double(sum) / split.context))};
  return sum;
}

KeptBytes kept_bytes(const ModelSpec& m, const Parallel& split, Dtype kv, std::int64_t block_tokens,
                     int stage) {
  const auto counts = stage_layers(m.layers, split.pipeline);
  const auto layers = layers_of(m);
  std::size_t at = 0;
  for (int s = 0; s < stage; ++s)
    at += static_cast<std::size_t>(counts[static_cast<std::size_t>(s)]);
  KeptBytes k;
  if (m.encoder) {
    k.window = m.encoder->main_tokens;
    k.full = bytes_of(m.encoder->hidden * block_tokens, 16);
  }
  for (std::int64_t i = 0; i < counts[static_cast<std::size_t>(stage)]; ++i) {
    const Layer& l = layers[at++];
    const bool pooled = l.attention == AttentionKind::pooled;
    const Bytes block =
        bytes_of(layer_kv_elements(m, l, split.tensor) *
                     (pooled ? ceil_div(block_tokens, m.pool_tokens) : block_tokens),
                 bits(kv));
    k.window = std::max(k.window, l.window);
    (l.window > 0 || m.encoder ? k.windowed : k.full) += block;
    if (l.attention == AttentionKind::recurrent) k.states += layer_state_bytes(m, split.tensor);
    if (attends(l.attention)) k.states += layer_memory_bytes(m, split.tensor);
  }
  return k;
}

bool forgets(const ModelSpec& m) {
  const KeptBytes k = kept_bytes(m, {}, Dtype::bf16, 1, 0);
  return k.windowed > Bytes{0} || k.states > Bytes{0};
}

std::vector<KvGroup> kv_groups(const ModelSpec& m) {
  const auto layers = layers_of(m);
  std::vector<KvGroup> all;
  const auto group_of = [&](const Layer& l) {
    const std::int64_t elements = layer_kv_elements(m, l);
    const auto same = [&](const KvGroup& g) {
      return g.kind == l.attention && g.window == l.window && g.elements == elements;
    };
    const auto it = std::find_if(all.begin(), all.end(), same);
    return it != all.end() ? it : all.insert(it, KvGroup{l.attention, l.window, elements, 0, 0});
  };
  for (const Layer& l : layers)
    if (l.owns_kv) ++group_of(l)->layers;
  for (const Layer& l : layers)
    if (!l.owns_kv && attends(l.attention))
      ++group_of(layers[static_cast<std::size_t>(l.kv_source)])->readers;
  return all;
}

QkvWidths qkv_widths(const ModelSpec& m, const Layer& l, int tensor) {
  const std::int64_t h = ceil_div(m.heads, tensor);
  if (m.tpa) {
    const std::int64_t one = h + m.head_width();
    return {m.tpa->q_rank * one, layer_kv_elements(m, l, tensor)};
  }
  return {m.q_rank > 0 ? 0 : h * m.head_width(), layer_kv_elements(m, l, tensor)};
}

std::int64_t attention_parameters(const ModelSpec& m, const Layer& l, int tensor) {
  if (l.attention == AttentionKind::none) return 0;
  if (l.attention == AttentionKind::recurrent) return ceil_div(mixer_parameters(m), tensor);
  const std::int64_t h = ceil_div(m.heads, tensor);
  const std::int64_t memory = m.memory ? ceil_div(m.memory->parameters, tensor) : 0;
  if (l.attention == AttentionKind::mla) {
    const MlaSpec& a = *m.mla;
    const std::int64_t q = h * (a.qk_nope_head_dim + a.qk_rope_head_dim);
    return (a.q_lora_rank > 0 ? a.q_lora_rank * (m.hidden + q) : m.hidden * q) +
           m.hidden * layer_kv_elements(m, l, tensor) +
           a.kv_lora_rank * h * (a.qk_nope_head_dim + a.v_head_dim) + h * a.v_head_dim * m.hidden;
  }
  const QkvWidths w = qkv_widths(m, l, tensor);
  const std::int64_t qkv = w.q + w.kv;
  const std::int64_t bias = m.bias == Bias::none ? 0 : qkv + (m.bias == Bias::all ? m.hidden : 0);
  return m.hidden * qkv + m.q_rank * (m.hidden + h * m.head_width()) +
         h * m.value_width() * m.hidden + bias + memory;
}

std::int64_t ffn_parameters(const ModelSpec& m, std::int64_t width, int tensor) {
  if (width == 0) return 0;
  const std::int64_t w = ceil_div(width, tensor);
  const std::int64_t up = m.gated ? 2 : 1;
  return (up + 1) * m.hidden * w + (m.bias == Bias::all ? up * w + m.hidden : 0);
}

Parameters rank_parameters(const ModelSpec& m, const Parallel& split, int stage) {
  Parameters p;
  const auto counts = stage_layers(m.layers, split.pipeline);
  const auto layers = layers_of(m);
  std::size_t first = 0;
  for (int s = 0; s < stage; ++s)
    first += static_cast<std::size_t>(counts[static_cast<std::size_t>(s)]);
  std::int64_t attending = 0;  // layers of this stage whose weights were counted
  for (std::int64_t i = 0; i < counts[static_cast<std::size_t>(stage)]; ++i) {
    const Layer& l = layers[first + static_cast<std::size_t>(i)];
    if (attends(l.attention) && m.shared_blocks > 0 && attending++ >= m.shared_blocks) continue;
    add_layer(m, l, split, p);
  }
  const std::int64_t table = ceil_div(m.vocab, split.tensor) * m.hidden;
  const bool last = stage == split.pipeline - 1;
  if (stage == 0) p.embedding = table + m.learned_positions * m.hidden;
  if (stage == 0 && m.encoder)
    p.encoder =
        ceil_div(m.encoder->parameters + m.encoder->cross_layers * m.encoder->cross_parameters,
                 split.tensor);
  if (last) p.norms += norm_width(m);
  if (last && (!m.tied_embeddings || split.pipeline > 1)) p.lm_head = table;
  return p;
}

Parameters parameters(const ModelSpec& m) { return rank_parameters(m, Parallel{}, 0); }

std::int64_t active_parameters(const ModelSpec& m) {
  const Parameters p = parameters(m);
  return p.total() - p.experts + (m.moe ? p.experts / m.moe->experts * m.moe->active : 0);
}

Bytes weight_bytes(const ModelSpec& m, const Precision& precision) {
  return round_up(weight_bytes_of(m, parameters(m), precision));
}

Bytes stage_weight_bytes(const ModelSpec& m, const Parallel& split, const Precision& precision,
                         int stage) {
  return round_up(weight_bytes_of(m, rank_parameters(m, split, stage), precision));
}

Bytes rank_weight_bytes(const ModelSpec& m, const Parallel& split, const Precision& precision) {
  Bytes most{0};
  for (int s = 0; s < split.pipeline; ++s)
    most = std::max(most, stage_weight_bytes(m, split, precision, s));
  return most;
}

}  // namespace kvsim
