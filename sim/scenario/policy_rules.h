#pragma once
// A mapping that holds a plug-in's name, its parameters, and rules that hold whatever the plug-in:
// {policy: NAME, ...parameters, ...rules}.
#include <algorithm>
#include <string>
#include <vector>

#include "sim/base/registry.h"

namespace kvsim {

template <class Rules>
bool read_policy_and_rules(const char* kind, const char* example, const Tree& t, std::string& name,
                           Tree& params, Rules& rules, Reader& r) {
  if (!t.is_map()) {
    r.error(t, "expected a map of key: value", example);
    return false;
  }
  const std::size_t before = r.diagnostics().all().size();
  bool known = true;
  if (const Tree* given = t.find("policy")) {
    const Reader::Scope scope(r, "policy");
    std::string text;
    known = Codec<std::string>::read(*given, text, r);
    if (known && Registry::instance().find(kind, text) == nullptr) {
      r.error(*given, std::string("unknown ") + kind + " '" + text + "'",
              name_hint(text, Registry::instance().names(kind)));
      known = false;
    }
    if (known) name = text;
  }
  Tree ruled = Tree::map(), rest = Tree::map();
  std::vector<std::string> ours{"policy"};
  for (const FieldInfo& f : describe_fields<Rules>()) ours.push_back(f.name);
  for (const Tree::Entry& e : t.entries()) {
    if (e.key == "policy") continue;
    const bool is_rule = std::find(ours.begin(), ours.end(), e.key) != ours.end();
    (is_rule ? ruled : rest).set(e.key, e.value, e.key_place);
  }
  const PluginInfo* info = Registry::instance().find(kind, name);
  read_fields(rules, ruled, r);
  if (known) params = info->resolve(rest, r, ours);
  return r.diagnostics().all().size() == before;
}

}  // namespace kvsim
