#include "sim/cli/gallery_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <sstream>

#include "sim/base/diagnostics.h"
#include "sim/cli/gallery_curves.h"
#include "sim/cli/text_table.h"

namespace kvsim {
namespace {

bool was_simulated(const FigureResult& r) {
  return r.verdict != Verdict::failed && r.verdict != Verdict::absent;
}

double difference_percent(const GalleryFigure& f, double simulated) {
  return f.claimed == 0 ? 0 : 100 * (simulated - f.claimed) / std::abs(f.claimed);
}

std::string difference_text(const GalleryFigure& f, const FigureResult& r) {
  if (!was_simulated(r) || f.claimed == 0) return "";
  const double percent = difference_percent(f, r.simulated);
  return std::abs(percent) < 0.05
             ? "0 %"
             : fmt::format("{:+.{}f} %", percent, std::abs(percent) < 10 ? 1 : 0);
}

std::string simulated_text(const GalleryFigure& f, const FigureResult& r) {
  return was_simulated(r) ? figure_text(r.simulated, f.unit) : "";
}

std::string markdown(std::string text) {
  for (std::size_t at = 0; (at = text.find('|', at)) != std::string::npos; at += 2)
    text.insert(at, "\\");
  std::ranges::replace(text, '\n', ' ');
  return text;
}

// Metrics that the details show of each scenario, where the run has them.
constexpr const char* kShown[] = {"found",
                                  "completed",
                                  "duration",
                                  "request_throughput",
                                  "output_throughput",
                                  "ttft_ms.mean",
                                  "ttft_ms.median",
                                  "ttft_ms.p99",
                                  "tpot_ms.mean",
                                  "itl_ms.p99",
                                  "e2el_ms.mean",
                                  "queue_ms.mean",
                                  "normalized_latency_ms.mean",
                                  "prefix_hit_rate",
                                  "total_hit_rate",
                                  "slo_attainment",
                                  "preemptions",
                                  "kv_blocks",
                                  "mean_kv_usage",
                                  "kv_live_share_of_memory"};

bool is_shown(const Claim& c, const std::string& run, const std::string& name) {
  if (c.runs.at(run).scenario.empty()) return true;
  if (std::ranges::find(kShown, name) != std::end(kShown)) return true;
  return std::ranges::any_of(c.figures, [&](const GalleryFigure& f) {
    return std::ranges::count(f.value.names(), run + "." + name) > 0;
  });
}

std::string command_of(const Claim& c, const GalleryRun& run) {
  if (run.replay) return "replay " + to_json(write_fields(*run.replay));
  if (run.scenario.empty())
    return run.model.is_null() ? "hardware " + to_json(run.hardware)
                               : "model " + to_json(run.model);
  const std::filesystem::path file = std::filesystem::path(c.file).parent_path() / run.scenario;
  std::string text =
      "kvsim run " +
      file.lexically_normal().lexically_proximate(std::filesystem::current_path()).string();
  for (const std::string& set : run.set) text += fmt::format(" --set '{}'", set);
  if (run.search) {
    std::string limits;
    for (const auto& [name, limit] : run.search->at_most)
      limits += fmt::format("{}{} <= {}", limits.empty() ? "" : ", ", name, limit);
    text += fmt::format("\n      the largest {} from {} to {} with {}", run.search->path,
                        run.search->from, run.search->to, limits);
  }
  if (run.sweep) {
    text += fmt::format("\n      {} at", run.sweep->path);
    for (const double v : run.sweep->values) text += fmt::format(" {}", v);
  }
  return text;
}

std::string runs_text(const ClaimResult& r) {
  std::string text = "\nruns\n";
  for (const auto& [name, run] : r.claim->runs)
    text += fmt::format("  {}: {}\n", name, command_of(*r.claim, run));
  std::vector<std::string> heads{"metric"}, names;
  for (const auto& [name, run] : r.runs) {
    heads.push_back(">" + name);
    for (const auto& [metric, value] : run.numbers)
      if (is_shown(*r.claim, name, metric) && std::ranges::count(names, metric) == 0)
        names.push_back(metric);
  }
  std::ranges::sort(names);
  TextTable table(heads);
  for (const std::string& metric : names) {
    std::vector<std::string> cells{metric};
    for (const auto& [name, run] : r.runs) {
      const auto found = run.numbers.find(metric);
      cells.push_back(found == run.numbers.end() ? "" : figure_text(found->second));
    }
    table.row(cells);
  }
  return text + "\n" + table.text(2);
}

bool is_absent(const ClaimResult& r) {
  return std::ranges::count(r.figures, Verdict::absent, &FigureResult::verdict) > 0;
}

// Lines of the page that begin with `start`.
std::vector<std::string> lines_of(const std::string& page, const std::string& start) {
  std::vector<std::string> lines;
  std::istringstream in(page);
  for (std::string line; std::getline(in, line);)
    if (line.starts_with(start)) lines.push_back(line);
  return lines;
}

// Of a claim that could not be run here: the tables of its curves as the page has them.
std::vector<std::string> kept_curves(const ClaimResult& r, const std::string& page) {
  std::vector<std::string> lines;
  for (const GalleryCurve& c : r.claim->curves) {
    const std::string title =
        fmt::format("**{} {}**: {} ({})\n", r.claim->claim.id, r.claim->claim.system, c.what, c.y);
    const std::size_t at = page.find(title);
    if (at == std::string::npos) continue;
    std::istringstream in(page.substr(at));
    std::string line;
    for (int blank = 0; blank < 2 && std::getline(in, line);) {
      blank += line.empty() ? 1 : 0;
      lines.push_back(line);
    }
  }
  return lines;
}

std::string gallery_block(const std::vector<ClaimResult>& all, const std::string& page) {
  std::string text =
      gallery_summary(all) + ".\n\n" +
      "| claim | system | figure | claimed | simulated | differs | tolerance | verdict |\n"
      "| --- | --- | --- | ---: | ---: | ---: | --- | --- |\n";
  for (const ClaimResult& r : all)
    for (const std::string& row :
         is_absent(r) ? lines_of(page, fmt::format("| {} |", r.claim->claim.id)) : claim_rows(r))
      text += row + "\n";
  std::string curves;
  for (const ClaimResult& r : all)
    for (const std::string& line : is_absent(r) ? kept_curves(r, page) : curve_lines(r))
      curves += line + "\n";
  if (!curves.empty()) text += "\n## Load curves\n\n" + curves.substr(0, curves.size() - 1);
  text += "\n## What was claimed, what differs, why a figure is missed\n\n";
  for (const ClaimResult& r : all)
    for (const std::string& line : claim_remarks(r)) text += line + "\n";
  return text;
}

}  // namespace

std::string figure_text(double value, const std::string& unit) {
  std::string text;
  if (std::abs(value) >= 1000 && std::abs(value) < 1e15)
    text =
        (value < 0 ? "-" : "") + grouped(static_cast<std::uint64_t>(std::llround(std::abs(value))));
  else
    text = fmt::format("{:.4g}", value);
  return unit.empty() ? text : unit == "x" ? text + "x" : text + " " + unit;
}

std::string tolerance_text(const GalleryFigure& f) {
  const std::string size = f.factor > 0 ? fmt::format("factor {:g}", f.factor)
                                        : fmt::format("{:g} %", 100 * f.tolerance.value);
  if (f.bound == FigureBound::near) return size;
  const char* side = f.bound == FigureBound::at_least ? "at least" : "at most";
  return f.factor == 0 && f.tolerance.value == 0 ? side : fmt::format("{}, {}", side, size);
}

std::string gallery_table(const std::vector<ClaimResult>& all) {
  TextTable table({"claim", ">claimed", ">simulated", ">differs", "verdict"});
  for (const ClaimResult& r : all) {
    table.row({fmt::format("{} {}", r.claim->claim.id, r.claim->claim.system)});
    for (std::size_t i = 0; i < r.figures.size(); ++i) {
      const GalleryFigure& f = r.claim->figures[i];
      table.row({"  " + f.what, figure_text(f.claimed, f.unit), simulated_text(f, r.figures[i]),
                 difference_text(f, r.figures[i]), std::string(name_of(r.figures[i].verdict))});
    }
  }
  return table.text();
}

std::string gallery_summary(const std::vector<ClaimResult>& all) {
  std::map<Verdict, int> count;
  int figures = 0;
  for (const ClaimResult& r : all)
    for (const FigureResult& f : r.figures) ++count[f.verdict], ++figures;
  std::string text = fmt::format("{} claims, {} of {} figures within their tolerance", all.size(),
                                 count[Verdict::within], figures);
  for (const Verdict v : {Verdict::missed, Verdict::unexplained, Verdict::failed, Verdict::absent})
    if (count[v] > 0) text += fmt::format("; {} {}", count[v], name_of(v));
  return text;
}

std::string claim_details(const ClaimResult& r) {
  const ClaimText& c = r.claim->claim;
  std::string text = fmt::format("{} {}\n", c.id, c.system);
  TextTable head({"", ""});
  head.row({"claim", c.statement});
  head.row({"source", c.source});
  head.row({"kind", std::string(name_of(c.kind))});
  if (!c.differs.empty()) head.row({"differs", c.differs});
  text += head.text(2);
  TextTable table({"figure", ">claimed", ">simulated", ">differs", "tolerance", "verdict"});
  for (std::size_t i = 0; i < r.figures.size(); ++i) {
    const GalleryFigure& f = r.claim->figures[i];
    table.row({f.what, figure_text(f.claimed, f.unit), simulated_text(f, r.figures[i]),
               difference_text(f, r.figures[i]), tolerance_text(f),
               std::string(name_of(r.figures[i].verdict))});
  }
  text += "\n" + table.text(2) + "\n";
  for (std::size_t i = 0; i < r.figures.size(); ++i) {
    const GalleryFigure& f = r.claim->figures[i];
    text += wrapped(fmt::format("  {} = {}", f.what, f.value.text()), kTerminalWidth, 4) + "\n";
    for (const std::string& remark : {f.note, r.figures[i].error})
      if (!remark.empty()) text += "    " + wrapped(remark, kTerminalWidth - 4, 4) + "\n";
  }
  return text + curve_tables(r) + runs_text(r);
}

std::string gallery_json(const std::vector<ClaimResult>& all) {
  std::string out = "[";
  for (const ClaimResult& r : all) {
    const ClaimText& c = r.claim->claim;
    out += fmt::format(
        "{}\n  {{\"id\": {}, \"system\": {}, \"source\": {}, \"statement\": {}, \"kind\": {}, "
        "\"differs\": {}, \"figures\": [",
        out.size() == 1 ? "" : ",", json_string(c.id), json_string(c.system), json_string(c.source),
        json_string(c.statement), json_string(name_of(c.kind)), json_string(c.differs));
    for (std::size_t i = 0; i < r.figures.size(); ++i) {
      const GalleryFigure& f = r.claim->figures[i];
      const FigureResult& s = r.figures[i];
      const bool has = was_simulated(s);
      out += fmt::format(
          "{}\n    {{\"what\": {}, \"value\": {}, \"claimed\": {}, \"simulated\": {}, \"unit\": "
          "{}, "
          "\"difference_percent\": {}, \"tolerance\": {}, \"verdict\": {}, \"note\": {}, "
          "\"error\": {}}}",
          i == 0 ? "" : ",", json_string(f.what), json_string(f.value.text()), f.claimed,
          has ? fmt::format("{}", s.simulated) : "null", json_string(f.unit),
          has && f.claimed != 0 ? fmt::format("{}", difference_percent(f, s.simulated)) : "null",
          json_string(tolerance_text(f)), json_string(name_of(s.verdict)), json_string(f.note),
          json_string(s.error));
    }
    out += fmt::format("\n  ], \"curves\": {}}}", curve_json(r));
  }
  return out + "\n]\n";
}

std::vector<std::string> claim_rows(const ClaimResult& r) {
  std::vector<std::string> rows;
  for (std::size_t i = 0; i < r.figures.size(); ++i) {
    const GalleryFigure& f = r.claim->figures[i];
    rows.push_back(fmt::format("| {} | {} | {} | {} | {} | {} | {} | {} |", r.claim->claim.id,
                               markdown(r.claim->claim.system), markdown(f.what),
                               figure_text(f.claimed, f.unit), simulated_text(f, r.figures[i]),
                               difference_text(f, r.figures[i]), tolerance_text(f),
                               name_of(r.figures[i].verdict)));
  }
  return rows;
}

std::vector<std::string> claim_remarks(const ClaimResult& r) {
  const ClaimText& c = r.claim->claim;
  std::vector<std::string> lines{fmt::format("- **{} {}** ({}): {}", c.id, markdown(c.system),
                                             markdown(c.source), markdown(c.statement))};
  if (!c.differs.empty()) lines.push_back("  - Set-up: " + markdown(c.differs));
  for (const GalleryFigure& f : r.claim->figures)
    if (!f.note.empty())
      lines.push_back(fmt::format("  - {}: {}", markdown(f.what), markdown(f.note)));
  return lines;
}

std::string fill_gallery_page(const std::string& page, const std::vector<ClaimResult>& all) {
  const std::string begin = std::string(kGalleryBegin) + "\n",
                    end = std::string(kGalleryEnd) + "\n";
  const std::string block = begin + gallery_block(all, page) + end;
  const std::size_t at = page.find(begin);
  if (at == std::string::npos)
    return page + (page.empty() || page.ends_with("\n\n") ? "" : "\n") + block;
  const std::size_t close = page.find(end, at);
  if (close == std::string::npos)
    throw InputError("the block of the gallery has no end",
                     fmt::format("add a line {}", kGalleryEnd));
  return page.substr(0, at) + block + page.substr(close + end.size());
}

std::vector<std::string> stale_claims(const std::string& page,
                                      const std::vector<ClaimResult>& all) {
  std::vector<std::string> stale;
  for (const ClaimResult& r : all) {
    if (is_absent(r)) continue;
    std::vector<std::string> lines = claim_rows(r);
    for (std::string& line : claim_remarks(r)) lines.push_back(std::move(line));
    for (std::string& line : curve_lines(r)) lines.push_back(std::move(line));
    if (std::ranges::any_of(lines, [&](const std::string& line) {
          return page.find("\n" + line + "\n") == std::string::npos;
        }))
      stale.push_back(r.claim->claim.id);
  }
  return stale;
}

}  // namespace kvsim
