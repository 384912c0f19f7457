// Instances and faults: tables.
#include <fmt/format.h>

#include "sim/record/render.h"
#include "sim/report/sections.h"

namespace kvsim::report {
namespace {

constexpr int kMostRows = 300;  // of instances and faults, a run

}  // namespace

std::optional<Section> instance_section(const Source& source) {
  Table t{"instances",
          "Instances",
          fmt::format("One row a rank, at most {} a run. Busy: share of the simulated time in "
                      "iterations.",
                      kMostRows),
          {"run", "instance", "rank", "iterations", "busy", "prefill tokens", "decode tokens",
           "prefix hits", "peak KV use", "evicted blocks", "preemptions"},
          {}};
  for (const Run& run : source.runs())
    run.each(
        fmt::format(
            "SELECT instance, rank, iterations, 1.0 * busy_ns / nullif(r.simulated_ns, 0), "
            "prefill_tokens, decode_tokens, 1.0 * hit_tokens / nullif(queried_tokens, 0), 1.0 * "
            "peak_blocks / nullif(blocks, 0), evicted_blocks, preemptions FROM instance i JOIN run "
            "r USING (run_id) WHERE i.run_id = ?1 ORDER BY instance, rank LIMIT {}",
            kMostRows),
        [&](const Statement& s) {
          t.rows.push_back({text_cell(run.label), count_cell(s.real(0)), count_cell(s.real(1)),
                            count_cell(s.real(2)), percent_cell(real_or_none(s, 3)),
                            count_cell(s.real(4)), count_cell(s.real(5)),
                            percent_cell(real_or_none(s, 6)), percent_cell(real_or_none(s, 7)),
                            count_cell(s.real(8)), count_cell(s.real(9))});
        });
  if (t.rows.empty()) return std::nullopt;
  return Section{"instances", "Instances", "", {std::move(t)}};
}

std::optional<Section> fault_section(const Source& source) {
  Table t{"faults",
          "Faults",
          "Goodput: finished requests/s that meet the SLO, in the window before the fault and the "
          "least of the windows after; recovery: until a window reaches 95 % of before.",
          {"run", "what", "at, s", "down, s", "requests moved", "KV blocks lost", "chunks lost",
           "transfers failed", "goodput before, requests/s", "least, requests/s", "recovery, s"},
          {}};
  for (const Run& run : source.runs())
    run.each(
        fmt::format("SELECT substr(target, 1, 100), at_ns / 1e9, (end_ns - at_ns) / 1e9, "
                    "requests_moved, blocks_lost, chunks_lost, transfers_failed, "
                    "goodput_before_per_s, goodput_least_per_s, recovery_ns / 1e9 FROM fault "
                    "WHERE run_id = ?1 ORDER BY at_ns LIMIT {}",
                    kMostRows),
        [&](const Statement& s) {
          t.rows.push_back({text_cell(run.label), text_cell(printable(s.text(0))),
                            number_cell(s.real(1), 1), number_cell(real_or_none(s, 2), 1),
                            count_cell(s.real(3)), count_cell(s.real(4)), count_cell(s.real(5)),
                            count_cell(s.real(6)), number_cell(s.real(7), 3),
                            number_cell(s.real(8), 3), number_cell(real_or_none(s, 9), 1)});
        });
  if (t.rows.empty()) return std::nullopt;
  return Section{"faults", "Faults", "", {std::move(t)}};
}

}  // namespace kvsim::report
