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

std::vector<std::size_t> TextTable::widths(std::size_t room) const {
  std::vector<std::size_t> widths, least;  // least: what wrapping cannot go below
  for (std::size_t c = 0; c < columns_.size(); ++c) {
    widths.push_back(display_width(plain_name(columns_[c])));
    std::size_t longest_word = widths[c];
    for (const auto& row : rows_)
      for (const std::string_view line : lines_of(row[c])) {
        widths[c] = std::max(widths[c], display_width(line));
        for (const std::string& word : wrap_lines(line, 1))
          longest_word = std::max(longest_word, display_width(word));
      }
    const bool wraps = c > 0 && !columns_[c].starts_with('>');
    least.push_back(wraps ? std::min(widths[c], std::max<std::size_t>(20, longest_word))
                          : widths[c]);
  }
  std::size_t total = 2 * (widths.size() - 1);
  for (const std::size_t w : widths) total += w;
  for (; total > room; --total) {
    std::size_t widest = widths.size();
    for (std::size_t c = 0; c < widths.size(); ++c)
      if (widths[c] > least[c] && (widest == widths.size() || widths[c] > widths[widest]))
        widest = c;
    if (widest == widths.size()) break;
    --widths[widest];
  }
  return widths;
}

std::string TextTable::text(std::size_t indent) const {
  const std::vector<std::size_t> width = widths(kTerminalWidth - std::min(indent, kTerminalWidth));
  std::string out;
  const auto print = [&](const std::vector<std::string>& cells) {
    std::vector<std::vector<std::string>> lines;
    std::size_t height = 0;
    for (std::size_t c = 0; c < cells.size(); ++c) {
      lines.push_back(wrap_lines(cells[c], width[c]));
      height = std::max(height, lines.back().size());
    }
    for (std::size_t i = 0; i < height; ++i) {
      std::string line(indent, ' ');
      for (std::size_t c = 0; c < cells.size(); ++c) {
        const std::string cell = i < lines[c].size() ? lines[c][i] : "";
        const std::string blanks(width[c] - std::min(width[c], display_width(cell)), ' ');
        line += columns_[c].starts_with('>') ? blanks + cell : cell + blanks;
        line += "  ";
      }
      trim_right(line);
      out += line + "\n";
    }
  };
  std::vector<std::string> names;
  bool heading = false;
  for (const std::string& c : columns_) {
    names.emplace_back(plain_name(c));
    heading = heading || !names.back().empty();
  }
  if (heading) print(names);
  for (const auto& row : rows_) print(row);
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
