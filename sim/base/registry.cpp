#include "sim/base/registry.h"

#include <algorithm>

#include "sim/base/check.h"

namespace kvsim {

PluginInfo::PluginInfo() = default;
PluginInfo::~PluginInfo() = default;
PluginInfo::PluginInfo(PluginInfo&&) noexcept = default;
PluginInfo& PluginInfo::operator=(PluginInfo&&) noexcept = default;

namespace detail {
void add_plugin(const char* kind, const char* name, const char* text, const char* source,
                std::vector<FieldInfo> fields,
                Tree (*resolve)(const Tree&, Reader&, std::vector<std::string>), std::any make) {
  PluginInfo info;
  info.kind = kind;
  info.name = name;
  info.text = text;
  info.source = source;
  info.fields = std::move(fields);
  info.resolve = resolve;
  info.make = std::move(make);
  Registry::instance().add(std::move(info));
}
}  // namespace detail

Registry& Registry::instance() {
  static Registry registry;
  return registry;
}

void Registry::add(PluginInfo info) {
  KVSIM_CHECK(find(info.kind, info.name) == nullptr,
              "two plug-ins of kind '{}' are called '{}': '{}' and '{}'", info.kind, info.name,
              find(info.kind, info.name)->text, info.text);
  all_.push_back(std::move(info));
}

const PluginInfo* Registry::find(std::string_view kind, std::string_view name) const {
  for (const PluginInfo& p : all_)
    if (p.kind == kind && p.name == name) return &p;
  return nullptr;
}

const PluginInfo& Registry::get(std::string_view kind, std::string_view name) const {
  const PluginInfo* info = find(kind, name);
  if (info == nullptr)
    throw InputError("unknown " + std::string(kind) + " '" + std::string(name) + "'");
  return *info;
}

std::vector<const PluginInfo*> Registry::of_kind(std::string_view kind) const {
  std::vector<const PluginInfo*> found;
  for (const PluginInfo& p : all_)
    if (p.kind == kind) found.push_back(&p);
  std::sort(found.begin(), found.end(),
            [](const auto* a, const auto* b) { return a->name < b->name; });
  return found;
}

std::vector<std::string> Registry::names(std::string_view kind) const {
  std::vector<std::string> all;
  for (const PluginInfo* p : of_kind(kind)) all.push_back(p->name);
  return all;
}

std::vector<std::string> Registry::kinds() const {
  std::vector<std::string> all;
  for (const PluginInfo& p : all_) all.push_back(p.kind);
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  return all;
}

bool read_choice(const char* kind, const char* key, const Tree& t, std::string& name, Tree& params,
                 Reader& r) {
  const Tree* name_at = &t;
  if (t.is_map()) {
    name_at = t.find(key);
    if (name_at == nullptr) name_at = t.find("base");  // a bare name that --set has made a mapping
    if (name_at == nullptr && name.empty()) {
      r.error(t, std::string("has no '") + key + "'",
              name_hint("", Registry::instance().names(kind)));
      return false;
    }
    if (name_at == nullptr) name_at = &t;
  }
  std::string chosen = name;
  if (name_at->is_scalar()) {
    chosen = name_at->text();
  } else if (name_at != &t || !t.is_map()) {
    r.error(*name_at, std::string("expected the name of a ") + kind);
    return false;
  }
  const PluginInfo* info = Registry::instance().find(kind, chosen);
  if (info == nullptr) {
    r.error(*name_at, std::string("unknown ") + kind + " '" + chosen + "'",
            name_hint(chosen, Registry::instance().names(kind)));
    return false;
  }
  Tree given = t.is_map() ? t : Tree::map();
  given.erase(key);
  given.erase("base");
  const std::size_t before = r.diagnostics().all().size();
  params = info->resolve(given, r, {});
  name = chosen;
  return r.diagnostics().all().size() == before;
}

TypeInfo choice_info(const char* kind, const char* key) {
  TypeInfo i;
  i.shape = TypeInfo::Shape::choice;
  i.name = std::string("a ") + kind;
  i.plugin_kind = kind;
  i.plugin_key = key;
  i.names = Registry::instance().names(kind);
  return i;
}

}  // namespace kvsim
