// Layers get what their own scores ask for. Without tensors all expect the mean.
#include <algorithm>
#include <cmath>
#include <functional>

#include "policies/token/budgets/spread.h"

namespace kvsim::token {
namespace {

// Mean of the layer's heads, as shares of the layer's sum.
std::vector<double> layer_scores(const BudgetQuestion& q, std::int64_t layer) {
  std::vector<double> mean(static_cast<std::size_t>(q.prompt), 0.0);
  double sum = 0;
  for (std::int64_t h = 0; h < q.heads; ++h) {
    const auto& scores = q.scores[static_cast<std::size_t>(layer * q.heads + h)];
    for (std::size_t t = 0; t < mean.size(); ++t) mean[t] += std::max(0.0, double{scores[t]});
  }
  for (const double m : mean) sum += m;
  for (double& m : mean) m /= std::max(sum, 1e-30);
  return mean;
}

// Budgets are the number of tokens that each layer has among the best of all layers.
class PooledLayers final : public TokenBudget {
 public:
  struct Params {
    double most = 4;
    static constexpr Rows kFields{field("most", &Params::most, between(1.0, 1000.0),
                                        "a layer gets at most so many times the mean")};
  };
  PooledLayers(Params p, const Context&) : p_(p) {}
  [[nodiscard]] bool by_layer() const override { return true; }
  void allocate(const BudgetQuestion& q, std::span<HeadPlan> plans) const override {
    if (fits(q) || q.scores.empty()) return;
    const std::int64_t spared = protected_tokens(q);
    std::vector<std::pair<double, std::int64_t>> all;  // score, layer
    for (std::int64_t l = 0; l < q.layers; ++l) {
      const std::vector<double> scores = layer_scores(q, l);
      for (std::int64_t t = q.sinks; t < q.prompt - q.recent; ++t)
        all.emplace_back(-scores[static_cast<std::size_t>(t)], l);
    }
    const std::int64_t wanted = (q.tokens - spared) * q.layers;
    std::stable_sort(all.begin(), all.end());
    std::vector<double> counts(static_cast<std::size_t>(q.layers), 1e-9);
    for (std::int64_t i = 0; i < std::min<std::int64_t>(wanted, std::ssize(all)); ++i)
      counts[static_cast<std::size_t>(all[static_cast<std::size_t>(i)].second)] += 1;
    const auto most = static_cast<std::int64_t>(p_.most * static_cast<double>(q.tokens));
    auto tokens = spread(counts, wanted, 0, std::min(most, q.prompt) - spared);
    for (std::int64_t& t : tokens) t += spared;
    give_layers(tokens, q.heads, plans);
  }

 private:
  Params p_;
};

// Every layer keeps the fewest tokens that hold a share p of its scores; one p for all, by
// bisection.
class MassThreshold final : public TokenBudget {
 public:
  struct Params {
    static constexpr Rows<> kFields{};
  };
  MassThreshold(Params, const Context&) {}
  [[nodiscard]] bool by_layer() const override { return true; }
  void allocate(const BudgetQuestion& q, std::span<HeadPlan> plans) const override {
    if (fits(q) || q.scores.empty()) return;
    std::vector<std::vector<double>> held;  // by the best 1, 2, ... tokens
    for (std::int64_t l = 0; l < q.layers; ++l) {
      std::vector<double> s = layer_scores(q, l);
      std::sort(s.begin(), s.end(), std::greater<>());
      for (std::size_t t = 1; t < s.size(); ++t) s[t] += s[t - 1];
      held.push_back(std::move(s));
    }
    const auto sizes = [&](double p) {
      std::vector<double> n;
      for (const auto& h : held)
        n.push_back(static_cast<double>(std::lower_bound(h.begin(), h.end(), p) - h.begin() + 1));
      return n;
    };
    double low = 0, high = 1;
    for (int i = 0; i < 50; ++i) {
      const double middle = (low + high) / 2;
      double sum = 0;
      for (const double n : sizes(middle)) sum += n;
      (sum > static_cast<double>(q.tokens * q.layers) ? high : low) = middle;
    }
    give_layers(spread(sizes(low), q.tokens * q.layers, protected_tokens(q), q.prompt), q.heads,
                plans);
  }
};

// Layers whose scores are spread evenly (low variance) keep `boost` times as much as the others.
class FlatLayers final : public TokenBudget {
 public:
  struct Params {
    double boost = 1.5;
    static constexpr Rows kFields{
        field("boost", &Params::boost, between(1.0, 100.0), "of layers of low variance")};
  };
  FlatLayers(Params p, const Context&) : p_(p) {}
  [[nodiscard]] bool by_layer() const override { return true; }
  void allocate(const BudgetQuestion& q, std::span<HeadPlan> plans) const override {
    if (fits(q) || q.scores.empty()) return;
    std::vector<double> variance;
    double mean = 0;
    for (std::int64_t l = 0; l < q.layers; ++l) {
      double squares = 0;
      for (const double s : layer_scores(q, l)) squares += s * s;
      variance.push_back(squares);
      mean += squares / static_cast<double>(q.layers);
    }
    for (double& v : variance) v = v < mean ? p_.boost : 1.0;
    give_layers(spread(variance, q.tokens * q.layers, protected_tokens(q), q.prompt), q.heads,
                plans);
  }

 private:
  Params p_;
};

// A layer whose last query looks nearly only at the first and the newest tokens keeps only those.
class LazyLayers final : public TokenBudget {
 public:
  struct Params {
    double threshold = 0.9;
    std::int64_t sinks = 4, recent = 1024;
    Ratio expected{0.25};
    static constexpr Rows kFields{
        field("threshold", &Params::threshold, between(0.0, 1.0),
              "attention on first and newest tokens that makes a layer lazy"),
        field("sinks", &Params::sinks, between<std::int64_t>(0, 1 << 20),
              "first tokens of a lazy layer"),
        field("recent", &Params::recent, between<std::int64_t>(0, 1 << 20),
              "newest tokens of a lazy layer"),
        field("expected", &Params::expected, between(Ratio{0}, Ratio{1}),
              "share of lazy layers, where there are no tensors")};
  };
  LazyLayers(Params p, const Context&) : p_(p) {}
  [[nodiscard]] std::int64_t rows() const override { return 1; }
  [[nodiscard]] bool exact() const override { return false; }
  [[nodiscard]] bool by_layer() const override { return true; }
  void allocate(const BudgetQuestion& q, std::span<HeadPlan> plans) const override {
    const auto lazy = [&](std::int64_t l) {
      if (q.attention.empty()) {
        const double share = p_.expected.value;
        const auto at = [&](std::int64_t i) { return std::floor(static_cast<double>(i) * share); };
        return at(l + 1) > at(l);
      }
      double far = 0;
      for (std::int64_t h = 0; h < q.heads; ++h)
        far +=
            far_share(q.attention[static_cast<std::size_t>(l * q.heads + h)], p_.sinks, p_.recent);
      return 1 - far / static_cast<double>(q.heads) > p_.threshold;
    };
    for (std::size_t i = 0; i < plans.size(); ++i) {
      if (!lazy(static_cast<std::int64_t>(i) / q.heads)) continue;
      plans[i].protected_only = true;
      plans[i].sinks = p_.sinks;
      plans[i].recent = p_.recent;
    }
  }

 private:
  Params p_;
};

const Register<PooledLayers> kPooled{"pooled-layers", "a layer's share of the best of all tokens",
                                     "Zhou et al., DynamicKV, arXiv:2412.14838"};
const Register<MassThreshold> kMass{"mass-threshold", "the same share of importance in every layer",
                                    "Wang et al., PrefixKV, arXiv:2412.03409"};
const Register<FlatLayers> kFlat{"flat-layers", "more for layers that attend evenly",
                                 "Wan et al., D2O, arXiv:2406.13035"};
const Register<LazyLayers> kLazy{"lazy-layers", "layers that look only near keep only that",
                                 "Zhang et al., SimLayerKV, arXiv:2410.13846"};

}  // namespace
}  // namespace kvsim::token
