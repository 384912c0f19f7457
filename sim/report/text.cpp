// Markdown and CSV.
#include <fmt/format.h>

#include "sim/record/render.h"
#include "sim/report/render.h"

namespace kvsim::report {
namespace {

// What a cell of a markdown table may not hold; HTML in it would be shown as such by many readers.
std::string markdown(std::string_view text) {
  std::string out;
  for (const char c : printable(text)) {
    if (c == '|' || c == '\\' || c == '`' || c == '*' || c == '_' || c == '[' || c == '<')
      out += '\\';
    out += c;
  }
  return out;
}

std::string quoted(std::string_view text) {
  const std::string clean = printable(text, true);
  if (clean.find_first_of(",\"\n") == std::string::npos) return clean;
  std::string out = "\"";
  for (const char c : clean) out += c == '"' ? "\"\"" : std::string(1, c);
  return out + '"';
}

std::string number(double v) { return std::isfinite(v) ? fmt::format("{}", v) : ""; }

void add(std::string& out, const Table& t) {
  out += fmt::format("\n### {}\n\n", markdown(t.title));
  if (!t.text.empty()) out += markdown(t.text) + "\n\n";
  std::string rule = "|";
  out += '|';
  for (std::size_t i = 0; i < t.columns.size(); ++i) {
    bool is_number = false;
    for (const auto& row : t.rows)
      is_number = is_number || (i < row.size() && !std::isnan(row[i].number));
    out += fmt::format(" {} |", markdown(t.columns[i]));
    rule += is_number ? "--:|" : "---|";
  }
  out += '\n' + rule + '\n';
  for (const auto& row : t.rows) {
    out += '|';
    for (const Cell& cell : row) out += fmt::format(" {} |", markdown(cell.text));
    out += '\n';
  }
}

std::string csv(const Table& t) {
  std::string out;
  for (const std::string& c : t.columns) out += (out.empty() ? "" : ",") + quoted(c);
  out += "\r\n";
  for (const auto& row : t.rows) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      if (i > 0) out += ',';
      out += std::isnan(row[i].number) ? quoted(row[i].text) : number(row[i].number);
    }
    out += "\r\n";
  }
  return out;
}

std::string csv(const Chart& c) {
  const bool is_bars = c.kind == Chart::Kind::bars, is_heat = c.kind == Chart::Kind::heat;
  std::string out = fmt::format("series,{},{}\r\n", quoted(is_bars ? c.y.title : c.x.title),
                                quoted(is_bars ? c.x.title : c.y.title));
  if (is_heat)
    out = fmt::format("{},{},{}\r\n", quoted(c.x.title), quoted(c.y.title), quoted(c.title));
  for (const Series& s : c.series)
    for (std::size_t i = 0; i < s.y.size(); ++i) {
      const std::size_t columns = c.x.categories.size();
      if (is_heat)
        out += fmt::format("{},{},{}\r\n", quoted(c.x.categories[i % columns]),
                           quoted(c.y.categories[i / columns]), number(s.y[i]));
      else if (is_bars)
        out += fmt::format("{},{},{}\r\n", quoted(s.name), quoted(c.y.categories[i]),
                           number(s.base.empty() ? s.y[i] : s.y[i] - s.base[i]));
      else
        out += fmt::format("{},{},{}\r\n", quoted(i < s.labels.size() ? s.labels[i] : s.name),
                           number(s.x[i]), number(s.y[i]));
    }
  return out;
}

}  // namespace

std::string to_markdown(const Report& r) {
  std::string out =
      fmt::format("# {}\n\nkvsim report of {}\n", markdown(r.title), markdown(r.subtitle));
  for (const std::string& w : r.warnings) out += fmt::format("\n**{}**\n", markdown(w));
  for (const Section& s : r.sections) {
    std::string tables;
    for (const auto& part : s.parts)
      if (const Table* t = std::get_if<Table>(&part)) add(tables, *t);
    if (tables.empty()) continue;
    out += fmt::format("\n## {}\n", markdown(s.title));
    if (!s.text.empty()) out += '\n' + markdown(s.text) + '\n';
    out += tables;
  }
  return out;
}

std::vector<NamedFile> to_csv(const Report& r) {
  std::vector<NamedFile> files;
  for (const Section& s : r.sections)
    for (const auto& part : s.parts) {
      if (const Table* t = std::get_if<Table>(&part)) files.push_back({t->id + ".csv", csv(*t)});
      if (const Chart* c = std::get_if<Chart>(&part)) files.push_back({c->id + ".csv", csv(*c)});
    }
  return files;
}

}  // namespace kvsim::report
