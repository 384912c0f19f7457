// Accumulated softmax of logits with Gumbel noise, at a temperature that grows while generating:
// corrects for the mass that earlier evictions took away.
#include <cmath>
#include <limits>

#include "policies/token/scores/rows.h"

namespace kvsim::token {
namespace {

class NoisyAttention final : public TokenScore {
 public:
  struct Params {
    double from = 1, to = 2;
    std::int64_t steps = 512;
    static constexpr Rows kFields{
        field("from", &Params::from, between(0.01, 100.0), "temperature of the prompt"),
        field("to", &Params::to, between(0.01, 100.0), "temperature it reaches"),
        field("steps", &Params::steps, between<std::int64_t>(1, 1 << 20),
              "generated tokens until then")};
  };
  NoisyAttention(Params p, const Context& c) : p_(p), rng_(c.rng) {}

  [[nodiscard]] Needs needs() const override {
    Needs n;
    n.prompt_queries = kAllQueries;
    n.attention = n.steps = true;
    n.state_bytes = 4;
    n.step_flops = 6;  // noise, exponential and sum
    return n;
  }
  void observe(const HeadRows& rows) override {
    const auto slots = static_cast<std::size_t>(rows.slots);
    sums_.resize(slots, 0.0F);
    for (std::int32_t q = 0; q < rows.queries; ++q) {
      const bool is_step = rows.queries == 1 && decoding_;
      const double grown =
          is_step ? std::min(1.0, static_cast<double>(++steps_) / static_cast<double>(p_.steps))
                  : 0;
      const double tau = p_.from + (p_.to - p_.from) * grown;
      for (std::int32_t h = 0; h < rows.heads; ++h)
        add(rows.logits.subspan(static_cast<std::size_t>(q * rows.heads + h) * slots, slots), tau);
    }
  }
  void score(const HeadTokens&, std::span<float> out) override {
    decoding_ = true;
    std::copy(sums_.begin(), sums_.end(), out.begin());
  }
  void keep(std::span<const std::int32_t> slots) override { keep_slots(sums_, slots); }

 private:
  void add(std::span<const float> logits, double tau) {
    std::vector<double> x(logits.size());
    double most = -std::numeric_limits<double>::infinity(), sum = 0;
    Rng rng = rng_.at(rows_++);
    for (std::size_t t = 0; t < x.size(); ++t) {
      const double gumbel = -std::log(-std::log1p(-rng.uniform()) + 1e-12);
      x[t] = (double{logits[t]} + gumbel) / tau;
      most = std::max(most, x[t]);
    }
    for (double& v : x) sum += v = std::exp(v - most);
    for (std::size_t t = 0; t < x.size(); ++t) sums_[t] += static_cast<float>(x[t] / sum);
  }
  Params p_;
  Rng rng_;
  bool decoding_ = false;
  std::int64_t steps_ = 0;
  std::uint64_t rows_ = 0;
  std::vector<float> sums_;
};

const Register<NoisyAttention> kSelf{"noisy-attention",
                                     "accumulated attention with Gumbel noise and a temperature",
                                     "Adnan et al., Keyformer, arXiv:2403.09054"};

}  // namespace
}  // namespace kvsim::token
