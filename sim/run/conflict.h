#pragma once
// What a setting of a scenario does not go with: one error each, under the setting's key.
#include <initializer_list>
#include <string_view>

#include "sim/base/diagnostics.h"
#include "sim/base/tree.h"

namespace kvsim {

struct Conflict {
  bool is_there = false;
  const char* with = "";  // or the whole reason, where `lead` is empty
  const char* cure = "";
};
inline constexpr std::string_view kDoesNotGoWith = "does not go with ";

// Reports "<lead><with>" of those that are there; whether there is none.
bool check_conflicts(std::initializer_list<Conflict>, std::string_view lead, const Tree& scenario,
                     const char* key, Diagnostics&);

}  // namespace kvsim
