#include "traces/csv_record.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <deque>

#include "sim/base/diagnostics.h"

namespace kvsim {
namespace {

constexpr std::size_t kMaxColumns = 1000;

std::string_view trimmed(std::string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t')) s.remove_suffix(1);
  return s;
}

// Takes one quoted cell from `rest` (which begins with the quote) up to and without the next comma.
std::string take_quoted(std::string_view& rest) {
  std::string text;
  std::size_t i = 1;
  for (;; ++i) {
    if (i >= rest.size()) throw BadRecord{"", "a quote is not closed on this line"};
    if (rest[i] != '"')
      text += rest[i];
    else if (i + 1 < rest.size() && rest[i + 1] == '"')
      text += rest[i++];
    else
      break;
  }
  rest.remove_prefix(i + 1);
  if (!rest.empty() && rest.front() != ',')
    throw BadRecord{"", "text after a closing quote, expected ','"};
  return text;
}

}  // namespace

CsvSource::CsvSource(const Context& context) : RecordSource(context) {
  const std::string_view line = file().header();
  if (line.empty())
    file().fail("", "the file is empty", "expected a line with the names of the columns");
  try {
    split(line);
  } catch (const BadRecord& bad) {
    file().fail("", bad.message);
  }
  for (const std::string_view c : cells_) names_.emplace_back(c);
}

bool CsvSource::has_column(std::string_view name) const {
  return std::find(names_.begin(), names_.end(), name) != names_.end();
}

std::size_t CsvSource::column(std::initializer_list<const char*> names) {
  for (const char* name : names) {
    const auto at = std::find(names_.begin(), names_.end(), name);
    if (at == names_.end()) continue;
    if (std::find(at + 1, names_.end(), name) != names_.end())
      file().fail("", fmt::format("two columns are called '{}'", name));
    return static_cast<std::size_t>(at - names_.begin());
  }
  constexpr std::size_t kShown = 12;
  std::vector<std::string> shown_names;
  for (const std::string& n : names_) {
    if (shown_names.size() == kShown) break;
    shown_names.push_back(shown(n, 40));
  }
  file().fail("",
              fmt::format("has no column '{}', expected in the first line; it names: {}",
                          fmt::join(names, "' or '"), fmt::join(shown_names, ", ")),
              "is the file in this format?");
}

void CsvSource::split(std::string_view line) {
  cells_.clear();
  unquoted_.clear();
  if (line.find('\0') != std::string_view::npos)
    throw BadRecord{"", "holds a NUL byte: this is not text"};
  if (line.find('"') != std::string_view::npos)
    unquoted_.reserve(names_.empty() ? kMaxColumns : names_.size());
  const std::size_t most = names_.empty() ? kMaxColumns : names_.size();
  for (bool last = false; !last;) {
    if (cells_.size() == most && !names_.empty())
      throw BadRecord{"", fmt::format("has more than the {} columns of the first line", most)};
    if (cells_.size() == most) throw BadRecord{"", fmt::format("has more than {} columns", most)};
    if (!line.empty() && line.front() == '"') {
      cells_.emplace_back(unquoted_.emplace_back(take_quoted(line)));
      last = line.empty();
    } else {
      const std::size_t comma = line.find(',');
      cells_.push_back(trimmed(line.substr(0, comma)));
      last = comma == std::string_view::npos;
      line.remove_prefix(last ? line.size() : comma);
    }
    if (!last) line.remove_prefix(1);  // the comma
  }
  if (!names_.empty() && cells_.size() != names_.size())
    throw BadRecord{"", fmt::format("read {} columns, expected {} as in the first line",
                                    cells_.size(), names_.size())};
}

}  // namespace kvsim
