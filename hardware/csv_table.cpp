#include "hardware/csv_table.h"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <memory>

#include "sim/base/units.h"

namespace kvsim {

namespace {

constexpr std::size_t kMostBytes = std::size_t{64} << 20;
constexpr std::size_t kMostLine = 4096;
constexpr std::size_t kMostColumns = 64;
constexpr std::size_t kMostErrors = 20;  // further ones add nothing

[[noreturn]] void fail(const std::string& path, std::string message, std::string hint) {
  Diagnostics d;
  d.add(Place{std::make_shared<const std::string>(path), 0, 0}, {}, std::move(message),
        std::move(hint));
  d.throw_if_any();
  throw InputError(path);  // not reached
}

// zlib reads plain files as they are. A truncated archive shows only as an error state after the
// last byte.
std::string read_all(const std::string& path) {
  const std::unique_ptr<gzFile_s, int (*)(gzFile)> file(gzopen(path.c_str(), "rb"), gzclose);
  if (!file) fail(path, "cannot open the table", "check that the file exists and may be read");
  std::string text;
  std::array<char, 1 << 16> chunk;
  for (;;) {
    const int n = gzread(file.get(), chunk.data(), static_cast<unsigned>(chunk.size()));
    if (n < 0) {
      int code = Z_OK;
      const char* why = gzerror(file.get(), &code);
      fail(path, fmt::format("cannot unpack the table: {}", why),
           "the file is truncated or corrupt: copy it again");
    }
    if (n == 0) break;
    text.append(chunk.data(), static_cast<std::size_t>(n));
    if (text.size() > kMostBytes)
      fail(path, "the table is larger than 64 MiB", "a layer profile is a few MiB");
  }
  int code = Z_OK;
  gzerror(file.get(), &code);
  if (code != Z_OK)
    fail(path, "cannot unpack the table: it ends too early",
         "the file is truncated: copy it again");
  return text;
}

// Splits at commas; a cell is a view into the line.
void split(std::string_view line, std::vector<std::string_view>& cells) {
  cells.clear();
  for (;;) {
    const std::size_t comma = line.find(',');
    cells.push_back(line.substr(0, comma));
    if (comma == std::string_view::npos || cells.size() > kMostColumns) return;
    line.remove_prefix(comma + 1);
  }
}

// Position in the header of every wanted column.
std::vector<std::size_t> locate(std::span<const std::string_view> wanted,
                                const std::vector<std::string_view>& header, const Place& place,
                                Diagnostics& d) {
  std::vector<std::size_t> at;
  for (const std::string_view name : wanted) {
    const auto found = std::find(header.begin(), header.end(), name);
    if (found == header.end()) {
      d.add(place, {}, fmt::format("the header lacks the column '{}'", name),
            fmt::format("expected: {}", fmt::join(wanted, ",")));
    } else if (std::find(found + 1, header.end(), name) != header.end()) {
      d.add(place, {}, fmt::format("the column '{}' appears twice", name));
    }
    at.push_back(static_cast<std::size_t>(found - header.begin()));
  }
  return at;
}

}  // namespace

void CsvRow::error(std::string message, std::string hint) const {
  if (diagnostics_.all().size() < kMostErrors)
    diagnostics_.add(place_, {}, std::move(message), std::move(hint));
}

double CsvRow::number(std::size_t i, double low, double high) const {
  const auto v = parse_double(cells_[i]);
  if (!v)
    return error(fmt::format("{}: '{}' is not a number", columns_[i], cells_[i].substr(0, 40))), 0;
  if (*v < low || *v > high)
    return error(fmt::format("{}: {} is out of bounds: {} to {}", columns_[i], *v, low, high)), 0;
  return *v;
}

std::int64_t CsvRow::whole(std::size_t i, std::int64_t low, std::int64_t high) const {
  const auto v = parse_int(cells_[i]);
  if (!v)
    return error(
               fmt::format("{}: '{}' is not a whole number", columns_[i], cells_[i].substr(0, 40))),
           0;
  if (*v < low || *v > high)
    return error(fmt::format("{}: {} is out of bounds: {} to {}", columns_[i], *v, low, high)), 0;
  return *v;
}

void read_csv(const std::string& path, std::span<const std::string_view> columns,
              const std::function<void(const CsvRow&)>& row) {
  const std::string text = read_all(path);
  Diagnostics d;
  Place place{std::make_shared<const std::string>(path), 0, 1};
  std::vector<std::string_view> cells, wanted(columns.size());
  std::vector<std::size_t> at;
  std::size_t header = 0, rows = 0;
  for (std::string_view rest = text; !rest.empty() && d.all().size() < kMostErrors;) {
    std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    ++place.line;
    if (line.empty()) continue;
    if (line.size() > kMostLine)
      fail(path, fmt::format("line {} has more than {} characters", place.line, kMostLine),
           "is it a CSV table?");
    split(line, cells);
    if (header == 0) {
      at = locate(columns, cells, place, d);
      d.throw_if_any();
      header = cells.size();
      continue;
    }
    if (cells.size() != header) {
      d.add(place, {}, fmt::format("{} cells, but the header has {}", cells.size(), header));
      continue;
    }
    for (std::size_t i = 0; i < at.size(); ++i) wanted[i] = cells[at[i]];
    row(CsvRow(place, columns, wanted, d));
    ++rows;
  }
  d.throw_if_any();
  if (rows == 0)
    fail(path, "the table is empty",
         fmt::format("expected the header {} and at least one row", fmt::join(columns, ",")));
}

std::string find_csv(const std::string& folder, const std::string& name) {
  for (const char* ending : {".csv.gz", ".csv"}) {
    const std::filesystem::path p = std::filesystem::path(folder) / (name + ending);
    std::error_code ignored;
    if (std::filesystem::is_regular_file(p, ignored)) return p.string();
  }
  return {};
}

}  // namespace kvsim
