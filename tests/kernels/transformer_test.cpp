#include "kernels/transformer.h"

#include <algorithm>

#include "tests/kernels/twins.h"

namespace kvsim::kernels {
namespace {

std::int32_t small(Rng& rng, std::uint64_t most) {
  return static_cast<std::int32_t>(rng.below(most + 1));
}
std::size_t u(std::int64_t n) { return static_cast<std::size_t>(n); }

TEST(Transformer, LinearEqualsTheReference) {
  Rng rng(1, "linear");
  for (int round = 0; round < 24; ++round) {
    const std::int32_t rows = small(rng, 9), in = small(rng, 150), out = small(rng, 21);
    const auto x = test::normals(rng, u(rows) * u(in)), w = test::normals(rng, u(in) * u(out));
    std::vector<std::uint16_t> half(w.size());
    std::transform(w.begin(), w.end(), half.begin(), to_f16);
    std::vector<float> expected(u(rows) * u(out), test::kNan), got;
    Linear a{rows, in, out, w, {}, x, expected};
    if (round % 2 == 0) a.weight_f32 = {}, a.weight_f16 = half;
    reference::linear(a);
    test::on_every_path([&](Threads& threads) {
      got.assign(expected.size(), test::kNan);
      a.out = got;
      cpu::linear(a, threads);
      EXPECT_LT(test::worst_row(got, expected, u(out)), 2e-5);
    });
  }
}

TEST(Transformer, NormsGatesAndSoftmaxEqualTheReference) {
  Rng rng(2, "rows");
  for (int round = 0; round < 12; ++round) {
    const std::int32_t rows = small(rng, 5), dim = 1 + small(rng, 130);
    const auto x = test::normals(rng, u(rows) * u(dim), round % 3 == 0 ? 30 : 1);
    const auto y = test::normals(rng, u(rows) * u(dim)), weight = test::normals(rng, u(dim));
    std::vector<float> norm(x.size()), gate(x.size()), soft(x.size()), log(x.size()), got;
    reference::rms_norm({rows, dim, 1e-5F, x, weight, norm});
    reference::silu_gate({x, y, gate});
    reference::softmax({rows, dim, false, x, soft});
    reference::softmax({rows, dim, true, x, log});
    test::on_every_path([&](Threads& threads) {
      got.assign(x.size(), test::kNan);
      cpu::rms_norm({rows, dim, 1e-5F, x, weight, got}, threads);
      EXPECT_LT(test::worst_row(got, norm, u(dim)), 1e-6);
      got = x;
      cpu::silu_gate({got, y, got}, threads);
      EXPECT_LT(test::worst_row(got, gate, u(dim)), 1e-6);
      got = x;
      cpu::softmax({rows, dim, false, got, got}, threads);
      for (std::size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], soft[i], 1e-5);
      got.assign(x.size(), test::kNan);
      cpu::softmax({rows, dim, true, x, got}, threads);
      for (std::size_t i = 0; i < got.size(); ++i)
        ASSERT_NEAR(got[i], log[i], 1e-5 * std::max(1.0F, std::abs(log[i])));
    });
  }
}

TEST(Transformer, SoftmaxTakesMaskedColumns) {
  const std::vector<float> x{-INFINITY, 1000, -INFINITY, 1000};
  std::vector<float> out(4, test::kNan);
  test::on_every_path([&](Threads& threads) {
    cpu::softmax({1, 4, false, x, out}, threads);
    EXPECT_EQ(out, (std::vector<float>{0, 0.5F, 0, 0.5F}));
  });
}

TEST(Transformer, RopeTurnsPairsAndKeepsLengths) {
  Rng rng(3, "rope");
  for (const RopePairs pairs : {RopePairs::adjacent, RopePairs::halves})
    for (const std::int32_t dim : {2, 8, 30, 128}) {
      const std::int32_t rows = small(rng, 5), heads = 1 + small(rng, 3);
      std::vector<std::int32_t> positions;
      for (std::int32_t r = 0; r < rows; ++r) positions.push_back(small(rng, 131072));
      const auto x = test::normals(rng, u(rows) * u(heads) * u(dim));
      std::vector<float> expected = x, got;
      reference::rope({rows, heads, dim, pairs, 500000, positions, expected});
      test::on_every_path([&](Threads& threads) {
        got = x;
        cpu::rope({rows, heads, dim, pairs, 500000, positions, got}, threads);
        EXPECT_LT(test::worst_row(got, expected, u(dim)), 1e-6);
      });
      for (std::size_t i = 0; i < x.size(); i += 2)
        if (pairs == RopePairs::adjacent) {
          EXPECT_NEAR(std::hypot(x[i], x[i + 1]), std::hypot(got[i], got[i + 1]), 1e-5);
        }
    }
}

// With theta = 1 every pair turns by the position in radians.
TEST(Transformer, RopeByHand) {
  std::vector<float> x{1, 5, 2, 6};
  const std::vector<std::int32_t> position{1};
  Threads threads(1);
  cpu::rope({1, 1, 4, RopePairs::halves, 1, position, x}, threads);
  const double c = std::cos(1.0), s = std::sin(1.0);
  EXPECT_NEAR(x[0], c - 2 * s, 1e-6);
  EXPECT_NEAR(x[2], s + 2 * c, 1e-6);
  EXPECT_NEAR(x[1], 5 * c - 6 * s, 1e-6);
}

}  // namespace
}  // namespace kvsim::kernels
