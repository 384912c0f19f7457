// Pages and blocks: an upper bound from extremes (Quest), the mean key (ShadowKV's landmarks), the
// keys that stood out (InfLLM).
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "policies/token/indices/common.h"

namespace kvsim::token {
namespace {

constexpr auto kUnit = between<std::int64_t>(1, 1 << 16);

class MinMax final : public RunIndex {
 public:
  struct Params {
    std::int64_t unit = 16;
    static constexpr Rows kFields{field("unit", &Params::unit, kUnit, "tokens of a page")};
  };
  MinMax(Params p, const Context& c) : RunIndex(p.unit, c), scale_(c.scale) {}
  [[nodiscard]] IndexCost cost(std::int64_t k_dim, double bytes, std::int64_t) const override {
    IndexCost c;
    c.unit_tokens = static_cast<double>(unit_);
    c.summary_bytes = c.read_bytes = 2 * static_cast<double>(k_dim) * bytes;
    c.unit_flops = 4 * static_cast<double>(k_dim);
    c.build_flops = 2 * static_cast<double>(k_dim);
    return c;
  }
  void rank(std::span<const float> query, std::span<float> out) override {
    for (std::size_t u = 0; u < out.size(); ++u) {
      double sum = 0;
      for (std::size_t d = 0; d < dim_; ++d)
        sum += std::max(double{query[d]} * double{least_[u * dim_ + d]},
                        double{query[d]} * double{most_[u * dim_ + d]});
      out[u] = static_cast<float>(sum * double{scale_});
    }
  }

 private:
  void summarise(const HeadTokens& tokens, std::int32_t unit, const HeadRows&) override {
    const std::size_t at = static_cast<std::size_t>(unit) * dim_;
    least_.resize(std::max(least_.size(), at + dim_));
    most_.resize(least_.size());
    const auto [first, end] = slots_of(unit);
    for (std::size_t d = 0; d < dim_; ++d) {
      least_[at + d] = most_[at + d] = tokens.keys[first * dim_ + d];
      for (std::size_t t = first; t < end; ++t) {
        least_[at + d] = std::min(least_[at + d], tokens.keys[t * dim_ + d]);
        most_[at + d] = std::max(most_[at + d], tokens.keys[t * dim_ + d]);
      }
    }
  }
  float scale_;
  std::vector<float> least_, most_;
};

class MeanKey final : public RunIndex {
 public:
  struct Params {
    std::int64_t unit = 8, outliers = 0;
    static constexpr Rows kFields{
        field("unit", &Params::unit, kUnit, "tokens of a chunk"),
        field("outliers", &Params::outliers, between<std::int64_t>(0, 1 << 16),
              "chunks least like their mean, which are always read and stay on the GPU")};
  };
  MeanKey(Params p, const Context& c) : RunIndex(p.unit, c), p_(p), scale_(c.scale) {}
  [[nodiscard]] IndexCost cost(std::int64_t k_dim, double bytes, std::int64_t) const override {
    IndexCost c;
    c.unit_tokens = static_cast<double>(unit_);
    c.summary_bytes = c.read_bytes = static_cast<double>(k_dim) * bytes;
    c.unit_flops = 2 * static_cast<double>(k_dim);
    c.build_flops = static_cast<double>(k_dim);
    return c;
  }
  void build(const HeadTokens& tokens, const HeadRows& rows) override {
    likeness_.clear();
    RunIndex::build(tokens, rows);
    std::vector<std::size_t> order(likeness_.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return likeness_[a] < likeness_[b]; });
    outlier_.assign(likeness_.size(), false);
    for (std::size_t i = 0; i < std::min(order.size(), static_cast<std::size_t>(p_.outliers)); ++i)
      outlier_[order[i]] = true;
  }
  void rank(std::span<const float> query, std::span<float> out) override {
    for (std::size_t u = 0; u < out.size(); ++u)
      out[u] = u < outlier_.size() && outlier_[u]
                   ? std::numeric_limits<float>::infinity()
                   : static_cast<float>(dot(query, row_of(mean_, u, dim_)) * double{scale_});
  }

 private:
  void summarise(const HeadTokens& tokens, std::int32_t unit, const HeadRows&) override {
    const std::size_t at = static_cast<std::size_t>(unit) * dim_;
    mean_.resize(std::max(mean_.size(), at + dim_));
    likeness_.resize(std::max(likeness_.size(), static_cast<std::size_t>(unit) + 1));
    const auto [first, end] = slots_of(unit);
    for (std::size_t d = 0; d < dim_; ++d) {
      double sum = 0;
      for (std::size_t t = first; t < end; ++t) sum += double{tokens.keys[t * dim_ + d]};
      mean_[at + d] = static_cast<float>(sum / static_cast<double>(end - first));
    }
    double worst = 1;
    const auto mean = row_of(mean_, static_cast<std::size_t>(unit), dim_);
    for (std::size_t t = first; t < end; ++t) {
      const auto key = row_of(tokens.keys, t, dim_);
      worst = std::min(worst, dot(key, mean) / std::sqrt(dot(key, key) * dot(mean, mean) + 1e-30));
    }
    likeness_[static_cast<std::size_t>(unit)] = worst;
  }
  Params p_;
  float scale_;
  std::vector<float> mean_;
  std::vector<double> likeness_;
  std::vector<bool> outlier_;
};

class Representatives final : public RunIndex {
 public:
  struct Params {
    std::int64_t unit = 128, count = 4;
    static constexpr Rows kFields{
        field("unit", &Params::unit, kUnit, "tokens of a block"),
        field("count", &Params::count, between<std::int64_t>(1, 1 << 12),
              "tokens that got most attention from the last queries stand for the block")};
  };
  Representatives(Params p, const Context& c) : RunIndex(p.unit, c), p_(p), scale_(c.scale) {}
  [[nodiscard]] std::int64_t rows() const override { return 64; }
  [[nodiscard]] IndexCost cost(std::int64_t k_dim, double bytes, std::int64_t) const override {
    const auto count = static_cast<double>(std::min(p_.count, p_.unit));
    IndexCost c;
    c.unit_tokens = static_cast<double>(unit_);
    // They are keys of the block itself, kept once more where the block may be away.
    c.summary_bytes = c.read_bytes = count * static_cast<double>(k_dim) * bytes;
    c.unit_flops = 2 * count * static_cast<double>(k_dim);
    c.build_flops = 2 * static_cast<double>(k_dim);
    return c;
  }
  void rank(std::span<const float> query, std::span<float> out) override {
    for (std::size_t u = 0; u < out.size(); ++u) {
      double sum = 0;
      for (std::size_t d = 0; d < dim_; ++d) sum += double{query[d]} * double{sum_[u * dim_ + d]};
      out[u] = static_cast<float>(sum * double{scale_} / std::max(1.0, found_[u]));
    }
  }

 private:
  void summarise(const HeadTokens& tokens, std::int32_t unit, const HeadRows& rows) override {
    const auto u = static_cast<std::size_t>(unit);
    sum_.resize(std::max(sum_.size(), (u + 1) * dim_));
    found_.resize(std::max(found_.size(), u + 1));
    const auto [first, end] = slots_of(unit);
    std::vector<std::pair<double, std::size_t>> order;
    for (std::size_t t = first; t < end; ++t) order.emplace_back(-attention(rows, t), t);
    std::stable_sort(order.begin(), order.end());
    std::fill_n(sum_.begin() + static_cast<std::ptrdiff_t>(u * dim_), dim_, 0.0F);
    found_[u] = static_cast<double>(std::min(order.size(), static_cast<std::size_t>(p_.count)));
    for (std::size_t i = 0; i < static_cast<std::size_t>(found_[u]); ++i)
      for (std::size_t d = 0; d < dim_; ++d)
        sum_[u * dim_ + d] += tokens.keys[order[i].second * dim_ + d];
  }
  static double attention(const HeadRows& rows, std::size_t slot) {
    double sum = 0;
    for (std::size_t at = slot; at < rows.weights.size();
         at += static_cast<std::size_t>(rows.slots))
      sum += double{rows.weights[at]};
    return sum;
  }
  Params p_;
  float scale_;
  std::vector<float> sum_;  // of the representatives of each unit
  std::vector<double> found_;
};

const Register<MinMax> kMinMax{"min-max", "per page and channel the least and largest key",
                               "Tang et al., Quest, arXiv:2406.10774"};
const Register<MeanKey> kMean{"mean-key", "the mean key of a chunk",
                              "Sun et al., ShadowKV, arXiv:2410.21465"};
const Register<Representatives> kRepresentatives{"representatives",
                                                 "the most attended keys of a block",
                                                 "Xiao et al., InfLLM, arXiv:2402.04617"};

}  // namespace
}  // namespace kvsim::token
