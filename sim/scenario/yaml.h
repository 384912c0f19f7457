#pragma once
// YAML and JSON text to Tree (yaml-cpp, hidden). Mistakes go to Diagnostics with their place;
// duplicate keys are mistakes. Limits against hostile files: 64 MiB of text, 100 levels, 2 million
// nodes after aliases are expanded.
#include <string>
#include <string_view>

#include "sim/base/diagnostics.h"
#include "sim/base/tree.h"

namespace kvsim {

// A null tree and at least one diagnostic when the text cannot be parsed.
Tree parse_yaml(std::string_view text, const std::string& name, Diagnostics&);
// The same for a file; relative paths are taken from the working directory.
Tree load_yaml(const std::string& path, Diagnostics&);
// Whole small file as text; a diagnostic and "" when it cannot be read.
std::string read_text_file(const std::string& path, Diagnostics&);

}  // namespace kvsim
