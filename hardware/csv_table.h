#pragma once
// Numeric tables in CSV files, plain or gzip-compressed, read strictly: one header line,
// comma-separated cells without quotes, every cell of a wanted column a finite number in its range.
// Columns are found by name; others are passed over. Mistakes are collected with file and line and
// thrown together as InputError.
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sim/base/diagnostics.h"

namespace kvsim {

// One line of the table: the wanted cells in the order asked for.
class CsvRow {
 public:
  CsvRow(const Place& place, std::span<const std::string_view> columns,
         std::span<const std::string_view> cells, Diagnostics& d)
      : place_(place), columns_(columns), cells_(cells), diagnostics_(d) {}
  [[nodiscard]] std::string_view text(std::size_t i) const { return cells_[i]; }
  // 0 after reporting a mistake; the bounds are inclusive.
  [[nodiscard]] double number(std::size_t i, double low, double high) const;
  [[nodiscard]] std::int64_t whole(std::size_t i, std::int64_t low, std::int64_t high) const;
  void error(std::string message, std::string hint = {}) const;
  [[nodiscard]] const Place& place() const { return place_; }

 private:
  const Place& place_;
  std::span<const std::string_view> columns_, cells_;
  Diagnostics& diagnostics_;
};

// Calls `row` for every line after the header. At most 64 MiB of text and 4096 characters a line.
// Throws InputError: unreadable, truncated or corrupt file, missing columns, no rows, bad cells.
void read_csv(const std::string& path, std::span<const std::string_view> columns,
              const std::function<void(const CsvRow&)>& row);

// `folder/name.csv.gz` or `folder/name.csv`; empty when neither exists.
std::string find_csv(const std::string& folder, const std::string& name);

}  // namespace kvsim
