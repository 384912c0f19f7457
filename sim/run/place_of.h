#pragma once
// Where "engine.max_running" is written in a scenario, or as much of it as somebody wrote. Of a
// list its first item counts.
#include <string_view>

#include "sim/base/tree.h"

namespace kvsim {

[[nodiscard]] Place place_of(const Tree& scenario, std::string_view path);

}  // namespace kvsim
