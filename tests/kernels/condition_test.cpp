#include "kernels/condition.h"

#include <algorithm>

#include "kernels/quantize.h"
#include "tests/kernels/twins.h"

namespace kvsim::kernels {
namespace {

std::size_t u(std::int64_t n) { return static_cast<std::size_t>(n); }

TEST(Condition, RotationEqualsTheReferenceAndUndoesItself) {
  Rng rng(1, "rotate");
  for (const std::int32_t block : {1, 2, 4, 8, 16, 32, 64, 128, 512})
    for (const std::int32_t blocks : {1, 3}) {
      const auto rows = static_cast<std::int32_t>(rng.below(4)), dims = block * blocks;
      const auto x = test::normals(rng, u(rows) * u(dims));
      std::vector<float> expected = x, got;
      reference::rotate({rows, dims, block, expected});
      test::on_every_path([&](Threads& threads) {
        got = x;
        cpu::rotate({rows, dims, block, got}, threads);
        EXPECT_LT(test::worst_row(got, expected, u(dims)), 1e-6) << "block of " << block;
        cpu::rotate({rows, dims, block, got}, threads);
        EXPECT_LT(test::worst_row(got, x, u(dims)), 2e-6);
      });
    }
}

TEST(Condition, RotationSpreadsAnOutlierEvenly) {
  std::vector<float> x(64);
  x[5] = 8;
  Threads threads(1);
  cpu::rotate({1, 64, 64, x}, threads);
  for (const float v : x) EXPECT_EQ(std::abs(v), 1);
}

TEST(Condition, ScaledKeysAndQueriesKeepTheirProducts) {
  Rng rng(2, "smooth");
  const std::int32_t dims = 37;
  auto keys = test::normals(rng, 5 * u(dims)), queries = test::normals(rng, 3 * u(dims));
  for (std::size_t i = 0; i < keys.size(); ++i) keys[i] *= i % u(dims) == 4 ? 50.0F : 1.0F;
  for (std::size_t i = 7; i < keys.size(); i += u(dims)) keys[i] = 0;
  const std::vector<float> factors = smoothing_factors(keys, queries, dims, 0.5);
  EXPECT_EQ(factors[7], 1);
  EXPECT_GT(factors[4], 3 * factors[5]);
  std::vector<float> inverse;
  for (const float f : factors) inverse.push_back(1 / f);
  std::vector<float> expected = keys;
  reference::scale_channels({5, dims, inverse, expected});
  test::on_every_path([&](Threads& threads) {
    std::vector<float> k = keys, q = queries;
    cpu::scale_channels({5, dims, inverse, k}, threads);
    EXPECT_EQ(k, expected);
    cpu::scale_channels({3, dims, factors, q}, threads);
    for (std::size_t d = 0; d < u(dims); ++d)
      EXPECT_NEAR(k[d] * q[d], keys[d] * queries[d], 1e-5 * std::abs(keys[d] * queries[d]));
  });
}

TEST(Condition, OutliersComeBackAndLeaveTheirRowsMean) {
  std::vector<float> x{1, 2, 90, /**/ -50, 3, 5, /**/ 0, 0, 0};
  const std::vector<float> all = x;
  const Outliers found = take_outliers(x, 3, 2.0 / 9);
  EXPECT_EQ(found.index, (std::vector<std::int32_t>{2, 3}));
  EXPECT_EQ(x, (std::vector<float>{1, 2, 1.5F, 4, 3, 5, 0, 0, 0}));
  put_outliers(found, x);
  EXPECT_EQ(x, all);
  EXPECT_EQ(take_outliers_above(x, 3, 49).index, found.index);
  EXPECT_EQ(take_outliers_above(x, 3, 0.5F).index.size(), 6U);  // x holds means now
  EXPECT_EQ(take_outliers(x, 3, 1).index.size(), 9U);
  EXPECT_EQ(x, std::vector<float>(9));
  EXPECT_TRUE(take_outliers(x, 3, 0).index.empty());
}

TEST(Condition, CodebooksLoseLessThanEvenSteps) {
  Rng rng(3, "book");
  Codec c{.width = CodeWidth::bits2, .symmetric = true, .tokens = 64, .dims = 64, .codebook = {}};
  auto x = test::normals(rng, 64 * 64);
  std::vector<float> unit = x;  // as the codec sees them: each row over its largest magnitude
  for (std::size_t t = 0; t < 64; ++t) {
    float top = 0;
    for (std::size_t d = 0; d < 64; ++d) top = std::max(top, std::abs(x[t * 64 + d]));
    for (std::size_t d = 0; d < 64; ++d) unit[t * 64 + d] /= top;
  }
  const std::vector<float> book = fit_codebook(unit, {}, 4);
  EXPECT_TRUE(std::is_sorted(book.begin(), book.end()));
  Threads threads(1);
  const auto loss = [&] {
    std::vector<std::byte> codes(c.code_bytes());
    std::vector<std::uint16_t> scales(c.groups()), zeros(c.symmetric ? 0 : c.groups());
    std::vector<float> back(x.size());
    cpu::quantize(c, x, {codes, scales, zeros}, threads);
    cpu::dequantize(c, {codes, scales, zeros}, back, threads);
    return test::worst_row(back, x, x.size());
  };
  const double uniform = loss();
  const std::vector<float> steps{-1, -1.0F / 3, 1.0F / 3, 1};
  c.codebook = steps;
  const double even = loss();
  c.codebook = book;
  const double fitted = loss();
  EXPECT_LT(fitted, even);
  EXPECT_LT(fitted, uniform);
}

TEST(Condition, CodebookOfFewValuesIsTheValues) {
  const std::vector<float> x{3, 1, 1, 7, 3, 7, 7}, weights{0, 1, 0, 2, 0, 1, 1};
  EXPECT_EQ(fit_codebook(x, {}, 3), (std::vector<float>{1, 3, 7}));
  EXPECT_EQ(fit_codebook({}, {}, 3), std::vector<float>(3));
  const auto weighted = fit_codebook(x, weights, 2);
  EXPECT_EQ(weighted, (std::vector<float>{1, 7}));
}

}  // namespace
}  // namespace kvsim::kernels
