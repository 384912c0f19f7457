#pragma once
// Files and sources for the tests of traces.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "sim/base/registry.h"
#include "traces/trace_source.h"

namespace kvsim::test {

// A file in the system's temporary folder that goes away with the object.
class TempFile {
 public:
  explicit TempFile(const std::string& content = "", const std::string& suffix = "") {
    static int count = 0;
    path_ = (std::filesystem::temp_directory_path() /
             ("kvsim_trace_" + std::to_string(::getpid()) + "_" + std::to_string(count++) + suffix))
                .string();
    std::ofstream(path_, std::ios::binary) << content;
  }
  ~TempFile() { std::remove(path_.c_str()); }
  TempFile(const TempFile&) = delete;
  TempFile& operator=(const TempFile&) = delete;
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Parameters as a flat map of scalars.
using Pairs = std::vector<std::pair<std::string, std::string>>;

inline std::unique_ptr<TraceSource> open_trace(const std::string& format, const std::string& path,
                                               const Pairs& params = {},
                                               TraceSource::Context context = {}) {
  context.path = path;
  Tree tree = Tree::map();
  for (const auto& [key, value] : params) tree.set(key, Tree::scalar(value));
  return Registry::instance().make<TraceSource>(format, tree, context);
}

// Everything an open-loop source gives, or a closed-loop one whose requests take `service` each.
inline std::vector<Request> drain(TraceSource& source, Duration service = Duration{0}) {
  std::vector<Request> all;
  std::vector<std::pair<Time, std::uint64_t>> running;
  const auto later = [](const auto& a, const auto& b) { return a > b; };
  while (true) {
    const auto next = source.next_arrival();
    if (!running.empty() && (!next || running.front().first <= *next)) {
      std::pop_heap(running.begin(), running.end(), later);
      const auto [at, index] = running.back();
      running.pop_back();
      source.finished(index, at);
      continue;
    }
    if (!next) return all;
    Request r;
    source.pop(r);
    EXPECT_EQ(r.arrival, *next);
    running.emplace_back(r.arrival + service, r.index);
    std::push_heap(running.begin(), running.end(), later);
    all.push_back(std::move(r));
  }
}

// A data file beside the repository, or "" (then the test is skipped visibly).
inline std::string shared_file(const std::string& name) {
  const std::string path = std::string(KVSIM_SOURCE_DIR) + "/../shared/" + name;
  return std::filesystem::exists(path) ? path : "";
}

}  // namespace kvsim::test

#define KVSIM_SHARED_FILE(variable, name)                        \
  const std::string variable = ::kvsim::test::shared_file(name); \
  if (variable.empty()) GTEST_SKIP() << "no ../shared/" << (name)
