#pragma once
// Runs of a comparison: read from databases or simulated, and their figures per pair.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "sim/study/compare.h"

namespace kvsim {

// A side before it runs.
struct SideSource {
  std::string label, path;
  std::vector<std::string> sets;
  bool is_recorded = false;
  std::optional<std::int64_t> run_id;  // of a database
  std::uint64_t seed = 0;              // of a scenario
  Slo slo;                             // likewise
  std::vector<std::pair<std::string, std::string>> params;
};

// Tells databases from scenarios, and checks the scenarios; every mistake of both at once.
std::pair<SideSource, SideSource> open_sides(const CompareSide& a, const CompareSide& b);
// Loads or runs. Safe from several threads. Throws InputError.
RecordedRun run_side(const SideSource&, std::optional<std::uint64_t> seed);

// What is kept of a pair of runs once its requests are gone.
struct PairFigures {
  std::vector<Figure> a, b;
  std::vector<Part> parts_a, parts_b, tokens_a, tokens_b;
  std::size_t requests_a = 0, requests_b = 0, finished_both = 0, only_a = 0, only_b = 0;
  std::size_t alone_a = 0, alone_b = 0;  // never arrived at the other side
  bool is_same = false;                  // no event, or no request, tells them apart
  bool is_closed_loop = false;
};
// Without a pairing the sides are two samples.
PairFigures figures_of(const RecordedRun& a, const RecordedRun& b, const Pairing*, Latency by);

}  // namespace kvsim
