#pragma once
// Hardware as a graph: GPUs, sockets, memories, drives, adapters, switches; edges with bandwidth,
// latency and the chunk size that reaches half of it. A route is the path of least latency, then of
// fewest edges; equal paths are spread by the numbers of their ends, so that GPUs that share two
// adapters use both. Data passes through sockets, adapters and switches only.
//
// An edge uses links: shared resources of FlowNetwork, one per direction, one for both (memory of a
// socket), or a drive's device time. Link ids here are those that add_to() gives them there.
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hardware/flow_network.h"
#include "hardware/node.h"
#include "hardware/storage.h"

namespace kvsim {

using VertexId = Id<struct VertexTag>;

struct Vertex {
  std::string name;  // gpu3, dram0; of several nodes n2.gpu3
  VertexKind kind{};
  int node = 0;         // -1 = of the whole cluster
  int number = 0;       // among its kind in its node
  Bytes capacity;       // of dram, ssd, remote
  std::string storage;  // id of the drive
};

// A resource: bytes per second, or 1 device second per second.
struct Link {
  std::string name;
  double capacity = 0;
};

// What one byte costs of a link in chunks of c bytes: max(weight (1 + half / c), request / c).
struct Hop {
  LinkId link;
  double weight = 1;
  Bytes chunk_half;
  double request = 0;                            // cost of one request
  [[nodiscard]] double cost(Bytes chunk) const;  // chunk 0 = large
};

struct Edge {
  VertexId from, to;
  std::string name;     // of the kind of link
  Bandwidth bandwidth;  // 0 = never the limit
  Duration latency{};
  std::vector<Hop> hops;
  double requests = 0;  // requests/s that one transfer can keep going, 0 = any
};

struct Route {
  std::vector<VertexId> path;  // both ends included
  std::vector<Hop> hops;
  Duration latency{};
  double requests = 0;
  [[nodiscard]] std::vector<FlowNetwork::Use> uses(Bytes chunk) const;
  [[nodiscard]] double rate_cap(Bytes chunk) const;  // for FlowNetwork::start; 0 = none
};

class Topology {
 public:
  // Names must be new; throws InputError.
  VertexId add_vertex(Vertex);
  LinkId add_link(std::string name, double capacity);
  void add_edge(Edge);

  [[nodiscard]] std::span<const Vertex> vertices() const { return vertices_; }
  [[nodiscard]] std::span<const Edge> edges() const { return edges_; }
  [[nodiscard]] std::span<const Link> links() const { return links_; }
  [[nodiscard]] const Vertex& vertex(VertexId id) const { return vertices_[id.index]; }
  [[nodiscard]] std::optional<VertexId> find(std::string_view name) const;
  // In order of number; of all nodes when node < 0.
  [[nodiscard]] std::vector<VertexId> of_kind(VertexKind, int node = -1) const;
  // The one of least latency, then of fewest edges, then the first; nothing when none is reached.
  [[nodiscard]] std::optional<VertexId> nearest(VertexId from, VertexKind);
  [[nodiscard]] bool reachable(VertexId from, VertexId to);
  // Requires that it is reachable. Stays valid until vertices or edges are added.
  const Route& route(VertexId from, VertexId to);
  // Bytes/s of a transfer that has the route for itself; infinite when nothing limits it.
  [[nodiscard]] double bottleneck(const Route&, Bytes chunk = {}) const;
  // What is written to a drive and nothing else passes this link: its bytes, for life_years().
  // Requires a drive with a StorageSpec.
  [[nodiscard]] LinkId write_link(VertexId drive) const;
  // Takes out every edge that uses one of these links.
  void cut(std::span<const LinkId>);
  // Adds all links to a network that has none yet, so that ids are equal.
  void add_to(FlowNetwork&) const;

 private:
  struct Distance {
    std::int64_t latency = 0;  // ns
    std::int64_t edges = 0;
    auto operator<=>(const Distance&) const = default;
  };
  const std::vector<Distance>& distances(VertexId from);
  Route find_route(VertexId from, VertexId to);

  std::vector<Vertex> vertices_;
  std::vector<Edge> edges_;
  std::vector<Link> links_;
  std::map<std::string, VertexId, std::less<>> names_;
  std::map<VertexId, std::vector<Distance>> distances_;
  std::map<std::pair<VertexId, VertexId>, Route> routes_;
};

// The graph of `nodes` such nodes; `storage` holds every drive the node names. Throws InputError
// for parts that do not fit together.
Topology build_topology(const NodeSpec&, int nodes,
                        const std::map<std::string, StorageSpec>& storage);

}  // namespace kvsim
