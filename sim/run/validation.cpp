#include "sim/run/validation.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <optional>

#include "sim/base/stats.h"
#include "sim/run/simulate.h"
#include "sim/scenario/catalog.h"
#include "traces/json_record.h"
#include "traces/line_reader.h"
#include "traces/record_check.h"

namespace kvsim {

namespace {

struct Latencies {
  std::vector<double> ttft, tpot, e2e;  // ms
  void add(double arrival, double first, double last, std::int64_t output_tokens) {
    ttft.push_back(first - arrival);
    tpot.push_back((last - first) /
                   static_cast<double>(std::max<std::int64_t>(1, output_tokens - 1)));
    e2e.push_back(last - arrival);
  }
};

struct MeasuredRequest {
  double arrival_wall = 0, queued = 0, first = 0, last = 0;
  std::int64_t output = 0;
};

// The arrival is the client's time, mapped onto the engine's monotonic clock by one offset for all:
// the smallest queued - arrival, since a request is queued after it was sent
// (validation/README.md).
Latencies measured_latencies(const std::vector<MeasuredRequest>& all) {
  double offset = 1e300;
  for (const MeasuredRequest& r : all) offset = std::min(offset, r.queued - r.arrival_wall);
  Latencies out;
  for (const MeasuredRequest& r : all) {
    const double arrival = r.arrival_wall > 0 ? r.arrival_wall + offset : r.queued;
    out.add(arrival * 1e3, r.first * 1e3, r.last * 1e3, r.output);
  }
  return out;
}

std::vector<MeasuredRequest> read_measured(const std::string& path) {
  std::vector<MeasuredRequest> all;
  LineReader lines(path);
  JsonParser parser;
  constexpr std::size_t kMost = 10'000'000;
  std::string_view line;
  while (lines.next(line)) {
    MeasuredRequest r;
    const std::string where = to_string(lines.place());
    try {
      parser.parse(line, [&](std::string_view key, JsonValue& value) {
        if (key == "queued_ts") r.queued = value.number(0, 1e15);
        if (key == "first_token_ts") r.first = value.number(0, 1e15);
        if (key == "last_token_ts") r.last = value.number(0, 1e15);
        if (key == "arrival_time") r.arrival_wall = value.number(0, 1e15);
        if (key == "output_toks") r.output = value.tokens();
      });
    } catch (const BadRecord& e) {
      throw InputError(where + ": " + e.field + ": " + e.message);
    }
    if (r.queued <= 0 || r.first < r.queued || r.last < r.first || r.output < 1)
      throw InputError(where +
                       ": needs output_toks and queued_ts <= first_token_ts <= last_token_ts");
    if (all.size() == kMost) throw InputError(where + ": more than 10 million measured requests");
    all.push_back(r);
  }
  if (all.empty()) throw InputError(path + ": holds no measured request");
  return all;
}

void compare(Comparison& c, const std::string& metric, const std::vector<double>& simulated,
             const std::vector<double>& measured) {
  const Summary a = summarize(simulated), b = summarize(measured);
  const std::pair<const char*, double Summary::*> kStatistics[] = {{"mean", &Summary::mean},
                                                                   {"median", &Summary::p50},
                                                                   {"p90", &Summary::p90},
                                                                   {"p95", &Summary::p95},
                                                                   {"p99", &Summary::p99}};
  for (const auto& [name, member] : kStatistics) {
    const double x = a.*member, y = b.*member;
    const double difference = y == 0 ? (x == 0 ? 0.0 : 100.0) : (x / y - 1) * 100;
    c.rows.push_back({metric, name, x, y, difference});
    c.largest_difference_percent = std::max(c.largest_difference_percent, std::abs(difference));
  }
}

Comparison compare_with_peer(BuiltRun& run) {
  SimulateOptions options;
  options.keep_timeline = true;
  const SimulateResult result = simulate(run, options);
  Comparison c;
  c.name = run.scenario.name;
  c.parity =
      compare_with_vidur(resolve_path(run.base_dir, run.scenario.measured->file), result.outcome);
  c.parity->name = c.name;
  return c;
}

}  // namespace

Comparison validate_case(const std::string& folder, const std::vector<std::string>& overrides) {
  const std::string file = std::filesystem::is_directory(folder) ? folder + "/case.yaml" : folder;
  Diagnostics d;
  const LoadedScenario loaded = load_scenario(file, overrides, d);
  BuiltRun run = build_run(loaded, true, d);
  if (d.empty() && !run.scenario.measured)
    d.add(loaded.tree.place(), "measured", "is missing: nothing to compare with",
          "add measured: {file: measured.jsonl, format: vllm-requests}");
  const std::string format = d.empty() ? run.scenario.measured->format : std::string{};
  if (d.empty() && format != "vllm-requests" && format != "vidur")
    d.add(loaded.tree.place(), "measured.format", "unknown format '" + format + "'",
          "valid: vllm-requests, vidur");
  d.throw_if_any();
  if (format == "vidur") return compare_with_peer(run);
  const auto measured = read_measured(resolve_path(run.base_dir, run.scenario.measured->file));
  const SimulateResult result = simulate(run, {});
  Latencies simulated;
  for (const RequestOutcome& r : result.outcome.requests) {
    if (r.outcome != Outcome::finished) continue;
    const auto ms = [](Time t) { return static_cast<double>(to_ns(t)) * 1e-6; };
    simulated.add(ms(r.arrival), ms(r.first_token), ms(r.last_token), r.output_tokens);
  }
  if (simulated.ttft.size() != measured.size())
    throw InputError(fmt::format("{}: {} requests finished, {} were measured", file,
                                 simulated.ttft.size(), measured.size()));
  const Latencies real = measured_latencies(measured);
  Comparison c;
  c.name = run.scenario.name;
  compare(c, "ttft", simulated.ttft, real.ttft);
  compare(c, "tpot", simulated.tpot, real.tpot);
  compare(c, "e2e_latency", simulated.e2e, real.e2e);
  return c;
}

}  // namespace kvsim
