// The same for every head; and nothing beyond what is protected.
#include "policies/token/budget.h"

namespace kvsim::token {
namespace {

class Uniform final : public TokenBudget {
 public:
  struct Params {
    static constexpr Rows<> kFields{};
  };
  Uniform(Params, const Context&) {}
  void allocate(const BudgetQuestion&, std::span<HeadPlan>) const override {}
};

class Protected final : public TokenBudget {
 public:
  struct Params {
    static constexpr Rows<> kFields{};
  };
  Protected(Params, const Context&) {}
  [[nodiscard]] bool exact() const override { return false; }
  void allocate(const BudgetQuestion&, std::span<HeadPlan> plans) const override {
    for (HeadPlan& p : plans) p.protected_only = true;
  }
};

const Register<Uniform> kUniform{"uniform", "the same for every layer and head", "textbook"};
const Register<Protected> kProtected{"protected", "first, newest and protected tokens only",
                                     "Chen et al., SepLLM, arXiv:2412.12094"};

}  // namespace
}  // namespace kvsim::token
