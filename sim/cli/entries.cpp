#include "sim/cli/entries.h"

#include <algorithm>
#include <utility>

namespace kvsim {

namespace {

constexpr std::pair<const char*, CatalogKind> kCatalogs[] = {
    {"model", CatalogKind::model},   {"device", CatalogKind::device},
    {"node", CatalogKind::node},     {"storage", CatalogKind::storage},
    {"preset", CatalogKind::preset}, {"cache-preset", CatalogKind::cache_preset}};

constexpr std::pair<const char*, const char*> kKindTexts[] = {
    {"model", "shapes of transformers; scenario key model"},
    {"device", "accelerators; scenario key deployment.hardware"},
    {"node", "machines of several accelerators; scenario key deployment.hardware"},
    {"storage", "solid-state drives and volumes; named by nodes (storage)"},
    {"preset", "defaults that follow an engine and its version; scenario key engine.preset"},
    {"cache-preset", "defaults that follow a KV store; scenario key cache.preset"},
    {"eviction", "which object leaves a full cache; scenario key cache.tiers, kvsim cache"},
    {"router", "which instance serves a request; scenario key router"},
    {"scaler", "how many instances serve; scenario key deployment.autoscaling"},
    {"lending", "which instance lends whom KV memory; scenario key deployment.lending"},
    {"quota", "what a tenant may use; scenario key tenants, quota"},
    {"token-policy", "what is kept of each token, and in what form: published methods"},
    {"token-score", "importance of cached tokens; select.score of a token policy"},
    {"token-budget", "tokens by layer and head; budget.by of a token policy"},
    {"token-index", "how a step finds tokens worth reading; retrieve.index of a token policy"},
    {"quality-source", "tensors that token policies are measured on; scenario key quality.source"},
    {"restore", "how stored KV comes back, or not; scenario key cache.offload.restore"},
    {"cost-model", "what an iteration costs; scenario key cost"},
    {"trace-format", "requests from a file; scenario key workload.trace.format"}};

}  // namespace

std::vector<std::string> entry_kinds() {
  std::vector<std::string> kinds;
  for (const auto& [name, kind] : kCatalogs) kinds.emplace_back(name);
  for (std::string& k : Registry::instance().kinds()) kinds.push_back(std::move(k));
  return kinds;
}

std::string kind_text(const std::string& kind) {
  for (const auto& [name, text] : kKindTexts)
    if (kind == name) return text;
  return "plug-ins of kind " + kind;
}

std::optional<std::string> kind_of(const std::string& word) {
  const auto plural = [](const std::string& k, const char* end, const char* ends) {
    return k.ends_with(end) ? k.substr(0, k.size() - std::string_view(end).size()) + ends : k;
  };
  for (const std::string& k : entry_kinds())
    if (word == k || word == k + "s" || word == plural(k, "y", "ies") ||
        word == plural(k, "ex", "ices"))
      return k;
  return std::nullopt;
}

std::optional<CatalogKind> catalog_kind(const std::string& kind) {
  for (const auto& [name, value] : kCatalogs)
    if (kind == name) return value;
  return std::nullopt;
}

Tree catalog_tree(CatalogKind kind, const std::string& id) {
  Diagnostics d;
  Tree t = load_catalog(kind, id, {}, catalog_name(kind), d);
  d.throw_if_any();
  return t;
}

std::vector<Entry> entries_of(const std::string& kind) {
  std::vector<Entry> all;
  if (const auto catalog = catalog_kind(kind)) {
    for (const std::string& id : catalog_ids(*catalog)) {
      const Tree t = catalog_tree(*catalog, id);
      const Tree* text = t.find("text");
      all.push_back({kind, id, text == nullptr ? "" : text->text()});
    }
    return all;
  }
  for (const PluginInfo* p : Registry::instance().of_kind(kind))
    all.push_back({kind, p->name, p->text});
  return all;
}

}  // namespace kvsim
