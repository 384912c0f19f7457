// Scores from what is known about queries as a whole: their main direction, or their mean and
// covariance. No attention rows, so a fused kernel stays as it is.
#include <algorithm>
#include <cmath>

#include "kernels/low_rank.h"
#include "policies/token/score.h"

namespace kvsim::token {
namespace {

// Vectors of all query heads of the rows, appended.
void gather(const HeadRows& rows, std::vector<float>& all) {
  all.insert(all.end(), rows.query.begin(), rows.query.end());
}
std::vector<double> mean_of(const std::vector<float>& rows, std::size_t dim) {
  std::vector<double> mean(dim, 0.0);
  for (std::size_t i = 0; i < rows.size(); ++i) mean[i % dim] += double{rows[i]};
  for (double& m : mean) m /= std::max(1.0, static_cast<double>(rows.size() / dim));
  return mean;
}

class KeyFilter final : public TokenScore {
 public:
  struct Params {
    std::int64_t queries = 512;
    static constexpr Rows kFields{field("queries", &Params::queries,
                                        between<std::int64_t>(1, 1 << 20),
                                        "newest prompt queries that give the direction")};
  };
  KeyFilter(Params p, const Context& c) : p_(p), dim_(static_cast<std::size_t>(c.k_dim)) {}
  [[nodiscard]] Needs needs() const override {
    Needs n;
    n.prompt_queries = p_.queries;
    n.state_bytes = 4;
    n.write_flops = 2.0 * static_cast<double>(dim_);
    return n;
  }
  // The direction is the model's, found on other texts.
  [[nodiscard]] bool query_aware() const override { return false; }
  void observe(const HeadRows& rows) override { gather(rows, queries_); }
  void score(const HeadTokens& tokens, std::span<float> out) override {
    if (filter_.empty()) fit();
    for (std::size_t t = 0; t < out.size(); ++t) {
      double sum = 0;
      for (std::size_t d = 0; d < dim_; ++d)
        sum += double{filter_[d]} * double{tokens.keys[t * dim_ + d]};
      out[t] = static_cast<float>(sum);
    }
  }

 private:
  // The sign of a singular vector is arbitrary: queries lie on its positive side.
  void fit() {
    const auto n = static_cast<std::int32_t>(queries_.size() / dim_);
    const auto dim = static_cast<std::int32_t>(dim_);
    filter_ = kernels::fit_basis(queries_, n, dim, dim, 1);
    const std::vector<double> mean = mean_of(queries_, dim_);
    double side = 0;
    for (std::size_t d = 0; d < dim_; ++d) side += mean[d] * double{filter_[d]};
    if (side < 0)
      for (float& f : filter_) f = -f;
  }
  Params p_;
  std::size_t dim_;
  std::vector<float> queries_, filter_;
};

class ExpectedAttention final : public TokenScore {
 public:
  struct Params {
    std::int64_t queries = 512;
    bool covariance = true, values = true;
    static constexpr Rows kFields{
        field("queries", &Params::queries, between<std::int64_t>(1, 1 << 20),
              "newest prompt queries from which the statistics come"),
        field("covariance", &Params::covariance, any, "with the second moment"),
        field("values", &Params::values, any, "times the length of the value")};
  };
  ExpectedAttention(Params p, const Context& c)
      : p_(p), dim_(static_cast<std::size_t>(c.k_dim)), scale_(c.scale) {}
  [[nodiscard]] Needs needs() const override {
    const auto dim = static_cast<double>(dim_);
    Needs n;
    n.prompt_queries = p_.queries;
    n.state_bytes = 4;
    n.write_flops = p_.covariance ? 2 * dim * dim + 4 * dim : 4 * dim;
    return n;
  }
  void observe(const HeadRows& rows) override { gather(rows, queries_); }
  void score(const HeadTokens& tokens, std::span<float> out) override {
    if (mean_.empty()) fit();
    const auto v_dim = static_cast<std::size_t>(tokens.v_dim);
    std::vector<double> logit(out.size());
    for (std::size_t t = 0; t < out.size(); ++t) {
      logit[t] = expected_logit(tokens.keys.subspan(t * dim_, dim_));
      double length = 0;
      for (const float v : tokens.values.subspan(t * v_dim, v_dim)) length += double{v} * double{v};
      if (p_.values) logit[t] += 0.5 * std::log(length + 1e-30);
    }
    // exp() keeps the order, so the logarithm will do; the largest is 0 to be of the size of
    // others.
    const double most = logit.empty() ? 0 : *std::max_element(logit.begin(), logit.end());
    for (std::size_t t = 0; t < out.size(); ++t) out[t] = static_cast<float>(logit[t] - most);
  }

 private:
  void fit() {
    mean_ = mean_of(queries_, dim_);
    covariance_.assign(dim_ * dim_, 0.0);
    const std::size_t n = queries_.size() / dim_;
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t a = 0; a < dim_; ++a)
        for (std::size_t b = 0; b < dim_; ++b)
          covariance_[a * dim_ + b] += (double{queries_[i * dim_ + a]} - mean_[a]) *
                                       (double{queries_[i * dim_ + b]} - mean_[b]) /
                                       static_cast<double>(n);
  }
  [[nodiscard]] double expected_logit(std::span<const float> key) const {
    double first = 0, second = 0;
    for (std::size_t a = 0; a < dim_; ++a) {
      first += mean_[a] * double{key[a]};
      if (!p_.covariance) continue;
      for (std::size_t b = 0; b < dim_; ++b)
        second += double{key[a]} * covariance_[a * dim_ + b] * double{key[b]};
    }
    const double scale = scale_;
    return first * scale + second * scale * scale / 2;
  }
  Params p_;
  std::size_t dim_;
  float scale_;
  std::vector<float> queries_;
  std::vector<double> mean_, covariance_;
};

const Register<KeyFilter> kKeyFilter{"key-filter", "keys along the queries' main direction",
                                     "Godey et al., Q-Filters, arXiv:2503.02812"};
const Register<ExpectedAttention> kExpected{
    "expected-attention", "attention that queries of this mean and covariance would pay",
    "Devoto et al., Expected Attention, arXiv:2510.00636"};

}  // namespace
}  // namespace kvsim::token
