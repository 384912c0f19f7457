#include "sim/cli/show_entry.h"

#include <fmt/format.h>

#include <map>

#include "hardware/device.h"
#include "sim/cli/describe.h"
#include "sim/cli/entries.h"
#include "sim/cli/text_table.h"

namespace kvsim {

namespace {

std::string title(const std::string& kind, const std::string& name, const std::string& text) {
  return wrapped(fmt::format("{} {}: {}", kind, name, text), kTerminalWidth, 4) + "\n";
}

// A list of maps: one row an item, its values in one line; without their keys when that is long.
void item_rows(const Tree& list, const std::string& path, TextTable& table) {
  constexpr std::size_t kWide = 60;
  for (std::size_t i = 0; i < list.items().size(); ++i) {
    std::string keyed, bare, source;
    for (const Tree::Entry& e : list.items()[i].entries()) {
      if (e.key == "source") {
        source = e.value.text();
        continue;
      }
      const char* comma = bare.empty() ? "" : ", ";
      keyed += comma + e.key + " " + e.value.text();
      bare += comma + e.value.text();
    }
    table.row({fmt::format("{}.{}", path, i), keyed.size() > kWide ? bare : keyed, source});
  }
}

// Figures of a tree, one row a value. Their source: at the top level that of the figure, in a
// section the section's own.
void figure_rows(const Tree& t, const std::string& prefix, const std::string& section_source,
                 const Sources& sources, TextTable& table) {
  for (const Tree::Entry& e : t.entries()) {
    if (e.key == "source") continue;
    const std::string path = prefix.empty() ? e.key : prefix + "." + e.key;
    const auto own = prefix.empty() ? sources.find(e.key) : sources.end();
    std::string source = own == sources.end() ? section_source : own->second;
    if (e.value.is_map()) {
      if (const Tree* inner = e.value.find("source"); inner != nullptr && inner->is_scalar())
        source = inner->text();
      figure_rows(e.value, path, source, sources, table);
    } else if (e.value.is_list() && !e.value.items().empty() && e.value.items()[0].is_map()) {
      item_rows(e.value, path, table);
    } else {
      table.row({path, e.value.is_scalar() ? e.value.text() : to_json(e.value), source});
    }
  }
}

// The same source in many rows is named by number, and printed once below.
std::string figures_text(const Tree& resolved, const Sources& sources) {
  Tree shown = resolved;
  for (const char* key : {"name", "text", "source"}) shown.erase(key);
  TextTable plain({"figure", "value", "source"});
  std::vector<std::string> known;
  class Numbered {
   public:
    explicit Numbered(std::vector<std::string>& all) : all_(all) {}
    std::string operator()(const std::string& source) {
      if (source.empty()) return "";
      for (std::size_t i = 0; i < all_.size(); ++i)
        if (all_[i] == source) return fmt::format("[{}]", i + 1);
      all_.push_back(source);
      return fmt::format("[{}]", all_.size());
    }

   private:
    std::vector<std::string>& all_;
  } number(known);
  Sources by_number;
  for (const auto& [figure, source] : sources) by_number[figure] = number(source);
  const auto renumber = [&](auto& self, Tree& t) -> void {
    for (const Tree::Entry& e : t.entries()) {
      Tree* value = t.find(e.key);
      if (e.key == "source" && value->is_scalar()) *value = Tree::scalar(number(value->text()));
      if (value->is_map()) self(self, *value);
      for (Tree& item : value->items())
        if (item.is_map()) self(self, item);
    }
  };
  renumber(renumber, shown);
  figure_rows(shown, "", "", by_number, plain);
  std::string out = plain.text(2) + "\nsources\n";
  for (std::size_t i = 0; i < known.size(); ++i) {
    const std::string mark = fmt::format("  [{}] ", i + 1);
    out += mark + wrapped(known[i], kTerminalWidth, mark.size()) + "\n";
  }
  return out;
}

}  // namespace

Tree as_written(Tree resolved, CatalogKind kind, const std::string& id) {
  return Tree::merged(std::move(resolved), catalog_tree(kind, id));
}

Page catalog_page(const char* kind, const std::string& id, const std::string& text, Tree values,
                  const Sources& sources) {
  Page page;
  page.text = title(kind, id, text) + figures_text(values, sources);
  page.json.set("kind", json_text(kind));
  page.json.set("name", json_text(id));
  page.json.set("text", json_text(text));
  page.json.set("values", std::move(values));
  return page;
}

Page device_page(const std::string& id) {
  const DeviceSpec d = read_entry<DeviceSpec>(CatalogKind::device, id);
  return catalog_page("device", id, d.text, as_written(write_fields(d), CatalogKind::device, id),
                      d.source);
}

Page preset_page(CatalogKind catalog, const std::string& id) {
  const std::string kind = catalog == CatalogKind::preset ? "preset" : "cache-preset";
  Tree t = catalog_tree(catalog, id);
  const auto take = [&](const char* key) {
    const Tree* value = t.find(key);
    std::string text = value == nullptr ? "" : value->text();
    t.erase(key);
    return text;
  };
  const std::string text = take("text"), source = take("source");
  Page page;
  page.json.set("kind", json_text(kind));
  page.json.set("name", json_text(id));
  page.json.set("text", json_text(text));
  page.json.set("source", json_text(source));
  page.json.set("values", t);
  TextTable table({"", ""});
  const auto rows = [&](auto& self, const Tree& at, const std::string& prefix) -> void {
    for (const Tree::Entry& e : at.entries()) {
      if (e.value.is_map())
        self(self, e.value, prefix + e.key + ".");
      else
        table.row({prefix + e.key, e.value.is_scalar() ? e.value.text() : to_json(e.value)});
    }
  };
  rows(rows, t, catalog == CatalogKind::preset ? "engine." : "cache.");
  page.text = title(kind, id, text) + fmt::format(
                                          "  source  {}\n\nsets (a scenario's own values win; "
                                          "kvsim show scenario explains them)\n{}",
                                          wrapped(source, kTerminalWidth, 10), table.text(2));
  return page;
}

Page plugin_page(const PluginInfo& p) {
  Page page;
  page.json.set("kind", json_text(p.kind));
  page.json.set("name", json_text(p.name));
  page.json.set("text", json_text(p.text));
  page.json.set("source", json_text(p.source));
  const std::vector<ParameterRow> rows = plugin_rows(p);
  page.json.set("parameters", parameters_json(rows));
  page.text = title(p.kind, p.name, p.text) +
              fmt::format("  source  {}\n\n", wrapped(p.source, kTerminalWidth, 10));
  page.text += rows.empty() ? "no parameters\n" : "parameters\n" + parameters_text(rows);
  return page;
}

}  // namespace kvsim
