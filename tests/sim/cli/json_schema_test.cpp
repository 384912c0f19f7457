// The schema against a checker of our own: it knows type, enum, const, properties, required,
// additionalProperties, items, minimum, maximum, anyOf, oneOf and patterns of file names, which is
// all the schema uses.
#include "sim/cli/json_schema.h"

#include <algorithm>

#include "sim/base/units.h"
#include "sim/run/build.h"
#include "sim/scenario/scenario.h"
#include "sim/scenario/yaml.h"
#include "tests/sim/cli/cli_fixture.h"
#include "traces/generator.h"

namespace kvsim {
namespace {

bool is_type(const Tree& v, const std::string& type) {
  if (type == "object") return v.is_map();
  if (type == "array") return v.is_list();
  if (!v.is_scalar()) return false;
  const bool integer = !v.quoted() && parse_int(v.text()).has_value();
  const bool number = !v.quoted() && parse_double(v.text()).has_value();
  const bool boolean = !v.quoted() && (v.text() == "true" || v.text() == "false");
  if (type == "integer") return integer;
  if (type == "number") return number;
  if (type == "boolean") return boolean;
  if (type == "string") return !number && !boolean;
  ADD_FAILURE() << "unknown type " << type;
  return false;
}

bool valid(const Tree& v, const Tree& schema, std::string& why);

bool any_item(const Tree& list, const auto& holds) {
  return std::any_of(list.items().begin(), list.items().end(), holds);
}

bool valid_object(const Tree& v, const Tree& schema, std::string& why) {
  const Tree* properties = schema.find("properties");
  if (properties == nullptr || !v.is_map()) return true;
  for (const Tree::Entry& e : v.entries()) {
    const Tree* property = properties->find(e.key);
    if (property == nullptr) return why = "unknown key " + e.key, false;
    if (!valid(e.value, *property, why)) return why = e.key + ": " + why, false;
  }
  if (const Tree* required = schema.find("required"))
    for (const Tree& key : required->items())
      if (v.find(key.text()) == nullptr) return why = "lacks " + key.text(), false;
  return true;
}

bool valid_scalar(const Tree& v, const Tree& schema, std::string& why) {
  const Tree* low = schema.find("minimum");
  const Tree* high = schema.find("maximum");
  if (v.is_scalar() && parse_double(v.text()).has_value()) {
    const double n = std::stod(v.text());
    if (low != nullptr && n < std::stod(low->text()))
      return why = v.text() + " is too small", false;
    if (high != nullptr && n > std::stod(high->text()))
      return why = v.text() + " is too large", false;
  }
  return true;
}

bool valid(const Tree& v, const Tree& schema, std::string& why) {
  static const std::vector<std::string> kKnown{
      "$schema", "title",   "description", "default",  "type",
      "enum",    "const",   "properties",  "required", "additionalProperties",
      "items",   "minimum", "maximum",     "anyOf",    "oneOf"};
  for (const Tree::Entry& e : schema.entries())
    EXPECT_NE(std::find(kKnown.begin(), kKnown.end(), e.key), kKnown.end())
        << "the checker does not know " << e.key;
  if (const Tree* type = schema.find("type")) {
    const bool good = type->is_list()
                          ? any_item(*type, [&](const Tree& t) { return is_type(v, t.text()); })
                          : is_type(v, type->text());
    if (!good) return why = "wrong type, expected " + to_json(*type), false;
  }
  if (const Tree* names = schema.find("enum");
      names != nullptr &&
      !any_item(*names, [&](const Tree& t) { return v.is_scalar() && t.text() == v.text(); }))
    return why = "none of " + to_json(*names), false;
  if (const Tree* only = schema.find("const");
      only != nullptr && (!v.is_scalar() || v.text() != only->text()))
    return why = "not " + only->text(), false;
  if (const Tree* items = schema.find("items"); items != nullptr && v.is_list())
    for (const Tree& item : v.items())
      if (!valid(item, *items, why)) return false;
  for (const char* keyword : {"anyOf", "oneOf"})
    if (const Tree* all = schema.find(keyword)) {
      std::string reasons, one;
      int matches = 0;
      for (const Tree& s : all->items())
        if (valid(v, s, one))
          ++matches;
        else
          reasons += "; " + one;
      if (matches == 0) return why = "fits no alternative" + reasons, false;
      if (std::string_view(keyword) == "oneOf" && matches > 1)
        return why = "fits several alternatives", false;
    }
  return valid_object(v, schema, why) && valid_scalar(v, schema, why);
}

Tree yaml(const std::string& text) {
  Diagnostics d;
  Tree t = parse_yaml(text, "test", d);
  d.throw_if_any();
  return t;
}

std::string complaint(const std::string& scenario) {
  std::string why;
  return valid(yaml(scenario), scenario_schema(), why) ? "" : why;
}

// Every field is a property, with its text.
void expect_fields(const std::vector<FieldInfo>& fields, const Tree& schema,
                   const std::string& path) {
  const Tree* properties = schema.find("properties");
  ASSERT_NE(properties, nullptr) << path;
  ASSERT_NE(schema.find("additionalProperties"), nullptr) << path;
  EXPECT_EQ(schema.find("additionalProperties")->text(), "false") << path;
  for (const FieldInfo& f : fields) {
    const Tree* property = properties->find(f.name);
    ASSERT_NE(property, nullptr) << path << "." << f.name;
    ASSERT_NE(property->find("description"), nullptr) << path << "." << f.name;
    EXPECT_TRUE(property->find("description")->text().starts_with(f.text)) << f.text;
    if (f.type.shape == TypeInfo::Shape::map && !f.type.is_open) {
      const Tree* either = property->find("anyOf");  // behind the short form, where there is one
      expect_fields(f.type.fields, either == nullptr ? *property : either->items()[1],
                    path + "." + f.name);
    }
    if (f.type.shape != TypeInfo::Shape::choice) continue;
    for (const PluginInfo* p : Registry::instance().of_kind(f.type.plugin_kind)) {
      const bool found = any_item(*property->find("oneOf"), [&](const Tree& one) {
        const Tree* title = one.find("title");
        if (title == nullptr || title->text() != p->kind + " " + p->name) return false;
        expect_fields(p->fields, one, path + "." + f.name + "." + p->name);
        return true;
      });
      EXPECT_TRUE(found) << p->kind << " " << p->name;
    }
  }
}

TEST(JsonSchema, HoldsEveryField) {
  const cli_test::Result r = cli_test::kvsim({"schema"});
  EXPECT_EQ(r.code, 0);
  const Tree t = yaml(r.out);  // JSON is YAML
  EXPECT_EQ(to_json(t), to_json(scenario_schema()));
  EXPECT_EQ(t.find("$schema")->text(), "https://json-schema.org/draft/2020-12/schema");
  expect_fields(describe_fields<Scenario>(), t, "");
  expect_fields(describe_fields<GeneratorParams>(),
                *t.find("properties")->find("workload")->find("properties")->find("generate"),
                "generate");
}

TEST(JsonSchema, AcceptsEveryExample) {
  for (const std::string& file : cli_test::scenario_files())
    EXPECT_EQ(complaint(cli_test::read_file(file)), "") << file;
}

TEST(JsonSchema, AcceptsWhatTheProgramAccepts) {
  for (const char* text : {"router: least-loaded",
                           "router: {}",
                           "router: {policy: least-loaded, by: tokens}",
                           "model: my/model.yaml",
                           "model: meta-llama/Llama-3.1-8B-Instruct",
                           "deployment: {hardware: h100}",
                           "model: {hf_config: c.json}",
                           "model: {base: llama-3.1-8b, layers: 4}",
                           "deployment: {hardware: {base: h100-sxm, memory: 40 GiB}}",
                           "deployment: {hardware: {base: dgx-h100, devices: 4}}",
                           "deployment: {hardware: a.yml}",
                           "slo: {ttft: 0, tpot: 50 ms}",
                           "engine: {gpu_memory_utilization: 0.9}",
                           "engine: {gpu_memory_utilization: 90 %}",
                           "engine: {graph_sizes: [1, 2, 4]}",
                           "name: 12",
                           "weights: fp8",
                           "include: [a.yaml, b.yaml]",
                           "workload: {trace: {file: a, format: token-ids, outputs_known: false}}",
                           "cost: {model: layer-profile, path: profile}",
                           "cost: layer-profile"})
    EXPECT_EQ(complaint(text), "") << text;
}

TEST(JsonSchema, RefusesWhatTheProgramRefuses) {
  const std::pair<const char*, const char*> kWrong[] = {
      {"engin: {}", "unknown key engin"},
      {"engine: {block_token: 16}", "unknown key block_token"},
      {"engine: {block_tokens: 16.5}", "wrong type"},
      {"engine: {block_tokens: 0}", "too small"},
      {"engine: {graph_sizes: [0]}", "too small"},
      {"engine: {graph_sizes: 3}", "wrong type"},
      {"engine: {cuda_graphs: 1}", "wrong type"},
      {"engine: {preset: vllm}", "none of"},
      {"engine: {overhead: 150}", "fits no alternative"},
      {"cache: {dtype: bf17}", "none of"},
      {"cache: {prefix: {index: tree}}", "none of"},
      {"router: {policy: nobody}", "fits no alternative"},
      {"router: {policy: round-robin, by: tokens}", "unknown key by"},
      {"router: {by: tokens}", "lacks policy"},
      {"model: {layrs: 4}", "unknown key layrs"},
      {"workload: {trace: {format: mooncake}}", "lacks file"},
      {"workload: {trace: {file: a}}", "lacks format"},
      {"workload: {trace: mooncake}", "wrong type"},
      {"workload: {generate: {promt: {}}}", "unknown key promt"},
      {"workload: {generate: {prompt: {law: gauss}}}", "none of"},
      {"kvsim: 2", "too large"}};
  for (const auto& [text, reason] : kWrong) {
    const std::string why = complaint(text);
    EXPECT_NE(why.find(reason), std::string::npos) << text << ": " << why;
    Diagnostics d;  // and so does the program
    Tree tree = yaml(text);
    if (tree.find("workload") == nullptr) tree.set("workload", yaml("generate: {}"));
    const LoadedScenario loaded = read_scenario(std::move(tree), "", {}, d);
    build_run(loaded, true, d);
    EXPECT_FALSE(d.empty()) << text;
  }
}

}  // namespace
}  // namespace kvsim
