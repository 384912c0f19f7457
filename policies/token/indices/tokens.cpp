// Every token is a unit; what differs is which of a key's numbers are looked at.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/low_rank.h"
#include "policies/token/indices/common.h"

namespace kvsim::token {
namespace {

std::size_t share_of(Ratio share, std::size_t dim) {
  const double exact = share.value * static_cast<double>(dim);
  return std::clamp<std::size_t>(static_cast<std::size_t>(std::ceil(exact - 1e-9)), 1, dim);
}

class TokenUnits : public TokenIndex {
 public:
  explicit TokenUnits(const Context& c)
      : dim_(static_cast<std::size_t>(c.k_dim)), scale_(c.scale) {}
  void build(const HeadTokens& tokens, const HeadRows&) override { take(tokens); }
  void append(const HeadTokens& tokens) override { take(tokens); }
  [[nodiscard]] std::int32_t units() const override {
    return static_cast<std::int32_t>(unit_of_.size());
  }
  [[nodiscard]] std::span<const std::int32_t> unit_of_slot() const override { return unit_of_; }

 protected:
  // Keys of slots that are not known yet.
  void take(const HeadTokens& tokens) {
    const std::size_t from = unit_of_.size();
    for (std::size_t t = from; t < static_cast<std::size_t>(tokens.slots); ++t)
      unit_of_.push_back(static_cast<std::int32_t>(t));
    const auto fresh = tokens.keys.subspan(from * dim_);
    keys_.insert(keys_.end(), fresh.begin(), fresh.end());
  }
  std::size_t dim_;
  float scale_;
  std::vector<float> keys_;

 private:
  std::vector<std::int32_t> unit_of_;
};

// Keys stored in the basis of their principal components: the first few dimensions give scores
// without a copy (Loki). `skewed`: a copy of a few columns, in a basis of queries and keys, so that
// scores can be guessed before the layer's input is there (InfiniGen).
class LeadingDims final : public TokenUnits {
 public:
  struct Params {
    Ratio share{0.25};
    bool copy = false;
    static constexpr Rows kFields{
        field("share", &Params::share, between(Ratio{0.001}, Ratio{1}),
              "of the dimensions, the strongest ones"),
        field("copy", &Params::copy, any,
              "they are kept apart, in a basis of queries and keys; else keys lie in the basis")};
  };
  LeadingDims(Params p, const Context& c) : TokenUnits(c), p_(p) {}
  [[nodiscard]] std::int64_t rows() const override { return p_.copy ? 256 : 0; }
  [[nodiscard]] IndexCost cost(std::int64_t k_dim, double bytes, std::int64_t) const override {
    const auto rank = static_cast<double>(share_of(p_.share, static_cast<std::size_t>(k_dim)));
    IndexCost c;
    c.summary_bytes = p_.copy ? rank * bytes : 0;
    c.read_bytes = rank * bytes;
    c.unit_flops = 2 * rank;
    c.query_flops = 2 * rank * static_cast<double>(k_dim);
    c.build_flops = 2 * rank * static_cast<double>(k_dim);
    return c;
  }
  void build(const HeadTokens& tokens, const HeadRows& rows) override {
    std::vector<float> all(tokens.keys.begin(), tokens.keys.end());
    if (p_.copy) all.insert(all.end(), rows.query.begin(), rows.query.end());
    const auto dim = static_cast<std::int32_t>(dim_);
    rank_ = share_of(p_.share, dim_);
    basis_ = kernels::fit_basis(all, static_cast<std::int32_t>(all.size() / dim_), dim, dim,
                                static_cast<std::int32_t>(rank_));
    TokenUnits::build(tokens, rows);
    for (std::size_t t = 0; t < static_cast<std::size_t>(tokens.slots); ++t) project(t);
  }
  void append(const HeadTokens& tokens) override {
    TokenUnits::append(tokens);
    project(static_cast<std::size_t>(tokens.slots) - 1);
  }
  void rank(std::span<const float> query, std::span<float> out) override {
    std::vector<float> q;
    for (std::size_t r = 0; r < rank_; ++r)
      q.push_back(static_cast<float>(dot(query, row_of(basis_, r, dim_))));
    for (std::size_t t = 0; t < out.size(); ++t)
      out[t] = static_cast<float>(dot(q, row_of(coordinates_, t, rank_)) * double{scale_});
  }

 private:
  void project(std::size_t token) {
    for (std::size_t r = 0; r < rank_; ++r)
      coordinates_.push_back(
          static_cast<float>(dot(row_of(keys_, token, dim_), row_of(basis_, r, dim_))));
  }
  Params p_;
  std::size_t rank_ = 1;
  std::vector<float> basis_, coordinates_;
};

// Of every key the few channels where the query is largest.
class QueryDims final : public TokenUnits {
 public:
  struct Params {
    Ratio share{0.125};
    static constexpr Rows kFields{field("share", &Params::share, between(Ratio{0.001}, Ratio{1}),
                                        "of the channels, those of largest |query|")};
  };
  QueryDims(Params p, const Context& c) : TokenUnits(c), p_(p) {}
  [[nodiscard]] IndexCost cost(std::int64_t k_dim, double bytes, std::int64_t) const override {
    const auto dims = static_cast<double>(share_of(p_.share, static_cast<std::size_t>(k_dim)));
    IndexCost c;
    c.read_bytes = dims * bytes;
    c.unit_flops = 2 * dims;
    c.query_flops = static_cast<double>(k_dim);
    return c;
  }
  void rank(std::span<const float> query, std::span<float> out) override {
    std::vector<std::size_t> order(dim_);
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      return std::abs(query[a]) > std::abs(query[b]);
    });
    order.resize(share_of(p_.share, dim_));
    for (std::size_t t = 0; t < out.size(); ++t) {
      double sum = 0;
      for (const std::size_t d : order) sum += double{query[d]} * double{keys_[t * dim_ + d]};
      out[t] = static_cast<float>(sum * double{scale_});
    }
  }

 private:
  Params p_;
};

// A graph of near neighbours that a search walks. The search is taken to find what it looks for;
// what it costs is the share of keys that it visits.
class Graph final : public TokenUnits {
 public:
  struct Params {
    std::int64_t degree = 32;
    static constexpr Rows kFields{
        field("degree", &Params::degree, between<std::int64_t>(1, 1024), "links of a key")};
  };
  Graph(Params p, const Context& c) : TokenUnits(c), p_(p) {}
  [[nodiscard]] IndexCost cost(std::int64_t k_dim, double bytes,
                               std::int64_t tokens) const override {
    const auto dim = static_cast<double>(k_dim), degree = static_cast<double>(p_.degree);
    IndexCost c;
    c.summary_bytes = 4 * degree;
    c.read_bytes = 4 * degree + dim * bytes;
    c.unit_flops = 2 * dim;
    c.build_flops = 2 * dim * degree * std::log2(std::max<double>(2, static_cast<double>(tokens)));
    return c;
  }
  void rank(std::span<const float> query, std::span<float> out) override {
    for (std::size_t t = 0; t < out.size(); ++t)
      out[t] = static_cast<float>(dot(query, row_of(keys_, t, dim_)) * double{scale_});
  }

 private:
  Params p_;
};

// Nothing is ranked: every step reads all, from wherever it lies.
class Everything final : public TokenUnits {
 public:
  struct Params {
    static constexpr Rows<> kFields{};
  };
  Everything(Params, const Context& c) : TokenUnits(c) {}
  [[nodiscard]] IndexCost cost(std::int64_t, double, std::int64_t) const override { return {}; }
  [[nodiscard]] bool takes_all() const override { return true; }
  void rank(std::span<const float>, std::span<float> out) override {
    std::fill(out.begin(), out.end(), 0.0F);
  }
};

const Register<LeadingDims> kLeading{"leading-dims", "the strongest dimensions of every key",
                                     "Singhania et al., Loki, arXiv:2406.02542"};
const Register<QueryDims> kQueryDims{"query-dims", "the channels where the query is largest",
                                     "Ribar et al., SparQ Attention, arXiv:2312.04985"};
const Register<Graph> kGraph{"graph", "approximate nearest neighbours",
                             "Liu et al., RetrievalAttention, arXiv:2409.10516"};
const Register<Everything> kAll{"all", "no choice: everything is read",
                                "Luo et al., HeadInfer, arXiv:2502.12574"};

}  // namespace
}  // namespace kvsim::token
