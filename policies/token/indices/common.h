#pragma once
// What indices share: runs of tokens as units, dot products, Lloyd's algorithm.
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "policies/token/index.h"

namespace kvsim::token {

inline double dot(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += double{a[i]} * double{b[i]};
  return sum;
}

inline std::span<const float> row_of(std::span<const float> rows, std::size_t row,
                                     std::size_t dim) {
  return rows.subspan(row * dim, dim);
}

// Runs of `unit` tokens, in order; the last may be short.
class RunIndex : public TokenIndex {
 public:
  RunIndex(std::int64_t unit, const Context& c)
      : dim_(static_cast<std::size_t>(c.k_dim)), unit_(static_cast<std::size_t>(unit)) {}
  void build(const HeadTokens& tokens, const HeadRows& rows) override {
    unit_of_.clear();
    for (std::int32_t t = 0; t < tokens.slots; ++t)
      unit_of_.push_back(static_cast<std::int32_t>(static_cast<std::size_t>(t) / unit_));
    for (std::int32_t u = 0; u < units(); ++u) summarise(tokens, u, rows);
  }
  void append(const HeadTokens& tokens) override {
    unit_of_.push_back(
        static_cast<std::int32_t>(static_cast<std::size_t>(tokens.slots - 1) / unit_));
    summarise(tokens, units() - 1, {});
  }
  [[nodiscard]] std::int32_t units() const override {
    return unit_of_.empty() ? 0 : unit_of_.back() + 1;
  }
  [[nodiscard]] std::span<const std::int32_t> unit_of_slot() const override { return unit_of_; }

 protected:
  // Slots of a unit: [first, second).
  [[nodiscard]] std::pair<std::size_t, std::size_t> slots_of(std::int32_t unit) const {
    const std::size_t first = static_cast<std::size_t>(unit) * unit_;
    return {first, std::min(first + unit_, unit_of_.size())};
  }
  // Rows are empty but for the prompt, and then as rows() asks.
  virtual void summarise(const HeadTokens&, std::int32_t unit, const HeadRows&) = 0;
  std::size_t dim_, unit_;

 private:
  std::vector<std::int32_t> unit_of_;
};

// `count` centroids of the rows of `points` [n][dim] (stride between rows), `rounds` of Lloyd's
// algorithm from evenly spaced points; directions only when `cosine`. A centroid that loses all
// points stays where it is.
struct Clusters {
  std::vector<float> centroids;        // [count][dim]; means of the points
  std::vector<std::int32_t> of_point;  // [n]
};
Clusters cluster(std::span<const float> points, std::size_t n, std::size_t dim, std::size_t stride,
                 std::size_t count, int rounds, bool cosine);
// The centroid nearest to a point, of equal ones the first.
std::int32_t nearest_centroid(std::span<const float> point, std::span<const float> centroids,
                              bool cosine);

}  // namespace kvsim::token
