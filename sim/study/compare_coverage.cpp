#include "sim/study/compare_coverage.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "sim/base/diagnostics.h"
#include "sim/study/compare_runs.h"
#include "sim/study/parallel.h"

namespace kvsim {
namespace {

// Far from the seeds of the repetitions, which count from the first.
constexpr std::uint64_t kTruthOffset = 1'000'000'000;

// B - A of every figure with each seed, averaged.
std::vector<CoverageRow> truth_of(const SideSource& a, const SideSource& b, std::uint64_t first,
                                  const CompareOptions& options, std::size_t seeds) {
  std::vector<PairFigures> figures(seeds);
  run_parallel(seeds, options.threads, [&](std::size_t i) {
    const std::uint64_t seed = first + kTruthOffset + i;
    const RecordedRun ra = run_side(a, seed);
    const RecordedRun rb = run_side(b, options.is_paired ? seed : seed + seeds);
    std::optional<Pairing> pairing;
    if (options.is_paired) pairing = pair_requests(ra, rb);
    figures[i] = figures_of(ra, rb, pairing ? &*pairing : nullptr, options.by);
  });
  std::vector<CoverageRow> rows;
  for (const Figure& f : figures.front().a) {
    CoverageRow row;
    row.name = f.name, row.statistic = f.statistic, row.unit = f.unit;
    const auto matches = [&](const Figure& x) {
      return x.name == f.name && x.statistic == f.statistic;
    };
    bool is_complete = true;
    for (const PairFigures& p : figures) {
      const auto x = std::ranges::find_if(p.a, matches), y = std::ranges::find_if(p.b, matches);
      is_complete = is_complete && x != p.a.end() && y != p.b.end();
      if (is_complete) row.truth += (y->value - x->value) / static_cast<double>(seeds);
    }
    if (is_complete) rows.push_back(row);
  }
  return rows;
}

// True when the row has an interval.
bool count(CoverageRow& row, const CompareResult& result) {
  for (const CompareRow& r : result.rows) {
    if (r.name != row.name || r.statistic != row.statistic) continue;
    const double difference = r.b - r.a;
    // Both sides alike: the interval is a point.
    const Estimate e = r.difference.value_or(Estimate{difference, difference, difference});
    if (!r.difference && result.method != CompareMethod::same) return false;
    const double slack = 1e-9 * std::max(std::abs(row.truth), std::abs(r.a));
    row.held += e.low - slack <= row.truth && row.truth <= e.high + slack;
    row.clear += e.is_clear();
    row.mean_width += e.high - e.low;
    return true;
  }
  return false;
}

}  // namespace

std::pair<std::size_t, std::size_t> binomial_range(std::size_t n, double p) {
  const auto size = static_cast<double>(n);
  double probability = std::pow(1 - p, size), below = 0;
  std::size_t low = 0, high = n;
  bool has_low = false;
  for (std::size_t k = 0; k <= n; ++k) {
    below += probability;
    if (!has_low && below > 0.025) low = k, has_low = true;
    if (below >= 0.975) {
      high = k;
      break;
    }
    probability *= (size - static_cast<double>(k)) / static_cast<double>(k + 1) * p / (1 - p);
  }
  return {low, high};
}

CoverageResult measure_coverage(const CompareSide& a, const CompareSide& b,
                                const CompareOptions& options, const CoverageOptions& coverage) {
  if (coverage.repetitions < 20 || coverage.repetitions > 10'000)
    throw InputError("--coverage: expected 20 to 10000 repetitions");
  if (coverage.truth_seeds < 100 || coverage.truth_seeds > 1'000'000)
    throw InputError("--truth-seeds: expected 100 to 1000000");
  const auto [left, right] = open_sides(a, b);
  if (left.is_recorded || right.is_recorded)
    throw InputError("--coverage runs scenarios, and one side is a result",
                     "give the scenario it came from");
  const std::uint64_t first = options.first_seed.value_or(left.seed);
  CoverageResult out;
  out.repetitions = coverage.repetitions;
  out.truth_seeds = coverage.truth_seeds;
  std::tie(out.expected_low, out.expected_high) =
      binomial_range(coverage.repetitions, options.confidence);
  std::vector<CompareResult> results(coverage.repetitions);
  run_parallel(coverage.repetitions, options.threads, [&](std::size_t k) {
    CompareOptions one = options;
    one.threads = 1;
    one.first_seed = first + k * options.seeds * (options.is_paired ? 1 : 2);
    results[k] = compare_sides(a, b, one);
    if (results[k].seeds_change_nothing)
      throw InputError("--coverage: the seed changes nothing in this scenario",
                       "it replays a trace; use a workload that is generated");
  });
  for (CoverageRow row : truth_of(left, right, first, options, coverage.truth_seeds)) {
    const bool has_all =
        std::ranges::all_of(results, [&](const CompareResult& r) { return count(row, r); });
    row.mean_width /= static_cast<double>(coverage.repetitions);
    if (has_all) out.rows.push_back(row);
  }
  return out;
}

}  // namespace kvsim
