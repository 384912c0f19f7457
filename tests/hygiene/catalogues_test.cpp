// Every file that ships loads through the loader that users meet, names its source, and every
// scenario passes its check.
#include <gtest/gtest.h>

#include <filesystem>

#include "sim/run/build.h"
#include "sim/scenario/catalog.h"
#include "sim/scenario/yaml.h"
#include "tests/hygiene/source_tree.h"

namespace kvsim {
namespace {

std::string text_of(const Diagnostics& d) {
  std::string text;
  for (const Diagnostic& one : d.all()) text += to_string(one) + "\n";
  return text;
}

void expect_source(const Tree& t, const std::string& id) {
  const Tree* source = t.find("source");
  ASSERT_NE(source, nullptr) << id << " names no source";
  EXPECT_FALSE(source->is_null() || (source->is_scalar() && source->text().size() < 5))
      << id << ": a source says where to look";
}

TEST(Hygiene, EveryCatalogueEntryLoadsAndHasASource) {
  for (const CatalogKind kind : {CatalogKind::model, CatalogKind::device, CatalogKind::node,
                                 CatalogKind::storage, CatalogKind::preset}) {
    const auto ids = catalog_ids(kind);
    EXPECT_FALSE(ids.empty()) << catalog_folder(kind);
    for (const std::string& id : ids) {
      Diagnostics d;
      const Tree tree = load_catalog(kind, id, {}, "entry", d);
      expect_source(tree, id);
      if (kind == CatalogKind::model) build_model(Tree::scalar(id), "", "model", d);
      if (kind == CatalogKind::device || kind == CatalogKind::node)
        build_hardware(Tree::scalar(id), "", "hardware", d);
      if (kind == CatalogKind::storage) {
        StorageSpec drive;
        Reader r(d);
        read_fields(drive, tree, r);
      }
      if (kind == CatalogKind::preset) {
        Tree scenario = Tree::map();
        scenario.set("engine", Tree::map()).set("preset", Tree::scalar(id));
        scenario.set("workload", Tree::map()).set("generate", Tree::map());
        build_run(read_scenario(scenario, "", {}, d), false, d);
      }
      EXPECT_TRUE(d.empty()) << id << ":\n" << text_of(d);
    }
  }
}

TEST(Hygiene, EveryScenarioPassesItsCheck) {
  const std::string root = std::string(KVSIM_SOURCE_DIR) + "/";
  std::size_t checked = 0;
  for (const test::SourceFile& file : test::source_files()) {
    if (!file.path.ends_with(".yaml") ||
        !(file.path.starts_with("scenarios/") || file.path.starts_with("tests/digest/") ||
          file.path.starts_with("tests/golden/")))
      continue;
    if (file.path.starts_with("scenarios/studies/") || file.path.starts_with("scenarios/quality/"))
      continue;  // no scenarios: tests of their own
    if (file.path.starts_with("scenarios/peers/") &&
        !std::filesystem::exists(root + "../shared/peers"))
      continue;  // runs of other simulators, replayed from their own tables
    Diagnostics d;
    if (load_yaml(root + file.path, d).find("claim") != nullptr) continue;  // of the gallery
    for (const LoadedScenario& loaded : load_variants(root + file.path, {}, d)) {
      // Public traces that are not part of the tree may be absent.
      const auto& trace = loaded.value.workload.trace;
      const bool has_trace = !trace || trace->file.find("shared/") == std::string::npos ||
                             std::filesystem::exists(root + "../shared/traces");
      build_run(loaded, has_trace, d);
    }
    EXPECT_TRUE(d.empty()) << text_of(d);
    ++checked;
  }
  EXPECT_GE(checked, 3U);
}

}  // namespace
}  // namespace kvsim
