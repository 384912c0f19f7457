#pragma once
// Solid-state drives and block volumes: what requests cost of the device, and how long it lives.
// Reads and writes share one device: in FlowNetwork it is a link of capacity 1 (device seconds per
// second), and a flow uses read_seconds or write_seconds of it per byte. So two kinds of traffic
// at once slow each other by plain max-min sharing.
#include "hardware/device.h"

namespace kvsim {

struct StorageSpec {
  std::string name, text;
  Bytes capacity;
  Bandwidth read_bandwidth, write_bandwidth;  // large requests, sustained
  Rate read_rate, write_rate;                 // small random requests, IOPS
  Duration read_latency{}, write_latency{};   // of one small request on an idle device
  int queue_depth = 64;
  Bytes endurance;
  double write_amplification = 1;
  Power idle_power, busy_power;
  Price price;
  Duration service_life{};
  std::map<std::string, std::string> source;
  static constexpr Rows kFields{
      field("name", &StorageSpec::name, any, "id in the catalogue"),
      field("text", &StorageSpec::text, any, "one line"),
      field("capacity", &StorageSpec::capacity, any, "usable"),
      field("read_bandwidth", &StorageSpec::read_bandwidth, any, "large requests, sustained"),
      field("write_bandwidth", &StorageSpec::write_bandwidth, any, "large requests, sustained"),
      field("read_rate", &StorageSpec::read_rate, any, "small random reads (IOPS)"),
      field("write_rate", &StorageSpec::write_rate, any, "small random writes (IOPS), sustained"),
      field("read_latency", &StorageSpec::read_latency, kLatencyBounds,
            "of one small read, idle device"),
      field("write_latency", &StorageSpec::write_latency, kLatencyBounds,
            "of one small write, idle device"),
      field("queue_depth", &StorageSpec::queue_depth, between(1, 65536),
            "requests that one transfer keeps in flight"),
      field("endurance", &StorageSpec::endurance, any,
            "bytes that may be written in its life; 0 = no limit is known"),
      field("write_amplification", &StorageSpec::write_amplification, between(1.0, 100.0),
            "bytes the flash writes for a byte of the host, above what the endurance rating holds"),
      field("idle_power", &StorageSpec::idle_power, any, "power when idle"),
      field("busy_power", &StorageSpec::busy_power, any, "power when reading or writing"),
      field("price", &StorageSpec::price, any,
            "rent of one, or what it cost spread over its service life"),
      field("service_life", &StorageSpec::service_life, any,
            "after which it is replaced anyway; 0 = rented: wear is not the tenant's"),
      field("source", &StorageSpec::source, any, "figure: where it comes from")};
};
KVSIM_FIELDS_ELSEWHERE(StorageSpec)

// Device seconds that one byte costs in requests of `chunk` bytes: bandwidth or request rate,
// whichever is dearer. chunk 0 = large requests.
double read_seconds(const StorageSpec&, Bytes chunk);
double write_seconds(const StorageSpec&, Bytes chunk);

// Bytes/s that one transfer alone cannot exceed, since `queue_depth` requests are in flight and
// each takes the latency (Little's law). chunk 0 = no such limit.
double read_cap(const StorageSpec&, Bytes chunk);
double write_cap(const StorageSpec&, Bytes chunk);

// Years until the rated bytes are written, at this many bytes per second from the host; infinite
// for a device without a rating or without writes.
double life_years(const StorageSpec&, Bandwidth written);

}  // namespace kvsim
