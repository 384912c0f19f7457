// The operations besides attention on a Vulkan device, against their references: shapes drawn at
// random, outputs poisoned, on the device as it is and without subgroups and mapped memory.
#include "kernels/vulkan/operations.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "tests/kernels/twins.h"
#include "tests/kernels/vulkan_fixture.h"

namespace kvsim::kernels {
namespace {

std::size_t z(std::int64_t n) { return static_cast<std::size_t>(n); }

class VulkanOperations : public VulkanTest {
 protected:
  // Runs the reference into `expected` and the twin into `got`; `at(out)` gives arguments that
  // write there.
  template <class T, class At, class Reference>
  void run(std::vector<T>& expected, std::vector<T>& got, At at, Reference reference) {
    got = expected;
    const auto wanted = at(std::span<T>(expected));
    reference(wanted);
    vulkan::once(at(std::span<T>(got)), ++runs_ % 3 == 0 ? plain_device() : device());
  }

 private:
  int runs_ = 0;
};

// Sequences of random lengths (0 too) in a pool whose unused slots hold NaN.
struct Paged {
  KvFormat format;
  test::Pool pool;
  std::vector<std::int32_t> lengths, pages;
  std::int32_t max_pages = 4;

  Paged(Rng& rng, Element element) : format(test::draw_format(rng, element)), pool(format, 12) {
    for (std::int32_t p = 11; p >= 0; --p) pages.push_back(p);
    for (int s = 0; s < 3; ++s) {
      lengths.push_back(
          s == 1 ? 0 : static_cast<std::int32_t>(rng.below(z(format.page_tokens * max_pages + 1))));
      for (std::int32_t t = 0; t < lengths.back(); t += format.page_tokens)
        pool.fill(rng, pages[z(s * max_pages + t / format.page_tokens)],
                  std::min(format.page_tokens, lengths.back() - t));
    }
  }
  [[nodiscard]] BlockTable table() const { return {pages, max_pages, lengths}; }
};

TEST_F(VulkanOperations, KeyScores) {
  Rng rng(1, "vulkan scores");
  for (const auto& [element, name] : enum_names(Element{})) {
    SCOPED_TRACE(name);
    Paged p(rng, element);
    const int q_heads = p.format.kv_heads * (1 + static_cast<int>(rng.below(4)));
    std::vector<std::int32_t> starts{0};
    for (const std::int32_t length : p.lengths)
      starts.push_back(starts.back() + std::min(length, 3));
    const std::int32_t columns = *std::max_element(p.lengths.begin(), p.lengths.end()) + 3;
    const auto q = test::normals(rng, z(starts.back() * q_heads * p.format.k_dim));
    for (const bool softmax : {true, false}) {
      std::vector<float> expected(z(starts.back() * q_heads * columns), test::kNan), got;
      run(
          expected, got,
          [&](std::span<float> out) {
            return KeyScores{p.pool.cache(), p.table(), q_heads, 0.1F, softmax,
                             starts,         q,         columns, out};
          },
          reference::score_keys);
      EXPECT_LT(test::worst_row(got, expected, z(columns)), 2e-5);
    }
  }
}

TEST_F(VulkanOperations, ScoreReductions) {
  Rng rng(2, "vulkan reduce");
  for (const Combine heads : {Combine::mean, Combine::max})
    for (const Combine pool : {Combine::mean, Combine::max})
      for (int round = 0; round < 4; ++round) {
        ScoreReduction a;
        a.queries = static_cast<std::int32_t>(rng.below(6));
        a.kv_heads = 1 + static_cast<int>(rng.below(3));
        a.q_heads = a.kv_heads * (1 + static_cast<int>(rng.below(5)));
        a.columns = static_cast<std::int32_t>(rng.below(200));
        a.window = static_cast<std::int32_t>(rng.below(4));
        a.heads = heads, a.pool = pool;
        a.pool_width = 1 + 2 * static_cast<int>(rng.below(5));
        a.accumulate = round % 2 == 0;
        auto in = test::normals(rng, z(a.queries * a.q_heads * a.columns));
        for (float& x : in) x = std::abs(x);
        a.in = in;
        std::vector<float> expected(z(a.kv_heads * a.columns), a.accumulate ? 0.25F : test::kNan),
            got;
        run(
            expected, got,
            [&](std::span<float> out) {
              a.out = out;
              return a;
            },
            reference::reduce_scores);
        EXPECT_LT(test::worst_row(got, expected, z(a.columns)), 2e-6);
      }
}

TEST_F(VulkanOperations, TopKIsExactWithTiesAndNotNumbers) {
  Rng rng(3, "vulkan top k");
  for (int round = 0; round < 20; ++round) {
    TopK a;
    a.rows = 1 + static_cast<std::int32_t>(rng.below(5));
    a.columns = 1 + static_cast<std::int32_t>(rng.below(round % 2 == 0 ? 20 : 3000));
    a.k = static_cast<std::int32_t>(rng.below(z(a.columns + 5)));
    auto in = test::normals(rng, z(a.rows * a.columns));
    for (float& x : in) {
      if (round % 3 == 0) x = std::round(x);  // many ties, zeros of both signs
      if (round % 5 == 0 && rng.below(7) == 0) x = test::kNan;
      if (round % 5 == 0 && rng.below(9) == 0) x = -INFINITY;
    }
    std::vector<std::int32_t> lengths;
    for (std::int32_t r = 0; r < a.rows; ++r)
      lengths.push_back(static_cast<std::int32_t>(rng.below(z(a.columns + 1))));
    if (round % 2 == 0) a.lengths = lengths;
    a.in = in;
    std::vector<std::int32_t> expected(z(a.rows * a.k), -7), got;
    run(
        expected, got,
        [&](std::span<std::int32_t> out) {
          a.out = out;
          return a;
        },
        reference::top_k);
    EXPECT_EQ(got, expected) << "round " << round;
  }
}

TEST_F(VulkanOperations, PageSummariesAndScores) {
  Rng rng(4, "vulkan pages");
  for (const auto& [element, name] : enum_names(Element{})) {
    SCOPED_TRACE(name);
    Paged p(rng, element);
    const KvFormat& f = p.format;
    std::vector<float> expected(z(12 * f.kv_heads * 2 * f.k_dim), 7), got;
    run(
        expected, got,
        [&](std::span<float> out) {
          return PageSummaries{p.pool.cache(), p.table(), out};
        },
        reference::summarize_pages);
    EXPECT_LT(test::worst_row(got, expected, 1), is_quantised(element) ? 1e-5 : 1e-30);
    const int q_heads = f.kv_heads * 3;
    const auto q = test::normals(rng, z(3 * q_heads * f.k_dim));
    const std::vector<float> summaries = expected;
    std::vector<float> scores(z(3 * q_heads * p.max_pages), test::kNan), got_scores;
    run(
        scores, got_scores,
        [&](std::span<float> out) {
          return PageScores{p.table(),     q_heads,   f.kv_heads, f.k_dim,
                            f.page_tokens, summaries, q,          out};
        },
        reference::score_pages);
    EXPECT_LT(test::worst_row(got_scores, scores, z(p.max_pages)), 2e-5);
  }
}

// Bytes that belong to alignment, so that spans of them begin where caches do.
struct Bytes {
  std::vector<std::byte> storage;
  std::size_t size;
  explicit Bytes(std::size_t n, std::byte fill = std::byte{0xab})
      : storage(n + 64, fill), size(n) {}
  [[nodiscard]] std::span<std::byte> span() {
    const auto at = reinterpret_cast<std::uintptr_t>(storage.data());
    return std::span(storage).subspan((64 - at % 64) % 64, size);
  }
};

TEST_F(VulkanOperations, BlockCopiesAreExact) {
  Rng rng(5, "vulkan blocks");
  for (const auto& [from, from_name] : enum_names(BlockOrder{}))
    for (const auto& [to, to_name] : enum_names(BlockOrder{})) {
      BlockCopy a;
      a.from = {from, 3, 9, 2, 64 * static_cast<std::int64_t>(1 + rng.below(20))};
      a.to = a.from;
      a.to.order = to;
      a.to.blocks = 7;
      const std::vector<std::int32_t> from_blocks{8, 0, 3, 3}, to_blocks{1, 6, 0, 2};
      a.from_blocks = from_blocks, a.to_blocks = to_blocks;
      Bytes source(z(a.from.bytes())), expected(z(a.to.bytes())), got(z(a.to.bytes()));
      for (std::byte& b : source.span()) b = static_cast<std::byte>(rng.below(256));
      a.source = source.span();
      a.target = expected.span();
      reference::copy_blocks(a);
      a.target = got.span();
      vulkan::once(a, device());
      EXPECT_EQ(std::memcmp(got.span().data(), expected.span().data(), got.size), 0)
          << from_name << " to " << to_name;
    }
}

TEST_F(VulkanOperations, KeysChangeTheirOrderExactly) {
  Rng rng(6, "vulkan order");
  for (const auto& [element, name] : enum_names(Element{}))
    for (const auto& [order, order_name] : enum_names(KeyOrder{})) {
      KvFormat f = test::draw_format(rng, element);
      f.k_dim = 128;
      test::Pool pool(f, 3);
      for (std::byte& b : pool.bytes()) b = static_cast<std::byte>(rng.below(256));
      Bytes expected(pool.bytes().size()), got(pool.bytes().size());
      KeyReorder a{pool.cache(), order, expected.span()};
      reference::reorder_keys(a);
      a.target = got.span();
      vulkan::once(a, device());
      EXPECT_EQ(std::memcmp(got.span().data(), expected.span().data(), got.size), 0)
          << name << " to " << order_name;
    }
}

TEST_F(VulkanOperations, HashesAreExact) {
  Rng rng(7, "vulkan hash");
  for (const std::int32_t block : {1, 2, 3, 16, 17, 64}) {
    BlockHashes a;
    a.block_tokens = block;
    a.seed = rng.next();
    std::vector<std::int64_t> starts{0}, hash_starts;
    std::int64_t hashes = 0;
    for (int s = 0; s < 9; ++s) {
      const auto n = static_cast<std::int64_t>(rng.below(400));
      starts.push_back(starts.back() + n);
      hash_starts.push_back(hashes);
      hashes += n / block + 1;  // a gap that nobody writes
    }
    std::vector<std::uint32_t> ids(z(starts.back()));
    for (std::uint32_t& id : ids) id = static_cast<std::uint32_t>(rng.next());
    a.starts = starts, a.hash_starts = hash_starts, a.ids = ids;
    std::vector<std::uint64_t> expected(z(hashes), 5), got;
    run(
        expected, got,
        [&](std::span<std::uint64_t> out) {
          a.out = out;
          return a;
        },
        reference::hash_blocks);
    EXPECT_EQ(got, expected) << block;
  }
}

// Codes may differ by one where a number lies half-way between two; nothing else may.
TEST_F(VulkanOperations, PagesAreQuantisedAndBack) {
  Rng rng(8, "vulkan codec");
  for (const Element from : {Element::f32, Element::f16, Element::bf16})
    for (const Element to : {Element::i8, Element::i4, Element::i2}) {
      KvFormat coded = test::draw_format(rng, to);
      KvFormat plain = coded;
      plain.element = from;
      test::Pool source(plain, 4), expected(coded, 4, std::byte{0}), got(coded, 4, std::byte{0});
      const std::vector<std::int32_t> pages{2, 0, 3}, targets{0, 3, 1},
          tokens{plain.page_tokens, 1 + static_cast<std::int32_t>(rng.below(z(plain.page_tokens))),
                 plain.page_tokens};
      for (std::size_t i = 0; i < 3; ++i) source.fill(rng, pages[i], tokens[i]);
      PageQuantization a{source.cache(), coded, expected.bytes(), pages, targets, tokens};
      reference::quantize_pages(a);
      a.target = got.bytes();
      vulkan::once(a, device());
      int off = 0, all = 0;
      const KvCache e = expected.cache(), g = got.cache();
      for (std::size_t i = 0; i < 3; ++i)
        for (int h = 0; h < coded.kv_heads; ++h)
          for (int t = 0; t < tokens[i]; ++t) {
            for (int d = 0; d < coded.k_dim; ++d, ++all)
              off += e.key(targets[i], h, t, d) != g.key(targets[i], h, t, d) ? 1 : 0;
            for (int d = 0; d < coded.v_dim; ++d, ++all)
              off += e.value(targets[i], h, t, d) != g.value(targets[i], h, t, d) ? 1 : 0;
          }
      EXPECT_LE(off, all / 1000) << bits_of(from) << " to " << bits_of(to);

      test::Pool back(plain, 4), back_expected(plain, 4);
      PageQuantization b{expected.cache(), plain, back_expected.bytes(), targets, pages, tokens};
      reference::dequantize_pages(b);
      b.target = back.bytes();
      vulkan::once(b, device());
      const KvCache be = back_expected.cache(), bg = back.cache();
      int wrong = 0;
      for (std::size_t i = 0; i < 3; ++i)
        for (int h = 0; h < coded.kv_heads; ++h)
          for (int t = 0; t < tokens[i]; ++t)
            for (int d = 0; d < coded.v_dim; ++d)
              wrong += be.value(pages[i], h, t, d) != bg.value(pages[i], h, t, d) ||
                       be.key(pages[i], h, t, d % coded.k_dim) !=
                           bg.key(pages[i], h, t, d % coded.k_dim);
      EXPECT_EQ(wrong, 0) << bits_of(to) << " to " << bits_of(from);
    }
}

TEST_F(VulkanOperations, TransformerParts) {
  Rng rng(9, "vulkan transformer");
  for (int round = 0; round < 6; ++round) {
    SCOPED_TRACE(round);
    const auto rows = static_cast<std::int32_t>(1 + rng.below(6)),
               in = static_cast<std::int32_t>(1 + rng.below(200)),
               out_dim = static_cast<std::int32_t>(1 + rng.below(50));
    const auto x = test::normals(rng, z(rows * in)), w = test::normals(rng, z(out_dim * in));
    std::vector<std::uint16_t> half;
    for (const float v : w) half.push_back(to_f16(v));
    std::vector<float> expected(z(rows * out_dim), test::kNan), got;
    run(
        expected, got,
        [&](std::span<float> out) {
          Linear a{rows, in, out_dim, {}, {}, x, out};
          round % 2 == 0 ? void(a.weight_f32 = w) : void(a.weight_f16 = half);
          return a;
        },
        reference::linear);
    EXPECT_LT(test::worst_row(got, expected, z(out_dim)), 2e-5);

    expected.assign(z(rows * in), test::kNan);
    const auto weight = test::normals(rng, z(in));
    run(
        expected, got,
        [&](std::span<float> out) { return RmsNorm{rows, in, 1e-5F, x, weight, out}; },
        reference::rms_norm);
    EXPECT_LT(test::worst_row(got, expected, z(in)), 1e-6);

    run(
        expected, got,
        [&](std::span<float> out) {
          return Softmax{rows, in, round % 2 == 0, x, out};
        },
        reference::softmax);
    for (std::size_t i = 0; i < got.size(); ++i)
      EXPECT_NEAR(got[i], expected[i], 1e-5F * std::max(1.0F, std::abs(expected[i])));

    const auto gate = test::normals(rng, z(rows * in), 20);
    run(
        expected, got,
        [&](std::span<float> out) {
          return SiluGate{gate, x, out};
        },
        reference::silu_gate);
    EXPECT_LT(test::worst_row(got, expected, z(rows * in)), 1e-6);

    const int heads = 1 + static_cast<int>(rng.below(3)),
              dim = 2 * (1 + static_cast<int>(rng.below(40)));
    std::vector<std::int32_t> positions;
    for (int r = 0; r < rows; ++r)
      positions.push_back(static_cast<std::int32_t>(rng.below(100000)));
    expected = test::normals(rng, z(rows * heads * dim));
    run(
        expected, got,
        [&](std::span<float> out) {
          return Rope{
              rows,  heads,     dim, round % 2 == 0 ? RopePairs::adjacent : RopePairs::halves,
              10000, positions, out};
        },
        reference::rope);
    EXPECT_LT(test::worst_row(got, expected, z(dim)), 1e-6);
  }
}

struct Stored {
  std::vector<std::byte> codes;
  std::vector<std::uint16_t> scales, zeros;
  explicit Stored(const Codec& c)
      : codes(c.code_bytes(), std::byte{0xee}),
        scales(c.groups(), 0x7e00),
        zeros(c.symmetric ? 0 : c.groups(), 0x7e00) {}
  Quantized out() { return {codes, scales, zeros}; }
};

TEST_F(VulkanOperations, CodecsEqualTheReferenceButForTies) {
  Rng rng(10, "vulkan codecs");
  // 16 entries whose first n ascend too, with unequal steps on both sides of 0.
  const std::vector<float> book{-1,    -0.7F, -0.1F, 0.2F, 0.3F, 0.32F, 0.4F, 0.5F,
                                0.55F, 0.6F,  0.7F,  0.8F, 0.9F, 1,     1.5F, 2};
  for (std::size_t round = 0; round < 20; ++round) {
    Codec c;
    c.width = enum_names(CodeWidth{})[round % 5].first;
    c.grain = rng.below(2) == 0 ? Grain::token : Grain::channel;
    c.group = rng.below(3) == 0 ? 0 : 1 + static_cast<std::int32_t>(rng.below(40));
    c.symmetric = rng.below(2) == 0;
    c.tokens = static_cast<std::int32_t>(rng.below(20));
    c.dims = static_cast<std::int32_t>(rng.below(100));
    if (c.levels() <= 16 && rng.below(3) == 0) c.codebook = std::span(book).first(z(c.levels()));
    SCOPED_TRACE(testing::Message() << name_of(c.width) << ' ' << name_of(c.grain) << " group "
                                    << c.group << ' ' << c.tokens << " x " << c.dims);
    const auto x = test::normals(rng, z(c.tokens) * z(c.dims), round % 7 == 0 ? 5000 : 1);
    Stored expected(c), got(c);
    reference::quantize(c, x, expected.out());
    vulkan::once(vulkan::Quantization{c, x, got.out()}, device());
    EXPECT_EQ(got.scales, expected.scales);
    EXPECT_EQ(got.zeros, expected.zeros);
    std::vector<float> numbers(x.size()), back(x.size(), test::kNan);
    reference::dequantize(c, {got.codes, got.scales, got.zeros}, numbers);
    vulkan::once(vulkan::Dequantization{c, {got.codes, got.scales, got.zeros}, back},
                 plain_device());
    float size = 0;  // scale times code and zero may cancel
    for (const float v : x) size = std::max(size, std::abs(v));
    for (std::size_t i = 0; i < x.size(); ++i)
      ASSERT_NEAR(back[i], numbers[i], 1e-6 * std::abs(numbers[i]) + 3e-7 * double{size});
    reference::dequantize(c, {expected.codes, expected.scales, expected.zeros}, numbers);
    for (std::size_t i = 0; i < x.size(); ++i)
      if (std::abs(back[i] - numbers[i]) > 1e-5F * std::abs(numbers[i]) + 1e-6F) {
        // Only where two codes are equally near.
        ASSERT_NEAR(std::abs(double{x[i]} - double{back[i]}),
                    std::abs(double{x[i]} - double{numbers[i]}), 1e-4 * std::abs(x[i]) + 1e-6);
      }
  }
}

TEST_F(VulkanOperations, MergesEqualTheReference) {
  Rng rng(11, "vulkan merge");
  for (int round = 0; round < 10; ++round) {
    SCOPED_TRACE(round);
    const auto tokens = static_cast<std::int32_t>(rng.below(40)),
               dim = static_cast<std::int32_t>(3 + rng.below(140));
    const std::size_t n = z(tokens);
    auto x = test::normals(rng, n * z(dim), std::exp(3 * rng.normal()));
    for (std::size_t d = 0; d < z(dim) && tokens > 5; ++d)
      x[z(dim) + d] = 0, x[3 * z(dim) + d] = 2 * x[2 * z(dim) + d];
    std::vector<float> expected(n > 0 ? n - 1 : 0, test::kNan), got;
    run(
        expected, got,
        [&](std::span<float> out) {
          return NeighbourSimilarity{tokens, dim, x, out};
        },
        reference::similarity);
    for (std::size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], expected[i], 1e-5);

    std::vector<std::int32_t> kept, want(n, -9), cluster(n, -9);
    for (std::int32_t t = 0; t < tokens; ++t)
      if (rng.below(4) == 0) kept.push_back(t);
    std::vector<float> closeness(n, test::kNan), near(n, test::kNan), weight;
    const float threshold = round % 2 == 0 ? -1.0F : 0.05F;
    reference::assign({tokens, dim, threshold, x, kept, want, closeness});
    vulkan::once(NearestKept{tokens, dim, threshold, x, kept, cluster, near}, device());
    for (std::size_t t = 0; t < n; ++t) {
      ASSERT_NEAR(near[t], closeness[t], 1e-5);
      const bool is_edge = std::abs(closeness[t] - threshold) < 1e-5F;
      ASSERT_TRUE(cluster[t] == want[t] || is_edge || (cluster[t] >= 0 && want[t] >= 0));
      weight.push_back(rng.below(5) == 0 ? 0 : static_cast<float>(rng.uniform()));
    }

    const auto clusters = static_cast<std::int32_t>(kept.size()) + 1;
    expected.assign(z(clusters) * z(dim), test::kNan);
    run(
        expected, got,
        [&](std::span<float> out) {
          return WeightedMerge{tokens, dim, clusters, x, want, weight, out};
        },
        reference::merge);
    float size = 0;  // rows may cancel: compare with what goes in
    for (const float v : x) size = std::max(size, std::abs(v));
    for (std::size_t i = 0; i < got.size(); ++i)
      ASSERT_NEAR(got[i], expected[i], 2e-6 * double{size} + 1e-30);

    auto b = test::normals(rng, x.size(), std::pow(10.0, -4.0 + round % 5));
    for (std::size_t i = 0; i < b.size(); ++i) b[i] += 3 * x[i];
    const float at = static_cast<float>(round % 4) / 3;
    std::vector<float> length_a(n), length_b(n), angle(n), d(x.size(), test::kNan), la(n), lb(n),
        w(n);
    expected.assign(x.size(), 0);
    reference::merge_layers({tokens, dim, at, x, b, expected, length_a, length_b, angle});
    vulkan::once(LayerMerge{tokens, dim, at, x, b, d, la, lb, w},
                 round % 2 == 0 ? plain_device() : device());
    for (std::size_t t = 0; t < n; ++t) {
      ASSERT_NEAR(la[t], length_a[t], 1e-6 * double{length_a[t]});
      ASSERT_NEAR(lb[t], length_b[t], 1e-6 * double{length_b[t]});
      ASSERT_NEAR(w[t], angle[t], 2e-6);
    }
    EXPECT_LT(test::worst_row(d, expected, z(dim)), 2e-5);
  }
}

TEST_F(VulkanOperations, RotationsEqualTheReferenceAndUndoThemselves) {
  Rng rng(13, "vulkan rotate");
  // 2^13: a workgroup holds less than a block; 2^21: in three passes. The reference would take
  // minutes there.
  for (const int log2 : {0, 1, 2, 3, 5, 6, 7, 9, 12, 13, 17, 21}) {
    const std::int32_t block = 1 << log2, dims = block * (log2 < 10 ? 3 : 1);
    const auto rows = static_cast<std::int32_t>(log2 < 10 ? rng.below(30) : 2);
    SCOPED_TRACE(testing::Message() << rows << " x " << dims << ", blocks of " << block);
    const auto x = test::normals(rng, z(rows) * z(dims));
    std::vector<float> expected = x, got;
    Threads threads(1);
    run(
        expected, got,
        [&](std::span<float> out) {
          return Rotation{rows, dims, block, out};
        },
        [&](const Rotation& a) { log2 < 10 ? reference::rotate(a) : cpu::rotate(a, threads); });
    EXPECT_LT(test::worst_row(got, expected, z(dims)), 1e-6);
    vulkan::once(Rotation{rows, dims, block, got}, device());
    EXPECT_LT(test::worst_row(got, x, z(dims)), 2e-6);
  }
}

TEST_F(VulkanOperations, ProjectionsEqualTheReference) {
  Rng rng(12, "vulkan project");
  for (int round = 0; round < 8; ++round) {
    Projection a;
    a.tokens = static_cast<std::int32_t>(rng.below(9));
    a.groups = 1 + static_cast<std::int32_t>(rng.below(3));
    a.dim = 1 + static_cast<std::int32_t>(rng.below(150));
    a.rank = static_cast<std::int32_t>(rng.below(40));
    const auto bases = test::normals(rng, z(a.groups * a.rank * a.dim));
    const auto x = test::normals(rng, z(a.tokens * a.groups * a.dim));
    const auto y = test::normals(rng, z(a.tokens * a.groups * a.rank));
    a.bases = bases;
    std::vector<float> expected(y.size(), test::kNan), got(y.size(), test::kNan);
    a.in = x, a.out = expected;
    reference::project(a);
    a.out = got;
    vulkan::once(a, device());
    EXPECT_LT(test::worst_row(got, expected, z(a.rank)), 2e-5);
    expected.assign(x.size(), test::kNan);
    got = expected;
    a.in = y, a.out = expected;
    reference::reconstruct(a);
    a.out = got;
    vulkan::once(vulkan::Reconstruction{a}, device());
    EXPECT_LT(test::worst_row(got, expected, z(a.dim)), 2e-5);
  }
}

}  // namespace
}  // namespace kvsim::kernels
