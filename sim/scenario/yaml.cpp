#include "sim/scenario/yaml.h"

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <unordered_map>
#include <unordered_set>

namespace kvsim {

namespace {

constexpr std::size_t kMostBytes = 64U << 20;
constexpr std::size_t kMostLevels = 100;
constexpr std::size_t kMostNodes = 2'000'000;
constexpr std::size_t kMostKeys = 10'000;  // of one map: look-ups walk it

struct Stopped {
};  // thrown through the parser once a limit is passed; the diagnostic is already there

struct Extent {
  std::size_t values = 1, levels = 0;
};
Extent extent(const Tree& t) {
  Extent all;
  const auto add = [&](const Tree& part) {
    const Extent e = extent(part);
    all.values += e.values;
    all.levels = std::max(all.levels, e.levels + 1);
  };
  for (const Tree& item : t.items()) add(item);
  for (const Tree::Entry& e : t.entries()) add(e.value);
  return all;
}

// Builds the tree while the parser reads, so that limits stop it early. (The parser's own document
// lists never end for a file that begins with a comma.)
class TreeBuilder final : public YAML::EventHandler {
 public:
  TreeBuilder(std::shared_ptr<const std::string> file, Diagnostics& d)
      : file_(std::move(file)), diagnostics_(d) {}

  Tree take() { return std::move(root_); }
  // Where the last quoted text begins: the parser takes the end of the file for the end of a quote.
  [[nodiscard]] const YAML::Mark& last_quote() const { return last_quote_; }
  // Where the second document begins; line 0 when there is none.
  [[nodiscard]] const Place& second() const { return second_; }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++documents_ == 2) {
      second_ = place(mark);
      throw Stopped{};
    }
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    add(null_at(place(mark)), anchor);
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    const Place at = place(mark);
    const bool quoted = tag == "!";  // the parser tags plain scalars "?"
    if (quoted) last_quote_ = mark;
    if (!quoted && (value == "~" || value == "null" || value.empty()))
      return add(null_at(at), anchor);
    add(Tree::scalar(value, at, quoted), anchor);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end())
      stop(place(mark), "an alias (*name) inside the value that it stands for");
    nodes_ += found->second.extent.values - 1;
    if (levels_.size() + found->second.extent.levels > kMostLevels) too_deep(place(mark));
    add(found->second.tree, 0);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(Tree::list(place(mark)), anchor);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(Tree::map(place(mark)), anchor);
  }
  void OnMapEnd() override { close(); }

 private:
  struct Level {
    Tree tree;
    YAML::anchor_t anchor = 0;
    bool has_key = false,
         is_refused = false;  // of a map: the key was read; its value is to be dropped
    std::string key;
    Place key_place;
    std::unordered_set<std::string> keys;
  };
  struct Anchored {
    Tree tree;
    Extent extent;
  };

  void open(Tree tree, YAML::anchor_t anchor) {
    if (levels_.size() >= kMostLevels) too_deep(tree.place());
    levels_.push_back({std::move(tree), anchor, false, false, {}, {}, {}});
  }
  void close() {
    Level level = std::move(levels_.back());
    levels_.pop_back();
    add(std::move(level.tree), level.anchor);
  }
  void add(Tree value, YAML::anchor_t anchor) {
    if (++nodes_ > kMostNodes) too_many(value.place());
    if (anchor != 0) {
      const Extent e = extent(value);
      if ((nodes_ += e.values) > kMostNodes) too_many(value.place());
      anchors_[anchor] = {value, e};
    }
    if (levels_.empty()) {
      root_ = std::move(value);
    } else if (levels_.back().tree.is_list()) {
      levels_.back().tree.push(std::move(value));
    } else {
      add_to_map(levels_.back(), std::move(value));
    }
  }
  void add_to_map(Level& level, Tree value) {
    if (level.has_key) {
      if (!level.is_refused)
        level.tree.append(std::move(level.key), std::move(value), std::move(level.key_place));
      level.has_key = false;
      return;
    }
    level.has_key = true;
    level.key_place = value.place();
    level.is_refused = true;
    if (!value.is_scalar()) return diagnostics_.add(value.place(), "", "a key must be plain text");
    level.key = value.text();
    if (!level.keys.insert(level.key).second)
      return diagnostics_.add(value.place(), level.key, "the key is given twice");
    if (level.keys.size() > kMostKeys)
      stop(value.place(), fmt::format("a map of more than {} keys", kMostKeys));
    level.is_refused = false;
  }
  static Tree null_at(const Place& at) {
    Tree t;
    t.set_place(at);
    return t;
  }
  [[noreturn]] void too_deep(const Place& at) {
    stop(at, fmt::format("nested deeper than {} levels", kMostLevels));
  }
  [[noreturn]] void too_many(const Place& at) {
    stop(at, "the document has too many values (are aliases multiplied?)");
  }
  [[noreturn]] void stop(const Place& at, const std::string& why) {
    diagnostics_.add(at, "", why);
    throw Stopped{};
  }
  [[nodiscard]] Place place(const YAML::Mark& m) const { return {file_, m.line + 1, m.column + 1}; }

  std::shared_ptr<const std::string> file_;
  Diagnostics& diagnostics_;
  std::vector<Level> levels_;
  std::unordered_map<YAML::anchor_t, Anchored> anchors_;
  Tree root_;
  Place second_;
  YAML::Mark last_quote_ = YAML::Mark::null_mark();
  std::size_t nodes_ = 0;
  int documents_ = 0;
};

// The text from a place to the end of its line.
std::string rest_of_line(std::string_view text, const Place& at) {
  for (int line = 1; line < at.line; ++line) {
    const std::size_t end = text.find('\n');
    if (end == std::string_view::npos) return {};
    text.remove_prefix(end + 1);
  }
  text = text.substr(0, text.find_first_of("\r\n"));
  text.remove_prefix(std::min(text.size(), static_cast<std::size_t>(at.column - 1)));
  return std::string(text.substr(0, 40));
}

// Where the first byte stands that is no UTF-8 (RFC 3629); the size when all is well.
std::size_t first_non_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto byte = [&](std::size_t k) {
      return i + k < text.size() ? static_cast<unsigned char>(text[i + k]) : 0U;
    };
    const unsigned first = byte(0), second = byte(1);
    const std::size_t length = first < 0x80                    ? 1
                               : first >= 0xc2 && first < 0xe0 ? 2
                               : first >= 0xe0 && first < 0xf0 ? 3
                               : first >= 0xf0 && first < 0xf5 ? 4
                                                               : 0;
    if (length == 0) return i;
    for (std::size_t k = 1; k < length; ++k)
      if ((byte(k) & 0xc0U) != 0x80) return i;
    // Overlong forms, surrogates, and what lies beyond U+10FFFF.
    if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second >= 0xa0) ||
        (first == 0xf0 && second < 0x90) || (first == 0xf4 && second >= 0x90))
      return i;
    i += length;
  }
  return text.size();
}

// Whether the quoted text that begins at `at` lacks its end.
bool is_unclosed(std::string_view text, const YAML::Mark& at) {
  if (at.is_null() || at.pos < 0 || static_cast<std::size_t>(at.pos) >= text.size()) return false;
  text.remove_prefix(static_cast<std::size_t>(at.pos));
  const char quote = text[0];
  if (quote != '"' && quote != '\'') return false;
  for (std::size_t i = 1; i < text.size(); ++i) {
    if (quote == '"' && text[i] == '\\')
      ++i;
    else if (text[i] == quote)
      return false;
  }
  return true;
}

// What usually is behind the parser's words.
std::string cure(std::string_view text, const YAML::Exception& e) {
  for (int line = std::max(1, e.mark.line); line <= e.mark.line + 1; ++line) {
    const std::string start = rest_of_line(text, {nullptr, line, 1});
    const std::size_t indent = std::min(start.find_first_not_of(" \t"), start.size());
    if (start.substr(0, indent).find('\t') != std::string::npos)
      return fmt::format("line {} is indented with a tab: use spaces", line);
  }
  if (e.msg.find("flow") != std::string::npos)
    return "check that every bracket before this place is closed";
  if (e.msg.find("map") != std::string::npos)
    return "check the indentation: the keys of one map begin in the same column";
  return {};
}

}  // namespace

Tree parse_yaml(std::string_view text, const std::string& name, Diagnostics& d) {
  const auto file = std::make_shared<const std::string>(name);
  if (text.size() > kMostBytes) {
    d.add({file, 0, 0}, "", "the file is larger than 64 MiB");
    return {};
  }
  if (const std::size_t at = text.find('\0'); at != std::string_view::npos) {
    const auto line =
        1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(at), '\n');
    d.add({file, static_cast<int>(line), 0}, "", "the file holds NUL bytes: it is not a text file");
    return {};
  }
  TreeBuilder builder(file, d);
  if (const std::size_t at = first_non_utf8(text); at < text.size()) {
    const auto line =
        1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(at), '\n');
    d.add({file, static_cast<int>(line), 0}, "", "the file is not UTF-8 text", "save it as UTF-8");
    return {};
  }
  try {
    std::istringstream in{std::string(text)};
    YAML::Parser parser(in);
    if (parser.HandleNextDocument(builder)) parser.HandleNextDocument(builder);
  } catch (const Stopped&) {
    if (const Place& second = builder.second(); second.line > 0) {
      const std::string found = rest_of_line(text, second);
      if (found.starts_with("---")) {
        d.add(second, "", "the file holds more than one document",
              "keep one, without '---' between");
      } else {
        d.add(second, "", "not valid YAML: unexpected '" + found + "'",
              "check brackets, commas and the indentation of this line");
      }
    }
    return {};
  } catch (const YAML::Exception& e) {
    const bool known = e.mark.line >= 0;
    d.add({file, known ? e.mark.line + 1 : 0, known ? e.mark.column + 1 : 0}, "",
          "not valid YAML: " + e.msg, cure(text, e));
    return {};
  }
  if (is_unclosed(text, builder.last_quote())) {
    d.add({file, builder.last_quote().line + 1, builder.last_quote().column + 1}, "",
          "not valid YAML: this quote is never closed");
    return {};
  }
  Tree tree = builder.take();
  if (!tree.place().file) tree.set_place({file, 1, 1});  // nothing but comments
  return tree;
}

std::string read_text_file(const std::string& path, Diagnostics& d) {
  const auto file = std::make_shared<const std::string>(path);
  std::error_code ec;
  if (std::filesystem::is_directory(path, ec)) {
    d.add({file, 0, 0}, "", "is a directory, expected a file");
    return {};
  }
  std::ifstream in(path, std::ios::binary);
  if (!in) {
    d.add({file, 0, 0}, "", fmt::format("cannot be read: {}", std::strerror(errno)),
          "check the path");
    return {};
  }
  std::error_code size_error;
  const auto size = std::filesystem::file_size(path, size_error);
  std::string text(size_error ? kMostBytes + 1 : std::min<std::size_t>(size, kMostBytes) + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(in.gcount()));
  if (text.size() > kMostBytes) d.add({file, 0, 0}, "", "the file is larger than 64 MiB");
  return text;
}

Tree load_yaml(const std::string& path, Diagnostics& d) {
  const std::size_t before = d.all().size();
  const std::string text = read_text_file(path, d);
  return d.all().size() == before ? parse_yaml(text, path, d) : Tree{};
}

}  // namespace kvsim
