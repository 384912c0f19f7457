#pragma once
// Reading the models that ship with the program, for tests.
#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "models/model.h"
#include "sim/scenario/yaml.h"

namespace kvsim::test {

inline std::string catalogue_dir() { return std::string(KVSIM_SOURCE_DIR) + "/models/catalog/"; }

// Throws InputError when the file does not give a valid model.
inline ModelSpec catalogue(const std::string& name) {
  Diagnostics d;
  Reader r(d);
  ModelSpec m;
  read_model(load_yaml(catalogue_dir() + name + ".yaml", d), m, r);
  d.throw_if_any();
  return m;
}

inline std::vector<std::string> catalogue_names() {
  std::vector<std::string> names;
  for (const auto& e : std::filesystem::directory_iterator(catalogue_dir()))
    if (e.path().extension() == ".yaml") names.push_back(e.path().stem().string());
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace kvsim::test
