#include "kernels/merge.h"

#include <algorithm>
#include <numbers>

#include "kernels/low_rank.h"
#include "tests/kernels/twins.h"

namespace kvsim::kernels {
namespace {

std::size_t u(std::int64_t n) { return static_cast<std::size_t>(n); }

struct Tokens {
  std::int32_t tokens, dim;
  std::vector<float> x;
  explicit Tokens(Rng& rng)
      : tokens(static_cast<std::int32_t>(rng.below(40))),
        dim(1 + static_cast<std::int32_t>(rng.below(140))),
        x(test::normals(rng, u(tokens) * u(dim), std::exp(3 * rng.normal()))) {
    // Some zero rows, some that repeat the one before.
    for (std::int32_t t = 1; t < tokens; ++t) {
      const std::uint64_t kind = rng.below(8);
      for (std::size_t d = 0; d < u(dim) && kind < 2; ++d)
        x[u(t) * u(dim) + d] = kind == 0 ? 0 : 2 * x[u(t - 1) * u(dim) + d];
    }
  }
};

TEST(Merge, SimilarityAndAssignmentEqualTheReference) {
  Rng rng(1, "similar");
  for (int round = 0; round < 25; ++round) {
    const Tokens a(rng);
    const std::size_t pairs = u(std::max(0, a.tokens - 1));
    std::vector<float> expected(pairs, test::kNan);
    reference::similarity({a.tokens, a.dim, a.x, expected});
    std::vector<std::int32_t> kept, want(u(a.tokens), -9);
    for (std::int32_t t = 0; t < a.tokens; ++t)
      if (rng.below(4) == 0) kept.push_back(t);
    std::vector<float> closeness(u(a.tokens), test::kNan);
    const float threshold = round % 2 == 0 ? -1.0F : 0.05F;
    reference::assign({a.tokens, a.dim, threshold, a.x, kept, want, closeness});
    test::on_every_path([&](Threads& threads) {
      std::vector<float> got(pairs, test::kNan);
      cpu::similarity({a.tokens, a.dim, a.x, got}, threads);
      for (std::size_t i = 0; i < pairs; ++i) ASSERT_NEAR(got[i], expected[i], 1e-5);
      std::vector<std::int32_t> cluster(u(a.tokens), -9);
      std::vector<float> near(u(a.tokens), test::kNan);
      cpu::assign({a.tokens, a.dim, threshold, a.x, kept, cluster, near}, threads);
      for (std::size_t t = 0; t < u(a.tokens); ++t) {
        ASSERT_NEAR(near[t], closeness[t], 1e-5);
        if (cluster[t] == want[t]) continue;
        // Only where two are equally near, or the threshold is.
        const bool is_edge = std::abs(closeness[t] - threshold) < 1e-5F;
        ASSERT_TRUE(is_edge || (cluster[t] >= 0 && want[t] >= 0));
      }
    });
  }
}

TEST(Merge, AssignmentByHand) {
  const std::vector<float> x{1, 0, /**/ 0, 2, /**/ 3, 1, /**/ -1, 0, /**/ 0, 0};
  const std::vector<std::int32_t> kept{0, 1};
  std::vector<std::int32_t> cluster(5);
  std::vector<float> near(5);
  Threads threads(2);
  cpu::assign({5, 2, 0.0F, x, kept, cluster, near}, threads);
  EXPECT_EQ(cluster, (std::vector<std::int32_t>{0, 1, 0, 1, 0}));
  EXPECT_NEAR(near[2], 3 / std::sqrt(10.0), 1e-6);
  cpu::assign({5, 2, 0.5F, x, {}, cluster, near}, threads);
  EXPECT_EQ(cluster, std::vector<std::int32_t>(5, -1));
}

TEST(Merge, WeightedMeansEqualTheReference) {
  Rng rng(2, "means");
  for (int round = 0; round < 25; ++round) {
    const Tokens a(rng);
    const auto clusters = static_cast<std::int32_t>(rng.below(6));
    std::vector<std::int32_t> cluster;
    std::vector<float> weight;
    for (std::int32_t t = 0; t < a.tokens; ++t) {
      cluster.push_back(static_cast<std::int32_t>(rng.below(u(clusters) + 1)) - 1);
      weight.push_back(rng.below(5) == 0 ? 0 : static_cast<float>(rng.uniform()));
    }
    std::vector<float> expected(u(clusters) * u(a.dim), test::kNan), got;
    reference::merge({a.tokens, a.dim, clusters, a.x, cluster, weight, expected});
    test::on_every_path([&](Threads& threads) {
      got.assign(expected.size(), test::kNan);
      cpu::merge({a.tokens, a.dim, clusters, a.x, cluster, weight, got}, threads);
      // Rows may cancel: compare with the size of what goes in.
      float size = 0;
      for (const float v : a.x) size = std::max(size, std::abs(v));
      for (std::size_t i = 0; i < got.size(); ++i)
        ASSERT_NEAR(got[i], expected[i], 2e-6 * double{size} + 1e-30);
    });
  }
}

TEST(Merge, LayersEqualTheReference) {
  Rng rng(3, "layers");
  for (int round = 0; round < 25; ++round) {
    const Tokens a(rng);
    // From nearly parallel to unrelated; single numbers are only parallel or opposite.
    std::vector<float> b = a.x;
    const auto noise = test::normals(rng, b.size(), std::pow(10.0, -4.0 + round % 5));
    for (std::size_t i = 0; i < b.size(); ++i) b[i] = 3 * b[i] + (a.dim > 2 ? noise[i] : 0);
    const std::size_t n = u(a.tokens);
    const float at = static_cast<float>(round % 4) / 3;
    std::vector<float> direction(a.x.size()), length_a(n), length_b(n), angle(n);
    reference::merge_layers({a.tokens, a.dim, at, a.x, b, direction, length_a, length_b, angle});
    test::on_every_path([&](Threads& threads) {
      std::vector<float> d(a.x.size(), test::kNan), la(n, test::kNan), lb = la, w = la;
      cpu::merge_layers({a.tokens, a.dim, at, a.x, b, d, la, lb, w}, threads);
      for (std::size_t t = 0; t < n; ++t) {
        ASSERT_NEAR(la[t], length_a[t], 1e-6 * double{length_a[t]});
        ASSERT_NEAR(lb[t], length_b[t], 1e-6 * double{length_b[t]});
        // The reference's arc cosine is good to about 1e-8 near 0.
        ASSERT_NEAR(w[t], angle[t], 2e-6);
      }
      EXPECT_LT(test::worst_row(d, direction, u(a.dim)), 2e-5);
    });
  }
}

TEST(Merge, LayersByHand) {
  const std::vector<float> a{2, 0}, b{0, 3};
  std::vector<float> direction(2), length_a(1), length_b(1), angle(1);
  Threads threads(1);
  cpu::merge_layers({1, 2, 1.0F / 3, a, b, direction, length_a, length_b, angle}, threads);
  EXPECT_NEAR(angle[0], std::numbers::pi / 2, 1e-6);
  EXPECT_NEAR(direction[0], std::cos(std::numbers::pi / 6), 1e-6);
  EXPECT_NEAR(direction[1], std::sin(std::numbers::pi / 6), 1e-6);
  EXPECT_EQ(length_a[0], 2);
  EXPECT_EQ(length_b[0], 3);
}

TEST(LowRank, ProjectionsEqualTheReference) {
  Rng rng(4, "project");
  for (int round = 0; round < 20; ++round) {
    Projection a;
    a.tokens = static_cast<std::int32_t>(rng.below(9));
    a.groups = 1 + static_cast<std::int32_t>(rng.below(3));
    a.dim = 1 + static_cast<std::int32_t>(rng.below(150));
    a.rank = static_cast<std::int32_t>(rng.below(40));
    const auto bases = test::normals(rng, u(a.groups) * u(a.rank) * u(a.dim));
    const auto x = test::normals(rng, u(a.tokens) * u(a.groups) * u(a.dim));
    std::vector<float> y(u(a.tokens) * u(a.groups) * u(a.rank)), back(x.size());
    a.bases = bases;
    a.in = x, a.out = y;
    reference::project(a);
    a.in = y, a.out = back;
    reference::reconstruct(a);
    test::on_every_path([&](Threads& threads) {
      std::vector<float> got(y.size(), test::kNan), again(x.size(), test::kNan);
      a.in = x, a.out = got;
      cpu::project(a, threads);
      EXPECT_LT(test::worst_row(got, y, u(a.rank)), 2e-5);
      a.in = y, a.out = again;
      cpu::reconstruct(a, threads);
      EXPECT_LT(test::worst_row(again, back, u(a.dim)), 2e-5);
    });
  }
}

// Two heads that span four directions together: a basis for the group needs rank 4, per head 4
// each.
TEST(LowRank, TheFittedBasisHoldsWhatHasItsRank) {
  Rng rng(5, "basis");
  const std::int32_t tokens = 50, heads = 2, head = 16, dim = heads * head;
  const auto mixing = test::normals(rng, 4 * u(dim)),
             coordinates = test::normals(rng, u(tokens) * 4);
  std::vector<float> x(u(tokens) * u(dim));
  for (std::size_t t = 0; t < u(tokens); ++t)
    for (std::size_t d = 0; d < u(dim); ++d)
      for (std::size_t r = 0; r < 4; ++r)
        x[t * u(dim) + d] += coordinates[t * 4 + r] * mixing[r * u(dim) + d];
  Threads threads(2);
  const auto loss = [&](std::int32_t groups, std::int32_t rank) {
    const std::int32_t width = dim / groups;
    std::vector<float> bases;
    for (std::int32_t g = 0; g < groups; ++g) {
      const auto basis = fit_basis(std::span(x).subspan(u(g * width)), tokens, width, dim, rank);
      bases.insert(bases.end(), basis.begin(), basis.end());
    }
    std::vector<float> y(u(tokens) * u(groups) * u(rank)), back(x.size());
    cpu::project({tokens, groups, width, rank, bases, x, y}, threads);
    cpu::reconstruct({tokens, groups, width, rank, bases, y, back}, threads);
    return test::worst_row(back, x, x.size());
  };
  EXPECT_LT(loss(1, 4), 1e-5);
  EXPECT_LT(loss(2, 4), 1e-5);
  EXPECT_GT(loss(1, 3), 0.05);
  EXPECT_LT(loss(1, 3), loss(1, 2));
}

TEST(LowRank, MoreVectorsThanTokensAreZeros) {
  const std::vector<float> x{0, -2, 0};
  const auto basis = fit_basis(x, 1, 3, 3, 2);
  EXPECT_EQ(basis, (std::vector<float>{0, 1, 0, 0, 0, 0}));
  EXPECT_EQ(fit_basis({}, 0, 2, 2, 1), std::vector<float>(2));
}

}  // namespace
}  // namespace kvsim::kernels
