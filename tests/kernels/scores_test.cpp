#include "kernels/scores.h"

#include <algorithm>
#include <numeric>

#include "tests/kernels/twins.h"

namespace kvsim::kernels {
namespace {

// Sequences of random lengths (0 too) in a pool whose unused slots hold NaN.
struct Paged {
  KvFormat format;
  test::Pool pool;
  std::vector<std::int32_t> lengths, pages;
  std::int32_t max_pages = 0;

  Paged(Rng& rng, Element element) : format(test::draw_format(rng, element)), pool(format, 12) {
    max_pages = 4;
    for (std::int32_t p = 11; p >= 0; --p) pages.push_back(p);
    for (int s = 0; s < 3; ++s) {
      const auto most = static_cast<std::uint64_t>(format.page_tokens * max_pages);
      lengths.push_back(
          s == 1 && rng.below(2) == 0 ? 0 : static_cast<std::int32_t>(rng.below(most + 1)));
      for (std::int32_t t = 0; t < lengths.back(); t += format.page_tokens)
        pool.fill(rng, pages[static_cast<std::size_t>(s * max_pages + t / format.page_tokens)],
                  std::min(format.page_tokens, lengths.back() - t));
    }
  }
  [[nodiscard]] BlockTable table() const { return {pages, max_pages, lengths}; }
};

TEST(Scores, KeyScoresEqualTheReference) {
  Rng rng(1, "scores");
  for (const auto& [element, name] : enum_names(Element{}))
    for (const bool softmax : {true, false}) {
      SCOPED_TRACE(name);
      Paged p(rng, element);
      const int group = 1 + static_cast<int>(rng.below(6)), q_heads = group * p.format.kv_heads;
      std::vector<std::int32_t> starts{0};
      for (const std::int32_t length : p.lengths)
        starts.push_back(starts.back() + static_cast<std::int32_t>(rng.below(
                                             static_cast<std::uint64_t>(std::min(length, 4) + 1))));
      const auto queries = static_cast<std::size_t>(starts.back() * q_heads);
      const std::int32_t columns = *std::max_element(p.lengths.begin(), p.lengths.end()) + 3;
      const auto q = test::normals(rng, queries * static_cast<std::size_t>(p.format.k_dim));
      const std::size_t size = queries * static_cast<std::size_t>(columns);
      std::vector<float> expected(size, test::kNan), got;
      const auto args = [&](std::span<float> out) {
        return KeyScores{p.pool.cache(), p.table(), q_heads, 0.1F, softmax,
                         starts,         q,         columns, out};
      };
      reference::score_keys(args(expected));
      test::on_every_path([&](Threads& threads) {
        got.assign(size, test::kNan);
        cpu::score_keys(args(got), threads);
        EXPECT_LT(test::worst_row(got, expected, static_cast<std::size_t>(columns)), 2e-5);
      });
    }
}

TEST(Scores, SoftmaxOfWhatAQuerySeesIsOne) {
  Rng rng(2, "scores");
  Paged p(rng, Element::f16);
  p.lengths = {30, 0, 0};
  p.pool.fill(rng, p.pages[0], std::min(30, p.format.page_tokens));
  p.pool.fill(rng, p.pages[1], 14);
  const std::vector<std::int32_t> starts{0, 2, 2, 2};
  const auto heads = static_cast<std::size_t>(p.format.kv_heads);
  const auto q = test::normals(rng, 2 * heads * static_cast<std::size_t>(p.format.k_dim), 100);
  std::vector<float> out(2 * heads * 32, test::kNan);
  Threads threads(1);
  cpu::score_keys({p.pool.cache(), p.table(), p.format.kv_heads, 1, true, starts, q, 32, out},
                  threads);
  for (std::size_t row = 0; row < 2 * heads; ++row) {
    EXPECT_NEAR(std::accumulate(&out[row * 32], &out[row * 32] + 32, 0.0), 1, 1e-5);
    EXPECT_EQ(out[row * 32 + 30], 0);
    if (row < heads) {
      EXPECT_EQ(out[row * 32 + 29], 0) << "the first query is one position earlier";
    }
  }
}

TEST(Scores, ReductionsEqualTheReference) {
  Rng rng(3, "reduce");
  for (const Combine heads : {Combine::mean, Combine::max})
    for (const Combine pool : {Combine::mean, Combine::max})
      for (int round = 0; round < 12; ++round) {
        ScoreReduction a;
        a.queries = static_cast<std::int32_t>(rng.below(6));
        a.kv_heads = 1 + static_cast<int>(rng.below(3));
        a.q_heads = a.kv_heads * (1 + static_cast<int>(rng.below(5)));
        a.columns = static_cast<std::int32_t>(rng.below(70));
        a.window = static_cast<std::int32_t>(rng.below(4));
        a.heads = heads, a.pool = pool;
        a.pool_width = 1 + 2 * static_cast<int>(rng.below(5));
        a.accumulate = round % 2 == 0;
        const auto columns = static_cast<std::size_t>(a.columns);
        auto in = test::normals(rng, static_cast<std::size_t>(a.queries) *
                                         static_cast<std::size_t>(a.q_heads) * columns);
        for (float& x : in) x = std::abs(x);
        std::vector<float> start(static_cast<std::size_t>(a.kv_heads) * columns, 0.25F);
        if (!a.accumulate) std::fill(start.begin(), start.end(), test::kNan);
        std::vector<float> expected = start, got;
        a.in = in;
        a.out = expected;
        reference::reduce_scores(a);
        test::on_every_path([&](Threads& threads) {
          got = start;
          a.out = got;
          cpu::reduce_scores(a, threads);
          EXPECT_LT(test::worst_row(got, expected, columns), 2e-6);
        });
      }
}

// H2O's and SnapKV's reductions, by hand: two queries, four heads in two groups.
TEST(Scores, ReductionsByHand) {
  const std::vector<float> in{1, 0, 2, /**/ 3, 0, 0, /**/ 0, 0, 0, /**/ 0, 4, 0,   // query 0
                              0, 2, 2, /**/ 2, 0, 2, /**/ 1, 1, 1, /**/ 3, 3, 3};  // query 1
  std::vector<float> out(6);
  Threads threads(2);
  ScoreReduction a{2, 4, 2, 3, 0, Combine::mean, Combine::max, 1, false, in, out};
  cpu::reduce_scores(a, threads);
  EXPECT_EQ(out, (std::vector<float>{3, 1, 3, 2, 4, 2}));
  a.window = 1, a.pool_width = 3, a.heads = Combine::max;
  cpu::reduce_scores(a, threads);
  EXPECT_EQ(out, (std::vector<float>{2, 2, 2, 3, 3, 3}));
  a.pool = Combine::mean, a.window = 0, a.accumulate = true;
  cpu::reduce_scores(a, threads);  // sums 5 2 4 and 3 7 3
  EXPECT_EQ(out, (std::vector<float>{2 + 3.5F, 2 + 11.0F / 3, 2 + 3, 3 + 5, 3 + 13.0F / 3, 3 + 5}));
}

// Rows of all kinds: ties, one value, NaN, infinities, both zeros, sorted, long enough for the
// sample and so short that it is not used.
std::vector<float> draw_row(Rng& rng, std::size_t n) {
  auto row = test::normals(rng, n);
  const std::uint64_t kind = rng.below(7);
  for (std::size_t i = 0; i < n; ++i) {
    if (kind == 1) row[i] = static_cast<float>(rng.below(5));
    if (kind == 2) row[i] = 7;
    if (kind == 3 && rng.below(4) == 0) row[i] = test::kNan;
    if (kind == 4) row[i] = rng.below(2) == 0 ? 0.0F : -0.0F;
    if (kind == 5) row[i] = std::exp(20 * row[i]);
    if (kind == 6 && rng.below(3) == 0) row[i] = rng.below(2) == 0 ? INFINITY : -INFINITY;
  }
  if (kind == 5) std::sort(row.begin(), row.end());
  return row;
}

TEST(Scores, TopKIsExact) {
  Rng rng(4, "top-k");
  for (int round = 0; round < 60; ++round) {
    const std::int32_t rows = 1 + static_cast<std::int32_t>(rng.below(4));
    const auto n = static_cast<std::size_t>(round % 3 == 0 ? rng.below(6000) : rng.below(90));
    const auto k = static_cast<std::size_t>(rng.below(n + 5));
    std::vector<float> in;
    std::vector<std::int32_t> lengths;
    for (std::int32_t r = 0; r < rows; ++r) {
      const auto row = draw_row(rng, n);
      in.insert(in.end(), row.begin(), row.end());
      lengths.push_back(static_cast<std::int32_t>(rng.below(n + 1)));
    }
    std::vector<std::int32_t> expected(static_cast<std::size_t>(rows) * k, -7), got;
    const auto args = [&](std::span<std::int32_t> out) {
      return TopK{
          rows,
          static_cast<std::int32_t>(n),
          static_cast<std::int32_t>(k),
          round % 2 == 0 ? std::span<const std::int32_t>(lengths) : std::span<const std::int32_t>{},
          in,
          out};
    };
    reference::top_k(args(expected));
    test::on_every_path([&](Threads& threads) {
      got.assign(expected.size(), -7);
      cpu::top_k(args(got), threads);
      EXPECT_EQ(got, expected) << "k = " << k << " of " << n;
    });
  }
}

TEST(Scores, PageSummariesAndScoresEqualTheReference) {
  Rng rng(5, "summaries");
  for (const auto& [element, name] : enum_names(Element{})) {
    SCOPED_TRACE(name);
    Paged p(rng, element);
    const auto kv_heads = static_cast<std::size_t>(p.format.kv_heads);
    const auto k_dim = static_cast<std::size_t>(p.format.k_dim);
    std::vector<float> expected(12 * kv_heads * 2 * k_dim, -77), got;
    reference::summarize_pages({p.pool.cache(), p.table(), expected});
    const int q_heads = 3 * p.format.kv_heads;
    const auto q = test::normals(rng, 3 * static_cast<std::size_t>(q_heads) * k_dim);
    std::vector<float> page_scores(static_cast<std::size_t>(3 * q_heads * p.max_pages), test::kNan);
    const auto args = [&](std::span<float> out) {
      return PageScores{
          p.table(), q_heads, p.format.kv_heads, p.format.k_dim, p.format.page_tokens, expected,
          q,         out};
    };
    reference::score_pages(args(page_scores));
    test::on_every_path([&](Threads& threads) {
      got.assign(expected.size(), -77);
      cpu::summarize_pages({p.pool.cache(), p.table(), got}, threads);
      EXPECT_EQ(got, expected);
      std::vector<float> out(page_scores.size(), test::kNan);
      cpu::score_pages(args(out), threads);
      EXPECT_LT(test::worst_row(out, page_scores, static_cast<std::size_t>(p.max_pages)), 2e-5);
    });
  }
}

// What Quest relies on.
TEST(Scores, NoKeyOfAPageScoresAboveItsBound) {
  Rng rng(6, "bound");
  Paged p(rng, Element::bf16);
  const KvFormat& f = p.format;
  p.lengths = {f.page_tokens * 2, 0, 0};
  p.pool.fill(rng, p.pages[0], f.page_tokens);
  p.pool.fill(rng, p.pages[1], f.page_tokens);
  const auto k_dim = static_cast<std::size_t>(f.k_dim);
  const auto heads = static_cast<std::size_t>(f.kv_heads);
  const auto q = test::normals(rng, 3 * heads * k_dim);
  std::vector<float> summaries(12 * heads * 2 * k_dim), bounds(3 * heads * 4),
      scores(heads * 128 * 2);
  Threads threads(1);
  cpu::summarize_pages({p.pool.cache(), p.table(), summaries}, threads);
  cpu::score_pages(
      {p.table(), f.kv_heads, f.kv_heads, f.k_dim, f.page_tokens, summaries, q, bounds}, threads);
  const std::vector<std::int32_t> starts{0, 1, 1, 1};
  cpu::score_keys({p.pool.cache(), p.table(), f.kv_heads, 1, false, starts, q, 256, scores},
                  threads);
  for (std::size_t h = 0; h < heads; ++h)
    for (std::int32_t t = 0; t < p.lengths[0]; ++t) {
      const float bound = bounds[h * 4 + static_cast<std::size_t>(t / f.page_tokens)];
      EXPECT_LE(scores[h * 256 + static_cast<std::size_t>(t)], bound + 1e-3F);
    }
}

}  // namespace
}  // namespace kvsim::kernels
