#include "policies/token/system.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <memory>

namespace kvsim::token {

namespace {

std::deque<TokenSystem>& all() {
  static std::deque<TokenSystem> systems;
  return systems;
}

bool names_plugin(const Tree& t) {
  for (const char* key : {"by", "allocator", "summary", "base"})
    if (t.find(key) != nullptr) return true;
  return false;
}

// Given keys over a section's: a mapping with further parameters adds to the plug-in that the
// section names, one that names a plug-in replaces it.
Tree overlaid(Tree section, const Tree& given) {
  for (const Tree::Entry& e : given.entries()) {
    const Tree* before = section.find(e.key);
    const bool adds =
        before != nullptr && before->is_map() && e.value.is_map() && !names_plugin(e.value);
    section.set(e.key, adds ? Tree::merged(*before, e.value) : e.value, e.key_place);
  }
  return section;
}

// `budget: 20 %` is short for `budget: {size: 20 %}`.
Tree section_tree(const Tree::Entry& e) {
  if (e.key != "budget" || !e.value.is_scalar()) return e.value;
  Tree t = Tree::map(e.value.place());
  t.set("size", e.value);
  return t;
}

TokenPolicies read_system(const TokenPolicies& preset, const Tree& given, Reader& r,
                          std::vector<std::string> also_valid) {
  Tree whole = write_fields(preset);
  for (const Tree::Entry& e : given.entries()) {
    const Tree* before = whole.find(e.key);
    const Tree value = section_tree(e);
    const bool over = before != nullptr && before->is_map() && value.is_map();
    whole.set(e.key, over ? overlaid(*before, value) : value, e.key_place);
  }
  TokenPolicies p;
  read_fields(p, whole, r, std::move(also_valid));
  return p;
}

std::string shown(const Tree& value) {
  if (value.is_scalar()) return value.text();
  if (!value.is_map()) return to_json(value);
  // A plug-in: its name, then its parameters.
  std::string name, rest;
  for (const Tree::Entry& e : value.entries()) {
    if (e.key == "by" || e.key == "allocator" || e.key == "summary")
      name = e.value.text();
    else
      rest += (rest.empty() ? "" : ", ") + e.key + " " + shown(e.value);
  }
  return rest.empty() ? name : fmt::format("{} ({})", name, rest);
}

// Only the sections that the system sets, with its values as their defaults.
std::vector<FieldInfo> fields_of(const TokenPolicies& preset) {
  // Every program describes all systems before it begins: once for all of them.
  static const std::vector<FieldInfo> kSections = describe_fields<TokenPolicies>();
  const Tree values = write_fields(preset);
  std::vector<FieldInfo> out;
  for (const FieldInfo& section : kSections) {
    const Tree* set = values.find(section.name);
    if (set == nullptr) continue;
    for (FieldInfo& f : out.emplace_back(section).type.fields) {
      const Tree* value = set->find(f.name);
      f.default_text = value == nullptr ? "" : shown(*value);
    }
  }
  return out;
}

}  // namespace

std::vector<const TokenSystem*> token_systems() {
  std::vector<const TokenSystem*> sorted;
  for (const TokenSystem& s : all()) sorted.push_back(&s);
  std::sort(sorted.begin(), sorted.end(),
            [](const auto* a, const auto* b) { return a->info.name < b->info.name; });
  return sorted;
}

const TokenSystem* find_token_system(std::string_view name) {
  for (const TokenSystem& s : all())
    if (s.info.name == name) return &s;
  return nullptr;
}

std::string parameter_summary(const TokenPolicies& p) {
  const Tree values = write_fields(p);
  TokenPolicies plain;
  if (p.select) plain.select.emplace();
  if (p.retrieve) plain.retrieve.emplace();
  if (p.budget) plain.budget.emplace();
  if (p.merge) plain.merge.emplace();
  if (p.low_rank) plain.low_rank.emplace();
  if (p.quantize) plain.quantize.emplace();
  const Tree defaults = write_fields(plain);
  std::string text;
  for (const Tree::Entry& section : values.entries()) {
    std::string part;
    for (const Tree::Entry& e : section.value.entries()) {
      const Tree* usual = defaults.find(section.key)->find(e.key);
      const bool names = e.value.is_map();  // what a section is about is always worth a word
      if (!names && usual != nullptr && to_json(*usual) == to_json(e.value)) continue;
      part += fmt::format("{}{} {}", part.empty() ? "" : ", ", e.key, shown(e.value));
    }
    text += fmt::format("{}{}: {}", text.empty() ? "" : "; ", section.key, part);
  }
  return text;
}

RegisterSystem::RegisterSystem(SystemInfo info, TokenPolicies preset) {
  all().push_back({info, preset});
  const TokenSystem* system = &all().back();
  PluginInfo plugin;
  plugin.kind = TokenPolicies::kKind;
  plugin.name = info.name;
  plugin.text = info.text;
  plugin.source = info.source;
  plugin.fields = fields_of(preset);
  plugin.resolve = [system](const Tree& t, Reader& r, std::vector<std::string> also_valid) {
    return write_fields(read_system(system->policies, t, r, std::move(also_valid)));
  };
  Registry::instance().add(std::move(plugin));
}

}  // namespace kvsim::token
