#pragma once
// The sections of a report. Each looks whether the files hold what it shows and returns nothing
// otherwise.
#include <optional>
#include <vector>

#include "sim/report/report.h"
#include "sim/report/source.h"

namespace kvsim::report {

std::optional<Section> overview_section(const Source&);
std::optional<Section> latency_section(const Source&);   // percentiles, distributions
std::optional<Section> timeline_section(const Source&);  // queues, KV use, throughput
std::optional<Section> ttft_section(const Source&);      // what the time to first token is made of
std::optional<Section> prefix_section(const Source&);    // where prompt tokens came from, misses
std::optional<Section> tier_section(const Source&);      // tiers, links, transfers
std::optional<Section> policy_section(const Source&);    // eviction policies, beside the optimum
std::optional<Section> instance_section(const Source&);
std::optional<Section> fault_section(const Source&);
std::vector<Section> study_sections(const Source&);     // one a study
std::optional<Section> quality_section(const Source&);  // error against KV bytes
std::optional<Section> provenance_section(const Source&);

// Cells: a number with `decimals` places and thousands separated, "–" for kNone.
Cell number_cell(double value, int decimals);
Cell count_cell(double value);    // whole
Cell percent_cell(double ratio);  // 0.1234 as 12.34 %
Cell text_cell(std::string text);
// 4,096 bytes as 4.00 KiB; the cell's number stays in bytes.
Cell bytes_cell(double bytes);
// "evicted_capacity" as "evicted capacity".
std::string words(std::string name);

}  // namespace kvsim::report
