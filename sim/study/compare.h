#pragma once
// What-if: two sides (scenarios or recorded runs), the same requests, their differences with
// intervals, and where the differences come from.
//
// Scenarios are run with several seeds, both sides with the same ones, and a seed is the unit that
// is resampled. A recorded run, or a scenario in which the seed changes nothing (a replayed trace),
// is one run: blocks of its requests are resampled (bootstrap.h). Intervals are for one row at a
// time, not for all rows at once.
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "sim/study/bootstrap.h"
#include "sim/study/paired.h"

namespace kvsim {

struct CompareSide {
  std::string source;             // scenario file, result database, or DATABASE:RUN
  std::vector<std::string> sets;  // overrides of a scenario
};

struct CompareOptions {
  Latency by = Latency::ttft;  // of the verdict, the parts and the requests that changed
  std::size_t seeds = 20;      // of scenarios; 1 = blocks of one run, else >= kFewestUnits
  std::optional<std::uint64_t> first_seed;  // else that of A's scenario
  double confidence = 0.95;
  bool is_paired = true;  // off: two samples with seeds of their own
  std::size_t top = 5;    // requests that changed most, either way
  int threads = 1;        // the result does not depend on it
  std::function<void(std::size_t done, std::size_t total)> progress;  // from any thread
};

struct CompareRow {
  std::string name, statistic, unit;  // as in table metric; a part of the latency: "part"
  bool lower_is_better = true;
  double a = 0, b = 0;
  std::optional<Estimate> difference;  // b - a; none where one run tells nothing of the spread
  std::optional<Estimate> relative;    // b / a - 1; not where A is too near to zero for it
};

enum class CompareMethod { same, seeds, blocks };

struct CompareResult {
  std::string label_a, label_b;
  std::vector<ParamChange> params;
  CompareMethod method = CompareMethod::seeds;
  CompareOptions options;
  std::vector<std::uint64_t> seeds_a, seeds_b;
  double block_requests = 0, stretches = 0;  // of blocks
  bool seeds_change_nothing = false, is_closed_loop = false;
  std::size_t requests_a = 0, requests_b = 0;             // of all runs of a side
  std::size_t finished_both = 0, only_a = 0, only_b = 0;  // paired
  std::size_t alone_a = 0, alone_b = 0;  // the run of the other side ended before they arrived
  std::vector<CompareRow> rows;
  std::vector<CompareRow> parts;   // of options.by; the differences add up to that of its mean
  std::vector<CompareRow> tokens;  // prompt tokens a request, by fate
  Changes changes;                 // of the first pair of runs
  std::string event_digest;        // when both sides have it
};

// Throws InputError: what cannot be read or run, or does not face the same requests.
CompareResult compare_sides(const CompareSide& a, const CompareSide& b, const CompareOptions&);
// Row of the verdict. Throws InputError when no request has that latency on both sides.
const CompareRow& headline(const CompareResult&);
// What came out, in sentences.
std::string verdict(const CompareResult&);

// The runs behind the first pair, for those who want every request.
struct ComparedRuns {
  RecordedRun a, b;
};
ComparedRuns load_first_pair(const CompareSide& a, const CompareSide& b, const CompareOptions&);

}  // namespace kvsim
