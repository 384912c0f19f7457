// Stands for a trained module that predicts which tokens later attention needs: it knows the
// attention of the whole prompt, and errs for a share of the tokens.
#include "policies/token/scores/rows.h"

namespace kvsim::token {
namespace {

class GateOracle final : public TokenScore {
 public:
  struct Params {
    Ratio errors{0.05};
    static constexpr Rows kFields{field("errors", &Params::errors, between(Ratio{0}, Ratio{1}),
                                        "share of tokens whose score is a draw instead")};
  };
  GateOracle(Params p, const Context& c) : p_(p), rng_(c.rng), threads_(c.threads) {}

  // A gate reads hidden states only; the attention that it stands for costs nothing.
  [[nodiscard]] Needs needs() const override {
    Needs n;
    n.prompt_queries = kAllQueries;
    n.query_share = 0;
    n.attention = true;
    n.write_flops = 64;
    return n;
  }
  [[nodiscard]] bool query_aware() const override { return false; }
  void observe(const HeadRows& rows) override {
    sums_.resize(static_cast<std::size_t>(rows.slots), 0.0F);
    for (std::int32_t q = 0; q < rows.queries; ++q) {
      const auto row = combined_row(rows, q, kernels::Combine::mean, *threads_);
      for (std::size_t t = 0; t < row.size(); ++t) sums_[t] += row[t];
    }
  }
  void score(const HeadTokens& tokens, std::span<float> out) override {
    sums_.resize(out.size(), 0.0F);
    for (std::size_t t = 0; t < out.size(); ++t) {
      Rng rng = rng_.at(static_cast<std::uint64_t>(tokens.positions[t]));
      const bool errs = rng.uniform() < p_.errors.value;
      out[t] = errs ? static_cast<float>(rng.uniform()) : sums_[t];
    }
  }
  void keep(std::span<const std::int32_t> slots) override { keep_slots(sums_, slots); }

 private:
  Params p_;
  Rng rng_;
  kernels::Threads* threads_;
  std::vector<float> sums_;
};

const Register<GateOracle> kSelf{"gate", "an oracle of the prompt's attention that errs at times",
                                 "Attention-Gate, 2024 (a trained module; an oracle here)"};

}  // namespace
}  // namespace kvsim::token
