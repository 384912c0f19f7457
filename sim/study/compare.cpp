#include "sim/study/compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>

#include "sim/base/check.h"
#include "sim/base/diagnostics.h"
#include "sim/study/bootstrap_run.h"
#include "sim/study/compare_runs.h"
#include "sim/study/parallel.h"

namespace kvsim {
namespace {

Rng stream(const std::string& what) { return {0, "compare." + what}; }

CompareRow empty_row(const Figure& f) {
  CompareRow row;
  row.name = f.name, row.statistic = f.statistic, row.unit = f.unit;
  row.lower_is_better = f.lower_is_better;
  return row;
}

void set_intervals(CompareRow& row, const std::vector<double>& a, const std::vector<double>& b,
                   const CompareOptions& options) {
  if (a.size() < kFewestUnits || b.size() < kFewestUnits) return;
  const std::string key = row.name + "." + row.statistic;
  row.difference = contrast_of_means(Contrast::difference, a, b, options.is_paired,
                                     options.confidence, stream(key));
  if (row.a > 0)
    row.relative = contrast_of_means(Contrast::relative, a, b, options.is_paired,
                                     options.confidence, stream(key));
}

// A ratio to something near zero says nothing: its interval goes beyond "all of it is gone", or it
// rests on a single seed and has no width, unlike the difference.
void drop_senseless(CompareRow& row) {
  const auto width = [](const Estimate& e) { return e.high - e.low; };
  if (row.relative && (row.relative->low < -1 ||
                       (width(*row.relative) == 0 && row.difference && width(*row.difference) > 0)))
    row.relative.reset();
}

double mean(const std::vector<double>& v) {
  double sum = 0;
  for (const double x : v) sum += x;
  return sum / static_cast<double>(v.size());
}

// A row from one value a seed and side.
CompareRow row_of(CompareRow row, const std::vector<double>& a, const std::vector<double>& b,
                  const CompareOptions& options) {
  row.a = mean(a), row.b = mean(b);
  set_intervals(row, a, b, options);
  drop_senseless(row);
  return row;
}

const Figure* find(const std::vector<Figure>& all, const Figure& like) {
  const auto found = std::ranges::find_if(
      all, [&](const Figure& f) { return f.name == like.name && f.statistic == like.statistic; });
  return found == all.end() ? nullptr : &*found;
}

void add_part_rows(std::vector<CompareRow>& out, const std::vector<PairFigures>& runs,
                   std::vector<Part> PairFigures::*a, std::vector<Part> PairFigures::*b,
                   const Figure& like, const CompareOptions& options) {
  for (std::size_t k = 0; k < (runs.front().*a).size(); ++k) {
    std::vector<double> va, vb;
    for (const PairFigures& r : runs) {
      va.push_back((r.*a)[k].value);
      vb.push_back((r.*b)[k].value);
    }
    CompareRow row = empty_row(like);
    row.name = (runs.front().*a)[k].name;
    row = row_of(row, va, vb, options);
    if (row.a != 0 || row.b != 0) out.push_back(row);
  }
}

void add_rows(CompareResult& out, const std::vector<PairFigures>& runs) {
  for (const Figure& f : runs.front().a) {
    std::vector<double> va, vb;
    for (const PairFigures& r : runs) {
      const Figure *a = find(r.a, f), *b = find(r.b, f);
      if (a == nullptr || b == nullptr) break;
      va.push_back(a->value);
      vb.push_back(b->value);
    }
    if (va.size() == runs.size()) out.rows.push_back(row_of(empty_row(f), va, vb, out.options));
  }
  add_part_rows(out.parts, runs, &PairFigures::parts_a, &PairFigures::parts_b,
                {"", "part", "ms", true, 0}, out.options);
  add_part_rows(out.tokens, runs, &PairFigures::tokens_a, &PairFigures::tokens_b,
                {"", "tokens", "tokens", true, 0}, out.options);
  for (const PairFigures& r : runs) {
    out.requests_a += r.requests_a, out.requests_b += r.requests_b;
    out.finished_both += r.finished_both, out.only_a += r.only_a, out.only_b += r.only_b;
    out.alone_a += r.alone_a, out.alone_b += r.alone_b;
    out.is_closed_loop = out.is_closed_loop || r.is_closed_loop;
  }
}

Sample by_arrival(const RecordedRun& run) {
  Sample all;
  for (const RequestOutcome& r : run.requests) all.push_back(&r);
  std::ranges::stable_sort(all, {}, &RequestOutcome::arrival);
  return all;
}

// One side of one run, in order of arrival.
struct OrderedSide {
  Sample requests;
  std::vector<bool> is_used;
};

std::pair<OrderedSide, OrderedSide> ordered(const RecordedRun& a, const RecordedRun& b,
                                            const Pairing* pairing) {
  OrderedSide left, right;
  if (pairing == nullptr) {
    left.requests = by_arrival(a), right.requests = by_arrival(b);
    for (OrderedSide* side : {&left, &right})
      for (const RequestOutcome* r : side->requests)
        side->is_used.push_back(latency_ms(*r, Latency::e2e).has_value());
    return {left, right};
  }
  for (const Pair& p : pairing->pairs) {
    left.requests.push_back(p.a);
    right.requests.push_back(p.b);
    left.is_used.push_back(latency_ms(*p.a, Latency::e2e) && latency_ms(*p.b, Latency::e2e));
  }
  right.is_used = left.is_used;
  return {left, right};
}

// What the length of the blocks follows: the paired differences, or each side's latencies.
std::vector<std::vector<double>> dependent_series(const OrderedSide& a, const OrderedSide& b,
                                                  bool is_paired) {
  std::vector<std::vector<double>> all;
  for (const auto& [latency, name] : enum_names(Latency{})) {
    std::vector<double> first, second;
    for (std::size_t i = 0; i < a.requests.size(); ++i) {
      const auto x = a.is_used[i] ? latency_ms(*a.requests[i], latency) : std::nullopt;
      if (!x) continue;
      if (!is_paired)
        first.push_back(*x);
      else if (const auto y = latency_ms(*b.requests[i], latency))
        first.push_back(*y - *x);
    }
    for (std::size_t i = 0; !is_paired && i < b.requests.size(); ++i)
      if (const auto y = latency_ms(*b.requests[i], latency)) second.push_back(*y);
    all.push_back(std::move(first));
    if (!is_paired) all.push_back(std::move(second));
  }
  return all;
}

void set_drawn(CompareRow& row, const std::vector<double>& a, const std::vector<double>& b,
               const CompareResult& out) {
  std::vector<double> difference, relative;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::isnan(a[i]) || std::isnan(b[i])) continue;
    difference.push_back(b[i] - a[i]);
    if (a[i] > 0) relative.push_back(b[i] / a[i] - 1);
  }
  const double level = out.options.confidence;
  if (!difference.empty())
    row.difference = percentile_interval(row.b - row.a, difference, level, out.stretches);
  if (row.a > 0 && !relative.empty())
    row.relative = percentile_interval(row.b / row.a - 1, relative, level, out.stretches);
  drop_senseless(row);
}

// Intervals of a single pair of runs.
void add_block_intervals(CompareResult& out, const RecordedRun& a, const RecordedRun& b,
                         const Pairing* pairing) {
  const auto [left, right] = ordered(a, b, pairing);
  const BlockPlan plan = plan_blocks(dependent_series(left, right, pairing != nullptr));
  out.block_requests = plan.mean;
  out.stretches = plan.stretches;
  RunResampler ra(left.requests, left.is_used, a.slo, out.options.by);
  RunResampler rb(right.requests, right.is_used, b.slo, out.options.by);
  const std::size_t draws = resamples_for(std::max(ra.size(), rb.size()));
  std::vector<std::vector<double>> va(ra.keys().size()), vb(rb.keys().size());
  Rng rng = stream("blocks"), rng_b = stream("blocks.b");
  std::vector<Block> blocks;
  std::vector<double> values;
  for (std::size_t k = 0; k < draws; ++k) {
    draw_blocks(ra.size(), plan.mean, rng, blocks);
    ra.draw(blocks, values);
    for (std::size_t i = 0; i < values.size(); ++i) va[i].push_back(values[i]);
    if (pairing == nullptr) draw_blocks(rb.size(), plan.mean, rng_b, blocks);
    rb.draw(blocks, values);
    for (std::size_t i = 0; i < values.size(); ++i) vb[i].push_back(values[i]);
  }
  const auto column = [](const RunResampler& r, const CompareRow& row) {
    const auto found = std::ranges::find_if(r.keys(), [&](const RunResampler::Key& k) {
      return k.name == row.name && k.statistic == row.statistic;
    });
    return static_cast<std::size_t>(found - r.keys().begin());
  };
  for (std::vector<CompareRow>* rows : {&out.rows, &out.parts})
    for (CompareRow& row : *rows) {
      const std::size_t i = column(ra, row), j = column(rb, row);
      if (i < va.size() && j < vb.size()) set_drawn(row, va[i], vb[j], out);
    }
}

// From one pair of runs that are in memory.
void compare_single(CompareResult& out, const RecordedRun& a, const RecordedRun& b) {
  std::optional<Pairing> pairing;
  if (out.options.is_paired) pairing = pair_requests(a, b);
  const Pairing* paired = pairing ? &*pairing : nullptr;
  const PairFigures figures = figures_of(a, b, paired, out.options.by);
  add_rows(out, {figures});
  out.method = figures.is_same ? CompareMethod::same : CompareMethod::blocks;
  if (paired != nullptr) out.changes = changes_of(*paired, out.options.by, out.options.top);
  if (!figures.is_same) add_block_intervals(out, a, b, paired);
  if (a.event_digest == b.event_digest) out.event_digest = a.event_digest;
  out.params = changed_params(a, b);
}

struct SeedPlan {
  std::uint64_t a, b;
};

// Runs every pair of seeds; the requests of the first stay.
std::vector<PairFigures> run_pairs(const SideSource& a, const SideSource& b,
                                   const std::vector<SeedPlan>& seeds, CompareResult& out,
                                   ComparedRuns& first) {
  std::vector<PairFigures> figures(seeds.size());
  std::vector<std::pair<std::string, std::string>> digests(seeds.size());
  std::atomic<std::size_t> done{0};
  const auto run_pair = [&](std::size_t i) {
    RecordedRun ra = run_side(a, seeds[i].a), rb = run_side(b, seeds[i].b);
    std::optional<Pairing> pairing;
    if (out.options.is_paired) pairing = pair_requests(ra, rb);
    figures[i] = figures_of(ra, rb, pairing ? &*pairing : nullptr, out.options.by);
    digests[i] = {ra.event_digest, rb.event_digest};
    if (i == 0) {
      if (pairing) out.changes = changes_of(*pairing, out.options.by, out.options.top);
      out.params = changed_params(ra, rb);
      first = {std::move(ra), std::move(rb)};
    }
    if (out.options.progress) out.options.progress(++done, seeds.size());
  };
  const std::size_t probe = std::min<std::size_t>(2, seeds.size());
  run_parallel(probe, out.options.threads, run_pair);
  if (probe == 2 && digests[0] == digests[1]) {  // the seed changes nothing
    out.seeds_change_nothing = true;
    figures.resize(1);
    return figures;
  }
  run_parallel(seeds.size() - probe, out.options.threads,
               [&](std::size_t i) { run_pair(i + probe); });
  return figures;
}

void compare_over_seeds(CompareResult& out, const SideSource& a, const SideSource& b,
                        std::uint64_t start) {
  std::vector<SeedPlan> seeds;
  for (std::uint64_t i = 0; i < out.options.seeds; ++i)
    seeds.push_back({start + i, start + i + (out.options.is_paired ? 0 : out.options.seeds)});
  ComparedRuns first;
  const std::vector<PairFigures> figures = run_pairs(a, b, seeds, out, first);
  seeds.resize(figures.size());
  for (const SeedPlan& s : seeds) {
    out.seeds_a.push_back(s.a);
    out.seeds_b.push_back(s.b);
  }
  if (seeds.size() == 1) {
    compare_single(out, first.a, first.b);
  } else {
    add_rows(out, figures);
    const bool is_same =
        std::ranges::all_of(figures, [](const PairFigures& f) { return f.is_same; });
    out.method = is_same ? CompareMethod::same : CompareMethod::seeds;
    if (is_same && first.a.event_digest == first.b.event_digest)
      out.event_digest = first.a.event_digest;
  }
  // The seed is the comparison's own.
  std::erase_if(out.params, [](const ParamChange& p) { return p.path == "seed"; });
}

void check_options(const CompareOptions& options) {
  if (options.seeds != 1 && options.seeds < kFewestUnits)
    throw InputError(
        fmt::format("{} seeds are too few for an interval", options.seeds),
        fmt::format("--seeds {} or more; --seeds 1 resamples blocks of requests of one run",
                    kFewestUnits));
  if (!(options.confidence > 0.5 && options.confidence < 1))
    throw InputError("the confidence must lie between 50 and 100 %", "the usual one is 95");
}

}  // namespace

CompareResult compare_sides(const CompareSide& a, const CompareSide& b,
                            const CompareOptions& options) {
  check_options(options);
  const auto [left, right] = open_sides(a, b);
  CompareResult out;
  out.options = options;
  out.label_a = left.label, out.label_b = right.label;
  if (left.is_recorded || right.is_recorded) {
    // A scenario beside a recorded run takes its seed, so that it faces the same requests.
    RecordedRun ra, rb;
    if (left.is_recorded) {
      ra = run_side(left, {});
      rb = run_side(right, ra.seed);
    } else {
      rb = run_side(right, {});
      ra = run_side(left, rb.seed);
    }
    compare_single(out, ra, rb);
  } else {
    compare_over_seeds(out, left, right, options.first_seed.value_or(left.seed));
  }
  return out;
}

ComparedRuns load_first_pair(const CompareSide& a, const CompareSide& b,
                             const CompareOptions& options) {
  const auto [left, right] = open_sides(a, b);
  std::optional<std::uint64_t> seed = options.first_seed;
  if (!left.is_recorded && !seed) seed = left.seed;
  ComparedRuns runs;
  if (left.is_recorded) {
    runs.a = run_side(left, {});
    runs.b = run_side(right, runs.a.seed);
  } else if (right.is_recorded) {
    runs.b = run_side(right, {});
    runs.a = run_side(left, runs.b.seed);
  } else {
    runs.a = run_side(left, seed);
    runs.b = run_side(right, seed);
  }
  return runs;
}

const CompareRow& headline(const CompareResult& r) {
  for (const CompareRow& row : r.rows)
    if (row.name == latency_metric(r.options.by) && row.statistic == "mean") return row;
  throw InputError(fmt::format("no request has a {} on both sides", latency_text(r.options.by)),
                   "compare by another latency (--by ttft, tpot or e2e)");
}

}  // namespace kvsim
