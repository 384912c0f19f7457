// Speed of FlowNetwork: a million flow events (starts and ends), its answers asserted.
//   line   8 flows at a time, one link each of 8
//   nodes  100 flows at a time on 8 nodes of 8 GPUs: host memory to GPU and back, and GPU to GPU of
//          another node through both adapters
#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <string>
#include <vector>

#include "hardware/flow_network.h"
#include "sim/base/random.h"

namespace kvsim {
namespace {

constexpr std::int64_t kFlows = 500'000;
constexpr std::uint32_t kNodes = 8, kGpus = 8;

using Route = std::vector<FlowNetwork::Use>;

// Links of one node: per GPU in and out, per PCIe switch (2 GPUs) in and out, per socket memory,
// per adapter (2 GPUs) in and out.
struct Node {
  std::vector<LinkId> gpu, bridge, memory, nic;
  explicit Node(FlowNetwork& net) {
    for (std::uint32_t i = 0; i < 2 * kGpus; ++i) gpu.push_back(net.add_link(25e9));
    for (std::uint32_t i = 0; i < kGpus; ++i) bridge.push_back(net.add_link(25e9));
    for (std::uint32_t i = 0; i < 2; ++i) memory.push_back(net.add_link(150e9));
    for (std::uint32_t i = 0; i < kGpus; ++i) nic.push_back(net.add_link(23e9));
  }
};

Route draw(const std::vector<Node>& nodes, Rng& rng) {
  const auto node = static_cast<std::size_t>(rng.below(kNodes));
  const auto gpu = static_cast<std::size_t>(rng.below(kGpus));
  const Node& n = nodes[node];
  const std::uint64_t what = rng.below(10);
  const std::size_t way = what < 6 ? 0 : 1;  // into the GPU, or out of it
  if (what < 8)
    return {{n.memory[gpu / 4]}, {n.bridge[gpu / 2 * 2 + way], 1.05}, {n.gpu[gpu * 2 + way], 1.05}};
  const auto peer = static_cast<std::size_t>((node + 1 + rng.below(kNodes - 1)) % kNodes);
  const auto other = static_cast<std::size_t>(rng.below(kGpus));
  const Node& p = nodes[peer];
  return {{n.gpu[gpu * 2 + 1]},   {n.bridge[gpu / 2 * 2 + 1]}, {n.nic[gpu / 2 * 2 + 1]},
          {p.nic[other / 2 * 2]}, {p.bridge[other / 2 * 2]},   {p.gpu[other * 2]}};
}

struct Answer {
  std::uint64_t digest = 0;
  std::int64_t bytes = 0;
  double seconds = 0;
};

[[noreturn]] void wrong(const std::string& what) {
  fmt::print(stderr, "flows: wrong answer: {}\n", what);
  std::exit(3);
}

Answer run(std::size_t concurrent, bool line) {
  FlowNetwork net;
  std::vector<Node> nodes;
  for (std::uint32_t i = 0; i < kNodes; ++i) nodes.emplace_back(net);
  Rng rng(1, "flows bench");
  std::vector<Route> routes;
  for (std::uint32_t i = 0; i < 4096; ++i)
    routes.push_back(line ? Route{{LinkId{i % 8}}} : draw(nodes, rng));
  std::vector<std::int64_t> sent(net.links(), 0);
  std::int64_t started = 0, ended = 0;
  const auto begin = [&](Time now) {
    const Route& r = routes[static_cast<std::size_t>(started) % routes.size()];
    const auto bytes = static_cast<std::int64_t>(1 + rng.below(8 << 20));
    net.start(now, r, bytes, Duration{10'000}, static_cast<std::uint64_t>(started++));
    for (const FlowNetwork::Use& u : r) sent[u.link.index] += bytes;
  };
  Answer a;
  const auto clock = std::chrono::steady_clock::now();
  for (std::size_t i = 0; i < concurrent; ++i) begin(kTimeZero);
  std::vector<FlowNetwork::Done> done;
  Time now{};
  for (; ended < kFlows; done.clear()) {
    now = net.next_completion();
    net.advance(now, done);
    for (const FlowNetwork::Done& d : done) {
      ++ended;
      a.digest =
          hash_combine(a.digest, hash_combine(d.tag, static_cast<std::uint64_t>(to_ns(d.end))));
      if (started < kFlows) begin(now);
    }
  }
  a.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - clock).count();
  const FlowNetwork::Totals t = net.totals();
  a.bytes = t.delivered;
  if (t.finished != kFlows || t.offered != t.delivered || t.in_flight != 0) wrong("bytes are lost");
  for (std::uint32_t l = 0; l < net.links(); ++l)
    if (net.totals(LinkId{l}, now).bytes != sent[l]) wrong(fmt::format("bytes of link {}", l));
  return a;
}

int bench() {
  for (const bool line : {true, false}) {
    const std::size_t concurrent = line ? 8 : 100;
    const Answer first = run(concurrent, line), second = run(concurrent, line);
    if (first.digest != second.digest) wrong("two runs differ");
    const double best = std::min(first.seconds, second.seconds);
    fmt::print(
        "{:<6} {:>4} flows at a time {:>9} events {:>7.3f} s {:>10.0f} events/s  digest {:016x}\n",
        line ? "line" : "nodes", concurrent, 2 * kFlows, best,
        static_cast<double>(2 * kFlows) / best, first.digest);
  }
  return 0;
}

}  // namespace
}  // namespace kvsim

int main() { return kvsim::bench(); }
