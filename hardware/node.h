#pragma once
// A machine, or a cluster of equal machines, as the catalogue describes it
// (hardware/catalog/nodes). The short form counts parts; `graph` adds what it cannot say, or, with
// `sockets: 0`, is all there is. hardware/topology.h turns it into a graph.
#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "hardware/device.h"

namespace kvsim {

enum class VertexKind : std::uint8_t { gpu, socket, dram, ssd, nic, switch_, remote };
constexpr auto enum_names(VertexKind) {
  using enum VertexKind;
  return std::array<std::pair<VertexKind, const char*>, 7>{{{gpu, "gpu"},
                                                            {socket, "socket"},
                                                            {dram, "dram"},
                                                            {ssd, "ssd"},
                                                            {nic, "nic"},
                                                            {switch_, "switch"},
                                                            {remote, "remote"}}};
}

enum class GpuFabric : std::uint8_t { switched, pcie };
constexpr auto enum_names(GpuFabric) {
  return std::array<std::pair<GpuFabric, const char*>, 2>{
      {{GpuFabric::switched, "switched"}, {GpuFabric::pcie, "pcie"}}};
}

enum class Attachment : std::uint8_t { socket, pcie_switch };
constexpr auto enum_names(Attachment) {
  return std::array<std::pair<Attachment, const char*>, 2>{
      {{Attachment::socket, "socket"}, {Attachment::pcie_switch, "switch"}}};
}

enum class Duplex : std::uint8_t { full, half, one_way };
constexpr auto enum_names(Duplex) {
  return std::array<std::pair<Duplex, const char*>, 3>{
      {{Duplex::full, "full"}, {Duplex::half, "half"}, {Duplex::one_way, "one-way"}}};
}

struct StorageUse {
  std::string device;  // id of a StorageSpec
  int count = 1;
  Attachment attached = Attachment::socket;
  std::string source;
  static constexpr Rows kFields{
      field("device", &StorageUse::device, any, "drive of the catalogue: kvsim list storage"),
      field("count", &StorageUse::count, between(1, 1024), "drives of this kind in a node"),
      field("attached", &StorageUse::attached, any, "spread over sockets, or over PCIe switches"),
      field("source", &StorageUse::source, any, "where this comes from")};
};

struct NicUse {
  int count = 1;
  Attachment attached = Attachment::socket;
  std::string source;
  static constexpr Rows kFields{
      field("count", &NicUse::count, between(1, 1024), "adapters of `network` in a node"),
      field("attached", &NicUse::attached, any, "spread over sockets, or over PCIe switches"),
      field("source", &NicUse::source, any, "where this comes from")};
};

struct RemoteSpec {
  Bytes capacity;  // 0 = there is none
  LinkSpec link;
  static constexpr Rows kFields{
      field("capacity", &RemoteSpec::capacity, any, "of the pool; 0 = there is none"),
      field("link", &RemoteSpec::link, any, "between the pool and the network")};
};

struct VertexSpec {
  std::string name;
  VertexKind kind = VertexKind::dram;
  Bytes capacity;
  std::string source;
  static constexpr Rows kFields{
      field("name", &VertexSpec::name, any, "unique in the node, such as cxl0"),
      field("kind", &VertexSpec::kind, any, "what it is; sockets, nics and switches pass data on"),
      field("capacity", &VertexSpec::capacity, any, "of a memory"),
      field("source", &VertexSpec::source, any, "where this comes from")};
};

struct EdgeSpec {
  std::string from, to;
  std::string name;
  Bandwidth bandwidth;
  Duration latency{};
  Bytes chunk_half;
  Duplex duplex = Duplex::full;
  std::string source;
  static constexpr Rows kFields{
      field("from", &EdgeSpec::from, any, "name of a vertex"),
      field("to", &EdgeSpec::to, any, "name of a vertex"),
      field("name", &EdgeSpec::name, any, "kind of link"),
      field("bandwidth", &EdgeSpec::bandwidth, any, "per direction; of both together when half"),
      field("latency", &EdgeSpec::latency, kLatencyBounds, "of one message"),
      field("chunk_half", &EdgeSpec::chunk_half, any, "size of chunks that reach half of it"),
      field("duplex", &EdgeSpec::duplex, any, "whether directions share it"),
      field("source", &EdgeSpec::source, any, "where the figures come from")};
};

struct GraphSpec {
  std::vector<VertexSpec> vertices;
  std::vector<EdgeSpec> links;
  static constexpr Rows kFields{
      field("vertices", &GraphSpec::vertices, any, "more vertices of each node"),
      field("links", &GraphSpec::links, any, "more links; ends may be parts of the short form")};
};

struct NodeSpec {
  std::string name, text;
  std::string device;  // id of a DeviceSpec
  int devices = 1;
  int nodes = 1;
  LinkSpec gpu_link;  // between the GPUs of the node
  GpuFabric gpu_fabric = GpuFabric::switched;
  LinkSpec host_link;  // GPU to the socket or switch it hangs on
  Bytes host_memory;
  int sockets = 1;
  LinkSpec memory_link;     // socket to its memory, both directions together
  LinkSpec socket_link;     // between two sockets
  int gpus_per_switch = 0;  // 0 = GPUs hang on sockets
  LinkSpec switch_link;     // PCIe switch to its socket
  std::vector<StorageUse> storage;
  NicUse nics;
  LinkSpec network;  // between nodes, per adapter
  RemoteSpec remote;
  GraphSpec graph;
  std::map<std::string, std::string> source;
  static constexpr Rows kFields{
      field("name", &NodeSpec::name, any, "id in the catalogue"),
      field("text", &NodeSpec::text, any, "one line"),
      field("device", &NodeSpec::device, any, "accelerator it is built of"),
      field("devices", &NodeSpec::devices, between(1, 1024), "accelerators in the node"),
      field("nodes", &NodeSpec::nodes, between(1, 1024), "nodes of the cluster"),
      field("gpu_link", &NodeSpec::gpu_link, any, "link between its GPUs"),
      field("gpu_fabric", &NodeSpec::gpu_fabric, any,
            "switched: GPUs meet in a switch of their own; pcie: over their host links"),
      field("host_link", &NodeSpec::host_link, any, "link of a GPU to host memory"),
      field("host_memory", &NodeSpec::host_memory, any, "host memory"),
      field("sockets", &NodeSpec::sockets, between(0, 64),
            "processor sockets; 0 = `graph` lists every part"),
      field("memory_link", &NodeSpec::memory_link, any,
            "memory of one socket, reads and writes together; no bandwidth = never the limit"),
      field("socket_link", &NodeSpec::socket_link, any, "link between sockets"),
      field("gpus_per_switch", &NodeSpec::gpus_per_switch, between(0, 1024),
            "GPUs that share a PCIe switch; 0 = none has one"),
      field("switch_link", &NodeSpec::switch_link, any, "PCIe switch to its socket"),
      field("storage", &NodeSpec::storage, any, "drives"),
      field("nics", &NodeSpec::nics, any, "network adapters"),
      field("network", &NodeSpec::network, any, "link between nodes, per adapter"),
      field("remote", &NodeSpec::remote, any, "memory pool on the network, one for all nodes"),
      field("graph", &NodeSpec::graph, any, "parts that the counts cannot say"),
      field("source", &NodeSpec::source, any, "figure: where it comes from")};
};
KVSIM_FIELDS_ELSEWHERE(NodeSpec)

// Between a GPU and host memory: the node's, else the device's own; bandwidth 0 = not known.
inline const LinkSpec& host_link(const NodeSpec& node, const DeviceSpec& device) {
  return node.host_link.bandwidth.value > 0 ? node.host_link : device.host_link;
}

}  // namespace kvsim
