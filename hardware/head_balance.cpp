// head-balance: roofline, with decode attention as slow as the tensor-parallel rank that holds the
// most KV. Token policies that give heads budgets of their own (AdaKV, HeadKV, PyramidKV by head)
// make ranks unequal; FairKV assigns heads by budget and copies the heaviest. The budgets are those
// of one layer's KV heads, in any unit, and hold for every layer; weights of copied heads are not
// counted.
#include "hardware/head_balance.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <numeric>

#include "hardware/cost_model.h"
#include "hardware/decode_line.h"

namespace kvsim {

double HeadPlan::fullest() const { return *std::max_element(load.begin(), load.end()); }

double HeadPlan::imbalance() const {
  const double sum = std::accumulate(load.begin(), load.end(), 0.0);
  return sum > 0 ? fullest() * static_cast<double>(load.size()) / sum : 1;
}

HeadPlan heads_in_order(std::span<const double> budgets, int ranks) {
  HeadPlan p;
  p.load.assign(static_cast<std::size_t>(ranks), 0);
  const std::size_t each = budgets.size() / static_cast<std::size_t>(ranks);
  for (std::size_t h = 0; h < budgets.size(); ++h) {
    p.load[h / each] += budgets[h];
    p.ranks_of.push_back({static_cast<int>(h / each)});
  }
  return p;
}

HeadPlan balanced_heads(std::span<const double> budgets, int ranks, int copies) {
  std::vector<int> count(budgets.size(), 1);
  const auto share = [&](std::size_t h) { return budgets[h] / count[h]; };
  for (int c = 0; c < copies; ++c) {
    std::size_t heaviest = budgets.size();
    for (std::size_t h = 0; h < budgets.size(); ++h)
      if (count[h] < ranks && (heaviest == budgets.size() || share(h) > share(heaviest)))
        heaviest = h;
    if (heaviest == budgets.size()) break;
    ++count[heaviest];
  }
  std::vector<std::size_t> order(budgets.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return share(a) > share(b); });
  HeadPlan p;
  p.load.assign(static_cast<std::size_t>(ranks), 0);
  p.ranks_of.resize(budgets.size());
  for (const std::size_t h : order) {
    std::vector<int> by_load(static_cast<std::size_t>(ranks));
    std::iota(by_load.begin(), by_load.end(), 0);
    std::stable_sort(by_load.begin(), by_load.end(), [&](int a, int b) {
      return p.load[static_cast<std::size_t>(a)] < p.load[static_cast<std::size_t>(b)];
    });
    for (int c = 0; c < count[h]; ++c) {
      const int r = by_load[static_cast<std::size_t>(c)];
      p.load[static_cast<std::size_t>(r)] += share(h);
      p.ranks_of[h].push_back(r);
    }
  }
  return p;
}

namespace {

enum class Assignment : std::uint8_t { in_order, balanced };
constexpr auto enum_names(Assignment) {
  return std::array{std::pair{Assignment::in_order, "in-order"},
                    std::pair{Assignment::balanced, "balanced"}};
}

class HeadBalance final : public CostModel {
 public:
  struct Params {
    std::vector<double> budgets;
    Assignment assignment = Assignment::in_order;
    int copies = 0;
    static constexpr Rows kFields{
        field("budgets", &Params::budgets, between(0.0, 1e12),
              "KV of each key-value head of a layer, in any unit"),
        field("assignment", &Params::assignment, any,
              "in-order: as tensor parallelism cuts heads; balanced: the heaviest first, to the "
              "least loaded rank"),
        field("copies", &Params::copies, between(0, 1024),
              "of balanced: further copies of the heaviest heads, each for a share of the batch")};
  };

  HeadBalance(const Params& p, const Context& c)
      : inner_(Registry::instance().make<CostModel>("roofline", Tree::map(), c)) {
    const int ranks = c.parallel.tensor;
    if (ranks < 2)
      throw InputError("head-balance is about heads on several ranks",
                       "set deployment.parallel.tensor: 2 or more");
    if (p.budgets.empty() || p.budgets.size() % static_cast<std::size_t>(ranks) != 0)
      throw InputError(fmt::format("{} budgets over {} ranks", p.budgets.size(), ranks),
                       "give one for each key-value head of a layer, a multiple of the ranks");
    if (p.copies > 0 && p.assignment == Assignment::in_order)
      throw InputError("copies need cost.assignment: balanced");
    factor_ = (p.assignment == Assignment::in_order ? heads_in_order(p.budgets, ranks)
                                                    : balanced_heads(p.budgets, ranks, p.copies))
                  .imbalance();
  }

  Duration mixed_step(const StepShape& s) override {
    if (s.prefills.empty()) return decode_line(s).at(s);
    StepShape unit = s;
    unit.prefills = {};
    unit.padded_decodes = s.decodes;
    const RealLine more = wait(unit);
    double ns = static_cast<double>(to_ns(inner_->mixed_step(s))) +
                more.per_context * static_cast<double>(s.decode_context_sum);
    for (std::size_t i = 0; i < kMaxWindows; ++i)
      ns += more.per_window[i] * static_cast<double>(s.decode_window_sum[i]);
    return from_ns_ceil(ns);
  }

  DecodeLine decode_line(const StepShape& s) override {
    const DecodeLine line = inner_->decode_line(s);
    const double unit = 1 / static_cast<double>(std::int64_t{1} << line.shift);
    RealLine r;
    r.base = static_cast<double>(line.base) * unit;
    r.per_max = static_cast<double>(line.per_max) * unit;
    r.per_context = static_cast<double>(line.per_context) * unit * factor_;
    for (std::size_t i = 0; i < kMaxWindows; ++i)
      r.per_window[i] = static_cast<double>(line.per_window[i]) * unit * factor_;
    return to_integers(r, s, line.iterations);
  }

  std::vector<Part> explain(const StepShape& s) override {
    std::vector<Part> all = inner_->explain(s);
    const RealLine more = wait(s);
    double ns = more.per_context * static_cast<double>(s.decode_context_sum);
    for (std::size_t i = 0; i < kMaxWindows; ++i)
      ns += more.per_window[i] * static_cast<double>(s.decode_window_sum[i]);
    all.push_back({"fullest_rank", ns});
    return all;
  }

 private:
  // What the fullest rank reads beyond the mean, by token of context.
  RealLine wait(StepShape s) {
    s.prefills = {};
    RealLine r;
    if (s.decodes == 0) return r;
    const DecodeLine line = inner_->decode_line(s);
    const double unit = (factor_ - 1) / static_cast<double>(std::int64_t{1} << line.shift);
    r.per_context = static_cast<double>(line.per_context) * unit;
    for (std::size_t i = 0; i < kMaxWindows; ++i)
      r.per_window[i] = static_cast<double>(line.per_window[i]) * unit;
    return r;
  }

  std::unique_ptr<CostModel> inner_;
  double factor_ = 1;
};

const Register<HeadBalance> kSelf{
    "head-balance", "roofline; decode attention waits for the rank whose KV heads have the most",
    "FairKV (arXiv:2502.15804)"};

}  // namespace
}  // namespace kvsim
