// The numbers people ask for first, one row a run; and where they come from.
#include <fmt/format.h>

#include "sim/record/render.h"
#include "sim/report/sections.h"

namespace kvsim::report {
namespace {

constexpr int kLongestScenario = 200'000;  // bytes

struct Headline {
  const char* column;
  const char* metric;
  const char* statistic;
  Cell (*cell)(double);
};

Cell three(double v) { return number_cell(v, 3); }
Cell one(double v) { return number_cell(v, 1); }

constexpr Headline kHeadlines[] = {{"requests", "injected", "value", count_cell},
                                   {"finished", "completed", "value", count_cell},
                                   {"requests/s", "request_throughput", "value", three},
                                   {"goodput, requests/s", "request_goodput", "value", three},
                                   {"meet the SLO", "slo_attainment", "value", percent_cell},
                                   {"output tokens/s", "output_throughput", "value", one},
                                   {"median TTFT, ms", "ttft_ms", "median", one},
                                   {"P99 TTFT, ms", "ttft_ms", "p99", one},
                                   {"median TPOT, ms", "tpot_ms", "median", one},
                                   {"P99 TPOT, ms", "tpot_ms", "p99", one},
                                   {"prefix hits", "prefix_hit_rate", "value", percent_cell},
                                   {"hits of all tiers", "total_hit_rate", "value", percent_cell},
                                   {"preemptions", "preemptions", "value", count_cell},
                                   {"busy", "busy_share", "value", percent_cell}};

std::string objectives(const Run& run) {
  std::string out;
  run.each(
      "SELECT slo_ttft_ns / 1e6, slo_tpot_ns / 1e6, slo_e2e_ns / 1e6 FROM run WHERE run_id = ?1",
      [&](const Statement& s) {
        int column = 0;
        for (const char* name : {"TTFT", "TPOT", "E2E latency"}) {
          if (const double ms = real_or_none(s, column++); !std::isnan(ms))
            out += fmt::format("{}{} ≤ {:g} ms", out.empty() ? "" : ", ", name, ms);
        }
      });
  return out.empty() ? "none" : out;
}

Table provenance_table(const Source& source) {
  Table t{"provenance",
          "Runs",
          "Equal scenario digests mean equal scenarios; equal event digests mean that the same "
          "things happened.",
          {"run", "file", "run id", "status", "kvsim", "seed", "scenario digest", "event digest",
           "simulated, s", "SLO", "host", "started, UTC", "wall time, s"},
          {}};
  for (const Run& r : source.runs()) {
    std::vector<Cell> row{text_cell(r.label), text_cell(r.file->path()),
                          count_cell(static_cast<double>(r.id)), text_cell(r.status),
                          text_cell(r.version)};
    r.each("SELECT seed, event_digest, simulated_ns / 1e9 FROM run WHERE run_id = ?1",
           [&](const Statement& s) {
             row.push_back(text_cell(fmt::format("{}", static_cast<std::uint64_t>(s.integer(0)))));
             row.push_back(text_cell(r.digest));
             row.push_back(text_cell(printable(s.text(1))));
             row.push_back(number_cell(real_or_none(s, 2), 3));
           });
    row.push_back(text_cell(objectives(r)));
    if (r.file->has("provenance"))
      r.each(
          "SELECT substr(host, 1, 100), started_utc, wall_ns / 1e9 FROM provenance "
          "WHERE run_id = ?1",
          [&](const Statement& s) {
            row.push_back(text_cell(printable(s.text(0))));
            row.push_back(text_cell(printable(s.text(1))));
            row.push_back(number_cell(real_or_none(s, 2), 3));
          });
    row.resize(t.columns.size());
    t.rows.push_back(std::move(row));
  }
  return t;
}

}  // namespace

std::optional<Section> overview_section(const Source& source) {
  if (source.runs().empty()) return std::nullopt;
  Table t{"overview",
          "Overview",
          "Goodput counts finished requests that meet every objective of the run (all of them "
          "without objectives); prefix hits are prompt tokens found in the GPU's prefix cache over "
          "those looked up; busy is the share of time in iterations. Throughputs divide by the "
          "time from the first arrival to the last token.",
          {"run"},
          {}};
  std::vector<std::vector<double>> values;
  for (const Headline& h : kHeadlines) {
    std::vector<double>& column = values.emplace_back();
    bool has_any = false;
    for (const Run& r : source.runs()) {
      column.push_back(r.metric(h.metric, h.statistic));
      has_any = has_any || !std::isnan(column.back());
    }
    if (has_any)
      t.columns.emplace_back(h.column);
    else
      values.back().clear();
  }
  if (t.columns.size() == 1) return std::nullopt;
  for (std::size_t i = 0; i < source.runs().size(); ++i) {
    std::vector<Cell>& row = t.rows.emplace_back();
    row.push_back(text_cell(source.runs()[i].label));
    for (std::size_t c = 0; c < values.size(); ++c)
      if (!values[c].empty()) row.push_back(kHeadlines[c].cell(values[c][i]));
  }
  return Section{"summary", "Summary", "", {std::move(t)}};
}

std::optional<Section> provenance_section(const Source& source) {
  if (source.runs().empty()) return std::nullopt;
  Section section{"provenance", "Scenario and provenance", "", {provenance_table(source)}};
  for (std::size_t i = 0; i < source.runs().size(); ++i) {
    const Run& r = source.runs()[i];
    r.each(fmt::format("SELECT substr(scenario_text, 1, {0}), length(scenario_text) > {0} FROM run "
                       "WHERE run_id = ?1",
                       kLongestScenario),
           [&](const Statement& s) {
             section.parts.emplace_back(
                 Text{fmt::format("scenario-{}", i + 1),
                      fmt::format("Scenario of {}, every default filled in", r.label),
                      printable(s.text(0), true) + (s.integer(1) != 0 ? "\n… cut" : "")});
           });
  }
  return section;
}

}  // namespace kvsim::report
