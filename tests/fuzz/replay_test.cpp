// The fuzz corpus, and mutations of it that are the same every time, through every reader: nobody
// crashes, hangs or throws anything but InputError. Findings of ./dev fuzz become files of the
// corpus.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "sim/base/random.h"
#include "tests/fuzz/targets.h"

namespace kvsim {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> corpus(const std::string& target) {
  std::vector<std::string> files;
  std::error_code ec;
  for (const auto& e :
       fs::directory_iterator(fs::path(KVSIM_SOURCE_DIR) / "tests/fuzz/corpus" / target, ec))
    files.push_back(e.path().string());
  std::sort(files.begin(), files.end());
  return files;
}

std::string content(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

// Cuts, bit flips, and words that parsers dislike.
std::string mutated(std::string text, Rng& rng) {
  static const std::vector<std::string> kWords{"-1",
                                               "9223372036854775808",
                                               "1e999",
                                               "nan",
                                               "\"",
                                               "{",
                                               "[",
                                               "]",
                                               "}",
                                               ",",
                                               "\n",
                                               "\r\n",
                                               "null",
                                               "0",
                                               std::string(1, '\0'),
                                               "\xff",
                                               ":",
                                               "1e18",
                                               "-",
                                               "true",
                                               "&a",
                                               "*a"};
  const std::uint64_t times = 1 + rng.below(3);
  for (std::uint64_t i = 0; i < times && !text.empty(); ++i) {
    const auto at = static_cast<std::size_t>(rng.below(text.size()));
    switch (rng.below(4)) {
      case 0:
        text.resize(at);
        break;
      case 1:
        text[at] = static_cast<char>(text[at] ^ static_cast<char>(1U << rng.below(8)));
        break;
      case 2:
        text.erase(at, 1 + static_cast<std::size_t>(rng.below(8)));
        break;
      default:
        text.insert(at, kWords[static_cast<std::size_t>(rng.below(kWords.size()))]);
    }
  }
  return text;
}

class Replay : public testing::TestWithParam<std::string> {};

TEST_P(Replay, CorpusAndMutations) {
  const auto& all = test::fuzz_targets();
  const auto target =
      std::find_if(all.begin(), all.end(), [](const auto& t) { return t.name == GetParam(); });
  const auto files = corpus(GetParam());
  ASSERT_FALSE(files.empty()) << "tests/fuzz/corpus/" << GetParam()
                              << " needs a well-formed file to begin with";
  Rng rng(1, "fuzz/" + GetParam());
  const std::size_t mutations = 600 / files.size() + 1;
  target->run("");
  for (const std::string& file : files) {
    const std::string text = content(file);
    target->run(text);
    for (std::size_t i = 0; i < mutations; ++i) target->run(mutated(text, rng));
  }
}

std::vector<std::string> names() {
  std::vector<std::string> all;
  for (const auto& t : test::fuzz_targets()) all.push_back(t.name);
  return all;
}

INSTANTIATE_TEST_SUITE_P(Fuzz, Replay, testing::ValuesIn(names()), [](const auto& param) {
  std::string name = param.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

}  // namespace
}  // namespace kvsim
