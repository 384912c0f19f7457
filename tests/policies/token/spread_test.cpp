#include "policies/token/budgets/spread.h"

#include <gtest/gtest.h>

#include <numeric>

#include "policies/token/spec.h"
#include "sim/base/random.h"

namespace kvsim::token {
namespace {

TEST(TokenBudgets, SpreadAddsUpWithinBounds) {
  Rng rng(3, "spread");
  for (int round = 0; round < 200; ++round) {
    std::vector<double> weights;
    for (std::uint64_t n = 1 + rng.below(20); n > 0; --n) weights.push_back(rng.uniform());
    const auto count = static_cast<std::int64_t>(weights.size());
    const auto low = static_cast<std::int64_t>(rng.below(5)),
               high = low + 1 + static_cast<std::int64_t>(rng.below(50));
    const std::int64_t total =
        low * count +
        static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>((high - low) * count + 1)));
    const auto out = spread(weights, total, low, high);
    EXPECT_EQ(std::accumulate(out.begin(), out.end(), std::int64_t{0}), total);
    for (const std::int64_t o : out) {
      EXPECT_GE(o, low);
      EXPECT_LE(o, high);
    }
  }
}

TEST(TokenBudgets, SpreadIsInProportion) {
  const std::vector<double> weights{1, 2, 3, 4};
  EXPECT_EQ(spread(weights, 100, 0, 1000), (std::vector<std::int64_t>{10, 20, 30, 40}));
  // What one cannot take goes to the others.
  EXPECT_EQ(spread(weights, 100, 0, 35), (std::vector<std::int64_t>{11, 22, 32, 35}));
}

std::vector<std::int64_t> allocated(const char* name, const Tree& params, BudgetQuestion q) {
  const auto budget = Registry::instance().make<TokenBudget>(name, params, {});
  std::vector<HeadPlan> plans(static_cast<std::size_t>(q.layers * q.heads));
  for (HeadPlan& p : plans) p = {q.tokens, q.sinks, q.recent, false, false, false};
  budget->allocate(q, plans);
  std::vector<std::int64_t> out;
  for (const HeadPlan& p : plans) out.push_back(p.tokens);
  return out;
}

// PyramidKV's own formula: c = B - w, from 2c - c / beta down to c / beta, plus the window.
TEST(TokenBudgets, PyramidFollowsItsFormula) {
  BudgetQuestion q;
  q.layers = 32;
  q.prompt = 16384;
  q.tokens = 2048;
  q.recent = 64;
  const auto out = allocated("pyramid", Tree::map(), q);
  const double c = 1984, least = c / 20, most = 2 * c - least;
  for (std::size_t l = 0; l < out.size(); ++l)
    EXPECT_NEAR(static_cast<double>(out[l]),
                64 + most - static_cast<double>(l) * (most - least) / 31, 1.0);
  EXPECT_EQ(std::accumulate(out.begin(), out.end(), std::int64_t{0}), 2048 * 32);
}

TEST(TokenBudgets, PooledHeadsTakeTheBestOfAll) {
  BudgetQuestion q;
  q.heads = 2;
  q.prompt = 6;
  q.tokens = 3;
  const std::vector<float> strong{9, 8, 7, 6, 5, 4}, weak{1, 1, 1, 1, 1, 1};
  q.scores = {strong, weak};
  // A floor of 20 % of 3 is nothing: all six go to the strong head.
  EXPECT_EQ(allocated("pooled-heads", Tree::map(), q), (std::vector<std::int64_t>{6, 0}));
  EXPECT_EQ(allocated("pooled-heads", parameters({{"floor", "50 %"}}), q),
            (std::vector<std::int64_t>{5, 1}));
}

TEST(TokenBudgets, MassThresholdGivesFlatLayersMore) {
  BudgetQuestion q;
  q.layers = 2;
  q.prompt = 8;
  q.tokens = 4;
  const std::vector<float> peaked{100, 1, 1, 1, 1, 1, 1, 1}, flat{1, 1, 1, 1, 1, 1, 1, 1};
  q.scores = {peaked, flat};
  const auto out = allocated("mass-threshold", Tree::map(), q);
  EXPECT_EQ(out[0] + out[1], 8);
  EXPECT_LT(out[0], out[1]);
}

}  // namespace
}  // namespace kvsim::token
