#pragma once
// The files that ship with the program: models, devices, nodes, drives, engine presets. Found
// through the environment variable KVSIM_DATA, else beside the installed program (../share/kvsim),
// else in the source tree the program was built from.
#include <optional>
#include <string>
#include <vector>

#include "sim/base/diagnostics.h"
#include "sim/base/tree.h"

namespace kvsim {

enum class CatalogKind { model, device, node, storage, preset, cache_preset };

// Singular name for messages: "model", "device", ...
const char* catalog_name(CatalogKind);
std::string catalog_folder(CatalogKind);
// Ids in the catalogue, sorted.
std::vector<std::string> catalog_ids(CatalogKind);
// The file of an id; nothing when there is none. Also takes the names people use: other case, an
// organisation before a slash, suffixes of tuned variants (-instruct, -chat, -hf ...), and
// hardware/catalog/aliases.yaml.
std::optional<std::string> catalog_file(CatalogKind, const std::string& id);
// The tree of an id; a diagnostic at `place` with the nearest names when there is none.
Tree load_catalog(CatalogKind, const std::string& id, const Place& place, const std::string& path,
                  Diagnostics&);
// What a scenario may write for a catalogue entry: an id, a path to a file, or {base: id,
// ...overrides}.
Tree resolve_catalog(CatalogKind, const Tree& given, const std::string& base_dir,
                     const std::string& path, Diagnostics&);

// The file that `name` (a scalar) names, relative to `base_dir`; a diagnostic at `name` when there
// is none.
Tree load_named_file(const Tree& name, const std::string& base_dir, const std::string& path,
                     Diagnostics&);
// Where what was measured on this machine is kept: $XDG_CACHE_HOME/kvsim, else ~/.cache/kvsim, else
// empty.
std::string cache_folder();
// `file` relative to `base_dir`, unless it is absolute.
std::string resolve_path(const std::string& base_dir, const std::string& file);

}  // namespace kvsim
