#pragma once
// One catalogue entry or plug-in in full, for people and for programs.
#include <map>
#include <string>

#include "sim/base/registry.h"
#include "sim/base/tree.h"
#include "sim/scenario/catalog.h"

namespace kvsim {

// What both forms are made of.
struct Page {
  std::string text;
  Tree json = Tree::map();
};

// Each requires an id of its catalogue. Throws InputError for a file that cannot be read.
Page model_page(const std::string& id);
Page device_page(const std::string& id);
using Sources = std::map<std::string, std::string>;
// All figures, defaults included, those of the file in the file's units.
Tree as_written(Tree resolved, CatalogKind, const std::string& id);
// Figures with their sources.
Page catalog_page(const char* kind, const std::string& id, const std::string& text, Tree values,
                  const Sources&);
// A machine's figures, its graph and the routes of its first GPU.
Page node_page(const std::string& id);
Page storage_page(const std::string& id);
Page preset_page(CatalogKind, const std::string& id);
Page plugin_page(const PluginInfo&);
// With what it keeps, reads and costs in the cache of an 8B model.
Page token_policy_page(const std::string& id);

}  // namespace kvsim
