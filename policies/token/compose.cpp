#include "policies/token/compose.h"

#include <fmt/format.h>

#include <algorithm>

#include "policies/token/system.h"

namespace kvsim::token {

namespace {

// Stages of a scenario and the sections that each brings, the one first that takes its parameters.
struct Stage {
  const char* name;
  std::vector<std::string> sections;
};
const std::vector<Stage>& stages() {
  static const std::vector<Stage> kAll{{"select", {"select", "retrieve", "budget"}},
                                       {"retrieve", {"retrieve", "budget"}},
                                       {"budget", {"budget"}},
                                       {"merge", {"merge"}},
                                       {"low-rank", {"low-rank"}},
                                       {"quantize", {"quantize"}}};
  return kAll;
}

std::vector<std::string> stage_names() {
  std::vector<std::string> names;
  for (const Stage& s : stages()) names.emplace_back(s.name);
  return names;
}

// Sections that a value fills.
std::vector<std::string> filled(const TokenPolicies& p) {
  std::vector<std::string> names;
  const Tree written = write_fields(p);
  for (const Tree::Entry& e : written.entries()) names.push_back(e.key);
  return names;
}

std::string joined(const std::vector<std::string>& words) {
  std::string all;
  for (const std::string& w : words) all += (all.empty() ? "" : ", ") + w;
  return all;
}

const TokenSystem* system_at(const Tree& name, Reader& r) {
  if (!name.is_scalar()) {
    r.error(name, "expected the name of a token policy", "kvsim list token-policies shows them");
    return nullptr;
  }
  const TokenSystem* s = find_token_system(name.text());
  if (s == nullptr)
    r.error(name, fmt::format("unknown token policy '{}'", name.text()),
            name_hint(name.text(), Registry::instance().names(TokenPolicies::kKind)));
  return s;
}

TokenPolicies made(const std::string& name, const Tree& overrides, Reader& r) {
  const PluginInfo* info = Registry::instance().find(TokenPolicies::kKind, name);
  Tree resolved = info->resolve(overrides, r, {});
  TokenPolicies p;
  Diagnostics ignored;
  Reader quiet(ignored);
  read_fields(p, resolved, quiet);
  return p;
}

// Moves the sections of `from` that are wanted into `to`; two items must not fill one.
template <class T>
void move_section(const char* name, std::optional<T>& to, std::optional<T>& from, bool wanted,
                  const Tree& at, Reader& r) {
  if (!wanted || !from) return;
  if (to)
    return r.error(at, fmt::format("'{}' is set by an item before", name),
                   "one item of the list may set it; give its parameters there");
  to = std::move(from);
}

void add_sections(TokenPolicies& to, TokenPolicies from, const std::vector<std::string>& wanted,
                  const Tree& at, Reader& r) {
  const auto has = [&](const char* name) {
    return wanted.empty() || std::find(wanted.begin(), wanted.end(), name) != wanted.end();
  };
  move_section("select", to.select, from.select, has("select"), at, r);
  move_section("retrieve", to.retrieve, from.retrieve, has("retrieve"), at, r);
  move_section("budget", to.budget, from.budget, has("budget"), at, r);
  move_section("merge", to.merge, from.merge, has("merge"), at, r);
  move_section("low-rank", to.low_rank, from.low_rank, has("low-rank"), at, r);
  move_section("quantize", to.quantize, from.quantize, has("quantize"), at, r);
}

// {quantize: {policy: kivi, bits: 2}}: the stage's own parameters stand beside the name.
void read_stage(const Stage& stage, const Tree& value, TokenPolicies& out, Reader& r) {
  // The section's own name stands in the paths of what is wrong in it.
  const auto error = [&](const Tree& at, std::string text, std::string hint = {}) {
    const Reader::Scope scope(r, stage.name);
    r.error(at, std::move(text), std::move(hint));
  };
  if (!value.is_scalar() && !value.is_map())
    return error(value, "expected the name of a token policy, or a mapping");
  const Tree* name = value.is_scalar() ? &value : value.find("policy");
  TokenPolicies preset;
  std::string section = stage.sections.front();
  if (name != nullptr) {
    const TokenSystem* s = system_at(*name, r);
    if (s == nullptr) return;
    const std::vector<std::string> has = filled(s->policies);
    const auto found =
        std::find_if(stage.sections.begin(), stage.sections.end(), [&](const std::string& one) {
          return std::find(has.begin(), has.end(), one) != has.end();
        });
    if (found == stage.sections.end())
      return error(*name, fmt::format("'{}' has no stage {}", s->info.name, stage.name),
                   fmt::format("it sets {}", joined(has)));
    section = *found;
  }
  // Own parameters go to the section, `budget` beside a selection to that.
  Tree overrides = Tree::map(), own = Tree::map();
  const std::vector<Tree::Entry> given =
      value.is_map() ? value.entries() : std::vector<Tree::Entry>{};
  for (const Tree::Entry& e : given) {
    if (e.key == "policy") continue;
    const bool is_budget = e.key == "budget" && section != "budget";
    (is_budget ? overrides : own).set(e.key, e.value, e.key_place);
  }
  own.set_place(value.place());
  if (!own.entries().empty() || name == nullptr) overrides.set(section, own);
  if (name != nullptr) {
    preset = made(name->text(), overrides, r);
  } else {
    if (Tree* size = overrides.find("budget"); size != nullptr && size->is_scalar()) {
      Tree mapped = Tree::map();
      mapped.set("size", *size);
      *size = mapped;
    }
    read_fields(preset, overrides, r);
  }
  add_sections(out, std::move(preset), stage.sections, value, r);
}

void read_item(const Tree& item, TokenPolicies& out, Reader& r) {
  if (item.is_scalar()) {
    if (const TokenSystem* s = system_at(item, r))
      add_sections(out, made(s->info.name, Tree::map(), r), {}, item, r);
    return;
  }
  if (!item.is_map())
    return r.error(item, "expected the name of a token policy, or a mapping",
                   "such as snapkv, or {quantize: {policy: kivi, bits: 2}}");
  if (const Tree* name = item.find("policy")) {
    const TokenSystem* s = system_at(*name, r);
    if (s == nullptr) return;
    Tree overrides = item;
    overrides.erase("policy");
    return add_sections(out, made(s->info.name, overrides, r), {}, item, r);
  }
  for (const Tree::Entry& e : item.entries()) {
    const auto stage = std::find_if(stages().begin(), stages().end(),
                                    [&](const Stage& s) { return e.key == s.name; });
    if (stage == stages().end()) {
      std::vector<std::string> valid = stage_names();
      valid.emplace_back("policy");
      r.error_at(e.key_place, e.key, fmt::format("unknown stage '{}'", e.key),
                 name_hint(e.key, valid));
      continue;
    }
    read_stage(*stage, e.value, out, r);
  }
}

}  // namespace

TokenPolicies read_token_policies(const Tree& t, Reader& r) {
  TokenPolicies out;
  if (t.is_null()) return out;
  if (!t.is_list()) {
    read_item(t, out, r);
    return out;
  }
  for (std::size_t i = 0; i < t.items().size(); ++i) {
    const Reader::Scope scope(r, std::to_string(i));
    read_item(t.items()[i], out, r);
  }
  return out;
}

Tree write_token_policies(const TokenPolicies& p) {
  Tree list = Tree::list();
  const Tree sections = write_fields(p);
  for (const Tree::Entry& e : sections.entries()) {
    Tree item = Tree::map();
    item.set(e.key, e.value);
    list.push(std::move(item));
  }
  return list;
}

}  // namespace kvsim::token
