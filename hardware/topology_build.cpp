// A graph from the description of a node: the short form part by part, then what `graph` adds.
#include <fmt/format.h>

#include <algorithm>

#include "hardware/topology.h"
#include "sim/base/diagnostics.h"

namespace kvsim {

namespace {

constexpr int kCluster = -1;  // "node" of what all nodes share

// Item i of n spread in runs over k places.
int place_of(int i, int n, int k) { return i * k / n; }

class Builder {
 public:
  Builder(const NodeSpec& spec, int nodes, const std::map<std::string, StorageSpec>& storage)
      : spec_(spec), nodes_(nodes), storage_(storage) {}

  Topology build() {
    if (nodes_ > 1 || spec_.remote.capacity > Bytes{0}) {
      network_ = add(kCluster, VertexKind::switch_, "network", 0);
      if (spec_.remote.capacity > Bytes{0}) {
        const VertexId pool = add(kCluster, VertexKind::remote, "remote", 0, spec_.remote.capacity);
        join(pool, *network_, spec_.remote.link);
      }
    }
    for (int n = 0; n < nodes_; ++n) build_node(n);
    check_reach();
    return std::move(out_);
  }

 private:
  std::string full_name(int node, const std::string& name) const {
    return nodes_ > 1 && node != kCluster ? fmt::format("n{}.{}", node, name) : name;
  }

  VertexId add(int node, VertexKind kind, const std::string& name, int number, Bytes capacity = {},
               std::string storage = {}) {
    return out_.add_vertex(
        {full_name(node, name), kind, node, number, capacity, std::move(storage)});
  }

  std::string between(VertexId a, VertexId b, const char* sign) const {
    return out_.vertex(a).name + sign + out_.vertex(b).name;
  }

  LinkId link(VertexId a, VertexId b, const char* sign, Bandwidth w) {
    return out_.add_link(between(a, b, sign), w.value);
  }

  void edge(VertexId from, VertexId to, const LinkSpec& l, Duration latency,
            std::optional<LinkId> over) {
    Edge e{from, to, l.name, l.bandwidth, latency, {}, 0};
    if (over) e.hops.push_back({*over, 1, l.chunk_half, 0});
    out_.add_edge(std::move(e));
  }

  void one_way(VertexId from, VertexId to, const LinkSpec& l, Duration latency) {
    edge(from, to, l, latency,
         l.bandwidth.value > 0 ? std::optional(link(from, to, ">", l.bandwidth)) : std::nullopt);
  }
  void join(VertexId a, VertexId b, const LinkSpec& l) {
    one_way(a, b, l, l.latency);
    one_way(b, a, l, l.latency);
  }
  // To the switch in the middle of the link: a message takes two such edges.
  void join_half_way(VertexId a, VertexId b, const LinkSpec& l) {
    one_way(a, b, l, l.latency / 2);
    one_way(b, a, l, l.latency - l.latency / 2);
  }
  void share(VertexId a, VertexId b, const LinkSpec& l) {
    const auto both =
        l.bandwidth.value > 0 ? std::optional(link(a, b, "=", l.bandwidth)) : std::nullopt;
    edge(a, b, l, l.latency, both);
    edge(b, a, l, l.latency, both);
  }

  void build_node(int n) {
    sockets_.clear();
    switches_.clear();
    if (spec_.sockets > 0) {
      add_sockets(n);
      add_gpus(n);
      add_drives(n);
      add_nics(n);
    }
    for (std::size_t i = 0; i < spec_.graph.vertices.size(); ++i) {
      const VertexSpec& v = spec_.graph.vertices[i];
      const auto number = static_cast<int>(out_.of_kind(v.kind, n).size());
      add(n, v.kind, v.name, number, v.capacity);
    }
    for (std::size_t i = 0; i < spec_.graph.links.size(); ++i) add_listed(n, i);
    const auto gpus = static_cast<int>(out_.of_kind(VertexKind::gpu, n).size());
    if (gpus != spec_.devices)
      throw InputError(fmt::format("the graph of {} has {} GPUs, but devices is {}", spec_.name,
                                   gpus, spec_.devices),
                       "list one vertex of kind gpu for each device, or count sockets");
  }

  void add_sockets(int n) {
    for (int s = 0; s < spec_.sockets; ++s) {
      sockets_.push_back(add(n, VertexKind::socket, fmt::format("socket{}", s), s));
      const VertexId memory =
          add(n, VertexKind::dram, fmt::format("dram{}", s), s, spec_.host_memory / spec_.sockets);
      share(sockets_.back(), memory, spec_.memory_link);
    }
    for (std::size_t a = 0; a < sockets_.size(); ++a)
      for (std::size_t b = a + 1; b < sockets_.size(); ++b)
        join(sockets_[a], sockets_[b], spec_.socket_link);
  }

  void add_gpus(int n) {
    const int per = spec_.gpus_per_switch;
    const int count = per > 0 ? (spec_.devices + per - 1) / per : 0;
    for (int w = 0; w < count; ++w) {
      switches_.push_back(add(n, VertexKind::switch_, fmt::format("pcie{}", w), w));
      join(switches_.back(), at(sockets_, place_of(w, count, spec_.sockets)), spec_.switch_link);
    }
    std::optional<VertexId> fabric;
    if (spec_.devices > 1 && spec_.gpu_fabric == GpuFabric::switched)
      fabric = add(n, VertexKind::switch_, "fabric", count);
    for (int g = 0; g < spec_.devices; ++g) {
      const VertexId gpu = add(n, VertexKind::gpu, fmt::format("gpu{}", g), g);
      join(gpu,
           per > 0 ? at(switches_, g / per)
                   : at(sockets_, place_of(g, spec_.devices, spec_.sockets)),
           spec_.host_link);
      if (fabric) join_half_way(gpu, *fabric, spec_.gpu_link);
    }
  }

  static VertexId at(const std::vector<VertexId>& all, int i) {
    return all[static_cast<std::size_t>(i)];
  }

  // Where part i of n hangs.
  VertexId parent(Attachment a, int i, int n) const {
    const auto& all = a == Attachment::pcie_switch && !switches_.empty() ? switches_ : sockets_;
    return at(all, place_of(i, n, static_cast<int>(all.size())));
  }

  void add_drives(int n) {
    int number = 0;
    for (const StorageUse& use : spec_.storage) {
      const auto found = storage_.find(use.device);
      if (found == storage_.end())
        throw InputError(
            fmt::format("{} names the drive '{}', which is not known", spec_.name, use.device),
            "kvsim list storage shows the drives of the catalogue");
      for (int i = 0; i < use.count; ++i, ++number) {
        const VertexId ssd = add(n, VertexKind::ssd, fmt::format("ssd{}", number), number,
                                 found->second.capacity, use.device);
        join_drive(ssd, parent(use.attached, i, use.count), found->second);
      }
    }
  }

  // The device time is what both directions share; a link of each direction, never narrower, tells
  // in its totals what was read and what was written.
  void join_drive(VertexId ssd, VertexId host, const StorageSpec& s) {
    const LinkId time = out_.add_link(out_.vertex(ssd).name, 1);
    const auto one = [&](VertexId from, VertexId to, const char* what, Bandwidth bandwidth,
                         Duration latency, double seconds, Rate rate) {
      Edge e{from, to, s.name + what, bandwidth, latency, {}, 0};
      e.hops.push_back({time, seconds, {}, rate.value > 0 ? 1 / rate.value : 0});
      e.hops.push_back({link(from, to, ">", bandwidth), 1, {}, 0});
      if (latency > Duration{0}) e.requests = s.queue_depth / to_seconds(latency);
      out_.add_edge(std::move(e));
    };
    one(ssd, host, " read", s.read_bandwidth, s.read_latency, read_seconds(s, {}), s.read_rate);
    one(host, ssd, " write", s.write_bandwidth, s.write_latency, write_seconds(s, {}),
        s.write_rate);
  }

  void add_nics(int n) {
    if (spec_.network.name.empty()) return;
    LinkSpec slot = spec_.host_link;
    slot.latency = {};  // of a copy that the GPU starts
    for (int i = 0; i < spec_.nics.count; ++i) {
      const VertexId nic = add(n, VertexKind::nic, fmt::format("nic{}", i), i);
      join(nic, parent(spec_.nics.attached, i, spec_.nics.count), slot);
      if (network_) join_half_way(nic, *network_, spec_.network);
    }
  }

  VertexId end_of(int n, const std::string& name, std::size_t link, const char* key) const {
    if (const auto id = out_.find(full_name(n, name))) return *id;
    if (const auto id = out_.find(name)) return *id;
    std::vector<std::string> known;
    for (const Vertex& v : out_.vertices())
      if (v.node == n || v.node == kCluster)
        known.push_back(v.name.substr(full_name(v.node, "").size()));
    throw InputError(
        fmt::format("graph.links.{}.{}: {} has no part '{}'", link, key, spec_.name, name),
        name_hint(name, known));
  }

  void add_listed(int n, std::size_t i) {
    const EdgeSpec& e = spec_.graph.links[i];
    const VertexId from = end_of(n, e.from, i, "from"), to = end_of(n, e.to, i, "to");
    const LinkSpec l{e.name, e.bandwidth, e.latency, e.source, e.chunk_half};
    switch (e.duplex) {
      case Duplex::full:
        return join(from, to, l);
      case Duplex::half:
        return share(from, to, l);
      case Duplex::one_way:
        return one_way(from, to, l, l.latency);
    }
  }

  // Every GPU must reach every memory and every other GPU, and be reached. Nodes are equal: the
  // first two stand for all.
  void check_reach() {
    const std::vector<VertexId> gpus = out_.of_kind(VertexKind::gpu, 0);
    for (const VertexId gpu : gpus)
      for (std::uint32_t i = 0; i < out_.vertices().size(); ++i) {
        const VertexId other{i};
        const VertexKind kind = out_.vertex(other).kind;
        const bool end = kind == VertexKind::gpu || kind == VertexKind::dram ||
                         kind == VertexKind::ssd || kind == VertexKind::remote;
        if (!end || other == gpu || out_.vertex(other).node > 1) continue;
        for (const auto& [from, to] : {std::pair{gpu, other}, std::pair{other, gpu}})
          if (!out_.reachable(from, to))
            throw InputError(fmt::format("the graph of {} has no way from {} to {}", spec_.name,
                                         out_.vertex(from).name, out_.vertex(to).name),
                             "add links; data passes through sockets, nics and switches only");
      }
  }

  const NodeSpec& spec_;
  int nodes_;
  const std::map<std::string, StorageSpec>& storage_;
  Topology out_;
  std::optional<VertexId> network_;
  std::vector<VertexId> sockets_, switches_;
};

}  // namespace

Topology build_topology(const NodeSpec& spec, int nodes,
                        const std::map<std::string, StorageSpec>& storage) {
  if (nodes > 1 && spec.network.name.empty())
    throw InputError(fmt::format("{} nodes of {}, but its file names no network", nodes, spec.name),
                     "add network: {name: ..., bandwidth: ..., latency: ..., source: ...}");
  return Builder(spec, nodes, storage).build();
}

}  // namespace kvsim
