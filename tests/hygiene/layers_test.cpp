// Who may include whom. The layers are what keeps a policy from reaching the engine and a model
// from knowing a device.
#include <gtest/gtest.h>

#include <map>

#include "tests/hygiene/source_tree.h"

namespace kvsim {
namespace {

struct Layer {
  std::set<std::string> may_include;  // layers besides itself, or single headers
  std::set<std::string>
      third_party;                   // first part of <name/...> or the header; fmt is for everybody
  std::set<std::string> shown = {};  // of these, what may stand in the layer's own headers
};

// README.md draws the same picture.
const std::map<std::string, Layer> kLayers{
    {"sim/base", {{}, {"boost"}}},
    // Vulkan shows in one header, for the files that drive a device.
    {"kernels", {{"sim/base"}, {"Eigen", "vulkan", "hwy"}, {"vulkan/vulkan.h"}}},
    {"sim/state",
     {{"sim/base"},
      {"boost"},
      {"boost/unordered/unordered_flat_map.hpp", "boost/unordered/unordered_flat_set.hpp"}}},
    {"models", {{"sim/base"}, {}}},
    {"hardware", {{"sim/base"}, {"Eigen", "boost", "zlib.h", "zstd.h"}}},
    {"traces", {{"sim/base"}, {"simdjson.h", "zlib.h", "zstd.h"}}},
    {"policies", {{"sim/base", "sim/state"}, {}}},
    // Token policies do their arithmetic on tensors.
    {"policies/token", {{"sim/base", "sim/state", "kernels"}, {}}},
    {"sim/engine",
     {{"sim/base", "sim/state", "hardware/cost_model.h", "hardware/flow_network.h", "policies",
       "traces/trace_source.h"},
      {"boost"},
      {"boost/unordered/unordered_flat_map.hpp"}}},
    {"sim/scenario", {{"sim/base"}, {"yaml-cpp"}}},
    {"sim/record", {{"sim/base", "sim/state"}, {"sqlite3.h"}}},
    // Replay of block streams without timing.
    {"sim/cache", {{"sim/base", "sim/state", "traces", "policies"}, {}}},
    // Token policies on tensors; reads files of weights, knows no run.
    {"sim/quality", {{"sim/base", "kernels", "policies/token", "sim/scenario"}, {}}},
    // Fitting to measured deployments replays them, so it stands above sim/run.
    {"sim/calibrate",
     {{"sim/base", "sim/state", "models", "hardware", "kernels", "traces", "policies", "sim/engine",
       "sim/scenario", "sim/record", "sim/run"},
      {"Eigen"}}},
    {"sim/run",
     {{"sim/base", "sim/state", "models", "hardware", "traces", "policies", "sim/engine",
       "sim/scenario", "sim/record", "kernels", "policies/token", "sim/quality"},
      {}}},
    // Many runs: studies, plans, comparisons, the gallery.
    {"sim/study",
     {{"sim/base", "sim/state", "models", "hardware", "traces", "policies", "sim/engine",
       "sim/scenario", "sim/record", "sim/run", "sim/cache"},
      {"mpi.h"}}},
    // Reads result files, never the engine.
    {"sim/report", {{"sim/base", "sim/record"}, {}}},
    {"sim/cli",
     {{"sim/base", "sim/state", "models", "hardware", "traces", "policies", "sim/engine",
       "sim/scenario", "sim/record", "sim/calibrate", "sim/cache", "sim/run", "kernels",
       "sim/study", "sim/report", "policies/token", "sim/quality"},
      {"boost"},
      {"boost/program_options.hpp"}}},
};

const std::set<std::string> kKnownThirdParty{"boost",     "Eigen",  "yaml-cpp", "simdjson.h",
                                             "sqlite3.h", "zlib.h", "zstd.h",   "gtest",
                                             "vulkan",    "mpi.h",  "fmt",      "hwy"};

// "sim/base" of "sim/base/tree.h", "traces" of "traces/formats/azure.cpp"; "" for files at the
// root.
std::string layer_of(const std::string& path) {
  std::size_t end = path.find('/');
  if (end == std::string::npos) return {};
  if (path.starts_with("sim/") || path.starts_with("policies/token/"))
    end = path.find('/', end + 1);
  return end == std::string::npos ? std::string{} : path.substr(0, end);
}

bool may_include(const Layer& layer, const std::string& own, const std::string& header) {
  return layer_of(header) == own || layer.may_include.contains(layer_of(header)) ||
         layer.may_include.contains(header);
}

void check_third_party(const test::SourceFile& file, const std::string& header, const Layer& layer,
                       std::size_t line) {
  const std::string library = header.substr(0, header.find('/'));
  if (!kKnownThirdParty.contains(library) || library == "fmt") return;
  EXPECT_TRUE(layer.third_party.contains(library))
      << file.path << ":" << line << ": this layer must not use <" << header << ">";
  if (file.path.ends_with(".h")) {
    EXPECT_TRUE(layer.shown.contains(header))
        << file.path << ":" << line << ": <" << header << "> belongs into a .cpp";
  }
}

TEST(Hygiene, LayersIncludeOnlyWhatTheyMay) {
  std::size_t edges = 0;
  for (const test::SourceFile& file : test::source_files()) {
    const std::string own = layer_of(file.path);
    if (!file.is_code() || file.is_test()) continue;
    const auto layer = kLayers.find(own);
    ASSERT_NE(layer, kLayers.end()) << file.path << " lies in no known layer";
    test::each_line(file, [&](std::size_t number, std::string_view line) {
      if (!line.starts_with("#include ") || line.size() < 12) return;
      const char close = line[9] == '<' ? '>' : '"';
      const std::string header(line.substr(10, line.find(close, 10) - 10));
      ++edges;
      if (close == '>') return check_third_party(file, header, layer->second, number);
      EXPECT_TRUE(may_include(layer->second, own, header))
          << file.path << ":" << number << ": " << own << " must not include " << header;
      EXPECT_TRUE(std::filesystem::exists(std::filesystem::path(KVSIM_SOURCE_DIR) / header))
          << file.path << ":" << number << ": " << header << " is not named from the root";
    });
  }
  EXPECT_GT(edges, 300U);
}

TEST(Hygiene, HeadersBeginWithPragmaOnceAndAContract) {
  for (const test::SourceFile& file : test::source_files()) {
    if (!file.path.ends_with(".h")) continue;
    EXPECT_TRUE(file.text.starts_with("#pragma once\n//"))
        << file.path << ": #pragma once, then what the file promises";
  }
}

}  // namespace
}  // namespace kvsim
