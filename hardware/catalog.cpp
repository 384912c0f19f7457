#include "hardware/catalog.h"

#include <algorithm>

namespace kvsim {

KVSIM_FIELDS_HERE(LinkSpec)
KVSIM_FIELDS_HERE(DeviceSpec)
KVSIM_FIELDS_HERE(NodeSpec)

namespace {

void need(std::vector<std::string>& out, bool good, std::string text) {
  if (!good) out.push_back(std::move(text));
}

void check_link(std::vector<std::string>& out, const LinkSpec& l, const std::string& key) {
  need(out, !l.name.empty(), key + " has no name");
  need(out, l.bandwidth.value > 0, key + " has no bandwidth");
  need(out, l.latency.count() >= 0, key + " has a negative latency");
  need(out, !l.source.empty(), key + " has no source");
}

void check_sources(std::vector<std::string>& out, const std::map<std::string, std::string>& source,
                   std::initializer_list<const char*> keys) {
  for (const char* key : keys) {
    const auto it = source.find(key);
    need(out, it != source.end() && !it->second.empty(), std::string(key) + " has no source");
  }
}

}  // namespace

std::vector<std::string> defects(const DeviceSpec& d) {
  std::vector<std::string> out;
  need(out, !d.name.empty(), "no name");
  need(out, d.memory.count() > 0, "no memory");
  need(out, d.bandwidth.value > 0, "no bandwidth");
  const auto rate = [&](const char* name) {
    const auto it = d.compute.find(name);
    return it == d.compute.end() ? 0.0 : it->second.value;
  };
  const double wide = std::max(rate("bf16"), rate("fp16"));
  need(out, wide > 0, "neither a bf16 nor an fp16 rate");
  for (const char* narrow : {"fp8", "int8", "fp4"})
    need(out, rate(narrow) == 0 || rate(narrow) >= wide,
         std::string(narrow) + " is slower than 16 bits");
  need(out, rate("fp32") <= wide, "fp32 is faster than 16 bits");
  need(out, d.idle_power.value > 0 && d.idle_power < d.busy_power,
       "idle power is not between 0 and busy power");
  need(out, d.price.value > 0, "no price");
  check_link(out, d.gpu_link, "gpu_link");
  check_link(out, d.host_link, "host_link");
  need(out, !d.efficiency.source.empty(), "efficiency has no source");
  check_sources(out, d.source,
                {"memory", "bandwidth", "compute", "idle_power", "busy_power", "price"});
  return out;
}

std::vector<std::string> defects(const NodeSpec& n) {
  std::vector<std::string> out;
  need(out, !n.name.empty(), "no name");
  need(out, !n.device.empty(), "no device");
  need(out, n.host_memory > Bytes{0}, "no host memory");
  check_link(out, n.gpu_link, "gpu_link");
  check_link(out, n.host_link, "host_link");
  check_link(out, n.network, "network");
  if (n.memory_link.bandwidth.value > 0) check_link(out, n.memory_link, "memory_link");
  if (n.sockets > 1) check_link(out, n.socket_link, "socket_link");
  if (n.gpus_per_switch > 0) check_link(out, n.switch_link, "switch_link");
  if (n.remote.capacity > Bytes{0}) check_link(out, n.remote.link, "remote.link");
  if (n.nics.count > 1) need(out, !n.nics.source.empty(), "nics have no source");
  for (const StorageUse& s : n.storage)
    need(out, !s.source.empty(), "storage " + s.device + " has no source");
  for (const VertexSpec& v : n.graph.vertices)
    need(out, !v.source.empty(), "graph vertex " + v.name + " has no source");
  for (const EdgeSpec& e : n.graph.links) {
    const std::string key = "graph link " + e.from + " to " + e.to;
    check_link(out, {e.name, e.bandwidth, e.latency, e.source, e.chunk_half}, key);
  }
  check_sources(out, n.source, {"devices", "host_memory"});
  return out;
}

std::vector<std::string> defects(const StorageSpec& s) {
  std::vector<std::string> out;
  need(out, !s.name.empty(), "no name");
  need(out, s.capacity > Bytes{0}, "no capacity");
  need(out, s.read_bandwidth.value > 0, "no read bandwidth");
  need(out, s.write_bandwidth.value > 0, "no write bandwidth");
  need(out, s.write_bandwidth <= s.read_bandwidth, "writes faster than it reads");
  need(out, s.read_rate.value > 0 && s.write_rate.value > 0, "no request rates");
  need(out, s.read_latency > Duration{0} && s.write_latency > Duration{0}, "no latencies");
  check_sources(out, s.source,
                {"capacity", "read_bandwidth", "write_bandwidth", "read_rate", "write_rate",
                 "read_latency", "write_latency", "queue_depth", "write_amplification"});
  if (s.endurance > Bytes{0}) check_sources(out, s.source, {"endurance"});
  need(out, s.price.value > 0, "no price");
  check_sources(out, s.source, {"price"});
  need(out, s.idle_power <= s.busy_power, "idle power above busy power");
  if (s.busy_power.value > 0) check_sources(out, s.source, {"idle_power", "busy_power"});
  return out;
}

NodeSpec implied_node(const DeviceSpec& d, int devices) {
  NodeSpec n;
  n.name = d.name;
  n.text = d.text;
  n.device = d.name;
  n.devices = devices;
  n.gpu_link = d.gpu_link;
  n.host_link = d.host_link;
  n.source = {{"devices", "implied by naming the device"}};
  return n;
}

}  // namespace kvsim
