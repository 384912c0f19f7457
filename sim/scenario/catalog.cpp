#include "sim/scenario/catalog.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>

#include "sim/scenario/yaml.h"

#ifndef KVSIM_SOURCE_DATA
#define KVSIM_SOURCE_DATA ""
#endif

namespace kvsim {

namespace fs = std::filesystem;

namespace {

std::string find_data_root() {
  if (const char* given = std::getenv("KVSIM_DATA")) return given;
  std::error_code ec;
  const fs::path program = fs::read_symlink("/proc/self/exe", ec);
  if (!ec) {
    const fs::path shared = program.parent_path().parent_path() / "share" / "kvsim";
    if (fs::is_directory(shared / "models", ec)) return shared.string();
  }
  return KVSIM_SOURCE_DATA;
}

const std::string& data_root() {
  static const std::string root = find_data_root();
  return root;
}

}  // namespace

const char* catalog_name(CatalogKind kind) {
  switch (kind) {
    case CatalogKind::model:
      return "model";
    case CatalogKind::device:
      return "device";
    case CatalogKind::node:
      return "node";
    case CatalogKind::storage:
      return "storage device";
    case CatalogKind::preset:
      return "engine preset";
    case CatalogKind::cache_preset:
      return "cache preset";
  }
  return "";
}

std::string catalog_folder(CatalogKind kind) {
  switch (kind) {
    case CatalogKind::model:
      return data_root() + "/models/catalog";
    case CatalogKind::device:
      return data_root() + "/hardware/catalog/devices";
    case CatalogKind::node:
      return data_root() + "/hardware/catalog/nodes";
    case CatalogKind::storage:
      return data_root() + "/hardware/catalog/storage";
    case CatalogKind::preset:
      return data_root() + "/sim/scenario/presets";
    case CatalogKind::cache_preset:
      return data_root() + "/sim/scenario/cache_presets";
  }
  return "";
}

std::vector<std::string> catalog_ids(CatalogKind kind) {
  std::vector<std::string> ids;
  std::error_code ec;
  for (const auto& entry : fs::directory_iterator(catalog_folder(kind), ec))
    if (entry.path().extension() == ".yaml") ids.push_back(entry.path().stem().string());
  std::sort(ids.begin(), ids.end());
  return ids;
}

namespace {

std::optional<std::string> file_of(CatalogKind kind, const std::string& id) {
  if (id.empty() || id.find('/') != std::string::npos || id.starts_with('.')) return std::nullopt;
  const std::string file = catalog_folder(kind) + "/" + id + ".yaml";
  std::error_code ec;
  return fs::is_regular_file(file, ec) ? std::optional(file) : std::nullopt;
}

// "meta-llama/Llama-3.1-8B-Instruct" -> "llama-3.1-8b-instruct", "RTX PRO 6000" -> "rtx-pro-6000"
std::string plain_id(const std::string& name) {
  std::string id = name.substr(name.rfind('/') + 1);  // npos + 1 = 0
  for (char& c : id)
    c = c == ' ' || c == '_' ? '-' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return id;
}

std::optional<std::string> alias_of(const std::string& id) {
  Diagnostics ignored;  // a catalogue without aliases has none
  const Tree all = load_yaml(data_root() + "/hardware/catalog/aliases.yaml", ignored);
  const Tree* to = all.find(id);
  return to == nullptr ? std::nullopt : std::optional(to->text());
}

}  // namespace

std::optional<std::string> catalog_file(CatalogKind kind, const std::string& id) {
  if (auto file = file_of(kind, id)) return file;
  // At most "organisation/name": a path is none of the catalogue.
  const auto slashes = std::count(id.begin(), id.end(), '/');
  if (slashes > 1 || id.starts_with('/') || id.starts_with('.')) return std::nullopt;
  if (id.size() > 200 || id.ends_with(".yaml") || id.ends_with(".yml")) return std::nullopt;
  std::string plain = plain_id(id);
  if (auto file = file_of(kind, plain)) return file;
  if (kind == CatalogKind::device || kind == CatalogKind::node) {
    const auto alias = alias_of(plain);
    return alias ? file_of(kind, *alias) : std::nullopt;
  }
  // Tuned variants have the shape of their base.
  for (bool cut = kind == CatalogKind::model; cut;) {
    cut = false;
    for (const std::string_view suffix :
         {"-instruct", "-chat", "-hf", "-base", "-it", "-2407", "-2507"}) {
      if (!plain.ends_with(suffix)) continue;
      plain.resize(plain.size() - suffix.size());
      cut = true;
    }
    if (auto file = cut ? file_of(kind, plain) : std::nullopt) return file;
  }
  return std::nullopt;
}

Tree load_catalog(CatalogKind kind, const std::string& id, const Place& place,
                  const std::string& path, Diagnostics& d) {
  if (const auto file = catalog_file(kind, id)) return load_yaml(*file, d);
  d.add(place, path, std::string("unknown ") + catalog_name(kind) + " '" + id + "'",
        name_hint(id, catalog_ids(kind)));
  return {};
}

Tree resolve_catalog(CatalogKind kind, const Tree& given, const std::string& base_dir,
                     const std::string& path, Diagnostics& d) {
  if (given.is_scalar()) {
    const std::string& text = given.text();
    if (text.ends_with(".yaml") || text.ends_with(".yml"))
      return load_named_file(given, base_dir, path, d);
    return load_catalog(kind, text, given.place(), path, d);
  }
  if (!given.is_map()) {
    d.add(given.place(), path,
          std::string("expected the name of a ") + catalog_name(kind) + ", a path or a mapping");
    return {};
  }
  Tree over = given;
  Tree base;
  if (const Tree* name = given.find("base")) {
    base = resolve_catalog(kind, *name, base_dir, path + ".base", d);
    over.erase("base");
  }
  return Tree::merged(std::move(base), over);
}

Tree load_named_file(const Tree& name, const std::string& base_dir, const std::string& path,
                     Diagnostics& d) {
  const std::string file = resolve_path(base_dir, name.text());
  std::error_code ec;
  if (fs::exists(file, ec)) return load_yaml(file, d);
  d.add(name.place(), path, "there is no file '" + file + "'",
        "paths are relative to the file that names them");
  return {};
}

std::string cache_folder() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  if (cache != nullptr && *cache != '\0') return (fs::path(cache) / "kvsim").string();
  const char* home = std::getenv("HOME");
  if (home != nullptr && *home != '\0') return (fs::path(home) / ".cache" / "kvsim").string();
  return {};
}

std::string resolve_path(const std::string& base_dir, const std::string& file) {
  if (file.starts_with('/') || base_dir.empty()) return file;
  return (fs::path(base_dir) / file).lexically_normal().string();
}

}  // namespace kvsim
