#include "sim/cli/describe.h"

#include <fmt/format.h>

#include "sim/cli/text_table.h"
#include "sim/quality/spec.h"
#include "sim/scenario/scenario.h"
#include "sim/study/study.h"
#include "traces/generator.h"

namespace kvsim {

namespace {

// A default worth showing: scalars and short lists. A choice shows the name of its plug-in.
std::string initial_text(const FieldInfo& f, const Tree* given) {
  if (given == nullptr) return f.default_text;
  if (f.type.shape == TypeInfo::Shape::choice) {
    const Tree* name = given->find(f.type.plugin_key);
    return name == nullptr ? "" : name->text();
  }
  if (given->is_scalar()) return given->text();
  return given->is_list() ? to_json(*given) : "";
}

void add_rows(const std::vector<FieldInfo>& fields, const Tree* defaults, const std::string& prefix,
              std::vector<ParameterRow>& out) {
  for (const FieldInfo& f : fields) {
    const Tree* given = defaults == nullptr ? nullptr : defaults->find(f.name);
    const std::string path = prefix.empty() ? f.name : prefix + "." + f.name;
    const TypeInfo& type = f.type;
    const bool section = type.shape == TypeInfo::Shape::map && !type.fields.empty();
    out.push_back({path, short_type(type), section ? "" : initial_text(f, given), f.bounds_text,
                   f.text, section});
    if (type.shape == TypeInfo::Shape::list && !type.element.empty() &&
        !type.element[0].fields.empty())
      add_rows(type.element[0].fields, nullptr, path + ".N", out);
    if (!type.fields.empty()) add_rows(type.fields, given, path, out);
  }
}

}  // namespace

std::string short_type(const TypeInfo& t) {
  if (t.shape == TypeInfo::Shape::list && !t.element.empty())
    return "list of " + short_type(t.element[0]);
  if (t.shape == TypeInfo::Shape::choice)
    return fmt::format("name of a {}, or a mapping with its parameters", t.plugin_kind);
  std::string name = t.name.substr(0, t.name.find(" such as"));
  if (name.starts_with("a ") && name.size() != t.name.size()) name.erase(0, 2);
  return name;
}

std::vector<ParameterRow> parameter_rows(const std::vector<FieldInfo>& fields, const Tree* defaults,
                                         const std::string& prefix) {
  std::vector<ParameterRow> rows;
  add_rows(fields, defaults, prefix, rows);
  return rows;
}

std::vector<ParameterRow> scenario_rows() {
  const Tree defaults = write_fields(Scenario{});
  std::vector<ParameterRow> rows = parameter_rows(describe_fields<Scenario>(), &defaults);
  for (ParameterRow& r : rows)
    if (r.type == "anything")
      r.type = r.path == "workload.generate"      ? "mapping"
               : r.path == "quality"              ? "mapping, or none"
               : r.path == "cache.token_policies" ? "name, mapping or list of them"
                                                  : "name, path or mapping";
  rows.push_back({"include", "text, or a list", "", "",
                  "other scenario files that this one overrides, relative to it", false});
  return rows;
}

std::vector<ParameterRow> quality_rows() {
  const Tree defaults = write_fields(quality::QualitySpec{});
  return parameter_rows(describe_fields<quality::QualitySpec>(), &defaults);
}

std::vector<ParameterRow> generator_rows() {
  const Tree defaults = write_fields(GeneratorParams{});
  return parameter_rows(describe_fields<GeneratorParams>(), &defaults);
}

std::vector<ParameterRow> study_rows() {
  const Tree defaults = write_fields(StudySpec{});
  std::vector<ParameterRow> rows = parameter_rows(describe_fields<StudySpec>(), &defaults);
  for (ParameterRow& r : rows) {
    if (r.path == "axes.N.path") r.type = "path, or a list";
    if (r.path == "axes.N.values") r.type = "list of what the path takes";
    if (r.type == "anything") r.type = "number or quantity";
  }
  return rows;
}

std::vector<ParameterRow> plugin_rows(const PluginInfo& p) {
  return parameter_rows(p.fields, nullptr);
}

std::string parameters_text(const std::vector<ParameterRow>& rows) {
  std::string out;
  for (const ParameterRow& r : rows) {
    if (r.is_section) {
      out += fmt::format("\n{}: {}\n", r.path, wrapped(r.text, kTerminalWidth, r.path.size() + 2));
      continue;
    }
    std::string head = "  " + r.path;
    if (!r.initial.empty()) head += " = " + r.initial;
    std::string kind = "(" + r.type + (r.bounds.empty() ? "" : ", " + r.bounds) + ")";
    if (head.size() + 3 + kind.size() <= kTerminalWidth) {
      out += head + "   " + kind + "\n";
    } else {
      out += fmt::format("{}\n      {}\n", wrapped(head, kTerminalWidth, 6),
                         wrapped(kind, kTerminalWidth, 6));
    }
    out += fmt::format("      {}\n", wrapped(r.text, kTerminalWidth, 6));
  }
  return out;
}

Tree parameters_json(const std::vector<ParameterRow>& rows) {
  Tree list = Tree::list();
  for (const ParameterRow& r : rows) {
    Tree one = Tree::map();
    one.set("name", json_text(r.path));
    one.set("type", json_text(r.type));
    if (!r.initial.empty()) one.set("default", json_text(r.initial));
    if (!r.bounds.empty()) one.set("bounds", json_text(r.bounds));
    one.set("text", json_text(r.text));
    list.push(std::move(one));
  }
  return list;
}

std::string parameters_markdown(const std::vector<ParameterRow>& rows) {
  MarkdownTable table({"key", "type", "default", "meaning"});
  for (const ParameterRow& r : rows) {
    const std::string initial = r.initial.empty() ? "" : "`" + r.initial + "`";
    table.row(
        {"`" + r.path + "`", r.type + (r.bounds.empty() ? "" : ", " + r.bounds), initial, r.text});
  }
  return table.text();
}

}  // namespace kvsim
