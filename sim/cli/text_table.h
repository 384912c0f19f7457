#pragma once
// Text for a terminal of 100 columns: aligned tables, wrapped paragraphs, and numbers a person
// reads.
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace kvsim {

inline constexpr std::size_t kTerminalWidth = 100;

// Columns as wide as their widest cell, two blanks between them. Columns whose name begins with '>'
// are set to the right. What is wider than kTerminalWidth takes the room from the widest columns,
// whose cells are wrapped: never to fewer than 20 characters nor within a word, and neither the
// first column nor one set to the right.
class TextTable {
 public:
  explicit TextTable(std::vector<std::string> columns) : columns_(std::move(columns)) {}
  // Missing cells are empty. Cells beyond the columns are a bug of the caller.
  void row(std::vector<std::string> cells);
  [[nodiscard]] bool empty() const { return rows_.empty(); }
  // With a heading line unless every column's name is empty.
  [[nodiscard]] std::string text(std::size_t indent = 0) const;

 private:
  // Of each column, in a table of `room` characters.
  [[nodiscard]] std::vector<std::size_t> widths(std::size_t room) const;

  std::vector<std::string> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// A markdown table; '|' in cells is escaped. '>' as above.
class MarkdownTable {
 public:
  explicit MarkdownTable(std::vector<std::string> columns) : columns_(std::move(columns)) {}
  void row(std::vector<std::string> cells);
  [[nodiscard]] std::string text() const;

 private:
  std::vector<std::string> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// Breaks at blanks so that no line is longer than `width` (a longer word stands alone); lines after
// the first begin with `indent` blanks. No line end at the end. Line ends in `text` stay.
std::string wrapped(std::string_view text, std::size_t width = kTerminalWidth,
                    std::size_t indent = 0);
// Characters, counting a UTF-8 sequence as one.
std::size_t display_width(std::string_view text);
// 8030261248 as "8.03 B" (billions), 12.3 M, 4.5 k.
std::string short_count(double n);
// 1234567 as "1,234,567"
std::string grouped(std::uint64_t n);

}  // namespace kvsim
