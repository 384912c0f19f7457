#include "sim/scenario/scenario.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "sim/scenario/catalog.h"
#include "sim/scenario/yaml.h"

namespace kvsim {

KVSIM_FIELDS_HERE(Scenario)

bool Codec<ExpertRanks>::read(const Tree& t, ExpertRanks& out, Reader& r) {
  if (t.is_scalar() && (t.text() == "true" || t.text() == "false"))
    return out.count = t.text() == "true" ? 0 : 1, true;
  std::int64_t n = 0;
  if (!detail::expect_scalar(t, r, "a number of ranks, true or false")) return false;
  const auto given = parse_int(t.text());
  if (given) n = *given;
  if (n < 1 || n > 65536) {
    r.error(t, "read '" + t.text() + "', expected a number of ranks from 1, true or false");
    return false;
  }
  out.count = static_cast<int>(n);
  return true;
}

Tree Codec<ExpertRanks>::write(const ExpertRanks& v) {
  return Tree::scalar(v.count == 0 ? "true" : std::to_string(v.count));
}

TypeInfo Codec<ExpertRanks>::info() {
  return detail::scalar_type("number of ranks, true or false", "number or boolean");
}

// `preemption: swap` is short for `preemption: {mode: swap}`.
bool Codec<PreemptionSpec>::read(const Tree& t, PreemptionSpec& out, Reader& r) {
  return t.is_scalar() ? Codec<PreemptionMode>::read(t, out.mode, r) : read_fields(out, t, r);
}

Tree Codec<PreemptionSpec>::write(const PreemptionSpec& v) { return write_fields(v); }

TypeInfo Codec<PreemptionSpec>::info() {
  TypeInfo i;
  i.shape = TypeInfo::Shape::map;
  i.name = "a preemption mode, or a mapping";
  i.names = Codec<PreemptionMode>::info().names;
  i.fields = describe_fields<PreemptionSpec>();
  return i;
}

// ---- a trace: our own keys, the rest belongs to the format

bool Codec<TraceSpec>::read(const Tree& t, TraceSpec& out, Reader& r) {
  if (!t.is_map()) {
    r.error(t, "expected {file: PATH, format: NAME}");
    return false;
  }
  bool good = true;
  Tree rest = t;
  if (const Tree* file = t.find("file")) {
    const Reader::Scope scope(r, "file");
    good = Codec<std::string>::read(*file, out.file, r) && good;
  }
  if (out.file.empty() && good) {
    r.error(t, "has no 'file'");
    good = false;
  }
  if (const Tree* lenient = t.find("lenient")) {
    const Reader::Scope scope(r, "lenient");
    good = Codec<bool>::read(*lenient, out.lenient, r) && good;
  }
  rest.erase("file");
  rest.erase("lenient");
  return Codec<Choice<"trace-format", "format">>::read(rest, out.format, r) && good;
}

Tree Codec<TraceSpec>::write(const TraceSpec& v) {
  Tree t = Tree::map();
  t.set("file", Tree::scalar(v.file));
  t.set("lenient", Codec<bool>::write(v.lenient));
  return Tree::merged(std::move(t), Codec<Choice<"trace-format", "format">>::write(v.format));
}

TypeInfo Codec<TraceSpec>::info() {
  TypeInfo i = Codec<Choice<"trace-format", "format">>::info();
  i.name = "a trace file";
  detail::add_row(i.fields, "file", "path of the trace; relative to the scenario", {},
                  Codec<std::string>::info(), {});
  detail::add_row(i.fields, "lenient", "skip and count broken records instead of stopping", {},
                  Codec<bool>::info(), Codec<bool>::write(false));
  return i;
}

namespace {

constexpr int kMostIncludes = 8;  // levels

// Merges the files named by `include:` under the tree.
Tree expand_includes(Tree t, const std::string& base_dir, int level, Diagnostics& d) {
  const Tree* include = t.find("include");
  if (include == nullptr) return t;
  const Tree list = *include;
  t.erase("include");
  if (level >= kMostIncludes) {
    d.add(list.place(), "include", "files include each other more than 8 levels deep");
    return t;
  }
  Tree base = Tree::map();
  const auto add = [&](const Tree& name) {
    if (!name.is_scalar())
      return d.add(name.place(), "include", "expected a path or a list of paths");
    const std::string path = resolve_path(base_dir, name.text());
    Tree part = load_named_file(name, base_dir, "include", d);
    base = Tree::merged(
        std::move(base),
        expand_includes(std::move(part), std::filesystem::path(path).parent_path().string(),
                        level + 1, d));
  };
  if (list.is_list()) {
    for (const Tree& name : list.items()) add(name);
  } else {
    add(list);
  }
  return Tree::merged(std::move(base), t);
}

void relocate(Tree& t, const Place& place) {
  t.set_place(place);
  for (Tree& item : t.items()) relocate(item, place);
  for (const Tree::Entry& e : std::vector<Tree::Entry>(t.entries())) {
    relocate(*t.find(e.key), place);
  }
}

// "engine.max_running=64", "workload.trace.file=x.jsonl", "a.0.b=1": the value is YAML.
void apply_override(Tree& root, const std::string& text, Diagnostics& d) {
  const Place place{std::make_shared<const std::string>("--set " + text), 0, 0};
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0) {
    d.add(place, "", "expected PATH=VALUE, such as engine.max_running=64");
    return;
  }
  Tree value = parse_yaml(text.substr(equals + 1), "--set " + text, d);
  relocate(value, place);
  Tree* at = &root;
  const std::string_view whole = std::string_view(text).substr(0, equals);
  std::string_view path = whole;
  while (true) {
    const std::size_t dot = path.find('.');
    const std::string key(path.substr(0, dot));
    if (key.empty())
      return d.add(place, std::string(whole), "has an empty name between its dots",
                   "for example engine.max_running=64");
    if (at->is_list()) {
      const auto index = parse_int(key);
      if (!index || *index < 0 || static_cast<std::size_t>(*index) >= at->items().size()) {
        const std::string_view list = whole.substr(0, whole.size() - path.size() + key.size());
        return d.add(
            place, std::string(list),
            fmt::format("no such element: the list has {}, counted from 0", at->items().size()));
      }
      at = &at->items()[static_cast<std::size_t>(*index)];
      if (dot == std::string_view::npos) *at = value;
    } else {
      // A bare name (router: least-loaded) cannot take further keys: it becomes the mapping it
      // stands for.
      if (at->is_scalar()) {
        Tree map = Tree::map(place);
        map.set("base", *at);
        *at = std::move(map);
      }
      Tree* next = at->find(key);
      if (next == nullptr) next = &at->set(key, Tree{}, place);
      at = next;
      if (dot == std::string_view::npos) *at = value;
    }
    if (dot == std::string_view::npos) return;
    path.remove_prefix(dot + 1);
  }
}

// What of the KV cache belongs to an engine goes under what the file says of it; another memory
// manager or list of tiers takes the place of the engine's.
void apply_cache_of_engine(Tree& root, Tree cache) {
  const Tree* found = root.find("cache");
  const Tree given = found == nullptr || found->is_null() ? Tree::map() : *found;
  if (!given.is_map()) return;  // reported by the reader
  for (const char* key : {"memory", "tiers"})
    if (given.find(key) != nullptr) cache.erase(key);
  root.set("cache", Tree::merged(std::move(cache), given));
}

// The engine's preset goes under what the file says.
void apply_preset(Tree& root, Diagnostics& d) {
  Tree* engine = root.find("engine");
  if (engine != nullptr && !engine->is_map() && !engine->is_null())
    return;  // reported by the reader
  const Tree* named = engine == nullptr ? nullptr : engine->find("preset");
  if (named != nullptr && !named->is_scalar()) return;
  const std::string id = named == nullptr ? EngineSpec{}.preset : named->text();
  Tree preset = load_catalog(CatalogKind::preset, id, named == nullptr ? Place{} : named->place(),
                             "engine.preset", d);
  preset.erase("text");
  preset.erase("source");
  const Tree* under = preset.find("cache");
  const Tree cache = under == nullptr ? Tree{} : *under;
  preset.erase("cache");
  Tree merged = Tree::merged(std::move(preset), engine == nullptr ? Tree::map() : *engine);
  merged.set("preset", Tree::scalar(id));
  root.set("engine", std::move(merged));  // `engine` and `named` end here
  if (!cache.is_null()) apply_cache_of_engine(root, cache);
}

// The cache's preset goes under `offload`, and under each tier by its kind.
void apply_cache_preset(Tree& root, Diagnostics& d) {
  Tree* cache = root.find("cache");
  if (cache == nullptr || !cache->is_map()) return;
  const Tree* named = cache->find("preset");
  if (named == nullptr || !named->is_scalar() || named->text().empty()) return;
  const Tree preset =
      load_catalog(CatalogKind::cache_preset, named->text(), named->place(), "cache.preset", d);
  if (const Tree* offload = preset.find("offload")) {
    const Tree* given = cache->find("offload");
    cache->set("offload", Tree::merged(*offload, given == nullptr ? Tree::map() : *given));
  }
  const Tree* kinds = preset.find("tiers");
  Tree* tiers = cache->find("tiers");
  if (kinds == nullptr || tiers == nullptr || !tiers->is_list()) return;
  for (Tree& tier : tiers->items()) {
    if (!tier.is_map()) continue;
    const Tree* kind = tier.find("kind") != nullptr ? tier.find("kind") : tier.find("name");
    if (kind == nullptr || !kind->is_scalar()) continue;
    if (const Tree* under = kinds->find(kind->text())) {
      const Place place = tier.place();
      tier = Tree::merged(*under, tier);
      tier.set_place(place);
    }
  }
}

}  // namespace

LoadedScenario read_scenario(Tree tree, const std::string& base_dir,
                             const std::vector<std::string>& overrides, Diagnostics& d) {
  LoadedScenario out;
  out.base_dir = base_dir;
  tree = expand_includes(std::move(tree), base_dir, 0, d);
  if (tree.is_null()) tree = Tree::map(tree.place());
  if (!tree.is_map()) {
    d.add(tree.place(), "", "a scenario is a map of key: value");
    return out;
  }
  for (const std::string& text : overrides) apply_override(tree, text, d);
  apply_preset(tree, d);
  apply_cache_preset(tree, d);
  Reader r(d);
  read_fields(out.value, tree, r);
  if (!out.value.variants.is_null())
    r.error_at(out.value.variants.place(), "variants", "this file describes several runs",
               "`kvsim run` and `kvsim check` take it; for others keep one of them");
  if (out.value.workload.trace.has_value() && !out.value.workload.generate.is_null())
    r.error_at(tree.find("workload")->place(), "workload", "has both 'trace' and 'generate'",
               "keep one of them");
  const Tree* workload = tree.find("workload");
  const auto lacks = [&](const char* key) {
    const Tree* given = workload->find(key);
    return given == nullptr || given->is_null();
  };
  if (workload == nullptr || workload->is_null() ||
      (workload->is_map() && lacks("trace") && lacks("generate")))
    r.error_at(workload == nullptr ? tree.place() : workload->place(), "workload",
               "has neither 'trace' nor 'generate'",
               "for example: workload: {trace: {file: requests.jsonl, format: mooncake}}");
  out.tree = std::move(tree);
  return out;
}

LoadedScenario load_scenario(const std::string& path, const std::vector<std::string>& overrides,
                             Diagnostics& d) {
  const std::size_t before = d.all().size();
  Tree tree = load_yaml(path, d);
  if (d.all().size() != before) return {};
  return read_scenario(std::move(tree), std::filesystem::path(path).parent_path().string(),
                       overrides, d);
}

Tree load_mapping(const std::string& path, const std::vector<std::string>& overrides,
                  Diagnostics& d) {
  const std::size_t before = d.all().size();
  Tree tree = load_yaml(path, d);
  if (d.all().size() != before) return {};
  tree = expand_includes(std::move(tree), std::filesystem::path(path).parent_path().string(), 0, d);
  if (!tree.is_map()) {
    d.add(tree.place(), "", "expected a map of key: value");
    return {};
  }
  for (const std::string& text : overrides) apply_override(tree, text, d);
  return tree;
}

}  // namespace kvsim
