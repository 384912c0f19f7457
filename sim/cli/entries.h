#pragma once
// Everything a scenario can name: catalogue entries (model, device, node, storage, preset) and
// plug-ins by kind.
#include <optional>
#include <string>
#include <vector>

#include "sim/base/registry.h"
#include "sim/scenario/catalog.h"

namespace kvsim {

struct Entry {
  std::string kind, name, text;
};

// Catalogue kinds first, then the registry's, sorted.
std::vector<std::string> entry_kinds();
// One line about a kind.
std::string kind_text(const std::string& kind);
// "models" and "model" as "model"; nothing for an unknown kind.
std::optional<std::string> kind_of(const std::string& word);
// The catalogue behind a kind, if one is.
std::optional<CatalogKind> catalog_kind(const std::string& kind);
// Sorted by name. Requires a kind of entry_kinds(). Throws InputError for a catalogue file that
// cannot be read.
std::vector<Entry> entries_of(const std::string& kind);
// The tree of a catalogue entry; throws InputError.
Tree catalog_tree(CatalogKind, const std::string& id);

// Reads a catalogue file into its struct; throws InputError with all that is wrong.
template <class S>
S read_entry(CatalogKind kind, const std::string& id) {
  Diagnostics d;
  Reader r(d);
  S spec;
  read_fields(spec, catalog_tree(kind, id), r);
  d.throw_if_any();
  return spec;
}

}  // namespace kvsim
