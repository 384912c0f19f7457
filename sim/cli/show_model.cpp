// What follows from a model's shape, and the figures of its file.
#include <fmt/format.h>

#include <algorithm>

#include "models/geometry.h"
#include "models/recurrent.h"
#include "sim/cli/describe.h"
#include "sim/cli/entries.h"
#include "sim/cli/show_entry.h"
#include "sim/cli/text_table.h"

namespace kvsim {

namespace {

Tree number(std::int64_t n) { return Tree::scalar(std::to_string(n)); }
Tree number(Bytes b) { return number(b.count()); }
std::string whole(Bytes b) { return grouped(static_cast<std::uint64_t>(to_double(b))); }
double gib(Bytes b) { return to_double(b) / 0x1p30; }

std::string bytes_text(Bytes b) {
  const double v = to_double(b);
  if (v < 1024) return fmt::format("{:.0f} B", v);
  if (v < 0x1p20) return fmt::format("{:.4g} KiB", v / 1024);
  return v < 0x1p30 ? fmt::format("{:.4g} MiB", v / 0x1p20) : fmt::format("{:.4g} GiB", v / 0x1p30);
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
      {"embedding", p.embedding},      {"output head", p.lm_head},   {"attention", p.attention},
      {"dense feed-forward", p.dense}, {"shared experts", p.shared}, {"router", p.router},
      {"routed experts", p.experts},   {"encoder", p.encoder},       {"norms", p.norms}};
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
  json.set("weight_bytes", number(bytes));
}

// Contexts that the table shows, the longest last.
std::vector<std::int64_t> contexts(const ModelSpec& m) {
  std::vector<std::int64_t> all;
  for (const std::int64_t n : {std::int64_t{1024}, std::int64_t{8192}, std::int64_t{131'072}})
    if (n < m.max_context && (n > 1024 || m.max_context <= 131'072)) all.push_back(n);
  all.push_back(m.max_context);
  return all;
}

// One kind of thing that a sequence keeps, over all layers that keep it; 16 bits a number.
struct Kept {
  std::string kind, keeps;
  std::int64_t layers = 0, window = 0, readers = 0;
  Bytes per_token{0}, per_sequence{0};
  std::vector<Bytes> at;  // of a sequence, by context
};

Kept kept_by(const KvGroup& g, const ModelSpec& m, const std::vector<std::int64_t>& lengths) {
  Kept k;
  k.kind = name_of(g.kind);
  k.layers = g.layers;
  k.window = g.window;
  k.readers = g.readers;
  const std::int64_t pool = g.kind == AttentionKind::pooled ? m.pool_tokens : 1;
  k.keeps =
      g.window > 0 ? fmt::format("last {} tokens", grouped(static_cast<std::uint64_t>(g.window)))
      : pool > 1   ? fmt::format("1 entry per {} tokens", pool)
      : m.encoder
          ? fmt::format("{} tokens", grouped(static_cast<std::uint64_t>(m.encoder->main_tokens)))
          : "all tokens";
  const Bytes each = Bytes{2 * g.elements} * g.layers;
  k.per_token = Bytes{2 * g.elements * g.layers / pool};
  for (std::int64_t n : lengths) {
    if (m.encoder) n = std::min(n, m.encoder->main_tokens);
    k.at.push_back(each * ((g.window > 0 ? std::min(n, g.window) : n) / pool));
  }
  return k;
}

std::vector<Kept> kept_of(const ModelSpec& m, const std::vector<std::int64_t>& lengths) {
  std::vector<Kept> all;
  for (const KvGroup& g : kv_groups(m)) all.push_back(kept_by(g, m, lengths));
  const auto constant = [&](const std::string& kind, std::int64_t layers, Bytes each) {
    Kept k{kind, "a state", layers, 0, 0, Bytes{0}, each * layers, {}};
    k.at.assign(lengths.size(), k.per_sequence);
    if (layers > 0) all.push_back(std::move(k));
  };
  std::int64_t recurrent = 0, mixers = 0;
  for (const Layer& l : layers_of(m)) {
    recurrent += l.attention == AttentionKind::recurrent ? 1 : 0;
    mixers += attends(l.attention) ? 1 : 0;
  }
  if (m.recurrent)
    constant(fmt::format("recurrent ({})", name_of(m.recurrent->mixer)), recurrent,
             layer_state_bytes(m));
  if (m.memory) constant("memory", mixers, layer_memory_bytes(m));
  if (m.encoder) {
    const Bytes each{2 * m.encoder->hidden};
    Kept k{"encoder", "other tokens", 1, 0, m.encoder->cross_layers, each, Bytes{0}, {}};
    for (const std::int64_t n : lengths)
      k.at.push_back(each * std::max<std::int64_t>(0, n - m.encoder->main_tokens));
    all.push_back(std::move(k));
  }
  return all;
}

void add_cache(const ModelSpec& m, TextTable& table, Tree& json) {
  const Bytes token = kv_token_bytes(m, Dtype::bf16);
  const Bytes state = sequence_state_bytes(m);
  table.row({"KV cache", fmt::format("{} bytes per token in bf16, {} in fp8", whole(token),
                                     whole(kv_token_bytes(m, Dtype::fp8)))});
  if (state > Bytes{0})
    table.row({"state", fmt::format("{} bytes per sequence, whatever its length", whole(state))});
  if (m.prefill_layers > 0)
    table.row({"prefill", fmt::format("a prompt's tokens pass {} of {} layers, its last one all",
                                      m.prefill_layers, m.layers)});
  if (m.prefill_passes > 1)
    table.row({"prefill", fmt::format("{} passes over a prompt", m.prefill_passes)});
  json.set("kv_bytes_per_token", number(token));
  json.set("state_bytes", number(state));
}

// What a sequence keeps, by group of layers and length.
std::string cache_table(const ModelSpec& m, Tree& json) {
  const std::vector<std::int64_t> lengths = contexts(m);
  std::vector<std::string> head{"layers", "kind", "keeps", "a token", "constant"};
  for (const std::int64_t n : lengths)
    head.push_back(n % 1024 == 0 ? fmt::format("at {}Ki", n / 1024) : fmt::format("at {}", n));
  TextTable table(head);
  Tree groups = Tree::list();
  const auto amount = [](Bytes b) { return b > Bytes{0} ? bytes_text(b) : std::string("-"); };
  for (const Kept& k : kept_of(m, lengths)) {
    std::vector<std::string> row{k.readers > 0 ? fmt::format("{} (+{} read)", k.layers, k.readers)
                                               : std::to_string(k.layers),
                                 k.kind, k.keeps, amount(k.per_token), amount(k.per_sequence)};
    for (const Bytes b : k.at) row.push_back(bytes_text(b));
    table.row(row);
    Tree one = Tree::map();
    one.set("kind", json_text(k.kind));
    one.set("window", number(k.window));
    one.set("layers", number(k.layers));
    one.set("readers", number(k.readers));
    one.set("token_bytes", number(k.per_token));
    one.set("sequence_bytes", number(k.per_sequence));
    groups.push(std::move(one));
  }
  std::vector<std::string> sum{"", "one sequence", "", bytes_text(kv_token_bytes(m, Dtype::bf16)),
                               amount(sequence_state_bytes(m))};
  Tree sizes = Tree::map();
  for (const std::int64_t n : lengths) {
    const Bytes b = kv_sequence_bytes(m, n, Dtype::bf16);
    sum.push_back(bytes_text(b));
    sizes.set(std::to_string(n), number(b));
  }
  table.row(sum);
  json.set("kv_groups", std::move(groups));
  json.set("sequence_bytes", std::move(sizes));
  return "\nwhat a sequence keeps, by group of layers, in bf16\n" + table.text(2);
}

// "full full sliding" as runs: "2 full, 1 sliding"; long patterns once.
std::string layer_kinds(const ModelSpec& m) {
  std::string text;
  const std::vector<Layer> layers = layers_of(m);
  std::size_t runs = 0;
  for (std::size_t i = 0; i < layers.size();) {
    std::size_t end = i;
    while (end < layers.size() && layers[end].attention == layers[i].attention &&
           layers[end].moe == layers[i].moe && layers[end].owns_kv == layers[i].owns_kv &&
           layers[end].owns_v == layers[i].owns_v)
      ++end;
    if (++runs > 8) return text + ", ...";
    text += fmt::format("{}{} {}{}{}", text.empty() ? "" : ", ", end - i,
                        name_of(layers[i].attention), layers[i].moe ? " with experts" : "",
                        !attends(layers[i].attention) || (layers[i].owns_k && layers[i].owns_v) ? ""
                        : layers[i].owns_kv ? " (reads another layer's values)"
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
  page.text += cache_table(m, page.json);
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
