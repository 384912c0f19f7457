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

std::optional<quality::Question> run_question(const LoadedScenario& loaded, const ModelSpec& model,
                                              bool always, Diagnostics& d) {
  const Tree& given = loaded.value.quality;
  const Tree& policies = loaded.value.cache.token_policies;
  const bool has_policies = policies.is_scalar() || policies.is_map() || !policies.items().empty();
  if (given.is_scalar() && given.text() == "none") return std::nullopt;
  if (given.is_null() && !has_policies && !always) return std::nullopt;
  const std::optional<token::KvShape> like = kv_shape_of(model);
  if (!like) return std::nullopt;
  Reader r(d);
  const std::size_t before = d.all().size();
  quality::QualitySpec spec;
  {
    const Reader::Scope scope(r, "quality");
    read_fields(spec, given, r);
    if (!spec.policies.empty() || !spec.budgets.empty())
      r.error_at(given.place(), spec.policies.empty() ? "budgets" : "policies",
                 "a run measures its own cache.token_policies",
                 "a file for `kvsim quality` compares policies at several budgets");
  }
  if (has_policies) {
    Tree item = policies;
    if (policies.is_list()) {
      item = Tree::map(policies.place());
      item.set("pipeline", policies);
    }
    const Reader::Scope scope(r, "cache.token_policies");
    Codec<quality::PolicySpec>::read(item, spec.policies.emplace_back(), r);
  }
  if (d.all().size() != before) return std::nullopt;
  // Long enough that published budgets of a thousand tokens keep less than all.
  if (spec.source.name == "synthetic") {
    if (spec.prompt == 0) spec.prompt = 2048;
    if (spec.steps == 0) spec.steps = 16;
  }
  const Reader::Scope scope(r, "quality");
  quality::Question q = read_question(spec, loaded.base_dir, 1, like, r);
  if (d.all().size() != before) return std::nullopt;
  return q;
}

RunQuality measure_run_quality(const quality::Question& q, const quality::MeasureOptions& options) {
  const quality::QualityResult result = measure_quality(q, options);
  RunQuality out{quality_rows(result), {}};
  const quality::PointResult& point = result.points.back();
  const auto add = [&](const std::string& statistic, double value, const std::string& unit) {
    out.metrics.push_back({"run", "quality", statistic, value, unit});
  };
  for (const quality::Value& v : point.measured.values) {
    if (v.layer >= 0 || v.head >= 0 || v.step >= 0) continue;
    const std::string name(name_of(v.measure));
    const bool is_mean = v.statistic == "mean" || v.statistic == "value";
    add(is_mean ? name : name + "_" + v.statistic, v.value, measure_unit(v.measure));
  }
  add("kept_ratio", point.measured.kv_bytes / result.full_bytes, "ratio");
  add("read_ratio", point.read_bytes / result.full_read_bytes, "ratio");
  return out;
}

}  // namespace kvsim
