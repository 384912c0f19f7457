#include "sim/record/render.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <ostream>
#include <vector>

#include "sim/base/tree.h"

namespace kvsim {
namespace {

constexpr std::size_t kTableWidth = 100;
constexpr std::size_t kTableRows = 1000;
constexpr std::size_t kLongest = 4096;  // bytes of a cell that a table looks at
constexpr const char* kEllipsis = "\xe2\x80\xa6";
constexpr const char* kReplacement = "\xef\xbf\xbd";

// Length in bytes of the well-formed UTF-8 sequence at the start of `s` (not empty), or 0.
std::size_t sequence_length(std::string_view s) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(s[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  const std::size_t n = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || s.size() < n) return 0;
  for (std::size_t i = 1; i < n; ++i)
    if ((byte(i) & 0xc0) != 0x80) return 0;
  const unsigned char second = byte(1);
  const bool overlong = (first == 0xe0 && second < 0xa0) || (first == 0xf0 && second < 0x90);
  const bool surrogate = first == 0xed && second > 0x9f;
  const bool too_large = first == 0xf4 && second > 0x8f;
  return overlong || surrogate || too_large ? 0 : n;
}

template <class Append>
std::string rewritten(std::string_view text, Append append) {
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t n = sequence_length(text.substr(i));
    if (n == 0)
      out += kReplacement;
    else
      append(out, text.substr(i, n));
    i += std::max<std::size_t>(n, 1);
  }
  return out;
}

std::string valid_utf8(std::string_view text) {
  return rewritten(text, [](std::string& out, std::string_view c) { out += c; });
}

// Characters, taken to be one cell wide each.
std::size_t width(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  }));
}

std::string cut(const std::string& text, std::size_t limit) {
  if (width(text) <= limit) return text;
  std::size_t end = 0;
  for (std::size_t n = 0; n + 1 < limit; ++n)
    end += sequence_length(std::string_view(text).substr(end));
  return text.substr(0, end) + kEllipsis;
}

std::string hexadecimal(std::string_view blob) {
  std::string out;
  for (const char c : blob) out += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return out;
}

std::string short_real(double v) {
  if (std::abs(v) >= 1e5 && std::abs(v) < 1e15) return fmt::format("{:.0f}", v);
  return fmt::format("{:.6g}", v);
}

std::vector<std::string> column_names(const Statement& s) {
  std::vector<std::string> names;
  for (int i = 0; i < s.columns(); ++i) names.push_back(s.name(i));
  return names;
}

class TableSink final : public RowSink {
 public:
  TableSink(const Statement& s, std::ostream& out) : out_(&out) {
    for (const std::string& name : column_names(s)) names_.push_back(printable(name));
    numeric_.assign(names_.size(), true);
  }
  bool row(const Statement& s) override {
    if (rows_.size() == kTableRows) return !(more_ = true);
    std::vector<std::string> cells;
    for (int i = 0; i < s.columns(); ++i) {
      const Statement::Type type = s.type(i);
      if (type == Statement::Type::text || type == Statement::Type::blob)
        numeric_[static_cast<std::size_t>(i)] = false;
      cells.push_back(cell(s, i, type));
    }
    rows_.push_back(std::move(cells));
    return true;
  }
  void finish() override {
    std::size_t heads = 2 * (names_.size() - 1);
    for (const std::string& name : names_) heads += width(name);
    if (heads > kTableWidth)
      print_records();
    else
      print_table();
    if (more_)
      *out_ << fmt::format("{} the first {} rows; --csv and --json give all, LIMIT gives fewer\n",
                           kEllipsis, kTableRows);
  }

 private:
  static std::string cell(const Statement& s, int i, Statement::Type type) {
    switch (type) {
      case Statement::Type::null:
        return "";
      case Statement::Type::real:
        return short_real(s.real(i));
      case Statement::Type::integer:
        return fmt::format("{}", s.integer(i));
      case Statement::Type::blob:
        return "x" + hexadecimal(s.text(i).substr(0, kLongest));
      case Statement::Type::text:
        break;
    }
    return printable(s.text(i).substr(0, kLongest));
  }
  // Widths that fit: the widest text gives way first, numbers last, names never. Requires that the
  // names fit.
  std::vector<std::size_t> widths() const {
    std::vector<std::size_t> w;
    for (std::size_t i = 0; i < names_.size(); ++i) {
      std::size_t most = width(names_[i]);
      for (const auto& row : rows_) most = std::max(most, width(row[i]));
      w.push_back(std::min(most, kTableWidth));
    }
    const auto total = [&] {
      std::size_t sum = 2 * (w.size() - 1);
      for (const std::size_t n : w) sum += n;
      return sum;
    };
    while (total() > kTableWidth) {
      std::size_t give = w.size();
      const auto better = [&](std::size_t i) {
        if (w[i] <= width(names_[i])) return false;
        if (give == w.size()) return true;
        return numeric_[i] != numeric_[give] ? !numeric_[i] : w[i] > w[give];
      };
      for (std::size_t i = 0; i < w.size(); ++i)
        if (better(i)) give = i;
      --w[give];
    }
    return w;
  }
  void print_line(const std::vector<std::string>& cells, const std::vector<std::size_t>& w) {
    std::string line;
    for (std::size_t i = 0; i < cells.size(); ++i) {
      const std::string text = cut(cells[i], w[i]);
      const std::string blanks(w[i] - width(text), ' ');
      line += (i == 0 ? "" : "  ") + (numeric_[i] ? blanks + text : text + blanks);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    *out_ << line << '\n';
  }
  void print_table() {
    const std::vector<std::size_t> w = widths();
    print_line(names_, w);
    std::vector<std::string> rule;
    for (const std::size_t n : w) rule.emplace_back(n, '-');
    print_line(rule, w);
    for (const auto& row : rows_) print_line(row, w);
  }
  void print_records() {
    std::size_t widest = 0;
    for (const std::string& name : names_)
      widest = std::max(widest, std::min<std::size_t>(width(name), 40));
    for (std::size_t r = 0; r < rows_.size(); ++r) {
      if (r > 0) *out_ << '\n';
      for (std::size_t i = 0; i < names_.size(); ++i) {
        const std::string name = cut(names_[i], widest);
        *out_ << name << std::string(widest - width(name) + 2, ' ')
              << cut(rows_[r][i], kTableWidth - widest - 2) << '\n';
      }
    }
  }

  std::ostream* out_;
  std::vector<std::string> names_;
  std::vector<bool> numeric_;  // right-aligned
  std::vector<std::vector<std::string>> rows_;
  bool more_ = false;
};

class CsvSink final : public RowSink {
 public:
  CsvSink(const Statement& s, std::ostream& out) : out_(&out) {
    const std::vector<std::string> names = column_names(s);
    for (std::size_t i = 0; i < names.size(); ++i) *out_ << (i == 0 ? "" : ",") << quoted(names[i]);
    *out_ << "\r\n";
  }
  bool row(const Statement& s) override {
    for (int i = 0; i < s.columns(); ++i) {
      if (i > 0) *out_ << ',';
      switch (s.type(i)) {
        case Statement::Type::null:
          break;
        case Statement::Type::integer:
          *out_ << s.integer(i);
          break;
        case Statement::Type::real:
          *out_ << fmt::format("{}", s.real(i));
          break;
        case Statement::Type::text:
          *out_ << quoted(s.text(i));
          break;
        case Statement::Type::blob:
          *out_ << hexadecimal(s.text(i));
          break;
      }
    }
    *out_ << "\r\n";
    return true;
  }
  void finish() override {}

 private:
  static std::string quoted(std::string_view text) {
    if (text.find_first_of(",\"\r\n") == std::string_view::npos) return std::string(text);
    std::string out = "\"";
    for (const char c : text) out += c == '"' ? "\"\"" : std::string(1, c);
    return out + '"';
  }
  std::ostream* out_;
};

class JsonSink final : public RowSink {
 public:
  JsonSink(const Statement& s, std::ostream& out) : out_(&out) {
    std::map<std::string, int> seen;
    for (std::string name : column_names(s)) {
      const int n = ++seen[name];
      if (n > 1) name += fmt::format(":{}", n);
      keys_.push_back(json_string(valid_utf8(name)));
    }
    *out_ << '[';
  }
  bool row(const Statement& s) override {
    *out_ << (first_ ? "\n{" : ",\n{");
    first_ = false;
    for (int i = 0; i < s.columns(); ++i)
      *out_ << (i == 0 ? "" : ", ") << keys_[static_cast<std::size_t>(i)] << ": " << value(s, i);
    *out_ << '}';
    return true;
  }
  void finish() override { *out_ << (first_ ? "]\n" : "\n]\n"); }

 private:
  static std::string value(const Statement& s, int i) {
    switch (s.type(i)) {
      case Statement::Type::null:
        return "null";
      case Statement::Type::integer:
        return fmt::format("{}", s.integer(i));
      case Statement::Type::real:
        return std::isfinite(s.real(i)) ? fmt::format("{}", s.real(i)) : "null";
      case Statement::Type::blob:
        return json_string(hexadecimal(s.text(i)));
      case Statement::Type::text:
        break;
    }
    return json_string(valid_utf8(s.text(i)));
  }
  std::ostream* out_;
  std::vector<std::string> keys_;
  bool first_ = true;
};

}  // namespace

std::string printable(std::string_view text, bool lines) {
  return rewritten(text, [&](std::string& out, std::string_view c) {
    const auto first = static_cast<unsigned char>(c[0]);
    const bool second_set =
        first == 0xc2 && static_cast<unsigned char>(c[1]) < 0xa0;  // U+0080 to U+009F
    if (c == "\n" || c == "\t" || c == "\r")
      out += lines && c == "\n" ? '\n' : ' ';
    else if (first < 0x20 || first == 0x7f || second_set)
      out += '?';
    else
      out += c;
  });
}

std::unique_ptr<RowSink> make_sink(QueryFormat format, const Statement& statement,
                                   std::ostream& out) {
  switch (format) {
    case QueryFormat::csv:
      return std::make_unique<CsvSink>(statement, out);
    case QueryFormat::json:
      return std::make_unique<JsonSink>(statement, out);
    case QueryFormat::table:
      break;
  }
  return std::make_unique<TableSink>(statement, out);
}

}  // namespace kvsim
