#include "sim/cli/output_path.h"

#include <cctype>

namespace kvsim {

std::string default_output(const std::string& name, const std::string& verb) {
  std::string file;
  for (const char c : name)
    file += std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' || c == '.'
                ? c
                : '_';
  if (file.empty() || file.front() == '.') file = verb + file;
  return "out/" + file.substr(0, 200) + ".db";
}

}  // namespace kvsim
