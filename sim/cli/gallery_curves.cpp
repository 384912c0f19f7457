#include "sim/cli/gallery_curves.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>

#include "sim/base/diagnostics.h"
#include "sim/cli/gallery_page.h"
#include "sim/cli/text_table.h"
#include "sim/report/render.h"

namespace kvsim {
namespace {

// Of a line: what was simulated, and what was published, by the place on the horizontal axis.
struct Points {
  std::map<double, double> simulated, published;
};

std::map<std::string, Points> points_of(const GalleryCurve& c, const CurveResult& r) {
  std::map<std::string, Points> all;
  for (const auto& [name, line] : c.lines) {
    Points& p = all[name];
    const CurveResult::Line& at = r.lines.at(name);
    for (std::size_t i = 0; i < at.x.size(); ++i) p.simulated[at.x[i]] = at.y[i];
    for (std::size_t i = 0; i < line.at.size(); ++i) p.published[line.at[i]] = line.published[i];
  }
  return all;
}

std::string cell(const std::map<double, double>& values, double x) {
  const auto at = values.find(x);
  return at == values.end() || !std::isfinite(at->second) ? "" : figure_text(at->second);
}

// Header, then rows: the place on the axis, and of each line both values, or the simulated alone.
std::vector<std::vector<std::string>> rows_of(const GalleryCurve& c, const CurveResult& r) {
  const auto all = points_of(c, r);
  std::map<double, bool> places;
  std::vector<std::vector<std::string>> rows(1, {c.x});
  for (const auto& [name, p] : all) {
    rows[0].push_back(name);
    if (!p.published.empty()) rows[0].push_back(name + ", published");
    for (const auto& [x, y] : p.simulated) places[x] = true;
    for (const auto& [x, y] : p.published) places[x] = true;
  }
  for (const auto& [x, is] : places) {
    std::vector<std::string> row{fmt::format("{:.4g}", x)};
    for (const auto& [name, p] : all) {
      row.push_back(cell(p.simulated, x));
      if (!p.published.empty()) row.push_back(cell(p.published, x));
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

report::Chart chart_of(const ClaimResult& r, std::size_t i) {
  const GalleryCurve& c = r.claim->curves[i];
  report::Chart chart;
  for (const char letter : r.claim->claim.id)
    chart.id += static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
  chart.id += fmt::format("-{}", i + 1);
  chart.title = fmt::format("{} {}: {}", r.claim->claim.id, r.claim->claim.system, c.what);
  chart.kind = report::Chart::Kind::points;
  chart.is_joined = true;
  chart.x.title = c.x;
  chart.y.title = c.y;
  std::size_t color = 0;
  for (const auto& [name, p] : points_of(c, r.curves[i])) {
    report::Series simulated, published;
    simulated.name = name;
    published.name = name + ", published";
    published.is_dashed = true;
    simulated.color = published.color = color++;
    for (const auto& [x, y] : p.simulated) simulated.x.push_back(x), simulated.y.push_back(y);
    for (const auto& [x, y] : p.published) published.x.push_back(x), published.y.push_back(y);
    chart.series.push_back(std::move(simulated));
    if (!published.x.empty()) chart.series.push_back(std::move(published));
  }
  return chart;
}

std::string number_list(const std::vector<double>& values) {
  std::string text;
  for (const double v : values)
    text += (text.empty() ? "" : ", ") + (std::isfinite(v) ? fmt::format("{}", v) : "null");
  return "[" + text + "]";
}

}  // namespace

std::string curve_tables(const ClaimResult& r) {
  std::string text;
  for (std::size_t i = 0; i < r.curves.size(); ++i) {
    const GalleryCurve& c = r.claim->curves[i];
    text += fmt::format("\n{} ({})\n", c.what, c.y);
    auto rows = rows_of(c, r.curves[i]);
    for (std::string& head : rows[0]) head = ">" + head;
    TextTable table(rows[0]);
    for (std::size_t k = 1; k < rows.size(); ++k) table.row(rows[k]);
    text += table.text(2);
    for (const auto& [name, line] : r.curves[i].lines)
      if (!line.error.empty()) text += fmt::format("  {}: {}\n", name, line.error);
  }
  return text;
}

std::vector<std::string> curve_lines(const ClaimResult& r) {
  std::vector<std::string> lines;
  for (std::size_t i = 0; i < r.curves.size(); ++i) {
    const GalleryCurve& c = r.claim->curves[i];
    lines.push_back(
        fmt::format("**{} {}**: {} ({})", r.claim->claim.id, r.claim->claim.system, c.what, c.y));
    lines.emplace_back();
    const auto rows = rows_of(c, r.curves[i]);
    for (std::size_t k = 0; k < rows.size(); ++k) {
      std::string line = "|", rule = "|";
      for (const std::string& text : rows[k]) line += " " + text + " |", rule += " ---: |";
      lines.push_back(line);
      if (k == 0) lines.push_back(rule);
    }
    lines.emplace_back();
  }
  return lines;
}

std::string curve_json(const ClaimResult& r) {
  std::string out = "[";
  for (std::size_t i = 0; i < r.curves.size(); ++i) {
    const GalleryCurve& c = r.claim->curves[i];
    out += fmt::format("{}{{\"what\": {}, \"x\": {}, \"y\": {}, \"lines\": [", i == 0 ? "" : ", ",
                       json_string(c.what), json_string(c.x), json_string(c.y));
    bool first = true;
    for (const auto& [name, line] : c.lines) {
      const CurveResult::Line& at = r.curves[i].lines.at(name);
      out += fmt::format(
          "{}{{\"name\": {}, \"x\": {}, \"simulated\": {}, \"published_x\": {}, \"published\": {}, "
          "\"error\": {}}}",
          first ? "" : ", ", json_string(name), number_list(at.x), number_list(at.y),
          number_list(line.at), number_list(line.published), json_string(at.error));
      first = false;
    }
    out += "]}";
  }
  return out + "]";
}

std::vector<std::string> write_curves(const ClaimResult& r, const std::string& folder) {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < r.curves.size(); ++i) {
    const report::Chart chart = chart_of(r, i);
    if (chart.series.empty()) continue;
    names.push_back(chart.id + ".svg");
    const auto path = std::filesystem::path(folder) / names.back();
    std::ofstream out(path, std::ios::binary);
    out << report::chart_svg(chart, false);
    out.close();
    if (!out) throw InputError("kvsim gallery: cannot write " + path.string());
  }
  return names;
}

}  // namespace kvsim
