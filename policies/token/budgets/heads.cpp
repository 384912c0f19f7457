// Heads of a layer differ: by their scores, by a share known beforehand, by their class.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "policies/token/budgets/spread.h"

namespace kvsim::token {
namespace {

// The best of all heads of a layer together, after a floor for each (Ada-KV). Lowers the bound on
// the output's error that the score implies.
class PooledHeads final : public TokenBudget {
 public:
  struct Params {
    Ratio floor{0.2};
    static constexpr Rows kFields{field("floor", &Params::floor, between(Ratio{0}, Ratio{1}),
                                        "of the mean, for each head in any case")};
  };
  PooledHeads(Params p, const Context&) : p_(p) {}
  [[nodiscard]] bool by_head() const override { return true; }
  void allocate(const BudgetQuestion& q, std::span<HeadPlan> plans) const override {
    if (fits(q) || q.scores.empty()) return;
    const std::int64_t spared = protected_tokens(q);
    const std::int64_t mean = q.tokens - spared;
    const auto safe = static_cast<std::int64_t>(p_.floor.value * static_cast<double>(mean));
    for (std::int64_t l = 0; l < q.layers; ++l) {
      std::vector<std::pair<float, std::int64_t>> rest;  // -score, head; each head's after its safe
      for (std::int64_t h = 0; h < q.heads; ++h) {
        const auto& scores = q.scores[static_cast<std::size_t>(l * q.heads + h)];
        std::vector<float> own(scores.begin() + q.sinks, scores.end() - q.recent);
        std::sort(own.begin(), own.end(), std::greater<>());
        for (std::int64_t i = safe; i < std::ssize(own); ++i)
          rest.emplace_back(-own[static_cast<std::size_t>(i)], h);
        plans[static_cast<std::size_t>(l * q.heads + h)].tokens = spared + safe;
      }
      std::stable_sort(rest.begin(), rest.end());
      const std::int64_t shared = std::min<std::int64_t>((mean - safe) * q.heads, std::ssize(rest));
      for (std::int64_t i = 0; i < shared; ++i)
        ++plans[static_cast<std::size_t>(l * q.heads + rest[static_cast<std::size_t>(i)].second)]
              .tokens;
    }
  }

 private:
  Params p_;
};

// A base for every head, and the rest by what each head is worth (HeadKV).
class HeadShare final : public TokenBudget {
 public:
  struct Params {
    double beta = 1.5;
    std::vector<double> worth;
    static constexpr Rows kFields{
        field("beta", &Params::beta, between(1.0, 1000.0), "1 / beta of the mean is shared out"),
        field("worth", &Params::worth, at_least(0.0),
              "of each head, layer by layer; empty: its attention beyond first and newest tokens")};
  };
  HeadShare(Params p, const Context&) : p_(std::move(p)) {}
  [[nodiscard]] std::int64_t rows() const override { return p_.worth.empty() ? 64 : 0; }
  [[nodiscard]] bool by_head() const override { return true; }
  void allocate(const BudgetQuestion& q, std::span<HeadPlan> plans) const override {
    if (fits(q)) return;
    std::vector<double> worth(plans.size(), 1.0);
    for (std::size_t i = 0; i < plans.size(); ++i) {
      if (!p_.worth.empty())
        worth[i] = p_.worth[i % p_.worth.size()];
      else if (!q.attention.empty())
        worth[i] = far_share(q.attention[i], q.sinks, q.recent);
    }
    const double sum = std::max(1e-30, std::accumulate(worth.begin(), worth.end(), 0.0));
    const auto n = static_cast<double>(plans.size());
    for (double& w : worth) w = 1 - 1 / p_.beta + w / sum * n / p_.beta;
    const auto tokens = spread(worth, q.tokens * std::ssize(plans), protected_tokens(q), q.prompt);
    for (std::size_t i = 0; i < plans.size(); ++i) plans[i].tokens = tokens[i];
  }

 private:
  Params p_;
};

// Retrieval heads keep all; streaming heads first and newest tokens (DuoAttention), and one that
// stands for the others (RazorAttention).
class HeadClasses final : public TokenBudget {
 public:
  struct Params {
    Ratio retrieval{0.5};
    std::int64_t sinks = 64, recent = 256;
    Ratio recent_share{0};
    bool compensate = false;
    std::vector<double> gates;
    static constexpr Rows kFields{
        field("retrieval", &Params::retrieval, between(Ratio{0}, Ratio{1}),
              "share of the KV heads that keep all"),
        field("sinks", &Params::sinks, between<std::int64_t>(0, 1 << 20),
              "first tokens of a streaming head"),
        field("recent", &Params::recent, between<std::int64_t>(0, 1 << 20),
              "newest tokens of a streaming head"),
        field("recent_share", &Params::recent_share, between(Ratio{0}, Ratio{1}),
              "the same as a share of the prompt; the larger of both counts"),
        field("compensate", &Params::compensate, any,
              "the mean of what a streaming head drops stays as one counted token"),
        field("gates", &Params::gates, between(0.0, 1.0),
              "of each head, layer by layer, the largest retrieve; empty: by its attention beyond "
              "first and newest tokens")};
  };
  HeadClasses(Params p, const Context&) : p_(std::move(p)) {}
  [[nodiscard]] std::int64_t rows() const override { return p_.gates.empty() ? 64 : 0; }
  [[nodiscard]] bool by_head() const override { return true; }
  [[nodiscard]] bool exact() const override { return false; }
  void allocate(const BudgetQuestion& q, std::span<HeadPlan> plans) const override {
    const auto share =
        static_cast<std::int64_t>(std::ceil(p_.recent_share.value * static_cast<double>(q.prompt)));
    const std::vector<bool> retrieves = classes(q, plans.size());
    for (std::size_t i = 0; i < plans.size(); ++i) {
      if (retrieves[i]) continue;
      plans[i].protected_only = true;
      plans[i].sinks = p_.sinks;
      plans[i].recent = std::max(p_.recent, share);
      plans[i].compensate = p_.compensate;
    }
  }

 private:
  [[nodiscard]] std::vector<bool> classes(const BudgetQuestion& q, std::size_t heads) const {
    std::vector<bool> retrieves(heads, false);
    const double share = p_.retrieval.value;
    const auto at = [&](std::size_t i) {
      return std::floor(static_cast<double>(i) * share + 1e-9);
    };
    if (p_.gates.empty() && q.attention.empty()) {
      for (std::size_t i = 0; i < heads; ++i) retrieves[i] = at(i + 1) > at(i);
      return retrieves;
    }
    std::vector<std::pair<double, std::size_t>> order;
    for (std::size_t i = 0; i < heads; ++i)
      order.emplace_back(p_.gates.empty() ? -far_share(q.attention[i], p_.sinks, p_.recent)
                                          : -p_.gates[i % p_.gates.size()],
                         i);
    std::stable_sort(order.begin(), order.end());
    for (std::size_t k = 0; k < static_cast<std::size_t>(at(heads)); ++k)
      retrieves[order[k].second] = true;
    return retrieves;
  }
  Params p_;
};

// The cheapest of five rules that keeps enough of the prompt's attention, for each head (FastGen):
// first tokens; and separators; and newest ones; and the most attended; all.
class CheapestRule final : public TokenBudget {
 public:
  struct Params {
    double mass = 0.95;
    Ratio recent{0.3}, heavy{0.3}, expected_full{0.3};
    static constexpr Rows kFields{
        field("mass", &Params::mass, between(0.0, 1.0), "share of the attention to keep"),
        field("recent", &Params::recent, between(Ratio{0}, Ratio{1}),
              "newest tokens, of the prompt"),
        field("heavy", &Params::heavy, between(Ratio{0}, Ratio{1}),
              "most attended tokens, of the prompt"),
        field("expected_full", &Params::expected_full, between(Ratio{0}, Ratio{1}),
              "share of heads that keep all, where there are no tensors; the others keep newest "
              "ones")};
  };
  CheapestRule(Params p, const Context&) : p_(p) {}
  [[nodiscard]] std::int64_t rows() const override { return -1; }
  [[nodiscard]] bool by_head() const override { return true; }
  [[nodiscard]] bool exact() const override { return false; }
  void allocate(const BudgetQuestion& q, std::span<HeadPlan> plans) const override {
    const auto recent = of(p_.recent, q), heavy = of(p_.heavy, q);
    for (std::size_t i = 0; i < plans.size(); ++i) {
      int rule = 2;
      if (q.attention.empty()) {
        const auto at = [&](std::size_t k) {
          return std::floor(static_cast<double>(k) * p_.expected_full.value);
        };
        rule = at(i + 1) > at(i) ? 4 : 2;
      } else {
        rule = cheapest(q, q.attention[i], recent, heavy);
      }
      if (rule == 4) {
        plans[i].tokens = std::max(q.tokens, q.prompt);
        continue;
      }
      plans[i].separators = rule >= 1;
      plans[i].recent = rule >= 2 ? recent : 1;
      plans[i].protected_only = rule <= 2;
      plans[i].tokens = plans[i].sinks + recent + heavy;
    }
  }

 private:
  static std::int64_t of(Ratio share, const BudgetQuestion& q) {
    return static_cast<std::int64_t>(std::ceil(share.value * static_cast<double>(q.prompt)));
  }
  [[nodiscard]] int cheapest(const BudgetQuestion& q, std::span<const float> attention,
                             std::int64_t recent, std::int64_t heavy) const {
    double all = 0, special = 0, separators = 0, newest = 0;
    std::vector<float> others;
    for (std::int64_t t = 0; t < q.prompt; ++t) {
      const float a = attention[static_cast<std::size_t>(t)];
      all += double{a};
      if (t < q.sinks)
        special += double{a};
      else if (!q.classes.empty() &&
               q.classes[static_cast<std::size_t>(t)] == TokenClass::separator)
        separators += double{a};
      else if (t >= q.prompt - recent)
        newest += double{a};
      else
        others.push_back(a);
    }
    std::sort(others.begin(), others.end(), std::greater<>());
    double best = 0;
    for (std::size_t i = 0; i < std::min(others.size(), static_cast<std::size_t>(heavy)); ++i)
      best += double{others[i]};
    const double enough = p_.mass * all;
    if (special >= enough) return 0;
    if (special + separators >= enough) return 1;
    if (special + separators + newest >= enough) return 2;
    return special + separators + newest + best >= enough ? 3 : 4;
  }
  Params p_;
};

const Register<PooledHeads> kPooled{"pooled-heads", "the best tokens of a layer's heads together",
                                    "Feng et al., Ada-KV, arXiv:2407.11550"};
const Register<HeadShare> kShare{"head-share", "a base, and the rest by each head's worth",
                                 "Fu et al., HeadKV, arXiv:2410.19258"};
const Register<HeadClasses> kClasses{"head-classes", "retrieval heads keep all, others stream",
                                     "Xiao et al., DuoAttention, arXiv:2410.10819"};
const Register<CheapestRule> kCheapest{"cheapest-rule", "the cheapest rule that keeps enough",
                                       "Ge et al., FastGen, arXiv:2310.01801"};

}  // namespace
}  // namespace kvsim::token
