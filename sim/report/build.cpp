#include "sim/report/build.h"

#include <fmt/format.h>

#include "sim/base/diagnostics.h"
#include "sim/report/sections.h"

namespace kvsim::report {
namespace {

std::string title_of(const Source& source, const Report& report) {
  if (source.runs().size() == 1) return source.runs()[0].label;
  if (!source.runs().empty()) return fmt::format("{} runs", source.runs().size());
  return report.sections.front().title;
}

void add_warnings(const Source& source, Report& report) {
  for (const Run& r : source.runs())
    if (r.status != "finished")
      report.warnings.push_back(fmt::format("{}: the run is {}{}{}; its numbers are not complete",
                                            r.label, r.status, r.error.empty() ? "" : ": ",
                                            r.error));
  if (source.runs_left_out() > 0)
    report.warnings.push_back(
        fmt::format("the first {} runs are shown, {} more are left out; give fewer databases",
                    source.runs().size(), source.runs_left_out()));
}

}  // namespace

Report build_report(const std::vector<std::string>& databases) {
  const Source source(databases);
  Report report;
  for (const auto section :
       {overview_section, latency_section, timeline_section, ttft_section, prefix_section,
        tier_section, policy_section, fault_section, instance_section})
    if (auto s = section(source)) report.sections.push_back(std::move(*s));
  for (Section& s : study_sections(source)) report.sections.push_back(std::move(s));
  for (const auto section : {quality_section, provenance_section})
    if (auto s = section(source)) report.sections.push_back(std::move(*s));
  if (report.sections.empty())
    throw InputError(fmt::format("{}: holds no run and no study", databases.front()),
                     "give a file that 'kvsim run' or 'kvsim study run' wrote");
  report.title = title_of(source, report);
  for (const auto& file : source.files())
    report.subtitle += (report.subtitle.empty() ? "" : ", ") + file->path();
  add_warnings(source, report);
  return report;
}

}  // namespace kvsim::report
