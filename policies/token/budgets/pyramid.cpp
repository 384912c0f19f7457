// Low layers, whose attention is spread wide, keep more than high ones.
#include <cmath>

#include "policies/token/budgets/spread.h"

namespace kvsim::token {
namespace {

// With c = mean - protected: from 2c - c / beta in the first layer down to c / beta in the last.
class Pyramid final : public TokenBudget {
 public:
  struct Params {
    double beta = 20;
    static constexpr Rows kFields{
        field("beta", &Params::beta, between(1.0, 1000.0),
              "the last layer keeps 1 / beta of the mean, besides protected tokens")};
  };
  Pyramid(Params p, const Context&) : p_(p) {}
  [[nodiscard]] bool by_layer() const override { return true; }
  void allocate(const BudgetQuestion& q, std::span<HeadPlan> plans) const override {
    if (fits(q) || q.layers < 2) return;
    const std::int64_t spared = protected_tokens(q);
    const auto c = static_cast<double>(q.tokens - spared);
    if (static_cast<double>(q.prompt) < 2 * c) return;
    double least = c / p_.beta, most = 2 * c - least;
    if (most > static_cast<double>(q.prompt - spared)) {
      most = static_cast<double>(q.prompt - spared);
      least = 2 * c - most;
    }
    std::vector<double> weights;
    for (std::int64_t l = 0; l < q.layers; ++l)
      weights.push_back(most - static_cast<double>(l) * (most - least) /
                                   static_cast<double>(q.layers - 1));
    auto tokens = spread(weights, (q.tokens - spared) * q.layers, 0, q.prompt - spared);
    for (std::int64_t& t : tokens) t += spared;
    give_layers(tokens, q.heads, plans);
  }

 private:
  Params p_;
};

// Each layer keeps the same share of what the layer below keeps.
class Decay final : public TokenBudget {
 public:
  struct Params {
    double last = 0.2;
    static constexpr Rows kFields{
        field("last", &Params::last, between(0.001, 1.0), "last layer over first")};
  };
  Decay(Params p, const Context&) : p_(p) {}
  [[nodiscard]] bool by_layer() const override { return true; }
  void allocate(const BudgetQuestion& q, std::span<HeadPlan> plans) const override {
    if (fits(q) || q.layers < 2) return;
    std::vector<double> weights;
    for (std::int64_t l = 0; l < q.layers; ++l)
      weights.push_back(
          std::pow(p_.last, static_cast<double>(l) / static_cast<double>(q.layers - 1)));
    give_layers(spread(weights, q.tokens * q.layers, protected_tokens(q), q.prompt), q.heads,
                plans);
  }

 private:
  Params p_;
};

const Register<Pyramid> kPyramid{"pyramid", "linearly less from the first layer to the last",
                                 "Cai et al., PyramidKV, arXiv:2406.02069"};
const Register<Decay> kDecay{"decay", "geometrically less from the first layer to the last",
                             "Yang et al., PyramidInfer, arXiv:2405.12532"};

}  // namespace
}  // namespace kvsim::token
