// Pages of machines and drives: figures, then the graph and what its routes reach.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "hardware/topology.h"
#include "sim/cli/entries.h"
#include "sim/cli/show_entry.h"
#include "sim/cli/text_table.h"

namespace kvsim {

namespace {

std::string speed(double bytes_per_second) {
  return std::isfinite(bytes_per_second) && bytes_per_second > 0
             ? fmt::format("{:.1f}", bytes_per_second / 1e9)
             : "-";
}

std::string time_text(Duration d) {
  const auto ns = static_cast<double>(to_ns(d));
  return ns < 1e3 ? fmt::format("{} ns", ns) : fmt::format("{:.4g} us", ns / 1e3);
}

std::map<std::string, StorageSpec> drives_of(const NodeSpec& n) {
  std::map<std::string, StorageSpec> all;
  for (const StorageUse& use : n.storage)
    all[use.device] = read_entry<StorageSpec>(CatalogKind::storage, use.device);
  return all;
}

struct Row {
  std::string name;
  std::string bandwidth, latency;
  bool operator==(const Row&) const = default;
};

const Edge* edge_between(const Topology& t, VertexId from, VertexId to) {
  for (const Edge& e : t.edges())
    if (e.from == from && e.to == to) return &e;
  return nullptr;
}

// The link as seen from `from`; both directions when they differ.
Row row_of(const Topology& t, const Edge& out) {
  Row r{out.name, speed(out.bandwidth.value), time_text(out.latency)};
  const Edge* in = edge_between(t, out.to, out.from);
  if (in == nullptr || in->hops.empty() || out.hops.empty()) return r;
  const Row back{in->name, speed(in->bandwidth.value), time_text(in->latency)};
  if (in->hops[0].link == out.hops[0].link && back == r) r.name += " (half duplex)";
  const auto both = [](std::string& a, const std::string& b) {
    if (a != b) a += " / " + b;
  };
  if (!(back == r) && back.name != out.name) both(r.name, back.name);
  both(r.bandwidth, back.bandwidth);
  both(r.latency, back.latency);
  return r;
}

// Each pair of neighbours once, at the part that was built first; equal links in one row.
std::string graph_text(const Topology& t) {
  TextTable table({"part", "link", ">GB/s", ">latency", "joined to"});
  const auto shown = [&](VertexId id) { return t.vertex(id).node <= 0; };
  for (std::uint32_t i = 0; i < t.vertices().size(); ++i) {
    const VertexId part{i};
    if (!shown(part)) continue;
    std::vector<std::pair<Row, std::string>> rows;
    for (const Edge& e : t.edges()) {
      const bool first = e.from == part && (e.to.index > i || !edge_between(t, e.to, e.from));
      if (!first || !shown(e.to)) continue;
      const Row r = row_of(t, e);
      const auto same =
          std::find_if(rows.begin(), rows.end(), [&](const auto& one) { return one.first == r; });
      if (same == rows.end())
        rows.emplace_back(r, t.vertex(e.to).name);
      else
        same->second += " " + t.vertex(e.to).name;
    }
    for (std::size_t k = 0; k < rows.size(); ++k)
      table.row({k == 0 ? t.vertex(part).name : "", rows[k].first.name, rows[k].first.bandwidth,
                 rows[k].first.latency, rows[k].second});
  }
  return table.text(2);
}

// From and to the first GPU: memories, drives, the next GPUs, the pool.
std::string routes_text(Topology& t) {
  TextTable table({"from", "to", ">GB/s alone", ">latency", "through"});
  const VertexId gpu = t.of_kind(VertexKind::gpu, 0).front();
  const auto route = [&](VertexId from, VertexId to) {
    const Route& r = t.route(from, to);
    std::string through;
    for (std::size_t i = 1; i + 1 < r.path.size(); ++i)
      through += (i == 1 ? "" : " ") + t.vertex(r.path[i]).name;
    table.row({t.vertex(from).name, t.vertex(to).name, speed(t.bottleneck(r)), time_text(r.latency),
               through});
  };
  for (const VertexKind kind : {VertexKind::dram, VertexKind::ssd, VertexKind::remote})
    for (const int node : {0, 1, -1}) {
      std::vector<VertexId> all = t.of_kind(kind, node);
      if (node < 0 && kind != VertexKind::remote) continue;
      if (all.size() > 2) all = {all.front(), all.back()};
      for (const VertexId other : all) {
        if (node >= 0 && t.vertex(other).node < 0) continue;
        route(other, gpu);
        route(gpu, other);
      }
    }
  std::vector<VertexId> gpus = t.of_kind(VertexKind::gpu);
  if (gpus.size() > 3) gpus = {gpus[0], gpus[1], gpus[gpus.size() / 2], gpus.back()};
  for (std::size_t i = 1; i < gpus.size(); ++i) route(gpu, gpus[i]);
  return table.text(2);
}

// Keys of links and parts that the machine does not have.
void drop_empty(Tree& values) {
  for (const char* key : {"memory_link", "socket_link", "switch_link"})
    if (const Tree* t = values.find(key); t != nullptr && t->find("name")->text().empty())
      values.erase(key);
  if (const Tree* t = values.find("remote"); t->find("link")->find("name")->text().empty())
    values.erase("remote");
}

}  // namespace

Page node_page(const std::string& id) {
  const NodeSpec n = read_entry<NodeSpec>(CatalogKind::node, id);
  Tree values = as_written(write_fields(n), CatalogKind::node, id);
  drop_empty(values);
  Page page = catalog_page("node", id, n.text, std::move(values), n.source);
  Topology t = build_topology(n, std::min(n.nodes, 2), drives_of(n));
  page.text += fmt::format("\ngraph{} (GB/s and latency per direction)\n{}\nroutes\n{}",
                           n.nodes > 1 ? fmt::format(", the first of {} nodes", n.nodes) : "",
                           graph_text(t), routes_text(t));
  page.text += fmt::format("\nkvsim show {} tells the figures of one accelerator\n", n.device);
  return page;
}

Page storage_page(const std::string& id) {
  const StorageSpec s = read_entry<StorageSpec>(CatalogKind::storage, id);
  Page page = catalog_page("storage", id, s.text,
                           as_written(write_fields(s), CatalogKind::storage, id), s.source);
  TextTable table({">KiB a request", ">read GB/s", ">write GB/s", ">one reader", ">one writer"});
  for (const std::int64_t kib : {4, 16, 64, 256, 1024}) {
    const Bytes chunk{kib << 10};
    const double read = 1 / read_seconds(s, chunk), write = 1 / write_seconds(s, chunk);
    table.row({std::to_string(kib), speed(read), speed(write),
               speed(std::min(read, read_cap(s, chunk))),
               speed(std::min(write, write_cap(s, chunk)))});
  }
  page.text += "\nby size of request; of one transfer that keeps its queue depth in flight\n" +
               table.text(2);
  if (s.endurance > Bytes{0})
    page.text +=
        fmt::format("\nlife under steady writes: {:.2f} years at 100 MB/s, {:.2f} at 1 GB/s\n",
                    life_years(s, Bandwidth{1e8}), life_years(s, Bandwidth{1e9}));
  return page;
}

}  // namespace kvsim
