#include "sim/run/run_quality.h"

#include <algorithm>

namespace kvsim {

std::optional<token::KvShape> kv_shape_of(const ModelSpec& m) {
  const std::vector<Layer> layers = layers_of(m);
  token::KvShape s;
  s.layers = std::count_if(layers.begin(), layers.end(), [](const Layer& l) { return l.owns_kv; });
  if (s.layers == 0) return std::nullopt;
  s.q_heads = m.heads;
  if (m.mla) {
    s.kv_heads = 1;
    s.k_dim = m.mla->kv_lora_rank + m.mla->qk_rope_head_dim;
    s.v_dim = m.mla->kv_lora_rank;
    return s;
  }
  s.kv_heads = m.kv_head_count();
  s.k_dim = m.head_width();
  s.v_dim = m.value_width();
  return s;
}

std::vector<QualityRow> quality_rows(const quality::QualityResult& result) {
  std::vector<QualityRow> rows;
  const auto present = [](std::int32_t i) { return i < 0 ? std::nullopt : std::optional(i); };
  for (const quality::PointResult& p : result.points) {
    QualityRow row;
    row.source = result.source;
    row.policy = p.policy;
    row.parameters = p.parameters;
    row.budget = p.budget;
    row.kv_bytes = p.measured.kv_bytes;
    row.full_bytes = result.full_bytes;
    row.read_bytes = p.read_bytes;
    row.full_read_bytes = result.full_read_bytes;
    row.kept_tokens = p.measured.kept_tokens;
    row.read_tokens = p.measured.read_tokens;
    for (const quality::Value& v : p.measured.values) {
      row.measure = name_of(v.measure);
      row.statistic = v.statistic;
      row.unit = measure_unit(v.measure);
      row.layer = present(v.layer), row.head = present(v.head), row.step = present(v.step);
      row.value = v.value;
      rows.push_back(row);
    }
  }
  return rows;
}

}  // namespace kvsim
