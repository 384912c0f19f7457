// Sizes: files of at most 600 lines, functions of at most 80, folder READMEs of at most 60 (the
// root's 150).
#include <gtest/gtest.h>

#include <cstdio>

#include "tests/hygiene/source_tree.h"

namespace kvsim {
namespace {

struct Function {
  std::string head;
  std::size_t line = 0, lines = 0;
};

bool is_function_head(const std::string& head) {
  if (head.find('(') == std::string::npos) return false;
  for (const char* word : {"if", "for", "while", "switch", "do", "else", "catch", "namespace",
                           "class", "struct", "enum", "union", "return", "requires"}) {
    const std::size_t n = std::char_traits<char>::length(word);
    if (head.compare(0, n, word) == 0 &&
        (head.size() == n || std::isalnum(static_cast<unsigned char>(head[n])) == 0))
      return false;
  }
  // Brace initialisation: `b_{...}` in a constructor's list, `= {...}`, `f(..., {`.
  std::string last;
  for (std::size_t i = head.size();
       i > 0 && (std::isalnum(static_cast<unsigned char>(head[i - 1])) != 0 || head[i - 1] == '_');
       --i)
    last.insert(last.begin(), head[i - 1]);
  if (last == "const" || last == "override" || last == "final" || last == "noexcept" ||
      last == "mutable")
    return true;
  return head.back() == ')' || (head.find("->") != std::string::npos && !last.empty());
}

// Braces are counted; a function is the outermost block whose head looks like one. Lambdas belong
// to their function.
std::vector<Function> functions_of(const std::string& code) {
  std::vector<Function> all;
  std::string head;
  std::size_t line = 1;
  int depth = 0, function_depth = -1;
  for (const char c : code) {
    if (c == '\n') ++line;
    if (c == '{') {
      if (function_depth < 0 && is_function_head(head)) {
        function_depth = depth;
        all.push_back({head, line, 0});
      }
      ++depth;
    } else if (c == '}') {
      --depth;
      if (depth == function_depth) {
        all.back().lines = line - all.back().line + 1;
        function_depth = -1;
      }
    }
    if (c == ';' || c == '{' || c == '}')
      head.clear();
    else if (!head.empty() || std::isspace(static_cast<unsigned char>(c)) == 0)
      head += c == '\n' ? ' ' : c;
    while (c == ' ' && head.size() > 1 && head[head.size() - 2] == ' ') head.pop_back();
    if (c == '{' || head == "public:" || head == "private:" || head == "protected:") head.clear();
  }
  return all;
}

// Spaces at the end of a head hide its last character.
std::vector<Function> functions_of(const test::SourceFile& file) {
  std::string code = test::code_only(file.text);
  for (std::size_t at = 0; (at = code.find(" {", at)) != std::string::npos;) code.erase(at, 1);
  return functions_of(code);
}

std::size_t at_share(std::vector<std::size_t> values, double share) {
  std::sort(values.begin(), values.end());
  return values.empty()
             ? 0
             : values[static_cast<std::size_t>(share * static_cast<double>(values.size() - 1))];
}

// Lines that somebody wrote: the tables that `kvsim doc` fills in do not count.
std::size_t written_lines(const std::string& text) {
  std::size_t lines = 0;
  bool generated = false;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("<!-- end -->")) generated = false;
    if (!generated) ++lines;
    if (line.starts_with("<!-- kvsim doc:")) generated = true;
  }
  return lines;
}

TEST(Hygiene, FilesStaySmall) {
  std::vector<std::size_t> code, tests;
  for (const test::SourceFile& file : test::source_files()) {
    if (file.is_code()) (file.is_test() ? tests : code).push_back(file.lines());
    if (file.is_code()) {
      EXPECT_LE(file.lines(), 600U) << file.path;
    }
    if (file.path.ends_with("README.md")) {
      EXPECT_LE(written_lines(file.text), file.path == "README.md" ? 150U : 60U) << file.path;
    }
  }
  std::printf(
      "files: %zu, median %zu lines, p95 %zu, longest %zu; tests: %zu, median %zu, p95 %zu\n",
      code.size(), at_share(code, 0.5), at_share(code, 0.95), at_share(code, 1), tests.size(),
      at_share(tests, 0.5), at_share(tests, 0.95));
}

TEST(Hygiene, FunctionsStaySmall) {
  std::vector<std::size_t> lengths;
  for (const test::SourceFile& file : test::source_files()) {
    if (!file.is_code()) continue;
    for (const Function& f : functions_of(file)) {
      lengths.push_back(f.lines);
      EXPECT_LE(f.lines, 80U) << file.path << ":" << f.line << ": " << f.head;
    }
  }
  EXPECT_GT(lengths.size(), 500U);
  std::printf("functions: %zu, median %zu lines, p95 %zu, longest %zu\n", lengths.size(),
              at_share(lengths, 0.5), at_share(lengths, 0.95), at_share(lengths, 1));
}

TEST(Hygiene, TheFunctionScannerSees) {
  const auto all = functions_of(test::SourceFile{"x.cpp", R"(
struct A { int f() const { return 1; }
  A(int a) : a_{a}, b_(2) {
    if (a) { b_ = 3; }
  }
};
const std::vector<int> kList{
  1, 2};
auto g(int x) -> int {
  const auto h = [&](int y) {
    return y;
  };
  return h(x);  // }
}
)"});
  ASSERT_EQ(all.size(), 3U);
  EXPECT_EQ(all[0].lines, 1U);
  EXPECT_EQ(all[1].lines, 3U);
  EXPECT_EQ(all[2].lines, 6U);
}

}  // namespace
}  // namespace kvsim
