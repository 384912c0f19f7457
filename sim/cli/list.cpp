// kvsim list: what a scenario can name
#include "sim/cli/list.h"

#include <fmt/format.h>

#include <type_traits>

#include "hardware/node.h"
#include "hardware/storage.h"
#include "models/geometry.h"
#include "policies/token/system.h"
#include "sim/base/diagnostics.h"
#include "sim/cli/command.h"
#include "sim/cli/describe.h"
#include "sim/cli/entries.h"
#include "sim/cli/text_table.h"

namespace kvsim {

namespace {

std::string amount(double value, const char* format) {
  return value > 0 ? fmt::format(fmt::runtime(format), value) : "-";
}

template <class Table>
Table model_table(Table table) {
  for (const std::string& id : catalog_ids(CatalogKind::model)) {
    const ModelSpec m = read_entry<ModelSpec>(CatalogKind::model, id);
    const double active = static_cast<double>(active_parameters(m));
    table.row(
        {id, short_count(static_cast<double>(parameters(m).total())), short_count(active),
         fmt::format("{:.1f}", static_cast<double>(kv_token_bytes(m, Dtype::bf16).count()) / 1024),
         grouped(static_cast<std::uint64_t>(m.max_context)), m.text});
  }
  return table;
}

template <class Table>
Table device_table(Table table) {
  for (const std::string& id : catalog_ids(CatalogKind::device)) {
    const DeviceSpec d = read_entry<DeviceSpec>(CatalogKind::device, id);
    const auto rate = [&](const char* precision) {
      const auto found = d.compute.find(precision);
      return found == d.compute.end() ? 0.0 : found->second.value / 1e12;
    };
    table.row({id, fmt::format("{:.1f}", static_cast<double>(d.memory.count()) / 0x1p30),
               amount(d.bandwidth.value / 1e9, "{:.0f}"),
               amount(std::max(rate("bf16"), rate("fp16")), "{:.0f}"),
               amount(rate("fp8"), "{:.0f}"), amount(d.busy_power.value, "{:.0f}"),
               amount(d.price.value, "{:.2f}"), d.text});
  }
  return table;
}

template <class Table>
Table node_table(Table table) {
  for (const std::string& id : catalog_ids(CatalogKind::node)) {
    const NodeSpec n = read_entry<NodeSpec>(CatalogKind::node, id);
    table.row({id,
               (n.nodes > 1 ? fmt::format("{} x ", n.nodes) : "") +
                   fmt::format("{} x {}", n.devices, n.device),
               n.gpu_link.name, amount(n.gpu_link.bandwidth.value / 1e9, "{:.0f}"), n.text});
  }
  return table;
}

template <class Table>
Table storage_table(Table table) {
  for (const std::string& id : catalog_ids(CatalogKind::storage)) {
    const StorageSpec s = read_entry<StorageSpec>(CatalogKind::storage, id);
    table.row({id, fmt::format("{:.1f}", to_double(s.capacity) / 1e12),
               amount(s.read_bandwidth.value / 1e9, "{:.1f}"),
               amount(s.write_bandwidth.value / 1e9, "{:.1f}"),
               amount(s.read_rate.value / 1e3, "{:.0f}"),
               amount(s.write_rate.value / 1e3, "{:.0f}"),
               amount(to_double(s.endurance) / 1e15, "{:.1f}"), s.text});
  }
  return table;
}

// A cell of a terminal's table may have several lines, one of markdown not.
template <class Table>
Table token_policy_table(Table table) {
  constexpr const char* kApart = std::is_same_v<Table, MarkdownTable> ? "; " : "\n";
  for (const token::TokenSystem* s : token::token_systems())
    table.row({s->info.name, s->info.family, s->info.entry,
               fmt::format("{1}{0}{2}{0}source: {3}", kApart, s->info.text,
                           token::parameter_summary(s->policies), s->info.source)});
  return table;
}

template <class Table>
std::string table_of(const std::string& kind) {
  if (kind == "model")
    return model_table(Table({"model", ">weights", ">active", ">KV KiB/token", ">context", "text"}))
        .text();
  if (kind == "device")
    return device_table(Table({"device", ">GiB", ">GB/s", ">16 bit", ">fp8", ">W", ">USD/h",
                               "text (compute in TFLOP/s)"}))
        .text();
  if (kind == "node")
    return node_table(Table({"node", "accelerators", "GPU link", ">GB/s", "text"})).text();
  if (kind == "storage")
    return storage_table(Table({"storage", ">TB", ">read GB/s", ">write GB/s", ">read kIOPS",
                                ">write kIOPS", ">PB written", "text"}))
        .text();
  if (kind == "token-policy")
    return token_policy_table(Table({kind, "family", "entry",
                                     "what, parameters other than the families' defaults"}))
        .text();
  if (kind == "preset" || kind == "cache-preset") {
    Table table({kind, "text", "source"});
    for (const Entry& e : entries_of(kind)) {
      const Tree t = catalog_tree(*catalog_kind(kind), e.name);
      const Tree* source = t.find("source");
      table.row({e.name, e.text, source == nullptr ? "" : source->text()});
    }
    return table.text();
  }
  Table table({kind, "parameters", "text"});
  for (const PluginInfo* p : Registry::instance().of_kind(kind)) {
    std::string names;
    for (const FieldInfo& f : p->fields) names += (names.empty() ? "" : ", ") + f.name;
    table.row({p->name, names.empty() ? "-" : names, p->text});
  }
  return table.text();
}

Tree entry_json(const Entry& e) {
  Tree t = Tree::map();
  t.set("kind", json_text(e.kind));
  t.set("name", json_text(e.name));
  t.set("text", json_text(e.text));
  if (e.kind != "token-policy") return t;
  const token::TokenSystem* s = token::find_token_system(e.name);
  t.set("family", json_text(s->info.family));
  t.set("entry", json_text(s->info.entry));
  t.set("source", json_text(s->info.source));
  t.set("parameters", write_fields(s->policies));
  return t;
}

void declare(po::options_description& o, po::positional_options_description& p) {
  o.add_options()("kind", po::value<std::string>(),
                  "models, devices, nodes, storage, presets, or a kind of plug-in (also without "
                  "the option's name)")("json", "print [{kind, name, text}] as JSON");
  p.add("kind", 1);
}

std::vector<std::string> wanted_kinds(const po::variables_map& v) {
  if (v.count("kind") == 0) return entry_kinds();
  const std::string word = v["kind"].as<std::string>();
  if (const auto kind = kind_of(word)) return {*kind};
  throw InputError("kvsim list: unknown kind '" + word + "'", name_hint(word, entry_kinds()));
}

int run(const po::variables_map& v) {
  const std::vector<std::string> kinds = wanted_kinds(v);
  if (v.count("json") > 0) {
    Tree all = Tree::list();
    for (const std::string& k : kinds)
      for (const Entry& e : entries_of(k)) all.push(entry_json(e));
    fmt::print("{}\n", to_json(all, true));
    return 0;
  }
  if (v.count("kind") > 0) {
    fmt::print("{}", table_of<TextTable>(kinds.front()));
    return 0;
  }
  for (const std::string& k : kinds) {
    TextTable table({"", ""});
    for (const Entry& e : entries_of(k)) table.row({e.name, e.text});
    fmt::print("{}: {}\n{}\n", k, kind_text(k), table.text(2));
  }
  fmt::print("kvsim list KIND shows more of one kind, kvsim show NAME all of one entry\n");
  return 0;
}

}  // namespace

std::string markdown_of_kind(const std::string& kind) { return table_of<MarkdownTable>(kind); }

extern const Command kListCommand{
    "list",
    "models, devices, nodes, drives, presets and plug-ins that a scenario can name",
    "[KIND]",
    "  kvsim list                 everything, one line each\n"
    "  kvsim list models          with weights and KV bytes per token\n"
    "  kvsim list trace-formats   with their parameters\n"
    "  kvsim list token-policies  published methods, their family, parameters and source\n"
    "  kvsim list --json          for programs",
    declare,
    run};

}  // namespace kvsim
