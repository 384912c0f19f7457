#pragma once
// One catalogue entry or plug-in in full, for people and for programs.
#include <string>

#include "sim/base/registry.h"
#include "sim/base/tree.h"

namespace kvsim {

// What both forms are made of.
struct Page {
  std::string text;
  Tree json = Tree::map();
};

// Each requires an id of its catalogue. Throws InputError for a file that cannot be read.
Page model_page(const std::string& id);
Page device_page(const std::string& id);
Page node_page(const std::string& id);
Page preset_page(const std::string& id);
Page plugin_page(const PluginInfo&);

}  // namespace kvsim
