#pragma once
// What a parameter is, in words: from TypeInfo and FieldInfo (sim/base/fields.h) to help texts,
// tables and JSON.
#include <string>
#include <vector>

#include "sim/base/fields.h"
#include "sim/base/registry.h"

namespace kvsim {

// One value a user may write. Nested maps are spelled out: their values have dotted names.
struct ParameterRow {
  std::string path;     // "engine.scheduler.policy"
  std::string type;     // "duration", "one of fcfs | priority", "list of whole number"
  std::string initial;  // default as it would be written; empty = none
  std::string bounds;   // "1 to 65536"; may be empty
  std::string text;
  bool is_section = false;  // a map whose values follow
};

// `defaults` is the default of the map these fields belong to (nullptr: take FieldInfo's), and wins
// over FieldInfo.
std::vector<ParameterRow> parameter_rows(const std::vector<FieldInfo>&, const Tree* defaults,
                                         const std::string& prefix = {});
// Rows of the whole scenario file, with the fields of `model`, `deployment.hardware` and
// `workload.generate` left to their own pages.
std::vector<ParameterRow> scenario_rows();
std::vector<ParameterRow> quality_rows();
std::vector<ParameterRow> generator_rows();
std::vector<ParameterRow> study_rows();
std::vector<ParameterRow> plugin_rows(const PluginInfo&);

// "a duration such as 150 us or 2 s (units: ...)" as "duration"; other names stay.
std::string short_type(const TypeInfo&);
// Lines for people: "  name = default   (type, bounds)" and the text below.
std::string parameters_text(const std::vector<ParameterRow>&);
// The same as a list of maps.
Tree parameters_json(const std::vector<ParameterRow>&);
// The same as a markdown table: name, type, default, meaning.
std::string parameters_markdown(const std::vector<ParameterRow>&);

// A scalar that stays text in JSON whatever it looks like.
inline Tree json_text(std::string s) { return Tree::scalar(std::move(s), {}, true); }

}  // namespace kvsim
