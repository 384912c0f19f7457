#pragma once
// What can be said about a trace without simulating it, and writing it in another format. Sources
// are consumed. Closed-loop sources are driven as if every request took the same time; open-loop
// ones do not notice.
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "traces/json_record.h"
#include "traces/trace_source.h"

namespace kvsim {

// Calls `use` for every request in order of arrival; each is over `service` after it arrived.
void for_each_request(TraceSource&, Duration service, FunctionRef<void(const Request&)> use);

struct LengthStats {  // tokens; percentiles by nearest rank, so they are lengths that occur
  double mean = 0;
  std::int64_t p50 = 0, p90 = 0, p99 = 0, max = 0;
};

struct TraceInfo {
  std::uint64_t requests = 0;
  Duration span{};    // from the first arrival to the last
  double rate = 0;    // requests / span in 1/s; 0 when the span is 0
  double gap_cv = 0;  // deviation / mean of the times between arrivals
  LengthStats input, output;
  std::uint64_t sessions = 0, tenants = 0;
  // Prompt segments (blocks, in traces of block hashes): all, and with different content.
  std::uint64_t segments = 0, distinct_segments = 0;
  // With an unbounded cache and no latency: leading segments of a prompt seen in an earlier request
  // (known outputs included), and their prompt tokens.
  std::uint64_t hit_segments = 0;
  std::int64_t hit_tokens = 0, prompt_tokens = 0, output_tokens = 0;
  std::uint64_t requests_with_hit = 0;
  TraceSource::Skipped skipped;
  [[nodiscard]] double segment_hit_share() const {
    return segments == 0 ? 0 : static_cast<double>(hit_segments) / static_cast<double>(segments);
  }
  [[nodiscard]] double token_hit_share() const {
    return prompt_tokens == 0
               ? 0
               : static_cast<double>(hit_tokens) / static_cast<double>(prompt_tokens);
  }
  [[nodiscard]] double request_hit_share() const {
    return requests == 0 ? 0
                         : static_cast<double>(requests_with_hit) / static_cast<double>(requests);
  }
};
TraceInfo trace_info(TraceSource&, Duration service = std::chrono::seconds(1));

struct WriteOptions {
  std::int64_t block_tokens =
      512;  // mooncake: tokens of one hash id; content is known at the source's grain or coarser
  bool whole_ms =
      true;  // mooncake: round times to ms as the format has them; false keeps ns as decimals
  Duration service = std::chrono::seconds(1);
};
using TextSink = FunctionRef<void(std::string_view)>;
// Each gives the number of requests written. Known outputs are not part of these formats.
std::uint64_t write_mooncake(TraceSource&, TextSink, const WriteOptions& = {});
std::uint64_t write_vidur(TraceSource&, TextSink, const WriteOptions& = {});
std::uint64_t write_azure(TraceSource&, TextSink,
                          const WriteOptions& = {});  // from 2000-01-01 00:00:00, 100 ns grain
// Format by name (mooncake, vidur, azure) into a file, compressed when its name ends in .gz or
// .zst.
std::uint64_t write_trace(TraceSource&, const std::string& format, const std::string& path,
                          const WriteOptions& = {});

}  // namespace kvsim
