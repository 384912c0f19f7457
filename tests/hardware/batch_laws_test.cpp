// batch-fit and batch-points against their formulas.
#include <gtest/gtest.h>

#include "hardware/cost_model.h"

namespace kvsim {
namespace {

std::unique_ptr<CostModel> model(const char* name,
                                 const std::vector<std::pair<std::string, std::string>>& given,
                                 int stages = 1) {
  Tree params = Tree::map();
  for (const auto& [key, value] : given) {
    Tree list = Tree::list();
    for (std::size_t at = 0; at <= value.size();) {
      const std::size_t end = std::min(value.find(' ', at), value.size());
      list.push(Tree::scalar(value.substr(at, end - at)));
      at = end + 1;
    }
    params.set(key, list.items().size() == 1 ? list.items()[0] : list);
  }
  CostModel::Context c;
  c.parallel.pipeline = stages;
  return Registry::instance().make<CostModel>(name, params, c);
}

StepShape decodes(std::int64_t n, std::int64_t context) {
  StepShape s;
  s.decodes = s.padded_decodes = n;
  s.decode_context_sum = context;
  s.decode_context_max = context;
  return s;
}

const std::vector<std::pair<std::string, std::string>> kFit{
    {"prefill", "20 0.1 0.00001"}, {"decode", "10 0.001 0.05"}, {"decode_large", "5 0.002 0.1"},
    {"large_from", "8"},           {"host", "2 0.0001"},        {"stage", "1"}};

TEST(BatchFit, AddsUpTokensSquaresAndContexts) {
  const auto m = model("batch-fit", kFit);
  const PrefillPiece two[] = {{100, 0, true}, {300, 0, true}};
  StepShape s;
  s.prefills = two;
  EXPECT_NEAR(static_cast<double>(to_ns(m->mixed_step(s))),
              1e6 * (20 + 0.1 * 400 + 1e-5 * (1e4 + 9e4) + 1 + 2 + 1e-4 * 400), 1);
  // In two pieces the squares are the same.
  const PrefillPiece rest[] = {{200, 100, true}};
  s.prefills = rest;
  EXPECT_NEAR(static_cast<double>(to_ns(m->mixed_step(s))),
              1e6 * (20 + 0.1 * 200 + 1e-5 * (9e4 - 1e4) + 1 + 2 + 1e-4 * 300), 1);
  // The simulator counts contexts before the token for its constant, with it for its fit.
  const auto line = [&](std::int64_t n, std::int64_t context) {
    const StepShape d = decodes(n, context);
    return static_cast<double>(to_ns(m->decode_line(d).at(d)));
  };
  EXPECT_NEAR(line(4, 1000), 1e6 * (10 + 0.001 * 1000 + 0.05 * 4 + 2 + 1e-4 * 996), 2);
  EXPECT_NEAR(line(8, 1000), 1e6 * (5 + 0.002 * 1000 + 0.1 * 8 + 2 + 1e-4 * 992), 2);
}

// Who takes over a request computes its first token's KV: that is a decode.
TEST(BatchFit, OneTokenBehindOthersIsADecode) {
  const auto m = model("batch-fit", kFit);
  const PrefillPiece joins[] = {{1, 499, true}};
  StepShape s = decodes(3, 500);
  s.prefills = joins;
  StepShape four = decodes(4, 1000);
  EXPECT_EQ(m->mixed_step(s), m->decode_line(four).at(four));
}

TEST(BatchFit, StagesShareABatchOfDecodes) {
  const auto one = model("batch-fit", kFit), two = model("batch-fit", kFit, 2);
  const StepShape s = decodes(4, 1000);
  const double a = static_cast<double>(to_ns(one->decode_line(s).at(s))),
               b = static_cast<double>(to_ns(two->decode_line(s).at(s)));
  EXPECT_NEAR(a - b, 1e6 * (0.001 * 1000 + 0.05 * 4) / 2, 2);
  EXPECT_THROW(model("batch-fit", {{"prefill", "1 2"}}), InputError);
}

TEST(BatchPoints, GoesStraightBetweenPoints) {
  const auto m = model("batch-points", {{"prompt_tokens", "100 200"},
                                        {"prompt_ms", "10 30"},
                                        {"batch", "1 3"},
                                        {"batch_ms", "5 9"}});
  const PrefillPiece one[] = {{150, 0, true}};
  StepShape s;
  s.prefills = one;
  EXPECT_EQ(to_ns(m->mixed_step(s)), 20'000'000);
  StepShape mixed = decodes(10, 5000);
  mixed.prefills = one;
  EXPECT_NEAR(static_cast<double>(to_ns(m->mixed_step(mixed))), 1.1 * 22e6, 1);
  const StepShape d = decodes(2, 700);
  EXPECT_EQ(to_ns(m->decode_line(d).at(d)), 7'000'000);
  EXPECT_THROW(model("batch-points", {{"batch", "1 2"}, {"batch_ms", "1"}}), InputError);
}

}  // namespace
}  // namespace kvsim
