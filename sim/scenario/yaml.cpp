#include "sim/scenario/yaml.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>

namespace kvsim {

namespace {

constexpr std::size_t kMostBytes = 64U << 20;
constexpr int kMostLevels = 100;
constexpr std::size_t kMostNodes = 2'000'000;
constexpr std::size_t kMostKeys = 10'000;  // of one map: look-ups walk it

class Converter {
 public:
  Converter(std::shared_ptr<const std::string> file, Diagnostics& d) : file_(std::move(file)), diagnostics_(d) {}

  Tree convert(const YAML::Node& node, int level) {
    const Place at = place(node.Mark());
    if (stopped_) return {};
    if (level > kMostLevels) return stop(at, fmt::format("nested deeper than {} levels", kMostLevels));
    if (++nodes_ > kMostNodes) return stop(at, "the document has too many values (are aliases multiplied?)");
    switch (node.Type()) {
      case YAML::NodeType::Scalar: {
        // yaml-cpp tags quoted scalars "!" and plain ones "?".
        Tree t = Tree::scalar(node.Scalar(), at, node.Tag() == "!");
        return !t.quoted() && (t.text() == "~" || t.text() == "null" || t.text().empty()) ? null_at(at) : t;
      }
      case YAML::NodeType::Sequence: {
        Tree t = Tree::list(at);
        for (const YAML::Node& item : node) t.push(convert(item, level + 1));
        return t;
      }
      case YAML::NodeType::Map: return convert_map(node, at, level);
      case YAML::NodeType::Null:
      case YAML::NodeType::Undefined: break;
    }
    return null_at(at);
  }

 private:
  Tree convert_map(const YAML::Node& node, const Place& at, int level) {
    Tree t = Tree::map(at);
    for (const auto& pair : node) {
      const Place key_at = place(pair.first.Mark());
      if (!pair.first.IsScalar()) {
        diagnostics_.add(key_at, "", "a key must be plain text");
        continue;
      }
      const std::string& key = pair.first.Scalar();
      if (t.find(key) != nullptr) {
        diagnostics_.add(key_at, key, "the key is given twice");
        continue;
      }
      if (t.entries().size() >= kMostKeys) return stop(key_at, fmt::format("a map of more than {} keys", kMostKeys));
      t.set(key, convert(pair.second, level + 1), key_at);
      if (stopped_) break;
    }
    return t;
  }
  static Tree null_at(const Place& at) {
    Tree t;
    t.set_place(at);
    return t;
  }
  Tree stop(const Place& at, const std::string& why) {
    diagnostics_.add(at, "", why);
    stopped_ = true;
    return {};
  }
  [[nodiscard]] Place place(const YAML::Mark& m) const { return {file_, m.line + 1, m.column + 1}; }

  std::shared_ptr<const std::string> file_;
  Diagnostics& diagnostics_;
  std::size_t nodes_ = 0;
  bool stopped_ = false;
};

}  // namespace

Tree parse_yaml(std::string_view text, const std::string& name, Diagnostics& d) {
  const auto file = std::make_shared<const std::string>(name);
  if (text.size() > kMostBytes) {
    d.add({file, 0, 0}, "", "the file is larger than 64 MiB");
    return {};
  }
  if (text.find('\0') != std::string_view::npos) {
    d.add({file, 0, 0}, "", "the file holds NUL bytes: it is not a text file");
    return {};
  }
  try {
    const std::vector<YAML::Node> documents = YAML::LoadAll(std::string(text));
    if (documents.empty()) return {};
    if (documents.size() > 1) {
      d.add({file, documents[1].Mark().line + 1, 1}, "", "the file holds more than one document", "keep one, without '---' between");
      return {};
    }
    return Converter(file, d).convert(documents[0], 0);
  } catch (const YAML::Exception& e) {
    const bool known = e.mark.line >= 0;
    d.add({file, known ? e.mark.line + 1 : 0, known ? e.mark.column + 1 : 0}, "", "not valid YAML: " + e.msg);
    return {};
  }
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
    d.add({file, 0, 0}, "", fmt::format("cannot be read: {}", std::strerror(errno)), "check the path");
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
