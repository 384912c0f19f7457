// One file, several runs: `variants: {trace: {a: {...}, b: {...}}, router: {...}}` is every
// combination of one entry of each axis, merged over the rest of the file.
#include <filesystem>

#include "sim/scenario/scenario.h"
#include "sim/scenario/yaml.h"

namespace kvsim {
namespace {

// A file with a broken axis has no runs.
bool check(const Tree& variants, Diagnostics& d) {
  const std::size_t before = d.all().size();
  const auto expect_map = [&](const Tree& t, const std::string& path, const char* what) {
    const bool good = t.is_map() && !t.entries().empty();
    if (!good) d.add(t.place(), path, what, "such as {router: {rr: {router: round-robin}}}");
    return good;
  };
  if (!expect_map(variants, "variants", "expected a map of axes")) return false;
  for (const Tree::Entry& axis : variants.entries()) {
    const std::string path = "variants." + axis.key;
    if (!expect_map(axis.value, path, "expected a map of names")) continue;
    for (const Tree::Entry& one : axis.value.entries())
      if (!one.value.is_map() || one.value.find("name") != nullptr ||
          one.value.find("variants") != nullptr)
        d.add(one.value.place(), path + "." + one.key,
              "expected a map of the scenario's keys, `name` and `variants` not among them",
              "such as {router: {policy: round-robin}}");
  }
  return d.all().size() == before;
}

}  // namespace

std::vector<LoadedScenario> load_variants(const std::string& path,
                                          const std::vector<std::string>& overrides,
                                          Diagnostics& d) {
  const std::size_t before = d.all().size();
  Tree tree = load_yaml(path, d);
  if (d.all().size() != before) return {};
  const std::string base = std::filesystem::path(path).parent_path().string();
  std::vector<LoadedScenario> out;
  const Tree* found = tree.is_map() ? tree.find("variants") : nullptr;
  if (found == nullptr) {
    out.push_back(read_scenario(std::move(tree), base, overrides, d));
    return out;
  }
  const Tree variants = *found;
  tree.erase("variants");
  if (!check(variants, d)) return out;
  std::vector<std::pair<std::string, Tree>> all{{"", std::move(tree)}};
  for (const Tree::Entry& axis : variants.entries()) {
    std::vector<std::pair<std::string, Tree>> more;
    for (const auto& [name, base_tree] : all)
      for (const Tree::Entry& one : axis.value.entries())
        more.emplace_back((name.empty() ? "" : name + ", ") + one.key,
                          Tree::merged(base_tree, one.value));
    all = std::move(more);
  }
  for (auto& [name, each] : all) {
    out.push_back(read_scenario(std::move(each), base, overrides, d));
    out.back().value.name += ": " + name;
  }
  return out;
}

}  // namespace kvsim
