#include "models/model.h"

#include <fmt/format.h>

#include <algorithm>

namespace kvsim {

KVSIM_FIELDS_HERE(ModelSpec)

namespace {

AttentionKind kind_of(const ModelSpec& m, std::int64_t layer) {
  if (!m.attention.empty())
    return m.attention[static_cast<std::size_t>(layer) % m.attention.size()];
  return m.mla ? AttentionKind::mla : AttentionKind::full;
}

bool uses(const ModelSpec& m, AttentionKind kind) {
  for (std::int64_t l = 0; l < m.layers; ++l)
    if (kind_of(m, l) == kind) return true;
  return false;
}

// The entry of a pattern that repeats over the layers.
std::int64_t repeated(const std::vector<std::int64_t>& pattern, std::int64_t layer,
                      std::int64_t absent) {
  return pattern.empty() ? absent : pattern[static_cast<std::size_t>(layer) % pattern.size()];
}

bool has_experts(const MoeSpec& e, std::int64_t layer) {
  return layer >= e.first_dense && layer % e.every == e.offset &&
         std::find(e.dense_layers.begin(), e.dense_layers.end(), layer) == e.dense_layers.end();
}

// Refuses shapes whose counts would leave 64 bits: no real model comes near.
void check_size(const ModelSpec& m, const Tree& at, Reader& r) {
  const auto d = [](std::int64_t v) { return static_cast<double>(v); };
  double width = d(m.heads) * d(m.head_width() + m.value_width());
  std::int64_t most = m.kv_head_count();
  for (const std::int64_t g : m.layer_kv_heads) most = std::max(most, g);
  double inner = d(m.hidden), cached = d(most) * d(m.head_width() + m.value_width());
  if (m.mla) {
    width += d(m.heads) * d(m.mla->qk_nope_head_dim + m.mla->qk_rope_head_dim + m.mla->v_head_dim);
    inner += d(m.mla->q_lora_rank + m.mla->kv_lora_rank);
    cached += d(m.mla->kv_lora_rank + m.mla->qk_rope_head_dim);
  }
  double ffn = d(m.intermediate);
  if (m.moe) ffn += d(m.moe->experts) * d(m.moe->intermediate) + d(m.moe->shared_intermediate);
  constexpr double kMostWeights = 1e15, kMostCache = 1e18;  // numbers
  if (d(m.layers) * (2 * width * inner + 3 * ffn * d(m.hidden)) > kMostWeights)
    r.error(at, "more than 1e15 weights", "check heads, hidden, intermediate and experts");
  if (d(m.layers) * cached * d(m.max_context) > kMostCache)
    r.error(at, "a full context caches more than 1e18 numbers", "check kv_heads and max_context");
}

// A list of layers to read from: one per layer, each with a cache of its own.
template <class Wrong>
void check_sources(const ModelSpec& m, const char* key, const std::vector<std::int64_t>& list,
                   const Wrong& wrong) {
  if (list.empty()) return;
  if (list.size() != static_cast<std::size_t>(m.layers))
    return wrong(key, fmt::format("{} entries for {} layers", list.size(), m.layers),
                 "give one per layer");
  for (std::int64_t l = 0; l < m.layers; ++l) {
    const std::int64_t s = list[static_cast<std::size_t>(l)];
    if (s == l ||
        (s < m.layers && list[static_cast<std::size_t>(s)] == s && attends(kind_of(m, s))))
      continue;
    return wrong(key, fmt::format("layer {} has no cache of its own to read", s),
                 "name layers that read their own cache");
  }
}

}  // namespace

std::vector<Layer> layers_of(const ModelSpec& m) {
  std::vector<Layer> all(static_cast<std::size_t>(m.layers));
  for (std::int64_t l = 0; l < m.layers; ++l) {
    Layer& layer = all[static_cast<std::size_t>(l)];
    layer.attention = kind_of(m, l);
    const bool windowed =
        layer.attention == AttentionKind::sliding || layer.attention == AttentionKind::chunked;
    layer.window = windowed ? m.window : 0;
    layer.kv_source = m.kv_source.empty() ? l : m.kv_source[static_cast<std::size_t>(l)];
    layer.v_source = m.v_source.empty() ? layer.kv_source : m.v_source[static_cast<std::size_t>(l)];
    layer.kv_heads = repeated(m.layer_kv_heads, l, m.kv_head_count());
    layer.owns_k = layer.kv_source == l && attends(layer.attention);
    layer.owns_v = layer.v_source == l && attends(layer.attention);
    layer.owns_kv = layer.owns_k || layer.owns_v;
    layer.is_upper = m.prefill_layers > 0 && l >= m.prefill_layers;
    const bool ffn = repeated(m.ffn_layers, l, 1) != 0;
    layer.moe = ffn && m.moe && has_experts(*m.moe, l);
    layer.dense_width = !ffn ? 0 : layer.moe ? m.moe->shared_intermediate : m.intermediate;
  }
  return all;
}

bool check_model(const ModelSpec& m, const Tree& at, Reader& r) {
  const std::size_t before = r.diagnostics().all().size();
  const auto place = [&](const char* key) -> const Tree& {
    const Tree* t = at.find(key);
    return t != nullptr ? *t : at;
  };
  const auto wrong = [&](const char* key, std::string message, const char* hint) {
    const Reader::Scope scope(r, key);
    r.error(place(key), std::move(message), hint);
  };
  if (m.heads % m.kv_head_count() != 0)
    wrong("kv_heads",
          fmt::format("{} key heads do not divide {} heads", m.kv_head_count(), m.heads),
          "give a divisor of heads");
  if (m.head_dim == 0 && !m.mla && m.hidden % m.heads != 0)
    wrong("head_dim", fmt::format("hidden {} is no multiple of heads {}", m.hidden, m.heads),
          "give head_dim");
  if (m.window == 0 && (uses(m, AttentionKind::sliding) || uses(m, AttentionKind::chunked)))
    wrong("window", "sliding or chunked layers have no window", "give window in tokens");
  if ((m.pool_tokens > 0) != uses(m, AttentionKind::pooled))
    wrong("pool_tokens", "pooled layers and pool_tokens need each other",
          "give both, or neither of them");
  if (!m.mla && uses(m, AttentionKind::mla))
    wrong("mla", "layers of kind mla, but no mla dimensions", "give mla: {...}");
  if (m.mla && (uses(m, AttentionKind::full) || uses(m, AttentionKind::sliding) ||
                uses(m, AttentionKind::chunked) || uses(m, AttentionKind::pooled)))
    wrong("attention", "mla dimensions and layers of another kind with a cache",
          "a model has either; leave attention empty for latent attention");
  if (m.mla && (m.tpa || m.tied_kv || m.q_rank > 0 || !m.layer_kv_heads.empty()))
    wrong("mla", "latent attention beside another form of the cache",
          "remove tpa, tied_kv, q_rank and layer_kv_heads: mla has ranks of its own");
  if (m.tpa && (m.tied_kv || m.q_rank > 0))
    wrong("tpa", "factored keys and values beside tied_kv or q_rank",
          "tpa has a q_rank of its own");
  if (!m.recurrent && uses(m, AttentionKind::recurrent))
    wrong("recurrent", "layers of kind recurrent, but no dimensions", "give recurrent: {...}");
  if (m.recurrent && m.recurrent->mixer == Mixer::given && m.recurrent->state_elements == 0)
    wrong("recurrent", "neither a mixer nor state_elements", "give mixer, or state_elements");
  if (m.memory && m.window == 0)
    wrong("memory", "every layer keeps all tokens: nothing is left to compress",
          "give sliding or chunked layers");
  if (m.encoder && m.encoder->cross_layers > m.layers)
    wrong("encoder", fmt::format("{} cross layers of {}", m.encoder->cross_layers, m.layers),
          "give at most one per layer");
  if (m.prefill_layers > m.layers)
    wrong("prefill_layers", fmt::format("{} of {} layers", m.prefill_layers, m.layers),
          "give at most as many as there are layers");
  for (const auto& [key, list] :
       {std::pair{"layer_kv_heads", &m.layer_kv_heads}, std::pair{"ffn_layers", &m.ffn_layers}})
    if (list->size() > static_cast<std::size_t>(m.layers))
      wrong(key, fmt::format("{} entries for {} layers", list->size(), m.layers),
            "give at most one per layer");
  if (m.attention.size() > static_cast<std::size_t>(m.layers))
    wrong("attention", fmt::format("{} kinds for {} layers", m.attention.size(), m.layers),
          "give at most one per layer");
  if (m.moe && m.moe->active > m.moe->experts)
    wrong("moe", fmt::format("{} active of {} experts", m.moe->active, m.moe->experts),
          "active must not exceed experts");
  if (m.moe && m.moe->offset >= m.moe->every)
    wrong("moe", fmt::format("offset {} is not below every {}", m.moe->offset, m.moe->every),
          "give offset in 0 .. every - 1");
  check_sources(m, "kv_source", m.kv_source, wrong);
  check_sources(m, "v_source", m.v_source, wrong);
  if (r.diagnostics().all().size() != before) return false;
  const auto all = layers_of(m);
  for (std::int64_t l = 0; l < m.layers; ++l) {
    const Layer& layer = all[static_cast<std::size_t>(l)];
    if (layer.moe || layer.dense_width > 0 || repeated(m.ffn_layers, l, 1) == 0) continue;
    wrong("intermediate", "layers without experts have no inner width",
          "give intermediate, or ffn_layers where layers have no feed-forward part");
    break;
  }
  if (m.prefill_layers > 0 && m.prefill_passes > 1)
    wrong("prefill_passes", "a prompt that leaves early runs once", "remove prefill_layers");
  check_size(m, at, r);
  return r.diagnostics().all().size() == before;
}

bool read_model(const Tree& t, ModelSpec& out, Reader& r) {
  ModelSpec m = out;
  if (!read_fields(m, t, r) || !check_model(m, t, r)) return false;
  out = std::move(m);
  return true;
}

}  // namespace kvsim
