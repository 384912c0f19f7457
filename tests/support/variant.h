#pragma once
// A plug-in with parameters, as the conformance suites run them.
#include <cctype>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sim/base/registry.h"

namespace kvsim::test {

struct Variant {
  std::string name;
  std::vector<std::pair<std::string, std::string>> params;
};

inline std::vector<Variant> variants_of(const char* kind) {
  std::vector<Variant> all;
  for (const std::string& name : Registry::instance().names(kind)) all.push_back({name, {}});
  return all;
}

inline std::string text_of(const Variant& v) {
  std::string text = v.name;
  for (const auto& [key, value] : v.params) text += " " + key + "=" + value;
  return text;
}

// For INSTANTIATE_TEST_SUITE_P: letters, digits and underscores.
inline std::string test_name_of(const Variant& v) {
  std::string name = text_of(v);
  for (char& c : name)
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  return name;
}

}  // namespace kvsim::test
