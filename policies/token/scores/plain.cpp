// Scores that look at no query: the position, a draw, the length of the key.
#include <cmath>

#include "policies/token/score.h"

namespace kvsim::token {
namespace {

class Position final : public TokenScore {
 public:
  struct Params {
    static constexpr Rows<> kFields{};
  };
  Position(Params, const Context&) {}
  [[nodiscard]] Needs needs() const override { return {}; }
  void score(const HeadTokens& tokens, std::span<float> out) override {
    for (std::size_t t = 0; t < out.size(); ++t) out[t] = static_cast<float>(tokens.positions[t]);
  }
};

class Random final : public TokenScore {
 public:
  struct Params {
    static constexpr Rows<> kFields{};
  };
  Random(Params, const Context& c) : rng_(c.rng) {}
  [[nodiscard]] Needs needs() const override { return {}; }
  void score(const HeadTokens& tokens, std::span<float> out) override {
    for (std::size_t t = 0; t < out.size(); ++t)
      out[t] =
          static_cast<float>(rng_.at(static_cast<std::uint64_t>(tokens.positions[t])).uniform());
  }

 private:
  Rng rng_;
};

class KeyNorm final : public TokenScore {
 public:
  struct Params {
    static constexpr Rows<> kFields{};
  };
  KeyNorm(Params, const Context& c) : k_dim_(c.k_dim) {}
  [[nodiscard]] Needs needs() const override {
    Needs n;
    n.state_bytes = 4;
    n.write_flops = 2.0 * k_dim_;
    return n;
  }
  void score(const HeadTokens& tokens, std::span<float> out) override {
    const auto dim = static_cast<std::size_t>(tokens.k_dim);
    for (std::size_t t = 0; t < out.size(); ++t) {
      double sum = 0;
      for (const float x : tokens.keys.subspan(t * dim, dim)) sum += double{x} * double{x};
      out[t] = static_cast<float>(-std::sqrt(sum));
    }
  }

 private:
  std::int32_t k_dim_;
};

const Register<Position> kPosition{"position", "the newest tokens", "textbook"};
const Register<Random> kRandom{"random", "a draw for each token", "a baseline"};
const Register<KeyNorm> kKeyNorm{"key-norm", "keys of small length draw attention",
                                 "Devoto et al., arXiv:2406.11430"};

}  // namespace
}  // namespace kvsim::token
