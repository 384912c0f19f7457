// The page: what people read is HTML, so that it is there without JavaScript; charts are JSON that
// page/page.js draws.
#include <fmt/format.h>

#include "sim/base/tree.h"
#include "sim/record/render.h"
#include "sim/report/assets.h"
#include "sim/report/render.h"

namespace kvsim::report {
namespace {

// Nothing may be loaded, whatever a file holds.
constexpr const char* kPolicy =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:";

// What Chart.js and what it contains ask of those who pass them on.
constexpr const char* kLibraryLicence = R"(<!-- In the next script, under the MIT licence:
Chart.js 3, Copyright (c) 2014-2022 Chart.js Contributors; @kurkle/color, Copyright (c) 2018-2021 Jukka Kurkela.

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated documentation
files (the "Software"), to deal in the Software without restriction, including without limitation the rights to use, copy,
modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit persons to whom the
Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE,
ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
-->
)";

std::string numbers(const std::vector<double>& values) {
  std::string out = "[";
  for (const double v : values) {
    if (out.size() > 1) out += ',';
    out += std::isfinite(v) ? fmt::format("{:.6g}", v) : "null";
  }
  return out + ']';
}

std::string strings(const std::vector<std::string>& values) {
  std::string out = "[";
  for (const std::string& v : values) out += (out.size() > 1 ? "," : "") + script_string(v);
  return out + ']';
}

std::string bound(const std::optional<double>& v) { return v ? fmt::format("{:g}", *v) : "null"; }

std::string axis_json(const Axis& a) {
  return fmt::format(R"({{"title":{},"log":{},"least":{},"most":{},"categories":{}}})",
                     script_string(a.title), a.is_log, bound(a.least), bound(a.most),
                     strings(a.categories));
}

std::string chart_json(const Chart& c) {
  constexpr const char* kKinds[] = {"lines", "points", "bars", "heat"};
  std::string series;
  for (const Series& s : c.series)
    series +=
        fmt::format(R"({}{{"name":{},"color":{},"dashed":{},"x":{},"y":{},"base":{},"labels":{}}})",
                    series.empty() ? "" : ",", script_string(s.name), s.color % kColors,
                    s.is_dashed, numbers(s.x), numbers(s.y), numbers(s.base), strings(s.labels));
  return fmt::format(
      R"({{"id":{},"title":{},"kind":"{}","stacked":{},"byIndex":{},"joined":{},"x":{},"y":{},"series":[{}]}})",
      script_string(c.id), script_string(c.title), kKinds[static_cast<int>(c.kind)], c.is_stacked,
      c.is_by_index, c.is_joined, axis_json(c.x), axis_json(c.y), series);
}

void add(std::string& out, const Chart& c) {
  const bool is_heat = c.kind == Chart::Kind::heat;
  const std::size_t bars = c.kind == Chart::Kind::bars
                               ? c.y.categories.size() * (c.is_stacked ? 1 : c.series.size())
                               : 0;
  out += fmt::format("<figure class=\"chart\" id=\"{}\"><h3>{}</h3><p class=\"note\">{}</p>",
                     escaped(c.id), escaped(c.title), escaped(c.text));
  if (is_heat)
    out += "<div class=\"scroll\">" + chart_svg(c, true) + "</div>";
  else
    out += fmt::format(
        "<div class=\"plot\"{}><canvas role=\"img\" aria-label=\"{}: {} against "
        "{}\"></canvas></div>"
        "<details class=\"numbers\"><summary>Numbers</summary></details>",
        bars > 0 ? fmt::format(" style=\"height:{}px\"", 130 + 22 * bars) : "", escaped(c.title),
        escaped(c.y.title), escaped(c.x.title));
  out += "</figure>\n";
}

void add(std::string& out, const Table& t) {
  out += fmt::format(
      "<div class=\"table\" id=\"{}\"><h3>{}</h3>{}<div class=\"scroll\"><table><thead><tr>",
      escaped(t.id), escaped(t.title),
      t.text.empty() ? "" : "<p class=\"note\">" + escaped(t.text) + "</p>");
  for (const std::string& c : t.columns) out += "<th scope=\"col\">" + escaped(c) + "</th>";
  out += "</tr></thead><tbody>\n";
  for (const auto& row : t.rows) {
    out += "<tr>";
    for (const Cell& cell : row)
      out += std::isnan(cell.number) ? "<td>" + escaped(cell.text) + "</td>"
                                     : fmt::format("<td class=\"n\" data-n=\"{:.17g}\">{}</td>",
                                                   cell.number, escaped(cell.text));
    out += "</tr>\n";
  }
  out += "</tbody></table></div></div>\n";
}

void add(std::string& out, const Text& t) {
  out += fmt::format("<details id=\"{}\"><summary>{}</summary><pre>{}</pre></details>\n",
                     escaped(t.id), escaped(t.title), escaped(t.body));
}

std::string charts_json(const Report& r) {
  std::string charts;
  for (const Section& s : r.sections)
    for (const auto& part : s.parts)
      if (const Chart* c = std::get_if<Chart>(&part); c != nullptr && c->kind != Chart::Kind::heat)
        charts += (charts.empty() ? "\n" : ",\n") + chart_json(*c);
  std::string palette;
  for (const char* color : kPalette)
    palette += fmt::format("{}\"{}\"", palette.empty() ? "" : ",", color);
  return fmt::format(R"({{"palette":[{}],"charts":[{}]}})", palette, charts);
}

// How many charts stand beside each other on a wide screen, so that no row has a hole.
const char* columns_of(const Section& s) {
  std::size_t charts = 0, maps = 0;
  for (const auto& part : s.parts)
    if (const Chart* c = std::get_if<Chart>(&part))
      ++charts, maps += c->kind == Chart::Kind::heat ? 1 : 0;
  return charts == 1 ? "one" : charts % 3 == 0 && maps == 0 ? "three" : "two";
}

std::string body(const Report& r) {
  std::string out = fmt::format("<header><h1>{}</h1><p class=\"note\">kvsim report of {}</p>",
                                escaped(r.title), escaped(r.subtitle));
  out += "<button id=\"theme\" type=\"button\">Dark or light</button><nav>";
  for (const Section& s : r.sections)
    out += fmt::format("<a href=\"#{}\">{}</a> ", escaped(s.id), escaped(s.title));
  out +=
      "</nav></header>\n<noscript><p class=\"warning\">Charts need JavaScript; the tables do "
      "not.</p></noscript>\n<main>\n";
  for (const std::string& w : r.warnings) out += "<p class=\"warning\">" + escaped(w) + "</p>\n";
  for (const Section& s : r.sections) {
    out += fmt::format("<section id=\"{}\"><h2>{}</h2>{}\n<div class=\"parts {}\">\n",
                       escaped(s.id), escaped(s.title),
                       s.text.empty() ? "" : "<p class=\"note\">" + escaped(s.text) + "</p>",
                       columns_of(s));
    for (const auto& part : s.parts) std::visit([&](const auto& p) { add(out, p); }, part);
    out += "</div></section>\n";
  }
  return out +
         "</main>\n<footer class=\"note\">Click a column's name to sort. Percentiles, throughputs "
         "and goodput are defined as vLLM's serving benchmark defines them. Charts are drawn by "
         "Chart.js, © Chart.js contributors, MIT licence; colours are Paul Tol's. kvsim: "
         "Apache-2.0.</footer>\n";
}

}  // namespace

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : printable(text, true)) {
    switch (c) {
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '&':
        out += "&amp;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string script_string(std::string_view text) {
  const std::string json = json_string(printable(text, true));
  std::string out;
  for (std::size_t i = 0; i < json.size(); ++i) {
    const std::string_view rest = std::string_view(json).substr(i);
    if (json[i] == '<' || json[i] == '>' || json[i] == '&')
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(json[i]));
    else if (rest.starts_with("\xe2\x80\xa8") || rest.starts_with("\xe2\x80\xa9"))
      out += json[i += 2] == '\xa8' ? "\\u2028" : "\\u2029";
    else
      out += json[i];
  }
  return out;
}

std::string to_html(const Report& r) {
  std::string out = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"{}\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<title>{} – kvsim</title>\n<style>\n{}</style>\n</head>\n<body>\n",
      kPolicy, escaped(r.title), page_style());
  out += body(r);
  out += "<script type=\"application/json\" id=\"report-data\">" + charts_json(r) + "</script>\n";
  out += kLibraryLicence;
  out += fmt::format("<script>\n{}\n</script>\n<script>\n{}</script>\n</body>\n</html>\n",
                     chart_library(), page_script());
  return out;
}

}  // namespace kvsim::report
