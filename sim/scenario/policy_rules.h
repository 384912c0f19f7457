#pragma once
// A mapping that holds a plug-in's name, its parameters, and rules that hold whatever the plug-in:
// {policy: NAME, ...parameters, ...rules}.
#include <algorithm>
#include <string>
#include <vector>

#include "sim/base/registry.h"

namespace kvsim {

template <FixedString Kind, FixedString Default, class Rules>
struct PolicyAndRules {
  Choice<Kind, "policy"> policy{Default.text};
  Rules rules;
};

template <FixedString Kind, FixedString Default, class Rules>
struct Codec<PolicyAndRules<Kind, Default, Rules>> {
  using T = PolicyAndRules<Kind, Default, Rules>;

  static bool read(const Tree& t, T& out, Reader& r) {
    if (!t.is_map()) {
      r.error(t, "expected a map of key: value",
              std::string("such as {policy: ") + Default.text + "}");
      return false;
    }
    const std::size_t before = r.diagnostics().all().size();
    const bool known = read_policy(t, out.policy.name, r);
    Tree ruled = Tree::map(), rest = Tree::map();
    std::vector<std::string> ours{"policy"};
    for (const FieldInfo& f : describe_fields<Rules>()) ours.push_back(f.name);
    for (const Tree::Entry& e : t.entries()) {
      if (e.key == "policy") continue;
      const bool is_rule = std::find(ours.begin(), ours.end(), e.key) != ours.end();
      (is_rule ? ruled : rest).set(e.key, e.value, e.key_place);
    }
    read_fields(out.rules, ruled, r);
    if (known)
      out.policy.params =
          Registry::instance().find(Kind.text, out.policy.name)->resolve(rest, r, ours);
    return r.diagnostics().all().size() == before;
  }
  static Tree write(const T& v) {
    return Tree::merged(Codec<Choice<Kind, "policy">>::write(v.policy), write_fields(v.rules));
  }
  static TypeInfo info() {
    TypeInfo i = choice_info(Kind.text, "policy");
    i.fields = describe_fields<Rules>();
    return i;
  }

 private:
  // False when a plug-in is named that there is not.
  static bool read_policy(const Tree& t, std::string& name, Reader& r) {
    const Tree* given = t.find("policy");
    if (given == nullptr) return true;
    const Reader::Scope scope(r, "policy");
    std::string text;
    if (!Codec<std::string>::read(*given, text, r)) return false;
    if (Registry::instance().find(Kind.text, text) == nullptr) {
      r.error(*given, std::string("unknown ") + Kind.text + " '" + text + "'",
              name_hint(text, Registry::instance().names(Kind.text)));
      return false;
    }
    name = text;
    return true;
  }
};

}  // namespace kvsim
