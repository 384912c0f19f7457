// Routes and shared links of small machines, by hand; random graphs against Bellman-Ford; mistakes.
#include "hardware/topology.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "sim/base/diagnostics.h"
#include "sim/base/random.h"

namespace kvsim {
namespace {

LinkSpec link(const char* name, double gb_per_second, int latency_ns, Bytes half = {}) {
  return {name, Bandwidth{gb_per_second * 1e9}, Duration{latency_ns}, "test", half};
}

StorageSpec drive() {
  StorageSpec s;
  s.name = "drive";
  s.capacity = Bytes{1'000'000'000'000};
  s.read_bandwidth = Bandwidth{6e9};
  s.write_bandwidth = Bandwidth{3e9};
  s.read_rate = Rate{1e6};
  s.write_rate = Rate{2e5};
  s.read_latency = Duration{100'000};
  s.write_latency = Duration{20'000};
  s.queue_depth = 32;
  return s;
}

// Two sockets, two switches of two GPUs, an adapter and a drive on each switch.
NodeSpec machine() {
  NodeSpec n;
  n.name = "machine";
  n.devices = 4;
  n.gpu_link = link("nvlink", 200, 1001);
  n.host_link = link("pcie", 25, 10'000, Bytes{64 << 10});
  n.host_memory = Bytes{1LL << 40};
  n.sockets = 2;
  n.memory_link = link("ddr", 100, 0);
  n.socket_link = link("upi", 50, 150);
  n.gpus_per_switch = 2;
  n.switch_link = link("pcie", 25, 500);
  n.storage = {{"drive", 2, Attachment::pcie_switch, "test"}};
  n.nics = {2, Attachment::pcie_switch, "test"};
  n.network = link("rdma", 20, 5001);
  return n;
}

const std::map<std::string, StorageSpec> kDrives{{"drive", drive()}};

class Machine {
 public:
  explicit Machine(const NodeSpec& n, int nodes = 1) : t(build_topology(n, nodes, kDrives)) {}
  const Route& route(const char* from, const char* to) {
    return t.route(t.find(from).value(), t.find(to).value());
  }
  std::string path(const char* from, const char* to) {
    std::string text;
    for (const VertexId v : route(from, to).path)
      text += (text.empty() ? "" : " ") + t.vertex(v).name;
    return text;
  }
  Topology t;
};

TEST(Topology, PartsOfTheShortForm) {
  Machine m(machine());
  EXPECT_EQ(m.t.of_kind(VertexKind::gpu).size(), 4U);
  EXPECT_EQ(m.t.of_kind(VertexKind::dram).size(), 2U);
  EXPECT_EQ(m.t.of_kind(VertexKind::ssd).size(), 2U);
  EXPECT_EQ(m.t.of_kind(VertexKind::switch_).size(), 3U);  // two of PCIe, the fabric
  EXPECT_EQ(m.t.vertex(*m.t.find("dram1")).capacity, Bytes{1LL << 39});
  EXPECT_FALSE(m.t.find("network"));
}

TEST(Topology, RoutesTakeTheLeastLatency) {
  Machine m(machine());
  EXPECT_EQ(m.path("dram0", "gpu0"), "dram0 socket0 pcie0 gpu0");
  EXPECT_EQ(m.route("dram0", "gpu0").latency, Duration{10'500});
  EXPECT_EQ(m.path("dram0", "gpu3"), "dram0 socket0 socket1 pcie1 gpu3");
  EXPECT_EQ(m.path("gpu0", "gpu3"), "gpu0 fabric gpu3");
  EXPECT_EQ(m.route("gpu0", "gpu3").latency, Duration{1001});  // both halves of an odd number
  EXPECT_EQ(m.path("ssd0", "gpu1"), "ssd0 pcie0 gpu1");
  EXPECT_EQ(m.path("ssd0", "dram0"), "ssd0 pcie0 socket0 dram0");
  EXPECT_EQ(m.t.nearest(*m.t.find("gpu2"), VertexKind::dram), m.t.find("dram1"));
  EXPECT_EQ(m.t.nearest(*m.t.find("gpu2"), VertexKind::ssd), m.t.find("ssd1"));
}

TEST(Topology, BottlenecksAndChunks) {
  Machine m(machine());
  const Route& load = m.route("dram0", "gpu0");
  EXPECT_DOUBLE_EQ(m.t.bottleneck(load), 25e9);
  // Half of the bandwidth at chunk_half, 4/5 at four times of it; a link without it loses nothing.
  EXPECT_DOUBLE_EQ(m.t.bottleneck(load, Bytes{64 << 10}), 12.5e9);
  EXPECT_DOUBLE_EQ(m.t.bottleneck(load, Bytes{256 << 10}), 20e9);
  // A drive: bandwidth; 4 KiB reads by the request rate; 64 KiB by 32 in flight of 100 us.
  const Route& read = m.route("ssd0", "dram0");
  EXPECT_DOUBLE_EQ(m.t.bottleneck(read), 6e9);
  EXPECT_DOUBLE_EQ(m.t.bottleneck(read, Bytes{4096}), 320e3 * 4096);
  EXPECT_DOUBLE_EQ(m.t.bottleneck(m.route("dram0", "ssd0"), Bytes{4096}), 2e5 * 4096);
}

TEST(Topology, DirectionsOfALinkAreApartThoseOfMemoryAreNot) {
  Machine m(machine());
  FlowNetwork net;
  m.t.add_to(net);
  ASSERT_EQ(net.links(), m.t.links().size());
  const auto begin = [&](const char* from, const char* to) {
    const Route& r = m.route(from, to);
    return net.start(kTimeZero, r.uses({}), 1 << 30, Duration{0}, 0, r.rate_cap({}));
  };
  const FlowId in = begin("dram0", "gpu0"), out = begin("gpu0", "dram0");
  EXPECT_DOUBLE_EQ(net.rate(in), 25e9);
  EXPECT_DOUBLE_EQ(net.rate(out), 25e9);
  const FlowId second = begin("dram0", "gpu1");  // same switch, same direction
  EXPECT_DOUBLE_EQ(net.rate(in), 12.5e9);
  EXPECT_DOUBLE_EQ(net.rate(second), 12.5e9);
  EXPECT_DOUBLE_EQ(net.rate(out), 25e9);
}

TEST(Topology, ReadsAndWritesShareADrive) {
  Machine m(machine());
  FlowNetwork net;
  m.t.add_to(net);
  const FlowId read = net.start(kTimeZero, m.route("ssd0", "dram0").uses({}), 1 << 30, {}, 0);
  EXPECT_DOUBLE_EQ(net.rate(read), 6e9);
  const FlowId write = net.start(kTimeZero, m.route("dram0", "ssd0").uses({}), 1 << 30, {}, 0);
  EXPECT_NEAR(net.rate(read), 2e9, 1);  // r / 6 + r / 3 = 1
  EXPECT_NEAR(net.rate(write), 2e9, 1);
}

TEST(Topology, WhatIsWrittenToADriveIsCounted) {
  Machine m(machine());
  FlowNetwork net;
  m.t.add_to(net);
  net.start(kTimeZero, m.route("ssd0", "dram0").uses({}), 5000, {}, 0);
  net.start(kTimeZero, m.route("dram0", "ssd0").uses({}), 3000, {}, 0);
  net.start(kTimeZero, m.route("dram0", "ssd1").uses({}), 200, {}, 0);
  std::vector<FlowNetwork::Done> done;
  const Time end{Duration{1'000'000}};
  net.advance(end, done);
  EXPECT_EQ(net.totals(m.t.write_link(*m.t.find("ssd0")), end).bytes, 3000);
  EXPECT_EQ(net.totals(m.t.write_link(*m.t.find("ssd1")), end).bytes, 200);
}

TEST(Topology, SeveralNodesMeetOnTheNetwork) {
  NodeSpec n = machine();
  n.remote = {Bytes{1LL << 42}, link("pool", 60, 3000)};
  Machine m(n, 3);
  EXPECT_EQ(m.t.of_kind(VertexKind::gpu).size(), 12U);
  EXPECT_EQ(m.t.of_kind(VertexKind::gpu, 1).size(), 4U);
  EXPECT_EQ(m.path("n0.gpu0", "n2.gpu3"),
            "n0.gpu0 n0.pcie0 n0.nic0 network n2.nic1 n2.pcie1 n2.gpu3");
  EXPECT_EQ(m.route("n0.gpu0", "n2.gpu3").latency, Duration{20'000 + 5001});
  EXPECT_DOUBLE_EQ(m.t.bottleneck(m.route("n0.gpu0", "n2.gpu3")), 20e9);
  EXPECT_EQ(m.path("remote", "n1.gpu0"), "remote network n1.nic0 n1.pcie0 n1.gpu0");
}

TEST(Topology, EqualRoutesAreSpread) {
  NodeSpec n = machine();
  n.nics = {4, Attachment::pcie_switch, "test"};  // two per switch
  Machine m(n, 2);
  EXPECT_NE(m.path("n0.gpu0", "n1.dram0"), m.path("n0.gpu1", "n1.dram0"));
  EXPECT_EQ(m.path("n0.gpu0", "n1.dram0"), Machine(n, 2).path("n0.gpu0", "n1.dram0"));
}

TEST(Topology, PcieFabricIsTheHostLinks) {
  NodeSpec n = machine();
  n.gpu_fabric = GpuFabric::pcie;
  Machine m(n);
  EXPECT_EQ(m.path("gpu0", "gpu1"), "gpu0 pcie0 gpu1");
  EXPECT_EQ(m.path("gpu0", "gpu2"), "gpu0 pcie0 socket0 socket1 pcie1 gpu2");
}

TEST(Topology, GraphAddsParts) {
  NodeSpec n = machine();
  n.graph.vertices = {{"cxl0", VertexKind::dram, Bytes{1 << 30}, "test"}};
  n.graph.links = {
      {"socket0", "cxl0", "cxl", Bandwidth{30e9}, Duration{250}, {}, Duplex::half, "t"}};
  Machine m(n);
  EXPECT_EQ(m.path("cxl0", "gpu0"), "cxl0 socket0 pcie0 gpu0");
  EXPECT_EQ(m.t.vertex(*m.t.find("cxl0")).number, 2);  // after dram0 and dram1
}

std::string message_of(const NodeSpec& n, int nodes = 1) {
  try {
    build_topology(n, nodes, kDrives);
  } catch (const InputError& e) {
    return e.what();
  }
  return "";
}

TEST(Topology, MistakesNameTheCure) {
  NodeSpec n = machine();
  n.graph.links = {{"socket9", "gpu0", "x", Bandwidth{1e9}, {}, {}, Duplex::full, "t"}};
  EXPECT_NE(message_of(n).find("graph.links.0.from: machine has no part 'socket9'"),
            std::string::npos);
  EXPECT_NE(message_of(n).find("did you mean 'socket0'"), std::string::npos);
  n = machine();
  n.graph.vertices = {{"gpu0", VertexKind::dram, {}, "t"}};
  EXPECT_NE(message_of(n).find("called 'gpu0'"), std::string::npos);
  n = machine();
  n.graph.vertices = {{"lonely", VertexKind::dram, {}, "t"}};
  EXPECT_NE(message_of(n).find("no way from gpu0 to lonely"), std::string::npos);
  n = machine();
  n.storage[0].device = "tape";
  EXPECT_NE(message_of(n).find("'tape'"), std::string::npos);
  n = machine();
  n.sockets = 0;
  EXPECT_NE(message_of(n).find("0 GPUs, but devices is 4"), std::string::npos);
  n = machine();
  n.network = {};
  EXPECT_NE(message_of(n, 2).find("names no network"), std::string::npos);
}

// Distances of random graphs against relaxing every edge as often as there are vertices.
TEST(Topology, RoutesEqualBellmanFord) {
  for (std::uint64_t seed = 0; seed < 30; ++seed) {
    Rng rng(seed, "topology");
    Topology t;
    const auto n = static_cast<std::uint32_t>(4 + rng.below(12));
    const auto kind = [&] { return rng.below(3) == 0 ? VertexKind::gpu : VertexKind::switch_; };
    for (std::uint32_t i = 0; i < n; ++i)
      t.add_vertex({fmt::format("v{}", i), kind(), 0, static_cast<int>(i), {}, {}});
    for (std::uint64_t i = 0; i < 3 * n; ++i) {
      const VertexId from{static_cast<std::uint32_t>(rng.below(n))};
      const VertexId to{static_cast<std::uint32_t>(rng.below(n))};
      t.add_edge({from, to, "", {}, Duration{static_cast<std::int64_t>(rng.below(5))}, {}, 0});
    }
    for (std::uint32_t s = 0; s < n; ++s) {
      std::vector<std::pair<std::int64_t, std::size_t>> far(n, {1'000'000, 0});
      far[s] = {0, 0};
      for (std::uint32_t round = 0; round < n; ++round)
        for (const Edge& e : t.edges()) {
          const bool passes = e.from.index == s || t.vertex(e.from).kind == VertexKind::switch_;
          const auto& [latency, edges] = far[e.from.index];
          if (!passes || latency == 1'000'000) continue;
          far[e.to.index] = std::min(far[e.to.index], {latency + to_ns(e.latency), edges + 1});
        }
      for (std::uint32_t v = 0; v < n; ++v) {
        ASSERT_EQ(t.reachable(VertexId{s}, VertexId{v}), far[v].first != 1'000'000);
        if (far[v].first == 1'000'000) continue;
        const Route& r = t.route(VertexId{s}, VertexId{v});
        EXPECT_EQ(to_ns(r.latency), far[v].first);
        EXPECT_EQ(r.path.size(), far[v].second + 1);
      }
    }
  }
}

}  // namespace
}  // namespace kvsim
