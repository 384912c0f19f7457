#pragma once
// Scenarios that somebody got wrong, and the exact words he reads: all mistakes at once, each with
// its place.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "sim/run/build.h"
#include "sim/scenario/scenario.h"

namespace kvsim::test {

struct BrokenScenario {
  const char* name;
  std::string text;      // of s.yaml
  const char* expected;  // the whole message; a line that ends in '*' is compared up to there
  std::vector<std::string> overrides = {};
};

inline void PrintTo(const BrokenScenario& b, std::ostream* out) { *out << b.name; }

// A folder with s.yaml and the files that scenarios may name.
class BrokenFolder {
 public:
  explicit BrokenFolder(const std::string& text)
      : path_(std::filesystem::temp_directory_path() /
              ("kvsim_broken_" + std::to_string(::getpid()))) {
    std::filesystem::create_directories(path_);
    write("s.yaml", text);
    write("good.csv", "arrived_at,num_prefill_tokens,num_decode_tokens\n1,2,3\n");
    write("empty.csv", "arrived_at,num_prefill_tokens,num_decode_tokens\n");
    write("bad.csv", "a,b\n1,2\n");
    write("good.yaml", "seed: 3\n");
    write("broken.yaml", "a: [\n");
    write("circle.yaml", "include: s.yaml\n");
    write("unknown.json", R"({"model_type": "lama", "hidden_size": 8})");
    write("shapeless.json",
          R"({"model_type": "llama", "hidden_size": 4096, "num_attention_heads": 33})");
    write("device.yaml", "name: x\nmemory: 80 GiB\n");
  }
  ~BrokenFolder() { std::filesystem::remove_all(path_); }
  BrokenFolder(const BrokenFolder&) = delete;
  BrokenFolder& operator=(const BrokenFolder&) = delete;
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(path_ / name, std::ios::binary) << text;
  }
  [[nodiscard]] std::string file(const std::string& name) const { return (path_ / name).string(); }

  // What `kvsim check s.yaml` says, without the folder in front of the names; "" when all is well.
  [[nodiscard]] std::string check(const std::vector<std::string>& overrides) const {
    try {
      Diagnostics d;
      const LoadedScenario loaded = load_scenario(file("s.yaml"), overrides, d);
      build_run(loaded, true, d);
      d.throw_if_any();
      return {};
    } catch (const InputError& e) {
      std::string text = e.what();
      const std::string folder = path_.string() + "/";
      for (std::size_t at = 0; (at = text.find(folder, at)) != std::string::npos;)
        text.erase(at, folder.size());
      return text;
    }
  }

 private:
  std::filesystem::path path_;
};

inline void expect_broken(const BrokenScenario& b) {
  const std::string message = BrokenFolder(b.text).check(b.overrides);
  std::istringstream read(message), expected(b.expected);
  std::string line, wanted;
  while (std::getline(expected, wanted)) {
    ASSERT_TRUE(std::getline(read, line)) << "missing: " << wanted << "\nread:\n" << message;
    if (wanted.ends_with('*')) {
      wanted.pop_back();
      line.resize(std::min(line.size(), wanted.size()));
    }
    EXPECT_EQ(line, wanted) << "in:\n" << message;
  }
  EXPECT_FALSE(std::getline(read, line)) << "not expected: " << line;
}

}  // namespace kvsim::test
