#include "hardware/storage.h"

#include <algorithm>
#include <limits>

namespace kvsim {

KVSIM_FIELDS_HERE(StorageSpec)

namespace {

double seconds_per_byte(Bandwidth bandwidth, Rate requests, Bytes chunk) {
  const double stream = bandwidth.value > 0 ? 1 / bandwidth.value : 0;
  if (chunk <= Bytes{0} || requests.value <= 0) return stream;
  return std::max(stream, 1 / (requests.value * to_double(chunk)));
}

double cap(int depth, Duration latency, Bytes chunk) {
  if (chunk <= Bytes{0} || latency <= Duration{0}) return std::numeric_limits<double>::infinity();
  return depth * to_double(chunk) / to_seconds(latency);
}

}  // namespace

double read_seconds(const StorageSpec& s, Bytes chunk) {
  return seconds_per_byte(s.read_bandwidth, s.read_rate, chunk);
}

double write_seconds(const StorageSpec& s, Bytes chunk) {
  return seconds_per_byte(s.write_bandwidth, s.write_rate, chunk);
}

double read_cap(const StorageSpec& s, Bytes chunk) {
  return cap(s.queue_depth, s.read_latency, chunk);
}

double write_cap(const StorageSpec& s, Bytes chunk) {
  return cap(s.queue_depth, s.write_latency, chunk);
}

double life_years(const StorageSpec& s, Bandwidth written) {
  constexpr double kYear = 365.25 * 86400;
  const double rate = written.value * s.write_amplification;
  if (s.endurance <= Bytes{0} || rate <= 0) return std::numeric_limits<double>::infinity();
  return to_double(s.endurance) / rate / kYear;
}

}  // namespace kvsim
