// kvsim show: one thing in full
#include <fmt/format.h>

#include <filesystem>

#include "sim/base/diagnostics.h"
#include "sim/cli/command.h"
#include "sim/cli/describe.h"
#include "sim/cli/entries.h"
#include "sim/cli/show_entry.h"

namespace kvsim {

namespace {

void declare(po::options_description& o, po::positional_options_description& p) {
  o.add_options()(
      "name", po::value<std::string>(),
      "name of an entry, or scenario, generate, quality or study (also without the option's name)")(
      "kind", po::value<std::string>(), "only of this kind")(
      "json", "print as JSON: a list, since a name may be of several kinds");
  p.add("name", 1);
}

Page reference_page(const std::string& name, const std::string& text,
                    const std::vector<ParameterRow>& rows) {
  Page page;
  page.text = text + "\n" + parameters_text(rows);
  page.json.set("kind", json_text("reference"));
  page.json.set("name", json_text(name));
  page.json.set("parameters", parameters_json(rows));
  return page;
}

Page page_of(const std::string& kind, const std::string& name) {
  if (const auto catalog = catalog_kind(kind)) {
    switch (*catalog) {
      case CatalogKind::model:
        return model_page(name);
      case CatalogKind::device:
        return device_page(name);
      case CatalogKind::node:
        return node_page(name);
      case CatalogKind::storage:
        return storage_page(name);
      case CatalogKind::preset:
      case CatalogKind::cache_preset:
        return preset_page(*catalog, name);
    }
  }
  if (kind == "token-policy") return token_policy_page(name);
  return plugin_page(*Registry::instance().find(kind, name));
}

std::vector<std::string> names_of(const std::string& kind) {
  const auto catalog = catalog_kind(kind);
  return catalog ? catalog_ids(*catalog) : Registry::instance().names(kind);
}

// Unknown: the nearest name over all kinds, and where the lists are.
[[noreturn]] void unknown(const std::string& name, const std::vector<std::string>& kinds) {
  std::vector<std::string> all{"scenario", "generate", "quality", "study"};
  for (const std::string& kind : kinds)
    for (std::string& id : names_of(kind)) all.push_back(std::move(id));
  const std::string near = nearest_name(name, all);
  std::string hint = near.empty() ? "" : fmt::format("did you mean '{}'? ", near);
  std::string within;  // names that contain what was written, such as "llama"
  int found = 0;
  for (const std::string& id : all)
    if (name.size() >= 3 && id != near && id.find(name) != std::string::npos && ++found <= 8)
      within += (within.empty() ? "" : ", ") + id;
  if (!within.empty())
    hint += fmt::format("names with it: {}{}; ", within, found > 8 ? ", ..." : "");
  throw InputError("kvsim show: nothing is called '" + name + "'",
                   hint + "kvsim list shows all names");
}

std::vector<Page> pages(const std::string& name, const po::variables_map& v) {
  std::vector<std::string> kinds = entry_kinds();
  if (v.count("kind") > 0) {
    const std::string word = v["kind"].as<std::string>();
    const auto kind = kind_of(word);
    if (!kind) throw InputError("kvsim show: unknown kind '" + word + "'", name_hint(word, kinds));
    kinds = {*kind};
  } else if (name == "scenario") {
    return {reference_page(name,
                           "A scenario file, key by key. model, hardware and generate have pages "
                           "of their own: kvsim show NAME,\n"
                           "kvsim show generate. kvsim schema prints the same for editors.\n",
                           scenario_rows())};
  } else if (name == "generate") {
    return {reference_page(name, "workload.generate: requests from distributions, key by key.\n",
                           generator_rows())};
  } else if (name == "quality") {
    return {reference_page(name,
                           "quality: what token policies are measured on, key by key. In a file of "
                           "its own (kvsim quality),\nor in a scenario (kvsim run); sources: kvsim "
                           "list quality-source.\n",
                           quality_rows())};
  } else if (name == "study") {
    return {reference_page(name, "A study file (kvsim study), key by key.\n", study_rows())};
  } else if (const auto kind = kind_of(name)) {
    throw InputError("kvsim show: '" + name + "' is a kind, not a name",
                     "kvsim list " + *kind + " shows its entries");
  }
  std::vector<Page> found;
  for (const std::string& kind : kinds)
    for (const std::string& id : names_of(kind))
      if (id == name) found.push_back(page_of(kind, name));
  // What people call it: an organisation before it, other case, a tuned variant, an alias.
  for (const std::string& kind : kinds) {
    const auto catalog = catalog_kind(kind);
    const auto file = found.empty() && catalog ? catalog_file(*catalog, name) : std::nullopt;
    if (file) found.push_back(page_of(kind, std::filesystem::path(*file).stem().string()));
  }
  if (found.empty()) unknown(name, kinds);
  return found;
}

int run(const po::variables_map& v) {
  if (v.count("name") == 0)
    throw InputError("kvsim show: no name given",
                     "kvsim list shows all names; kvsim show scenario the scenario file");
  const std::vector<Page> found = pages(v["name"].as<std::string>(), v);
  if (v.count("json") > 0) {
    Tree all = Tree::list();
    for (const Page& p : found) all.push(p.json);
    fmt::print("{}\n", to_json(all, true));
    return 0;
  }
  for (const Page& p : found) fmt::print("{}{}", &p == &found.front() ? "" : "\n", p.text);
  return 0;
}

}  // namespace

extern const Command kShowCommand{
    "show",
    "one model, device, node, drive, preset or plug-in in full, with its sources",
    "NAME",
    "  kvsim show scenario        every key of a scenario file\n"
    "  kvsim show generate        every key of workload.generate\n"
    "  kvsim show llama-3.1-8b    KV bytes per token, weights, layers\n"
    "  kvsim show h100-sxm        figures and where they come from\n"
    "  kvsim show dgx-h100        a machine as a graph, and its routes\n"
    "  kvsim show layer-profile   a plug-in and its parameters\n"
    "  kvsim show snapkv          a token policy, what it keeps, reads and costs",
    declare,
    run};

}  // namespace kvsim
