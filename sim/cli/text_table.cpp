#include "sim/cli/text_table.h"

#include <fmt/format.h>

#include <algorithm>

#include "sim/base/check.h"

namespace kvsim {

namespace {

std::string_view plain_name(std::string_view column) {
  return column.starts_with('>') ? column.substr(1) : column;
}

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (true) {
    const std::size_t end = text.find('\n');
    lines.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return lines;
    text.remove_prefix(end + 1);
  }
}

void wrap_line(std::string_view text, std::size_t width, std::vector<std::string>& out) {
  const std::size_t lead = std::min(text.find_first_not_of(' '), text.size());
  std::string line(text.substr(0, lead));
  text.remove_prefix(lead);
  bool empty = true;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    if (!empty && display_width(line) + 1 + display_width(word) > width) {
      out.push_back(std::move(line));
      line.clear();
      empty = true;
    }
    if (!empty) line += ' ';
    line += word;
    empty = false;
    text.remove_prefix(end);
    text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  }
  out.push_back(std::move(line));
}

std::vector<std::string> wrap_lines(std::string_view text, std::size_t width) {
  std::vector<std::string> out;
  for (const std::string_view line : lines_of(text)) wrap_line(line, width, out);
  return out;
}

void trim_right(std::string& line) { line.erase(line.find_last_not_of(' ') + 1); }

}  // namespace

std::size_t display_width(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  }));
}

std::string wrapped(std::string_view text, std::size_t width, std::size_t indent) {
  std::string out;
  for (const std::string& line : wrap_lines(text, width > indent ? width - indent : 1)) {
    if (!out.empty()) out += "\n" + std::string(indent, ' ');
    out += line;
  }
  return out;
}

void TextTable::row(std::vector<std::string> cells) {
  KVSIM_CHECK(cells.size() <= columns_.size(), "{} cells in a table of {} columns", cells.size(),
              columns_.size());
  cells.resize(columns_.size());
  rows_.push_back(std::move(cells));
}

std::string TextTable::text(std::size_t indent) const {
  std::vector<std::size_t> widths;
  bool heading = false;
  for (std::size_t c = 0; c < columns_.size(); ++c) {
    std::size_t width = display_width(plain_name(columns_[c]));
    heading = heading || width > 0;
    for (const auto& row : rows_) width = std::max(width, display_width(row[c]));
    widths.push_back(width);
  }
  std::size_t before_last = indent;
  for (std::size_t c = 0; c + 1 < widths.size(); ++c) before_last += widths[c] + 2;
  const std::size_t room = before_last + 20 < kTerminalWidth ? kTerminalWidth - before_last : 20;
  std::string out;
  const auto print = [&](const std::vector<std::string>& cells, bool names) {
    std::string line(indent, ' ');
    for (std::size_t c = 0; c < cells.size(); ++c) {
      const std::string_view cell = names ? plain_name(cells[c]) : std::string_view(cells[c]);
      const bool last = c + 1 == cells.size(), right = columns_[c].starts_with('>');
      const std::size_t width = last ? std::min(widths[c], room) : widths[c];
      const std::string blanks(width - std::min(width, display_width(cell)), ' ');
      if (last && !right) {
        bool first = true;
        for (const std::string& part : wrap_lines(cell, room)) {
          if (!first) line += "\n" + std::string(before_last, ' ');
          line += part;
          first = false;
        }
      } else {
        line += right ? blanks + std::string(cell) : std::string(cell) + blanks;
        if (!last) line += "  ";
      }
    }
    trim_right(line);
    out += line + "\n";
  };
  if (heading) print(columns_, true);
  for (const auto& row : rows_) print(row, false);
  return out;
}

void MarkdownTable::row(std::vector<std::string> cells) {
  KVSIM_CHECK(cells.size() == columns_.size(), "{} cells in a table of {} columns", cells.size(),
              columns_.size());
  rows_.push_back(std::move(cells));
}

std::string MarkdownTable::text() const {
  std::string out = "|", rule = "|";
  for (const std::string& c : columns_) {
    out += fmt::format(" {} |", plain_name(c));
    rule += c.starts_with('>') ? " ---: |" : " --- |";
  }
  out += "\n" + rule + "\n";
  for (const auto& row : rows_) {
    out += "|";
    for (const std::string& cell : row) {
      out += ' ';
      for (const char c : cell) {
        if (c == '|') out += '\\';
        out += c == '\n' ? ' ' : c;
      }
      out += cell.empty() ? "|" : " |";
    }
    out += "\n";
  }
  return out;
}

std::string short_count(double n) {
  constexpr std::pair<double, const char*> kScales[] = {
      {1e12, " T"}, {1e9, " B"}, {1e6, " M"}, {1e3, " k"}};
  for (const auto& [scale, letter] : kScales)
    if (n >= scale) return fmt::format("{:.4g}{}", n / scale, letter);
  return fmt::format("{:.4g}", n);
}

std::string grouped(std::uint64_t n) {
  std::string digits = std::to_string(n);
  for (std::size_t at = digits.size(); at > 3;) digits.insert(at -= 3, ",");
  return digits;
}

}  // namespace kvsim
