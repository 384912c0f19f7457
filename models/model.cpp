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

bool has_experts(const MoeSpec& e, std::int64_t layer) {
  return layer >= e.first_dense && layer % e.every == e.offset &&
         std::find(e.dense_layers.begin(), e.dense_layers.end(), layer) == e.dense_layers.end();
}

// Refuses shapes whose counts would leave 64 bits: no real model comes near.
void check_size(const ModelSpec& m, const Tree& at, Reader& r) {
  const auto d = [](std::int64_t v) { return static_cast<double>(v); };
  double width = d(m.heads) * d(m.head_width() + m.value_width());
  double inner = d(m.hidden), cached = d(m.kv_head_count()) * d(m.head_width() + m.value_width());
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
    layer.owns_kv = layer.kv_source == l && layer.attention != AttentionKind::recurrent;
    layer.moe = m.moe && has_experts(*m.moe, l);
    layer.dense_width = layer.moe ? m.moe->shared_intermediate : m.intermediate;
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
  if (!m.mla && uses(m, AttentionKind::mla))
    wrong("mla", "layers of kind mla, but no mla dimensions", "give mla: {...}");
  if (m.mla && (uses(m, AttentionKind::full) || uses(m, AttentionKind::sliding) ||
                uses(m, AttentionKind::chunked)))
    wrong("attention", "mla dimensions and layers of another kind with a cache",
          "a model has either; leave attention empty for latent attention");
  if (!m.recurrent && uses(m, AttentionKind::recurrent))
    wrong("recurrent", "layers of kind recurrent, but no dimensions", "give recurrent: {...}");
  if (m.attention.size() > static_cast<std::size_t>(m.layers))
    wrong("attention", fmt::format("{} kinds for {} layers", m.attention.size(), m.layers),
          "give at most one per layer");
  if (m.moe && m.moe->active > m.moe->experts)
    wrong("moe", fmt::format("{} active of {} experts", m.moe->active, m.moe->experts),
          "active must not exceed experts");
  if (m.moe && m.moe->offset >= m.moe->every)
    wrong("moe", fmt::format("offset {} is not below every {}", m.moe->offset, m.moe->every),
          "give offset in 0 .. every - 1");
  if (!m.kv_source.empty() && m.kv_source.size() != static_cast<std::size_t>(m.layers)) {
    wrong("kv_source", fmt::format("{} entries for {} layers", m.kv_source.size(), m.layers),
          "give one per layer");
  } else {
    for (const std::int64_t s : m.kv_source)
      if (s >= m.layers || m.kv_source[static_cast<std::size_t>(s)] != s ||
          kind_of(m, s) == AttentionKind::recurrent) {
        wrong("kv_source", fmt::format("layer {} has no cache of its own to read", s),
              "name layers that read their own cache");
        break;
      }
  }
  if (r.diagnostics().all().size() != before) return false;
  const auto all = layers_of(m);
  if (std::any_of(all.begin(), all.end(),
                  [](const Layer& l) { return !l.moe && l.dense_width == 0; }))
    wrong("intermediate", "layers without experts have no inner width", "give intermediate");
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
