// Every shipped model: readable, sourced, and as heavy as its authors say.
#include <gtest/gtest.h>

#include <cmath>

#include "models/geometry.h"
#include "tests/models/catalogue.h"

namespace kvsim {
namespace {

// A wrong dimension moves the count by several percent; what our formula leaves out (sinks, router
// biases, a vision tower in two published totals) stays below 1.5 %.
TEST(Catalog, WeightsMatchThePublishedCount) {
  const auto names = test::catalogue_names();
  EXPECT_GE(names.size(), 36U);
  for (const std::string& name : names) {
    const ModelSpec m = test::catalogue(name);
    EXPECT_EQ(m.name, name);
    EXPECT_FALSE(m.source.empty()) << name;
    EXPECT_FALSE(m.text.empty()) << name;
    if (m.published_parameters == 0) {  // shapes from papers say so
      EXPECT_NE(m.source.find("no published count of weights"), std::string::npos) << name;
      continue;
    }
    const auto total = static_cast<double>(parameters(m).total());
    EXPECT_NEAR(total / m.published_parameters, 1.0, 0.015) << name << " has " << total;
    RecordProperty(name, std::to_string(total / m.published_parameters - 1));
  }
}

// Families whose every weight the formula counts agree to the last one.
TEST(Catalog, ExactWhereEveryWeightIsCounted) {
  for (const char* name :
       {"llama-7b",   "llama-65b",     "llama-2-70b",     "llama-3.1-8b", "llama-3.1-405b",
        "opt-6.7b",   "opt-13b",       "opt-30b",         "qwen2.5-7b",   "qwen2.5-72b",
        "qwen3-8b",   "qwen3-30b-a3b", "qwen3-235b-a22b", "mistral-7b",   "mixtral-8x7b",
        "gemma-2-9b", "gemma-2-27b",   "phi-3-mini",      "phi-4",        "yi-34b"}) {
    const ModelSpec m = test::catalogue(name);
    EXPECT_EQ(static_cast<double>(parameters(m).total()), m.published_parameters) << name;
  }
}

// Active weights per token as published: DeepSeek-V3 37B, Qwen3-30B-A3B 3.3B, Mixtral 12.9B,
// gpt-oss-120b 5.1B (without the embedding table, as its authors count).
TEST(Catalog, ActiveWeights) {
  EXPECT_NEAR(static_cast<double>(active_parameters(test::catalogue("deepseek-v3"))), 37e9, 1e9);
  EXPECT_NEAR(static_cast<double>(active_parameters(test::catalogue("qwen3-30b-a3b"))), 3.3e9,
              0.1e9);
  EXPECT_NEAR(static_cast<double>(active_parameters(test::catalogue("mixtral-8x7b"))), 12.9e9,
              0.1e9);
  const ModelSpec oss = test::catalogue("gpt-oss-120b");
  EXPECT_NEAR(static_cast<double>(active_parameters(oss) - parameters(oss).embedding), 5.1e9,
              0.1e9);
}

}  // namespace
}  // namespace kvsim
