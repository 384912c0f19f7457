#pragma once
// The files of the repository, for tests about the tree itself.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace kvsim::test {

struct SourceFile {
  std::string path;  // from the root, "sim/base/tree.h"
  std::string text;
  [[nodiscard]] bool is_code() const { return path.ends_with(".h") || path.ends_with(".cpp"); }
  [[nodiscard]] bool is_test() const { return path.starts_with("tests/"); }
  [[nodiscard]] std::size_t lines() const {
    return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
  }
};

// Text files that belong to the repository, sorted by path; build outputs, results and the fuzz
// corpus are left out.
inline const std::vector<SourceFile>& source_files() {
  static const std::vector<SourceFile> all = [] {
    namespace fs = std::filesystem;
    static const std::set<std::string> kLeftOut{"build", "out", ".git", ".cache", "corpus"};
    static const std::set<std::string> kKinds{".h",   ".cpp",  ".md", ".yaml", ".yml",
                                              ".txt", ".json", ".sh", ""};
    std::vector<SourceFile> files;
    const fs::path root(KVSIM_SOURCE_DIR);
    for (auto it = fs::recursive_directory_iterator(root); it != fs::recursive_directory_iterator();
         ++it) {
      if (it->is_directory()) {
        if (kLeftOut.contains(it->path().filename().string())) it.disable_recursion_pending();
        continue;
      }
      if (!it->is_regular_file() || it->path().filename() == ".git" ||
          !kKinds.contains(it->path().extension().string()))
        continue;
      std::ostringstream text;
      text << std::ifstream(it->path(), std::ios::binary).rdbuf();
      files.push_back({it->path().lexically_relative(root).string(), text.str()});
    }
    std::sort(files.begin(), files.end(),
              [](const auto& a, const auto& b) { return a.path < b.path; });
    return files;
  }();
  return all;
}

// Calls visit(line number from 1, line).
template <class Visit>
void each_line(const SourceFile& file, Visit visit) {
  std::string_view rest = file.text;
  for (std::size_t number = 1; !rest.empty(); ++number) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    visit(number, rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
}

// The code with comments, strings and character constants blanked; line ends stay.
inline std::string code_only(const std::string& text) {
  std::string out = text;
  const auto blank = [&](std::size_t from, std::size_t to) {
    for (std::size_t i = from; i < std::min(to, out.size()); ++i)
      if (out[i] != '\n') out[i] = ' ';
  };
  for (std::size_t i = 0; i < text.size();) {
    std::size_t end = i + 1;
    if (text.compare(i, 2, "//") == 0) {
      end = std::min(text.find('\n', i), text.size());
      blank(i, end);
    } else if (text.compare(i, 2, "/*") == 0) {
      end = text.find("*/", i + 2) + 2;
      blank(i, end);
    } else if (text.compare(i, 2, "R\"") == 0) {
      const std::size_t open = text.find('(', i);
      end = text.find(")" + text.substr(i + 2, open - i - 2) + "\"", open);
      end = end == std::string::npos ? text.size() : end + open - i;
      blank(i, end);
    } else if (text[i] == '"' ||
               (text[i] == '\'' &&
                (i == 0 || std::isalnum(static_cast<unsigned char>(text[i - 1])) == 0))) {
      while (end < text.size() && text[end] != text[i]) end += text[end] == '\\' ? 2 : 1;
      ++end;
      blank(i + 1, end - 1);
    }
    i = std::max(end, i + 1);
  }
  return out;
}

}  // namespace kvsim::test
