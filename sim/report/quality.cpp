// What token policies cost in quality for the KV bytes they save: a chart a measure.
#include <fmt/format.h>

#include <algorithm>

#include "sim/record/render.h"
#include "sim/report/sections.h"

namespace kvsim::report {
namespace {

constexpr int kMostMeasures = 8;
constexpr int kMostDots = 1000;  // a measure and file

std::vector<std::string> measures_of(const Source& source) {
  std::vector<std::string> names;
  for (const auto& file : source.files())
    if (file->has_rows("quality"))
      file->each(
          fmt::format("SELECT DISTINCT substr(measure, 1, 60) FROM quality ORDER BY 1 LIMIT {}",
                      kMostMeasures),
          {}, [&](const Statement& s) {
            const std::string name = printable(s.text(0));
            if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
          });
  return names;
}

}  // namespace

std::optional<Section> quality_section(const Source& source) {
  Section section{"quality",
                  "Quality against KV bytes",
                  "Each curve is a token policy at several budgets: what is left of the KV cache, "
                  "and what that does to the result. Measured by running the policy on tensors, "
                  "never assumed.",
                  {}};
  for (const std::string& measure : measures_of(source)) {
    Chart c;
    c.id = fmt::format("quality-{}", section.parts.size() + 1);
    c.kind = Chart::Kind::points;
    c.x.title = "KV bytes, % of the uncompressed cache";
    c.x.least = 0;
    c.is_joined = true;
    c.y.is_log = measure == "perplexity";  // of a broken model it is a hundred times as large
    c.y.title = measure;
    c.title = words(measure) + " against KV bytes";
    for (const auto& file : source.files()) {
      if (!file->has_rows("quality")) continue;
      std::string policy;
      file->each(
          fmt::format("SELECT substr(policy, 1, 80), 100.0 * kv_bytes / nullif(full_bytes, 0), "
                      "value, unit, substr(parameters, 1, 80) FROM quality WHERE measure = ?1 AND "
                      "statistic IN ('mean', 'value') AND layer IS NULL AND head IS NULL AND step "
                      "IS NULL ORDER BY policy, 2 LIMIT {}",
                      kMostDots),
          [&](Statement& q) { q.bind(1, std::string_view(measure)); },
          [&](const Statement& q) {
            const std::string name = printable(q.text(0));
            if (c.series.empty() || name != policy)
              c.series.push_back({source.files().size() == 1 ? name : file->path() + " " + name,
                                  {},
                                  {},
                                  {},
                                  {},
                                  c.series.size(),
                                  false});
            policy = name;
            Series& s = c.series.back();
            s.labels.push_back(name + (q.text(4).empty() ? "" : " " + printable(q.text(4))));
            s.x.push_back(real_or_none(q, 1));
            s.y.push_back(real_or_none(q, 2));
            if (const std::string unit = printable(q.text(3)); !unit.empty())
              c.y.title = measure + ", " + unit;
          });
    }
    const auto is_negative = [](double v) { return v < 0; };
    if (!c.y.is_log && std::none_of(c.series.begin(), c.series.end(), [&](const Series& s) {
          return std::any_of(s.y.begin(), s.y.end(), is_negative);
        }))
      c.y.least = 0;
    if (!c.series.empty()) section.parts.emplace_back(std::move(c));
  }
  return section.parts.empty() ? std::nullopt : std::optional(std::move(section));
}

}  // namespace kvsim::report
