// Keys of like direction form a unit, wherever they stand in the text.
#include <cmath>

#include "policies/token/indices/common.h"

namespace kvsim::token {
namespace {

class Centroids final : public TokenIndex {
 public:
  struct Params {
    double tokens = 20;
    int rounds = 10;
    static constexpr Rows kFields{
        field("tokens", &Params::tokens, between(1.0, 65536.0), "of a cluster, the mean"),
        field("rounds", &Params::rounds, between(1, 1000), "of k-means over the prompt")};
  };
  Centroids(Params p, const Context& c)
      : p_(p), dim_(static_cast<std::size_t>(c.k_dim)), scale_(c.scale) {}
  [[nodiscard]] IndexCost cost(std::int64_t k_dim, double bytes,
                               std::int64_t tokens) const override {
    const auto dim = static_cast<double>(k_dim);
    IndexCost c;
    c.unit_tokens = p_.tokens;
    c.summary_bytes = dim * bytes + 4;  // and its size
    c.read_bytes = c.summary_bytes;
    c.unit_flops = 2 * dim;
    c.build_flops = 2 * dim * static_cast<double>(tokens) / p_.tokens * p_.rounds;
    return c;
  }
  void build(const HeadTokens& tokens, const HeadRows&) override {
    const auto n = static_cast<std::size_t>(tokens.slots);
    const auto count = static_cast<std::size_t>(std::ceil(static_cast<double>(n) / p_.tokens));
    Clusters found = cluster(tokens.keys, n, dim_, dim_, count, p_.rounds, true);
    centroids_ = std::move(found.centroids);
    unit_of_ = std::move(found.of_point);
    sizes_.assign(centroids_.size() / dim_, 0.0);
    for (const std::int32_t u : unit_of_) sizes_[static_cast<std::size_t>(u)] += 1;
  }
  void append(const HeadTokens& tokens) override {
    const auto key = row_of(tokens.keys, unit_of_.size(), dim_);
    const std::int32_t to = nearest_centroid(key, centroids_, true);
    const auto u = static_cast<std::size_t>(to);
    sizes_[u] += 1;
    for (std::size_t d = 0; d < dim_; ++d)
      centroids_[u * dim_ + d] +=
          static_cast<float>((double{key[d]} - double{centroids_[u * dim_ + d]}) / sizes_[u]);
    unit_of_.push_back(to);
  }
  [[nodiscard]] std::int32_t units() const override {
    return static_cast<std::int32_t>(sizes_.size());
  }
  [[nodiscard]] std::span<const std::int32_t> unit_of_slot() const override { return unit_of_; }
  void rank(std::span<const float> query, std::span<float> out) override {
    for (std::size_t u = 0; u < out.size(); ++u)
      out[u] = static_cast<float>(dot(query, row_of(centroids_, u, dim_)) * double{scale_});
  }

 private:
  Params p_;
  std::size_t dim_;
  float scale_;
  std::vector<float> centroids_;
  std::vector<std::int32_t> unit_of_;
  std::vector<double> sizes_;
};

// Sub-vectors of a key, each replaced by the number of its nearest centroid.
class ProductCodes final : public TokenIndex {
 public:
  struct Params {
    std::int64_t parts = 2;
    int bits = 6, rounds = 10;
    static constexpr Rows kFields{
        field("parts", &Params::parts, between<std::int64_t>(1, 256), "sub-vectors of a key"),
        field("bits", &Params::bits, between(1, 12), "of a sub-vector's code"),
        field("rounds", &Params::rounds, between(1, 1000), "of k-means over the prompt")};
  };
  ProductCodes(Params p, const Context& c)
      : p_(p), dim_(static_cast<std::size_t>(c.k_dim)), scale_(c.scale) {}
  [[nodiscard]] IndexCost cost(std::int64_t k_dim, double bytes, std::int64_t) const override {
    const auto dim = static_cast<double>(k_dim), entries = std::exp2(p_.bits);
    IndexCost c;
    c.summary_bytes = c.read_bytes = static_cast<double>(p_.parts * p_.bits) / 8;
    c.unit_flops = static_cast<double>(p_.parts);
    c.query_flops = 2 * dim * entries;
    c.build_flops = 2 * dim * entries * p_.rounds;
    c.base_bytes = dim * entries * bytes;
    return c;
  }
  void build(const HeadTokens& tokens, const HeadRows&) override {
    const auto n = static_cast<std::size_t>(tokens.slots);
    parts_.clear();
    for (std::int64_t p = 0; p < p_.parts; ++p) {
      const auto [first, end] = range(p);
      parts_.push_back(cluster(tokens.keys.subspan(first), n, end - first, dim_,
                               std::size_t{1} << p_.bits, p_.rounds, false));
    }
    number(n);
  }
  void append(const HeadTokens& tokens) override {
    const auto key = row_of(tokens.keys, unit_of_.size(), dim_);
    for (std::int64_t p = 0; p < p_.parts; ++p) {
      const auto [first, end] = range(p);
      Clusters& part = parts_[static_cast<std::size_t>(p)];
      part.of_point.push_back(
          nearest_centroid(key.subspan(first, end - first), part.centroids, false));
    }
    number(unit_of_.size() + 1);
  }
  [[nodiscard]] std::int32_t units() const override {
    return static_cast<std::int32_t>(unit_of_.size());
  }
  [[nodiscard]] std::span<const std::int32_t> unit_of_slot() const override { return unit_of_; }
  void rank(std::span<const float> query, std::span<float> out) override {
    std::fill(out.begin(), out.end(), 0.0F);
    for (std::int64_t p = 0; p < p_.parts; ++p) {
      const auto [first, end] = range(p);
      const Clusters& part = parts_[static_cast<std::size_t>(p)];
      std::vector<float> table;
      for (std::size_t c = 0; c * (end - first) < part.centroids.size(); ++c)
        table.push_back(static_cast<float>(
            dot(query.subspan(first, end - first), row_of(part.centroids, c, end - first)) *
            double{scale_}));
      for (std::size_t t = 0; t < out.size(); ++t)
        out[t] += table[static_cast<std::size_t>(part.of_point[t])];
    }
  }

 private:
  [[nodiscard]] std::pair<std::size_t, std::size_t> range(std::int64_t part) const {
    const auto m = static_cast<std::size_t>(p_.parts), p = static_cast<std::size_t>(part);
    return {p * dim_ / m, (p + 1) * dim_ / m};
  }
  void number(std::size_t n) {
    for (std::size_t t = unit_of_.size(); t < n; ++t)
      unit_of_.push_back(static_cast<std::int32_t>(t));
  }
  Params p_;
  std::size_t dim_;
  float scale_;
  std::vector<Clusters> parts_;
  std::vector<std::int32_t> unit_of_;
};

const Register<Centroids> kCentroids{"centroids", "clusters of keys by direction",
                                     "Hooper et al., Squeezed Attention, arXiv:2411.09688"};
const Register<ProductCodes> kProduct{"product-codes", "product quantisation of every key",
                                      "Zhang et al., PQCache, arXiv:2407.12820"};

}  // namespace
}  // namespace kvsim::token
