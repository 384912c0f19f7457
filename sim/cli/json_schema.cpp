#include "sim/cli/json_schema.h"

#include <optional>
#include <utility>

#include "hardware/node.h"
#include "models/model.h"
#include "sim/base/registry.h"
#include "sim/cli/describe.h"
#include "sim/quality/spec.h"
#include "sim/scenario/catalog.h"
#include "sim/scenario/scenario.h"
#include "traces/generator.h"

namespace kvsim {

namespace {

Tree object() { return Tree::map(); }

Tree names_list(const std::vector<std::string>& names) {
  Tree list = Tree::list();
  for (const std::string& n : names) list.push(json_text(n));
  return list;
}

Tree types(const std::vector<std::string>& names) {
  Tree t = object();
  t.set("type", names.size() == 1 ? json_text(names[0]) : names_list(names));
  return t;
}

Tree alternatives(const char* keyword, std::vector<Tree> all) {
  Tree list = Tree::list();
  for (Tree& one : all) list.push(std::move(one));
  Tree t = object();
  t.set(keyword, std::move(list));
  return t;
}

Tree with(Tree schema, const char* key, Tree value) {
  schema.set(key, std::move(value));
  return schema;
}

Tree one_of_names(const std::vector<std::string>& names) {
  return with(object(), "enum", names_list(names));
}
// Names of the catalogue, for completion; other spellings and paths are for the program to judge.
Tree catalog_text() { return types({"string"}); }

// Places where a scenario holds "anything" that somebody else reads, and strings that are names of
// something.
std::optional<Tree> special(const std::string& path);
Tree schema_of(const TypeInfo&, const std::string& path, const Tree* defaults);

// "1 to 65536", "at least 1", "at most 1" as minimum and maximum.
void add_bounds(Tree& t, const std::string& bounds) {
  const auto number = [&](const char* key, const std::string& text) {
    if (parse_double(text)) t.set(key, Tree::scalar(text));
  };
  if (const std::size_t to = bounds.find(" to "); to != std::string::npos) {
    number("minimum", bounds.substr(0, to));
    number("maximum", bounds.substr(to + 4));
  } else if (bounds.starts_with("at least ")) {
    number("minimum", bounds.substr(9));
  } else if (bounds.starts_with("at most ")) {
    number("maximum", bounds.substr(8));
  } else if (bounds.starts_with("only ")) {
    number("minimum", bounds.substr(5));
    number("maximum", bounds.substr(5));
  }
}

void add_description(Tree& schema, const FieldInfo& f) {
  std::string text = f.text;
  const bool quantity = f.type.name.find(" such as") != std::string::npos;
  if (quantity) text += "; " + f.type.name;
  if (!f.bounds_text.empty()) text += "; " + f.bounds_text;
  schema.set("description", json_text(text));
}

void add_default(Tree& schema, const FieldInfo& f, const Tree* given) {
  if (given == nullptr || (!given->is_scalar() && !given->is_list())) return;
  Tree value = *given;
  const bool bare = f.type.json_type == "integer" || f.type.json_type.starts_with("number") ||
                    f.type.json_type == "boolean";
  if (value.is_scalar() && !bare) value = json_text(value.text());
  schema.set("default", std::move(value));
}

// The properties of a map; `extra` are further properties, `required` keys that must be there.
Tree object_schema(const std::vector<FieldInfo>& fields, const std::string& path,
                   const Tree* defaults, std::vector<std::pair<std::string, Tree>> extra = {},
                   const std::vector<std::string>& required = {}) {
  Tree properties = object();
  for (auto& [name, schema] : extra) properties.set(name, std::move(schema));
  for (const FieldInfo& f : fields) {
    const Tree* given = defaults == nullptr ? nullptr : defaults->find(f.name);
    const std::string at = path.empty() ? f.name : path + "." + f.name;
    Tree schema = schema_of(f.type, at, given);
    Tree* bounded = f.type.shape == TypeInfo::Shape::list ? schema.find("items") : &schema;
    if (bounded != nullptr && !f.bounds_text.empty()) add_bounds(*bounded, f.bounds_text);
    add_description(schema, f);
    add_default(schema, f, given);
    properties.set(f.name, std::move(schema));
  }
  Tree t = types({"object"});
  t.set("properties", std::move(properties));
  if (!required.empty()) t.set("required", names_list(required));
  t.set("additionalProperties", Tree::scalar("false"));
  return t;
}

// A plug-in by name, or a map with its name and parameters. Fields of the type itself (a trace's
// file) come on top, and then the bare name is no alternative.
Tree choice_schema(const TypeInfo& type, const std::string& path, const Tree* defaults) {
  const Tree* chosen = defaults == nullptr ? nullptr : defaults->find(type.plugin_key);
  std::vector<Tree> all;
  if (type.fields.empty()) all.push_back(one_of_names(type.names));
  for (const PluginInfo* p : Registry::instance().of_kind(type.plugin_kind)) {
    std::vector<FieldInfo> fields = type.fields;
    fields.insert(fields.end(), p->fields.begin(), p->fields.end());
    std::vector<std::string> required;
    if (chosen == nullptr || chosen->text() != p->name) required.push_back(type.plugin_key);
    for (const FieldInfo& f : type.fields)
      if (f.default_text.empty()) required.push_back(f.name);
    Tree named = with(object(), "const", json_text(p->name));
    named.set("description", json_text(p->text));
    std::vector<std::pair<std::string, Tree>> extra;
    extra.emplace_back(type.plugin_key, std::move(named));
    Tree one = object_schema(fields, path, nullptr, std::move(extra), required);
    one.set("title", json_text(type.plugin_kind + " " + p->name));
    all.push_back(std::move(one));
  }
  return alternatives("oneOf", std::move(all));
}

Tree scalar_schema(const TypeInfo& type) {
  if (!type.names.empty()) return one_of_names(type.names);
  if (type.name == "anything") return object();
  if (type.name == "text") return types({"string", "number", "boolean"});
  if (type.json_type == "number or boolean") return types({"number", "boolean"});
  if (type.json_type == "number or array") return types({"number", "array"});
  if (type.json_type.empty()) return types({"string", "number"});  // a share: "10 %" or 0.1
  if (type.json_type == "string")  // a quantity with its unit; 0 needs none
    return alternatives("anyOf", {types({"string"}), with(object(), "const", Tree::scalar("0"))});
  return types({type.json_type});
}

Tree schema_of(const TypeInfo& type, const std::string& path, const Tree* defaults) {
  if (auto known = special(path)) return std::move(*known);
  switch (type.shape) {
    case TypeInfo::Shape::scalar:
      return scalar_schema(type);
    case TypeInfo::Shape::choice:
      return choice_schema(type, path, defaults);
    case TypeInfo::Shape::list: {
      Tree t = types({"array"});
      if (!type.element.empty()) t.set("items", schema_of(type.element[0], path + ".N", nullptr));
      return t;
    }
    case TypeInfo::Shape::map: {
      if (type.is_open) return types({"object"});
      Tree whole = object_schema(type.fields, path, defaults);
      if (type.json_type == "integer")  // short for one of its fields
        return alternatives("anyOf", {types({"integer"}), whole});
      return type.names.empty() ? whole : alternatives("anyOf", {one_of_names(type.names), whole});
    }
  }
  return object();
}

template <class S>
Tree overridable(std::vector<std::pair<std::string, Tree>> extra) {
  const Tree defaults = write_fields(S{});
  return object_schema(describe_fields<S>(), "(catalogue)", &defaults, std::move(extra));
}

Tree base_key(std::vector<std::string> ids) {
  Tree base = alternatives("anyOf", {one_of_names(ids), catalog_text()});
  base.set("description",
           json_text("entry of the catalogue, or a path, that the other keys override"));
  return base;
}

Tree model_schema() {
  const std::vector<std::string> ids = catalog_ids(CatalogKind::model);
  std::vector<std::pair<std::string, Tree>> extra;
  extra.emplace_back("base", base_key(ids));
  extra.emplace_back("hf_config", with(types({"string"}), "description",
                                       json_text("path of a Hugging Face config.json")));
  return alternatives(
      "anyOf", {one_of_names(ids), catalog_text(), overridable<ModelSpec>(std::move(extra))});
}

Tree hardware_schema() {
  std::vector<std::string> ids = catalog_ids(CatalogKind::node);
  const std::vector<std::string> devices = catalog_ids(CatalogKind::device);
  ids.insert(ids.end(), devices.begin(), devices.end());
  const auto extra = [&] {
    std::vector<std::pair<std::string, Tree>> e;
    e.emplace_back("base", base_key(ids));
    return e;
  };
  return alternatives("anyOf", {one_of_names(ids), catalog_text(), overridable<NodeSpec>(extra()),
                                overridable<DeviceSpec>(extra())});
}

std::optional<Tree> special(const std::string& path) {
  if (path == "model") return model_schema();
  if (path == "deployment.hardware") return hardware_schema();
  if (path == "workload.generate") {
    const Tree defaults = write_fields(GeneratorParams{});
    return object_schema(describe_fields<GeneratorParams>(), "(generate)", &defaults);
  }
  if (path == "quality") {
    const Tree defaults = write_fields(quality::QualitySpec{});
    return alternatives(
        "anyOf", {one_of_names({"none"}),
                  object_schema(describe_fields<quality::QualitySpec>(), "(quality)", &defaults)});
  }
  if (path == "engine.preset") return one_of_names(catalog_ids(CatalogKind::preset));
  if (path == "cache.preset") return one_of_names(catalog_ids(CatalogKind::cache_preset));
  if (path == "cache.dtype") return one_of_names(Codec<Dtype>::names());
  if (path == "measured.format") return one_of_names({"vllm-requests"});
  if (path == "weights") {
    std::vector<std::string> names = Codec<Dtype>::names();
    names.insert(names.begin(), "");
    return one_of_names(names);
  }
  return std::nullopt;
}

}  // namespace

Tree scenario_schema() {
  const Tree defaults = write_fields(Scenario{});
  Tree include = alternatives(
      "anyOf", {types({"string"}), with(types({"array"}), "items", types({"string"}))});
  include.set("description",
              json_text("other scenario files that this one overrides, relative to it"));
  std::vector<std::pair<std::string, Tree>> extra;
  extra.emplace_back("include", std::move(include));
  Tree t = object();
  t.set("$schema", json_text("https://json-schema.org/draft/2020-12/schema"));
  t.set("title", json_text("kvsim scenario"));
  return Tree::merged(std::move(t),
                      object_schema(describe_fields<Scenario>(), "", &defaults, std::move(extra)));
}

}  // namespace kvsim
