#pragma once
// One line of a CSV file (RFC 4180 quotes, but no line breaks inside them) and its columns by name.
#include <cstddef>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "traces/record_source.h"

namespace kvsim {

// A trace in CSV whose first line names the columns. Columns nobody asks for are ignored.
class CsvSource : public RecordSource {
 protected:
  explicit CsvSource(const Context& context);
  // Position of a column; the first of `names` that is there. Throws InputError when none is.
  std::size_t column(std::initializer_list<const char*> names);
  [[nodiscard]] bool has_column(std::string_view name) const;
  // Splits a line; every line has as many cells as the header, else BadRecord.
  void split(std::string_view line);
  [[nodiscard]] std::string_view cell(std::size_t column) const { return cells_[column]; }
  [[nodiscard]] std::int64_t tokens(std::size_t column, std::int64_t low = 1) const {
    return parse_tokens(names_[column].c_str(), cells_[column], low);
  }
  [[nodiscard]] double seconds(std::size_t column) const {
    return parse_seconds(names_[column].c_str(), cells_[column]);
  }

 private:
  std::vector<std::string> names_;
  std::vector<std::string_view> cells_;
  std::vector<std::string> unquoted_;  // keeps cells that were quoted
};

}  // namespace kvsim
