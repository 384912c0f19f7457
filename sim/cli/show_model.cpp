// What follows from a model's shape, and the figures of its file.
#include <fmt/format.h>

#include "models/geometry.h"
#include "sim/cli/describe.h"
#include "sim/cli/entries.h"
#include "sim/cli/show_entry.h"
#include "sim/cli/text_table.h"

namespace kvsim {

namespace {

Tree number(std::int64_t n) { return Tree::scalar(std::to_string(n)); }
double gib(Bytes b) { return static_cast<double>(b.count()) / 0x1p30; }

std::string kind_of_layers(const KvGroup& g, const ModelSpec& m) {
  std::string text = fmt::format("{} layers {}", g.layers, name_of(g.kind));
  if (g.window > 0)
    text += fmt::format(", {} tokens at most", grouped(static_cast<std::uint64_t>(g.window)));
  return text + fmt::format(", {:.1f} KiB per token",
                            static_cast<double>(g.layers * kv_layer_bytes(m, 16).count()) / 1024);
}

void add_parameters(const ModelSpec& m, TextTable& table, Tree& json) {
  const Parameters p = parameters(m);
  std::string line = fmt::format("{} ({})", short_count(static_cast<double>(p.total())),
                                 grouped(static_cast<std::uint64_t>(p.total())));
  if (m.published_parameters > 0)
    line += fmt::format(", published {} ({:+.2f} %)", short_count(m.published_parameters),
                        (static_cast<double>(p.total()) / m.published_parameters - 1) * 100);
  table.row({"parameters", line});
  if (m.moe)
    table.row({"active", fmt::format("{} per token, {} of {} experts",
                                     short_count(static_cast<double>(active_parameters(m))),
                                     m.moe->active, m.moe->experts)});
  std::string parts;
  const std::pair<const char*, std::int64_t> kParts[] = {
      {"embedding", p.embedding},    {"output head", p.lm_head},
      {"attention", p.attention},    {"dense feed-forward", p.dense},
      {"shared experts", p.shared},  {"router", p.router},
      {"routed experts", p.experts}, {"norms", p.norms}};
  for (const auto& [name, n] : kParts)
    if (n > 0)
      parts += fmt::format("{}{} {}", parts.empty() ? "" : ", ", name,
                           short_count(static_cast<double>(n)));
  table.row({"", parts});
  json.set("parameters", number(p.total()));
  json.set("active_parameters", number(active_parameters(m)));
}

void add_weights(const ModelSpec& m, TextTable& table, Tree& json) {
  Precision published;
  published.weights = m.weights;
  const Bytes bytes = weight_bytes(m, published);
  table.row(
      {"weights", fmt::format("{:.2f} GiB in {} as published", gib(bytes), name_of(m.weights))});
  json.set("weight_bytes", number(bytes.count()));
}

void add_cache(const ModelSpec& m, TextTable& table, Tree& json) {
  const Bytes token = kv_token_bytes(m, Dtype::bf16);
  table.row(
      {"KV cache",
       fmt::format("{} bytes per token in bf16, {} in fp8",
                   grouped(static_cast<std::uint64_t>(token.count())),
                   grouped(static_cast<std::uint64_t>(kv_token_bytes(m, Dtype::fp8).count())))});
  Tree groups = Tree::list();
  for (const KvGroup& g : kv_groups(m)) {
    table.row({"", kind_of_layers(g, m)});
    Tree one = Tree::map();
    one.set("kind", json_text(std::string(name_of(g.kind))));
    one.set("window", number(g.window));
    one.set("layers", number(g.layers));
    groups.push(std::move(one));
  }
  if (m.recurrent)
    table.row({"", fmt::format("recurrent layers: {} numbers of state per layer and sequence",
                               grouped(static_cast<std::uint64_t>(m.recurrent->state_elements)))});
  std::string sizes;
  for (const std::int64_t tokens : {std::int64_t{1024}, std::int64_t{8192}, m.max_context})
    if (tokens <= m.max_context)
      sizes += fmt::format("{}{:.3g} GiB at {}", sizes.empty() ? "one sequence: " : ", ",
                           gib(kv_sequence_bytes(m, tokens, Dtype::bf16)),
                           grouped(static_cast<std::uint64_t>(tokens)));
  table.row({"", sizes + " tokens"});
  json.set("kv_bytes_per_token", number(token.count()));
  json.set("kv_groups", std::move(groups));
}

// "full full sliding" as runs: "2 full, 1 sliding"; long patterns once.
std::string layer_kinds(const ModelSpec& m) {
  std::string text;
  const std::vector<Layer> layers = layers_of(m);
  std::size_t runs = 0;
  for (std::size_t i = 0; i < layers.size();) {
    std::size_t end = i;
    while (end < layers.size() && layers[end].attention == layers[i].attention &&
           layers[end].moe == layers[i].moe && layers[end].owns_kv == layers[i].owns_kv)
      ++end;
    if (++runs > 8) return text + ", ...";
    text += fmt::format("{}{} {}{}{}", text.empty() ? "" : ", ", end - i,
                        name_of(layers[i].attention), layers[i].moe ? " with experts" : "",
                        layers[i].owns_kv || layers[i].attention == AttentionKind::recurrent
                            ? ""
                            : " (reads another layer's cache)");
    i = end;
  }
  return text;
}

}  // namespace

Page model_page(const std::string& id) {
  const Tree file = catalog_tree(CatalogKind::model, id);
  const ModelSpec m = read_entry<ModelSpec>(CatalogKind::model, id);
  Page page;
  page.json.set("kind", json_text("model"));
  page.json.set("name", json_text(id));
  page.json.set("text", json_text(m.text));
  page.json.set("source", json_text(m.source));
  TextTable table({"", ""});
  table.row({"source", m.source});
  add_parameters(m, table, page.json);
  add_weights(m, table, page.json);
  add_cache(m, table, page.json);
  table.row({"layers", fmt::format("{}: {}", m.layers, layer_kinds(m))});
  table.row({"shape", fmt::format("hidden {}, {} heads of {}, {} key-value heads, vocabulary {}",
                                  m.hidden, m.heads, m.head_width(), m.kv_head_count(), m.vocab)});
  table.row(
      {"context", fmt::format("{} tokens", grouped(static_cast<std::uint64_t>(m.max_context)))});
  page.text =
      wrapped(fmt::format("model {}: {}", id, m.text), kTerminalWidth, 4) + "\n" + table.text(2);
  page.text +=
      fmt::format("\nas a scenario sees it (model: {{base: {}, KEY: VALUE}} overrides)\n", id);
  Tree shown = file;
  for (const char* key : {"name", "text", "source"}) shown.erase(key);
  std::string yaml = to_yaml(shown);
  for (std::size_t at = 0; at < yaml.size(); ++at) {
    if (at == 0 || yaml[at - 1] == '\n') yaml.insert(at, "  ");
  }
  page.text += yaml;
  page.json.set("values", write_fields(m));
  return page;
}

}  // namespace kvsim
