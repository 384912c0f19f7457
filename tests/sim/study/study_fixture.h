#pragma once
// Studies of a small scenario, written into a folder of the test.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "sim/base/diagnostics.h"
#include "sim/study/study_plan.h"

namespace kvsim::study_test {

class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "kvsim-study-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp");
    path_ = name;
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string operator/(const std::string& file) const { return path_ + "/" + file; }
  // A study of `text` on a scenario of 30 requests.
  std::string study(const std::string& text, const std::string& file = "study.yaml") const {
    std::ofstream(*this / "base.yaml")
        << "include: " << KVSIM_SOURCE_DIR << "/scenarios/quickstart.yaml\n"
        << "workload: {limit: 30, trace: {format: mooncake, file: " << KVSIM_SOURCE_DIR
        << "/traces/samples/chat.jsonl}}\n";
    std::ofstream(*this / file) << "name: test\nbase: base.yaml\n" << text;
    return *this / file;
  }

 private:
  std::string path_;
};

inline std::string read_file(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

// Every mistake of a study, one below the other; "" when there is none.
inline std::string mistakes(const std::string& path) {
  try {
    prepare_study(path);
  } catch (const InputError& e) {
    return e.what();
  }
  return {};
}

inline void expect_holds(const std::string& text, const std::vector<std::string>& parts) {
  for (const std::string& p : parts)
    EXPECT_NE(text.find(p), std::string::npos) << "'" << p << "' is not in:\n" << text;
}

// "a=1 b=2" of a point.
inline std::string sets(const StudyPlan& plan, std::size_t point) {
  std::string out;
  for (const TrialParam& p : plan.params(point))
    out += (out.empty() ? "" : " ") + p.path + "=" + p.value;
  return out;
}

}  // namespace kvsim::study_test
