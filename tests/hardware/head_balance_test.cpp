// Heads over ranks: against brute force over all assignments, and the cost law against the
// roofline.
#include "hardware/head_balance.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "sim/base/random.h"
#include "tests/hardware/fake_model.h"

namespace kvsim {
namespace {

// The least possible load of the fullest rank, over all ways to deal the heads out.
double brute_force(const std::vector<double>& budgets, int ranks) {
  std::size_t ways = 1;
  for (std::size_t h = 0; h < budgets.size(); ++h) ways *= static_cast<std::size_t>(ranks);
  double best = 1e300;
  for (std::size_t w = 0; w < ways; ++w) {
    std::vector<double> load(static_cast<std::size_t>(ranks), 0);
    std::size_t code = w;
    for (const double b : budgets) {
      load[code % load.size()] += b;
      code /= load.size();
    }
    best = std::min(best, *std::max_element(load.begin(), load.end()));
  }
  return best;
}

TEST(HeadBalance, WithinGrahamsBoundOfBruteForce) {
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    Rng rng(seed, "heads");
    const int ranks = 2 + static_cast<int>(rng.below(3));
    std::vector<double> budgets(static_cast<std::size_t>(ranks) * (1 + rng.below(2)) +
                                rng.below(3));
    for (double& b : budgets) b = rng.lognormal(0, 1);
    const double best = brute_force(budgets, ranks);
    const HeadPlan p = balanced_heads(budgets, ranks, 0);
    EXPECT_GE(p.fullest(), best - 1e-12) << seed;
    EXPECT_LE(p.fullest(), best * (4.0 / 3 - 1.0 / (3 * ranks)) + 1e-12) << seed;
    for (const auto& r : p.ranks_of) EXPECT_EQ(r.size(), 1U);
    double sum = 0, dealt = 0;
    for (const double b : budgets) sum += b;
    for (const double l : p.load) dealt += l;
    EXPECT_NEAR(sum, dealt, 1e-9);
  }
}

TEST(HeadBalance, CopiesSplitTheHeaviest) {
  const std::vector<double> budgets{8, 1, 1, 1, 1, 1, 1, 2};
  EXPECT_DOUBLE_EQ(heads_in_order(budgets, 4).fullest(), 9);
  EXPECT_DOUBLE_EQ(balanced_heads(budgets, 4, 0).fullest(), 8);  // no dealing splits a head
  EXPECT_DOUBLE_EQ(balanced_heads(budgets, 4, 1).fullest(), 4);
  const HeadPlan p = balanced_heads(budgets, 4, 3);
  EXPECT_DOUBLE_EQ(p.imbalance(), 1);
  std::vector<int> of = p.ranks_of[0];
  std::sort(of.begin(), of.end());
  EXPECT_EQ(of, (std::vector<int>{0, 1, 2, 3}));                // one copy a rank at most
  EXPECT_EQ(balanced_heads(budgets, 4, 1000).load.size(), 4U);  // more than there is room for
}

TEST(HeadBalance, AttentionWaitsForTheFullestRank) {
  FakeModel model;
  model.f.parallel.tensor = 2;
  DeviceSpec d;
  d.name = "round";
  d.bandwidth = Bandwidth{1e12};
  d.compute = {{"bf16", FlopRate{1e14}}};
  LinkSpec l;
  l.bandwidth = Bandwidth{1e11};
  Parallel p;
  p.tensor = 2;
  const auto make = [&](const char* law, const std::vector<const char*>& budgets) {
    Tree params = Tree::map();
    if (!budgets.empty()) {
      Tree list = Tree::list();
      for (const char* b : budgets) list.push(Tree::scalar(b));
      params.set("budgets", std::move(list));
    }
    return Registry::instance().make<CostModel>(law, params, {&model, &d, &l, p, {}});
  };
  const auto even = make("head-balance", {"1", "1"}), uneven = make("head-balance", {"3", "1"}),
             roofline = make("roofline", {});
  const StepShape s = decodes(4, 8000, 3000), twice = decodes(4, 16000, 6000);
  const auto ns = [](CostModel& c, const StepShape& shape) {
    return static_cast<double>(to_ns(c.mixed_step(shape)));
  };
  EXPECT_EQ(ns(*even, s), ns(*roofline, s));
  // Three quarters on one of two ranks: 1.5 times the reading.
  const double reading = ns(*roofline, twice) - ns(*roofline, s);
  EXPECT_NEAR(ns(*uneven, s), ns(*roofline, s) + 0.5 * reading, 3);
  const PrefillPiece piece{200, 0, true};
  StepShape mixed = s;
  mixed.prefills = {&piece, 1};
  EXPECT_NEAR(ns(*uneven, mixed), ns(*roofline, mixed) + 0.5 * reading, 3);
  double all = 0;
  for (const CostModel::Part& part : uneven->explain(mixed)) all += part.ns;
  EXPECT_NEAR(all, ns(*uneven, mixed), 3);
  EXPECT_THROW(make("head-balance", {"1", "1", "1"}), InputError);
}

}  // namespace
}  // namespace kvsim
