// The number of KV blocks, against measured engines and by hand.
#include "models/memory_plan.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "tests/models/catalogue.h"

namespace kvsim {
namespace {

constexpr double kGiB = 1024.0 * 1024 * 1024;
Bytes gib(double v) { return Bytes{static_cast<std::int64_t>(v * kGiB)}; }

TEST(MemoryPlan, IsTheSumOfItsParts) {
  const ModelSpec m = test::catalogue("llama-3.1-8b");
  MemoryPlan plan;
  plan.total = gib(80);
  plan.utilization = Ratio{0.9};
  plan.activation = gib(1);
  plan.other = gib(0.5);
  plan.graph_pool = gib(0.25);
  const MemoryBudget b = plan_memory(m, {}, {}, plan);
  EXPECT_EQ(b.kv, b.usable - b.weights - b.activation - b.graph_pool - b.other);
  // 72 GiB - 16,060,522,496 B - 1.75 GiB, in blocks of 16 * 131,072 B
  EXPECT_EQ(b.blocks.count(), (72LL * (1LL << 30) - 16'060'522'496 - (7LL << 28)) / (16 * 131'072));
}

// The stage with the least room sets the number for all.
TEST(MemoryPlan, MinimumOverStages) {
  const ModelSpec m = test::catalogue("llama-3.1-8b");
  MemoryPlan plan;
  plan.total = gib(24);
  const Parallel split{1, 2, 1, false};
  const MemoryBudget b = plan_memory(m, split, {}, plan);
  EXPECT_EQ(b.weights, rank_weight_bytes(m, split, {}));
  EXPECT_EQ(b.block.count(), 16 * 131072 / 2);
}

TEST(MemoryPlan, SaysWhyNothingFits) {
  MemoryPlan plan;
  plan.total = gib(80);
  try {
    plan_memory(test::catalogue("llama-3.1-70b"), {}, {}, plan);
    FAIL() << "70B in 16 bits cannot fit in 80 GiB";
  } catch (const InputError& e) {
    EXPECT_NE(std::string(e.what()).find("weights 131.42 GiB"), std::string::npos) << e.what();
  }
}

std::vector<std::string> cells(const std::string& line) {
  std::vector<std::string> all;
  std::stringstream s(line);
  for (std::string cell; std::getline(s, cell, ',');) all.push_back(cell);
  return all;
}

// A start-up log of Llama-3.1-8B on an H100 (vLLM 0.2x, 8192 tokens, 1024 sequences): 1.44 GiB peak
// activation.
TEST(MemoryPlan, ActivationOfALog) {
  const Bytes a = activation_estimate(test::catalogue("llama-3.1-8b"), {}, {}, 8192, 1024);
  EXPECT_NEAR(static_cast<double>(a.count()) / kGiB, 1.44, 0.1);
}

// Block counts that vLLM 0.15.1 found on H100 SXM (79.19 GiB by the driver, utilization 0.9), one
// row per deployment. Left out: Scout (its file counts hybrid groups) and e13, whose count equals
// Scout's and contradicts e12 of the same model.
TEST(MemoryPlan, MeasuredDeployments) {
  const std::string path =
      std::string(KVSIM_SOURCE_DIR) + "/../shared/validation/fleet-measurements/h100.csv";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is absent";
  const std::map<std::string, std::string> ids{{"Llama-3.1-70B-Instruct", "llama-3.1-70b"},
                                               {"Mistral-Nemo-Instruct-2407", "mistral-nemo-12b"},
                                               {"Qwen2.5-7B-Instruct", "qwen2.5-7b"},
                                               {"Yi-34B", "yi-34b"},
                                               {"Llama-2-7b-hf", "llama-2-7b"}};
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  int rows = 0;
  while (std::getline(in, line)) {
    const auto c = cells(line);
    ASSERT_GE(c.size(), 9U);
    if (!ids.contains(c[1]) || c[0] == "e13") continue;
    MemoryPlan plan;
    plan.total = gib(79.19);
    plan.max_batched_tokens = std::stoll(c[6]);
    plan.max_running = std::stoll(c[7]);
    const Parallel split{std::stoi(c[3]), 1, 1, false};
    const MemoryBudget b = plan_memory(test::catalogue(ids.at(c[1])), split, {}, plan);
    const double measured = std::stod(c[8]);
    EXPECT_NEAR(static_cast<double>(b.blocks.count()) / measured, 1.0, 0.011)
        << c[0] << " " << c[1] << " blocks " << b.blocks.count();
    RecordProperty(c[0], std::to_string(static_cast<double>(b.blocks.count()) / measured - 1));
    ++rows;
  }
  EXPECT_GE(rows, 8);
}

}  // namespace
}  // namespace kvsim
