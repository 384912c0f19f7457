#pragma once
// Two runs side by side: which requests are the same, what each side's figures are, and where a
// difference comes from. Pure functions of recorded runs.
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "sim/record/load_run.h"

namespace kvsim {

// What requests are compared by; ms. TPOT needs two output tokens.
enum class Latency { ttft, tpot, e2e };
constexpr auto enum_names(Latency) {
  return std::array{std::pair{Latency::ttft, "ttft"}, std::pair{Latency::tpot, "tpot"},
                    std::pair{Latency::e2e, "e2e"}};
}
const char* latency_text(Latency);    // "TTFT"
const char* latency_metric(Latency);  // "ttft_ms", as in metrics.h
// Nothing for a request that did not finish.
std::optional<double> latency_ms(const RequestOutcome&, Latency);
// Shares of the latency by interval, ms; they add up to it.
std::array<double, kIntervals> latency_parts_ms(const RequestOutcome&, Latency);

struct Pair {
  const RequestOutcome* a;
  const RequestOutcome* b;
};

struct Pairing {
  std::vector<Pair> pairs;  // in order of arrival at A
  // Later turns arrive when earlier ones are answered (closed loop), so their arrivals may differ.
  bool is_closed_loop = false;
  std::size_t alone_a = 0, alone_b = 0;  // without a partner, where the run ended before it came
};

// The same request on both sides: by index in the workload; where a closed loop lets sessions
// overtake each other, by session and turn. Throws InputError, with the first difference, when the
// two sides did not face the same requests (number, arrival, tokens).
Pairing pair_requests(const RecordedRun& a, const RecordedRun& b);

// One number of one side.
struct Figure {
  std::string name, statistic, unit;  // as in table metric
  bool lower_is_better = true;
  double value = 0;
};

// The requests of a side that its latencies are taken over.
using Sample = std::vector<const RequestOutcome*>;
// Every request; paired and finished in both runs; finished.
Sample all_of(const RecordedRun&);
Sample finished_sides(const Pairing&, bool side_b);
Sample finished_of(const RecordedRun&);

// Mean, median, P90 and P99 of each latency over `sample`, then what the run's metrics say of
// throughput, objectives, hits, preemptions, cost and energy, as far as it has them.
std::vector<Figure> side_figures(const Sample& sample, const RecordedRun&);

// Where something goes, per request: intervals (ms) or prompt tokens by fate. The parts of a side
// add up to its mean, so the differences of parts add up to the difference.
struct Part {
  std::string name;
  double value = 0;
};
std::vector<Part> mean_parts(const Sample& sample, Latency);
// hit (found on the GPU), tier (loaded from below), and what was computed by cause.
std::vector<Part> mean_prompt_tokens(const Sample&);

struct ParamChange {
  std::string path, a, b;  // empty: the side does not have it
};
// Where two resolved scenarios differ, in the order of A, then what only B has.
std::vector<ParamChange> changed_params(const RecordedRun& a, const RecordedRun& b);

// A request whose latency changed, with the interval and the fate of prompt tokens that changed
// most.
struct RequestChange {
  std::uint64_t index = 0;
  std::int64_t prompt_tokens = 0;
  double a_ms = 0, b_ms = 0;
  Part interval, tokens;  // b - a
};
struct Changes {
  std::size_t gained = 0, lost = 0, same = 0;  // by more than kSameWithin of A's latency
  double p5_ms = 0, p50_ms = 0, p95_ms = 0;    // of the paired differences b - a
  std::vector<RequestChange> gained_most, lost_most;
};
inline constexpr double kSameWithin = 0.01;
Changes changes_of(const Pairing&, Latency, std::size_t top);

}  // namespace kvsim
