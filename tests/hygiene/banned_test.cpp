// What must not appear: in the objects that simulate (clocks, other people's random numbers), in
// libraries (exit, standard output), in any file (tabs, spaces at line ends, paths of somebody's
// machine).
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <regex>

#include "tests/hygiene/source_tree.h"

namespace kvsim {
namespace {

std::string output_of(const std::string& command) {
  std::string text;
  FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return text;
  std::array<char, 4096> buffer{};
  while (const std::size_t n = fread(buffer.data(), 1, buffer.size(), pipe))
    text.append(buffer.data(), n);
  pclose(pipe);
  return text;
}

// Anything that differs from run to run or from library to library, in the layers whose results
// must not.
TEST(Hygiene, SimulatingObjectsCallNoClockAndNoForeignRandomness) {
  const std::regex banned(
      R"(^(s?rand(_r|om)?|[dlm]rand48|time|gettimeofday|clock(_gettime)?|getrandom|getentropy|getenv|pthread_self|localtime(_r)?|setlocale)(@.*)?$)"
      R"(|random_device|_(system|steady)_clock|mersenne_twister|chrono.*3now)");
  std::size_t objects = 0;
  for (const char* layer :
       {"base", "state", "models", "hardware", "traces", "policies", "engine"}) {
    const std::filesystem::path folder = std::filesystem::path(KVSIM_BINARY_DIR) /
                                         ("CMakeFiles/kvsim_" + std::string(layer) + ".dir");
    if (!std::filesystem::exists(folder)) continue;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
      if (entry.path().extension() != ".o") continue;
      // Objects of files that are gone stay in the folder; they are not linked.
      const std::string source =
          entry.path().lexically_relative(folder).replace_extension("").string();
      if (!std::filesystem::exists(std::filesystem::path(KVSIM_SOURCE_DIR) / source)) continue;
      ++objects;
      std::istringstream symbols(
          output_of("nm -u -j '" + entry.path().string() + "' 2>/dev/null || true"));
      for (std::string symbol; std::getline(symbols, symbol);)
        EXPECT_FALSE(std::regex_search(symbol, banned)) << source << " uses " << symbol;
    }
  }
  if (objects == 0) GTEST_SKIP() << "no objects in " << KVSIM_BINARY_DIR;
  const std::string probe = output_of("nm --version");
  if (probe.empty()) GTEST_SKIP() << "nm is not installed";
  EXPECT_GT(objects, 20U);
}

struct Ban {
  const char* what;
  std::regex pattern;
  std::vector<std::string> allowed;  // beginnings of paths
};

TEST(Hygiene, LibrariesNeitherExitNorPrint) {
  const std::vector<Ban> bans{
      {"exit() ends the program in a library",
       std::regex(R"((^|[^_\w.>])(_?exit|quick_exit)\s*\()"),
       {"sim/cli/main.cpp"}},
      {"standard streams belong to sim/cli",
       std::regex(R"(std::(cout|cerr|clog)|(^|\W)(printf|puts)\s*\(|fmt::print\((?!stderr))"),
       {"sim/cli/"}},
      {"output of errors", std::regex(R"(fmt::print\(stderr)"), {"sim/cli/", "sim/base/check.cpp"}},
      {"the environment is no input",
       std::regex(R"(\bgetenv\b)"),
       {"sim/scenario/catalog.cpp", "sim/cli/"}},
      {"the wall clock never reaches a result",
       std::regex(R"((system|steady|high_resolution)_clock)"),
       {"sim/cli/", "sim/run/simulate.cpp", "sim/run/measure_kernels.cpp", "sim/record/query.cpp",
        "sim/calibrate/"}},
      {"standard distributions differ between libraries",
       std::regex(R"(std::(uniform_|normal_|exponential_|gamma_|poisson_|mt19937|random_device))"),
       {}},
      {"not in both compilers",
       std::regex(R"(std::(format|source_location|expected)\b|<ranges>|std::views)"),
       {}},
      {"using namespace in a header or source",
       std::regex(R"(^using namespace (?!.*literals))"),
       {}}};
  for (const test::SourceFile& file : test::source_files()) {
    if (!file.is_code() || file.is_test()) continue;
    const test::SourceFile code{file.path, test::code_only(file.text)};
    test::each_line(code, [&](std::size_t number, std::string_view line) {
      const std::string text(line);
      for (const Ban& ban : bans) {
        const bool is_allowed =
            std::any_of(ban.allowed.begin(), ban.allowed.end(),
                        [&](const auto& a) { return file.path.starts_with(a); });
        if (!is_allowed) {
          EXPECT_FALSE(std::regex_search(text, ban.pattern))
              << file.path << ":" << number << ": " << ban.what;
        }
      }
    });
  }
}

// A quantity leaves its type at the edges: where it is stored, printed, or handed to a formula in
// doubles.
TEST(Hygiene, QuantitiesKeepTheirTypes) {
  std::size_t places = 0;
  for (const test::SourceFile& file : test::source_files()) {
    if (!file.is_code() || file.is_test() || file.path.starts_with("sim/base/") ||
        file.path.starts_with("kernels/"))  // no quantities there, but teams of threads
      continue;
    test::each_line(
        {file.path, test::code_only(file.text)}, [&](std::size_t number, std::string_view line) {
          if (line.find(".count()") == std::string_view::npos) return;
          ++places;
          EXPECT_FALSE(file.path.starts_with("policies/") || file.path.starts_with("sim/state/"))
              << file.path << ":" << number << ": .count() of a quantity";
        });
  }
  std::printf(".count() outside sim/base: %zu lines\n", places);
  EXPECT_LE(places, 60U) << "quantities are unwrapped more and more";
}

TEST(Hygiene, NoTabsTrailingSpacesOrMachinePaths) {
  const std::vector<std::string> paths{std::string("/wo") + "rk/", std::string("/ro") + "ot/",
                                       std::string("/ho") + "me/"};
  for (const test::SourceFile& file : test::source_files()) {
    if (file.path == "LICENSE") continue;
    if (!file.text.empty()) {
      EXPECT_EQ(file.text.back(), '\n') << file.path << " lacks the end of its last line";
    }
    test::each_line(file, [&](std::size_t number, std::string_view line) {
      EXPECT_EQ(line.find('\t'), std::string_view::npos) << file.path << ":" << number << ": a tab";
      EXPECT_FALSE(line.ends_with(' ') || line.ends_with('\r'))
          << file.path << ":" << number << ": space at the end";
      for (const std::string& path : paths)
        EXPECT_EQ(line.find(path), std::string_view::npos)
            << file.path << ":" << number << ": " << path;
    });
  }
}

}  // namespace
}  // namespace kvsim
