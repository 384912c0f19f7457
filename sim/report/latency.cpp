// Distributions of latencies, and what the time to first token is made of.
#include <fmt/format.h>

#include <algorithm>

#include "sim/report/sections.h"

namespace kvsim::report {
namespace {

struct Latency {
  const char* metric;      // of table `metric`
  const char* expression;  // over `request`, ms; null where the metric has no rows
  const char* name;
  const char* text;
  const char* objective = nullptr;  // column of `run`
};

constexpr Latency kLatencies[] = {
    {"ttft_ms", "(first_token_ns - arrival_ns) / 1e6", "TTFT",
     "Time to first token, counted from arrival.", "slo_ttft_ns"},
    {"tpot_ms",
     "CASE WHEN output_tokens >= 2 THEN (last_token_ns - first_token_ns) / 1e6 / "
     "(output_tokens - 1) END",
     "TPOT",
     "Time per output token after the first: (last − first token) / (output tokens − 1), requests "
     "with two or more output tokens.",
     "slo_tpot_ns"},
    {"itl_ms", nullptr, "ITL",
     "Inter-token latency: gaps between consecutive tokens, pooled over all requests."},
    {"e2el_ms", "(last_token_ns - arrival_ns) / 1e6", "E2E latency",
     "End to end: from arrival to the last token.", "slo_e2e_ns"},
    {"queue_ms", "(scheduled_ns - arrival_ns) / 1e6", "Queue time",
     "From arrival until the request is first scheduled."}};

constexpr const char* kStatistics[] = {"mean", "median", "p90", "p95", "p99", "max"};

// Where the quantiles of a curve lie: every 0.6 %, and closer and closer to 1, because tails are
// what people look for.
std::vector<double> quantiles() {
  std::vector<double> q;
  for (int i = 0; i < 160; ++i) q.push_back(0.96 * i / 160);
  for (int i = 0; i < 40; ++i) q.push_back(1 - 0.04 * std::pow(10, -i * 2.5 / 39));
  q.push_back(1);
  return q;
}

// Linear between order statistics, as table `metric` has it. Requires sorted values, not empty.
double quantile(const std::vector<double>& sorted, double q) {
  const double at = q * static_cast<double>(sorted.size() - 1);
  const auto low = static_cast<std::size_t>(at);
  const std::size_t high = std::min(low + 1, sorted.size() - 1);
  return sorted[low] + (sorted[high] - sorted[low]) * (at - static_cast<double>(low));
}

std::vector<double> values_of(const Run& run, const std::string& expression) {
  std::vector<double> values;
  run.each(fmt::format("SELECT {0} FROM request WHERE run_id = ?1 AND outcome = 'finished' AND {0} "
                       "IS NOT NULL",
                       expression),
           [&](const Statement& s) { values.push_back(s.real(0)); });
  std::sort(values.begin(), values.end());
  return values;
}

// A line at the objective, where all runs that have rows share one.
std::optional<Series> objective_line(const std::vector<const Run*>& runs, const Latency& latency) {
  if (latency.objective == nullptr) return std::nullopt;
  double ms = kNone;
  for (const Run* run : runs) {
    const double own =
        run->number(fmt::format("SELECT {} / 1e6 FROM run WHERE run_id = ?1", latency.objective));
    if (run != runs.front() && own != ms) return std::nullopt;
    ms = own;
  }
  if (!(ms > 0)) return std::nullopt;
  return Series{fmt::format("SLO {:g} ms", ms), {ms, ms}, {0, 100}, {}, {}, kGrey, true};
}

std::optional<Chart> distribution(const Source& source, const Latency& latency) {
  Chart c;
  c.id = fmt::format("cdf-{}", std::string(latency.metric, std::string(latency.metric).find('_')));
  c.title = fmt::format("{}: cumulative distribution", latency.name);
  c.text = fmt::format("{} Finished requests; up is more of them, left is faster.", latency.text);
  c.x.title = fmt::format("{}, ms (log)", latency.name);
  c.x.is_log = true;
  c.y = {"requests at most this slow, %", false, 0, 100, {}};
  c.is_by_index = true;
  std::vector<const Run*> shown;
  for (const Run& run : source.runs()) {
    const std::vector<double> values = values_of(run, latency.expression);
    if (values.empty()) continue;
    Series s{run.label, {}, {}, {}, {}, run.color, false};
    for (const double q : quantiles()) {
      s.x.push_back(quantile(values, q));
      s.y.push_back(100 * q);
    }
    if (!(s.x.back() > 0)) continue;
    c.series.push_back(std::move(s));
    shown.push_back(&run);
  }
  if (!shown.empty())
    if (auto line = objective_line(shown, latency)) c.series.push_back(std::move(*line));
  return c.series.empty() ? std::nullopt : std::optional(std::move(c));
}

std::optional<Table> percentiles(const Source& source) {
  Table t{"percentiles", "Latency percentiles", "", {"latency", "run"}, {}};
  for (const Latency& l : kLatencies) t.text += fmt::format("{}: {} ", l.name, l.text);
  t.text += "Finished requests; percentiles are interpolated linearly.";
  bool has_baseline = false;
  for (const char* name :
       {"requests or gaps", "mean, ms", "median, ms", "P90, ms", "P95, ms", "P99, ms", "max, ms"})
    t.columns.emplace_back(name);
  for (const Latency& l : kLatencies)
    for (const Run& run : source.runs())
      for (const char* scope : {"run", "no-offload"}) {
        const double count = run.metric(l.metric, "count", scope);
        if (!(count > 0)) continue;
        const bool is_baseline = scope == std::string_view("no-offload");
        has_baseline = has_baseline || is_baseline;
        std::vector<Cell>& row = t.rows.emplace_back();
        row = {text_cell(l.name), text_cell(run.label + (is_baseline ? ", GPU only" : "")),
               count_cell(count)};
        for (const char* statistic : kStatistics)
          row.push_back(number_cell(run.metric(l.metric, statistic, scope), 2));
      }
  if (has_baseline)
    t.text += " GPU only: the same scenario without tiers below (cache.offload.compare).";
  return t.rows.empty() ? std::nullopt : std::optional(std::move(t));
}

// The columns ttft_<kind>_ns of `request`, as <kind>.
std::vector<std::string> ttft_kinds(File& file) {
  std::vector<std::string> kinds;
  for (const std::string& name : file.columns("request"))
    if (name.starts_with("ttft_") && name.ends_with("_ns"))
      kinds.push_back(name.substr(5, name.size() - 8));
  return kinds;
}

// Mean of each kind over requests with a TTFT of at least `least_ms`.
std::vector<double> mean_kinds(const Run& run, const std::vector<std::string>& kinds,
                               double least_ms) {
  std::string sql = "SELECT 0";
  for (const std::string& kind : kinds)
    sql += fmt::format(", avg({}) / 1e6", quoted_name("ttft_" + kind + "_ns"));
  sql += fmt::format(
      " FROM request WHERE run_id = ?1 AND outcome = 'finished' AND "
      "(first_token_ns - arrival_ns) / 1e6 >= {}",
      least_ms);
  std::vector<double> means;
  run.each(sql, [&](const Statement& s) {
    for (int i = 1; i <= static_cast<int>(kinds.size()); ++i) means.push_back(real_or_none(s, i));
  });
  return means;
}

struct Breakdown {
  const Run* run;
  std::vector<double> means;
};

// Bars that begin where the one before ends; a last one is the sum. Kinds that nobody has are left
// out.
Chart waterfall(const std::vector<std::string>& kinds, const std::vector<Breakdown>& runs) {
  Chart c;
  c.kind = Chart::Kind::bars;
  c.x.title = "TTFT, ms";
  c.y.title = "interval";
  std::vector<std::size_t> shown;
  for (std::size_t k = 0; k < kinds.size(); ++k)
    if (std::any_of(runs.begin(), runs.end(), [&](const auto& b) { return b.means[k] > 0; }))
      shown.push_back(k);
  for (const std::size_t k : shown) c.y.categories.push_back(words(kinds[k]));
  c.y.categories.emplace_back("TTFT");
  for (const Breakdown& b : runs) {
    Series s{b.run->label, {}, {}, {}, {}, b.run->color, false};
    double sum = 0;
    for (const std::size_t k : shown) {
      s.base.push_back(sum);
      s.y.push_back(sum += b.means[k]);
    }
    s.base.push_back(0);
    s.y.push_back(sum);
    c.series.push_back(std::move(s));
  }
  return c;
}

std::vector<Breakdown> breakdowns(const Source& source, const std::vector<std::string>& kinds,
                                  double share) {
  std::vector<Breakdown> all;
  for (const Run& run : source.runs()) {
    if (!run.file->has_rows("request")) continue;
    double least = 0;
    if (share < 1) {
      const std::vector<double> ttft = values_of(run, kLatencies[0].expression);
      if (ttft.empty()) continue;
      least = ttft[static_cast<std::size_t>(static_cast<double>(ttft.size() - 1) * (1 - share))];
    }
    Breakdown b{&run, mean_kinds(run, kinds, least)};
    if (b.means.size() == kinds.size() && !kinds.empty() && !std::isnan(b.means[0]))
      all.push_back(std::move(b));
  }
  return all;
}

}  // namespace

std::optional<Section> latency_section(const Source& source) {
  Section section{"latency", "Latency", "", {}};
  if (auto t = percentiles(source)) section.parts.emplace_back(std::move(*t));
  for (const Latency& l : kLatencies)
    if (l.expression != nullptr)
      if (auto c = distribution(source, l)) section.parts.emplace_back(std::move(*c));
  return section.parts.empty() ? std::nullopt : std::optional(std::move(section));
}

std::optional<Section> ttft_section(const Source& source) {
  if (source.runs().empty()) return std::nullopt;
  const std::vector<std::string> kinds = ttft_kinds(*source.runs().front().file);
  Section section{"ttft",
                  "Time to first token, by cause",
                  "A request's TTFT is the exact sum of these intervals: queue is waiting for a "
                  "step, the token budget or requests ahead; blocked memory is waiting for KV "
                  "blocks; chunk wait is iterations that ran without it between two of its chunks; "
                  "host is overhead the GPU cannot hide; fetch is waiting for KV from a tier.",
                  {}};
  if (const auto all = breakdowns(source, kinds, 1); !all.empty()) {
    Chart c = waterfall(kinds, all);
    c.id = "ttft-mean";
    c.title = "Mean TTFT by cause";
    c.text = "Means over finished requests; each bar begins where the one above ends.";
    section.parts.emplace_back(std::move(c));
  }
  if (const auto slow = breakdowns(source, kinds, 0.01); !slow.empty()) {
    Chart c = waterfall(kinds, slow);
    c.id = "ttft-slowest";
    c.title = "TTFT of the slowest 1 % by cause";
    c.text = "The same over the 1 % of finished requests with the largest TTFT.";
    section.parts.emplace_back(std::move(c));
  }
  return section.parts.empty() ? std::nullopt : std::optional(std::move(section));
}

}  // namespace kvsim::report
