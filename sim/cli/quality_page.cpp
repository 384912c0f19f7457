#include "sim/cli/quality_page.h"

#include <fmt/format.h>

#include <algorithm>

#include "sim/base/tree.h"
#include "sim/cli/text_table.h"

namespace kvsim {

namespace {

using quality::Measure;
using quality::QualityResult;

std::vector<Measure> measures_in(const QualityResult& r) {
  std::vector<Measure> all;
  for (const auto& [m, name] : enum_names(Measure{}))
    if (std::any_of(r.points.begin(), r.points.end(), [&, measure = m](const auto& p) {
          return quality::total_of(p.measured, measure).has_value();
        }))
      all.push_back(m);
  return all;
}

// Short heads, so that all measures fit a terminal.
const char* head_of(Measure m) {
  switch (m) {
    case Measure::needle_survival:
      return ">needle";
    case Measure::attn_kl:
      return ">kl";
    case Measure::rel_mse_keys:
      return ">mse k";
    case Measure::rel_mse_values:
      return ">mse v";
    case Measure::perplexity:
      return ">ppl";
    case Measure::agreement:
      return ">agree";
    case Measure::first_difference:
      return ">first";
    case Measure::out_err:
      return ">out_err";
    case Measure::mass:
      return ">mass";
    case Measure::recall:
      return ">recall";
  }
  return "";
}

std::string number(Measure m, double v) {
  if (m == Measure::perplexity) return fmt::format("{:.4f}", v);
  if (m == Measure::first_difference) return fmt::format("{:.1f}", v);
  if (v != 0 && v < 5e-4) return fmt::format("{:.0e}", v);
  return v < 10 ? fmt::format("{:.3f}", v) : fmt::format("{:.1f}", v);
}

std::string percent(double part, double whole) {
  return fmt::format("{:.1f}", whole > 0 ? 100 * part / whole : 0);
}

Tree bare(double v) { return Tree::scalar(fmt::format("{:.9g}", v)); }

}  // namespace

std::string quality_table_text(const QualityResult& r) {
  const std::vector<Measure> measures = measures_in(r);
  std::vector<std::string> columns{"policy", ">kept %", ">read %"};
  for (const Measure m : measures) columns.emplace_back(head_of(m));
  TextTable table(columns);
  std::size_t kept = 0;
  std::string last;
  for (const quality::PointResult& p : r.points) {
    std::vector<std::string> cells{p.policy == last ? "" : p.policy,
                                   percent(p.measured.kv_bytes, r.full_bytes),
                                   percent(p.read_bytes, r.full_read_bytes)};
    last = p.policy;
    for (const Measure m : measures) {
      const auto v = quality::total_of(p.measured, m);
      cells.push_back(v ? number(m, *v) : "-");
    }
    table.row(std::move(cells));
    kept += p.was_kept ? 1 : 0;
  }
  std::string text = fmt::format(
      "{}: {} sequence{} of {} + {} tokens, {} layers, {} query and {} KV heads of {}\n", r.source,
      r.sequences, r.sequences > 1 ? "s" : "", r.prompt, r.steps, r.shape.layers, r.shape.q_heads,
      r.shape.kv_heads, r.shape.k_dim);
  text += table.text();
  for (const std::string& note : r.notes) text += wrapped("note: " + note, 100, 6) + "\n";
  if (kept > 0)
    text += fmt::format("{} of {} points were measured before (--fresh measures again)\n", kept,
                        r.points.size());
  return text;
}

std::string quality_json(const std::string& name, const QualityResult& r) {
  Tree points = Tree::list();
  for (const quality::PointResult& p : r.points) {
    Tree one = Tree::map();
    one.set("policy", Tree::scalar(p.policy, {}, true));
    if (p.budget) one.set("budget_ratio", bare(*p.budget));
    if (!p.parameters.empty()) one.set("parameters", Tree::scalar(p.parameters, {}, true));
    one.set("kv_bytes", bare(p.measured.kv_bytes));
    one.set("read_bytes", bare(p.read_bytes));
    one.set("kept_tokens", bare(p.measured.kept_tokens));
    one.set("read_tokens", bare(p.measured.read_tokens));
    Tree values = Tree::list();
    for (const quality::Value& v : p.measured.values) {
      Tree row = Tree::map();
      row.set("measure", Tree::scalar(std::string(name_of(v.measure)), {}, true));
      row.set("statistic", Tree::scalar(v.statistic, {}, true));
      if (v.layer >= 0) row.set("layer", Tree::scalar(std::to_string(v.layer)));
      if (v.head >= 0) row.set("head", Tree::scalar(std::to_string(v.head)));
      if (v.step >= 0) row.set("step", Tree::scalar(std::to_string(v.step)));
      row.set("value", bare(v.value));
      values.push(std::move(row));
    }
    one.set("values", std::move(values));
    points.push(std::move(one));
  }
  Tree notes = Tree::list();
  for (const std::string& n : r.notes) notes.push(Tree::scalar(n, {}, true));
  Tree all = Tree::map();
  all.set("name", Tree::scalar(name, {}, true));
  all.set("source", Tree::scalar(r.source, {}, true));
  all.set("prompt", Tree::scalar(std::to_string(r.prompt)));
  all.set("steps", Tree::scalar(std::to_string(r.steps)));
  all.set("sequences", Tree::scalar(std::to_string(r.sequences)));
  all.set("full_bytes", bare(r.full_bytes));
  all.set("full_read_bytes", bare(r.full_read_bytes));
  all.set("points", std::move(points));
  all.set("notes", std::move(notes));
  return to_json(all, true) + "\n";
}

}  // namespace kvsim
