#include "hardware/topology.h"

#include <algorithm>
#include <boost/graph/adjacency_list.hpp>
#include <boost/graph/dijkstra_shortest_paths.hpp>
#include <limits>

#include "sim/base/check.h"
#include "sim/base/diagnostics.h"

namespace kvsim {

namespace {

bool passes_on(VertexKind kind) {
  return kind == VertexKind::socket || kind == VertexKind::nic || kind == VertexKind::switch_;
}

}  // namespace

double Hop::cost(Bytes chunk) const {
  if (chunk <= Bytes{0}) return weight;
  const double c = to_double(chunk);
  return std::max(weight * (1 + to_double(chunk_half) / c), request / c);
}

std::vector<FlowNetwork::Use> Route::uses(Bytes chunk) const {
  std::vector<FlowNetwork::Use> all;
  for (const Hop& h : hops) all.push_back({h.link, h.cost(chunk)});
  return all;
}

double Route::rate_cap(Bytes chunk) const {
  return chunk > Bytes{0} ? requests * to_double(chunk) : 0;
}

VertexId Topology::add_vertex(Vertex v) {
  const VertexId id{static_cast<std::uint32_t>(vertices_.size())};
  if (!names_.emplace(v.name, id).second)
    throw InputError("two vertices of the graph are called '" + v.name + "'",
                     "give one of them another name");
  vertices_.push_back(std::move(v));
  distances_.clear();
  routes_.clear();
  return id;
}

LinkId Topology::add_link(std::string name, double capacity) {
  links_.push_back({std::move(name), capacity});
  return LinkId{static_cast<std::uint32_t>(links_.size() - 1)};
}

void Topology::add_edge(Edge e) {
  edges_.push_back(std::move(e));
  distances_.clear();
  routes_.clear();
}

std::optional<VertexId> Topology::find(std::string_view name) const {
  const auto it = names_.find(name);
  return it == names_.end() ? std::nullopt : std::optional(it->second);
}

std::vector<VertexId> Topology::of_kind(VertexKind kind, int node) const {
  std::vector<VertexId> all;
  for (std::uint32_t i = 0; i < vertices_.size(); ++i)
    if (vertices_[i].kind == kind && (node < 0 || vertices_[i].node == node))
      all.push_back(VertexId{i});
  return all;
}

std::optional<VertexId> Topology::nearest(VertexId from, VertexKind kind) {
  const std::vector<Distance>& d = distances(from);
  std::optional<VertexId> best;
  for (const VertexId id : of_kind(kind))
    if (id != from && reachable(from, id) && (!best || d[id.index] < d[best->index])) best = id;
  return best;
}

bool Topology::reachable(VertexId from, VertexId to) {
  return distances(from)[to.index].latency != std::numeric_limits<std::int64_t>::max();
}

const Route& Topology::route(VertexId from, VertexId to) {
  const auto it = routes_.find({from, to});
  if (it != routes_.end()) return it->second;
  return routes_.emplace(std::pair{from, to}, find_route(from, to)).first->second;
}

double Topology::bottleneck(const Route& r, Bytes chunk) const {
  double least = std::numeric_limits<double>::infinity();
  for (const Hop& h : r.hops)
    least = std::min(least, links_[h.link.index].capacity / h.cost(chunk));
  const double cap = r.rate_cap(chunk);
  return cap > 0 ? std::min(least, cap) : least;
}

LinkId Topology::write_link(VertexId drive) const {
  for (const Edge& e : edges_)
    if (e.to == drive && !vertex(drive).storage.empty()) return e.hops.back().link;
  KVSIM_CHECK(false, "{} is no drive", vertex(drive).name);
}

void Topology::cut(std::span<const LinkId> links) {
  std::erase_if(edges_, [&](const Edge& e) {
    return std::any_of(e.hops.begin(), e.hops.end(), [&](const Hop& h) {
      return std::find(links.begin(), links.end(), h.link) != links.end();
    });
  });
  distances_.clear();
  routes_.clear();
}

void Topology::add_to(FlowNetwork& net) const {
  KVSIM_CHECK(net.links() == 0, "the network has {} links already", net.links());
  for (const Link& l : links_) net.add_link(l.capacity);
}

const std::vector<Topology::Distance>& Topology::distances(VertexId from) {
  const auto known = distances_.find(from);
  if (known != distances_.end()) return known->second;
  using Graph = boost::adjacency_list<boost::vecS, boost::vecS, boost::directedS,
                                      boost::no_property, Distance>;
  Graph graph(vertices_.size());
  for (const Edge& e : edges_)
    if (e.from == from || passes_on(vertex(e.from).kind))
      boost::add_edge(e.from.index, e.to.index, Distance{to_ns(e.latency), 1}, graph);
  constexpr std::int64_t kFar = std::numeric_limits<std::int64_t>::max();
  std::vector<Distance> out(vertices_.size());
  const auto index = boost::get(boost::vertex_index, graph);
  boost::dijkstra_shortest_paths(
      graph, static_cast<Graph::vertex_descriptor>(from.index),
      boost::weight_map(boost::get(boost::edge_bundle, graph))
          .distance_map(boost::make_iterator_property_map(out.begin(), index))
          .distance_inf(Distance{kFar, kFar})
          .distance_zero(Distance{})
          .distance_compare(std::less<Distance>{})
          .distance_combine([](const Distance& a, const Distance& b) {
            if (a.latency == kFar || b.latency == kFar) return Distance{kFar, kFar};
            return Distance{a.latency + b.latency, a.edges + b.edges};
          }));
  return distances_.emplace(from, std::move(out)).first->second;
}

// Backwards along edges that lie on a best path.
Route Topology::find_route(VertexId from, VertexId to) {
  KVSIM_CHECK(reachable(from, to), "no route from {} to {}", vertex(from).name, vertex(to).name);
  const std::vector<Distance>& d = distances(from);
  const auto spread = static_cast<std::size_t>(vertex(from).number + vertex(to).number);
  std::vector<const Edge*> taken;
  for (VertexId at = to; at != from;) {
    std::vector<const Edge*> best;
    for (const Edge& e : edges_)
      if (e.to == at && (e.from == from || passes_on(vertex(e.from).kind)) &&
          reachable(from, e.from) &&
          Distance{d[e.from.index].latency + to_ns(e.latency), d[e.from.index].edges + 1} ==
              d[at.index])
        best.push_back(&e);
    taken.push_back(best[spread % best.size()]);
    at = taken.back()->from;
  }
  std::reverse(taken.begin(), taken.end());
  Route r;
  r.path.push_back(from);
  for (const Edge* e : taken) {
    r.path.push_back(e->to);
    r.latency += e->latency;
    r.hops.insert(r.hops.end(), e->hops.begin(), e->hops.end());
    if (e->requests > 0)
      r.requests = r.requests > 0 ? std::min(r.requests, e->requests) : e->requests;
  }
  return r;
}

}  // namespace kvsim
