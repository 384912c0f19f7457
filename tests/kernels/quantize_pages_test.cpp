#include <cstring>

#include "kernels/quantize.h"
#include "tests/kernels/twins.h"

namespace kvsim::kernels {
namespace {

struct Batch {
  KvFormat from, to;
  std::vector<std::int32_t> from_pages{3, 1, 0}, to_pages{0, 2, 1}, tokens;
};

Batch draw_batch(Rng& rng, Element plain, Element codes) {
  Batch b;
  b.to = test::draw_format(rng, codes);
  b.from = b.to;
  b.from.element = plain;
  const auto page = static_cast<std::uint64_t>(b.to.page_tokens);
  b.tokens = {b.to.page_tokens, static_cast<std::int32_t>(1 + rng.below(page)),
              static_cast<std::int32_t>(rng.below(page + 1))};
  return b;
}

float scale_of(const std::byte* base, std::size_t offset, std::size_t i) {
  std::uint16_t half = 0;
  std::memcpy(&half, base + offset + 2 * i, 2);
  return from_f16(half);
}

// Both took the same numbers, so scales and zeros are the same bits and codes differ at most by one
// step, where the number lies half-way between two codes.
void expect_same(const Batch& b, test::Pool& source, test::Pool& got, test::Pool& expected) {
  const KvFormat& f = b.to;
  for (std::size_t i = 0; i < b.tokens.size(); ++i)
    for (int h = 0; h < f.kv_heads; ++h) {
      const KvCache g = got.cache(), e = expected.cache(), s = source.cache();
      const std::byte* base = e.head_page(b.to_pages[i], h);
      const auto check = [&](float x, float a, float c, float scale) {
        if (a == c) return;
        ASSERT_LE(std::abs(double{a} - double{c}), 1.01 * double{scale});
        const double to_a = std::abs(double{x} - double{a}), to_c = std::abs(double{x} - double{c});
        ASSERT_NEAR(to_a, to_c, 1e-3 * double{scale}) << "not a tie";
      };
      for (int t = 0; t < b.tokens[i]; ++t) {
        for (int d = 0; d < f.k_dim; ++d) {
          const auto at = static_cast<std::size_t>(t / f.group_tokens * 2 * f.k_dim + d);
          check(s.key(b.from_pages[i], h, t, d), g.key(b.to_pages[i], h, t, d),
                e.key(b.to_pages[i], h, t, d), scale_of(base, f.key_scales_offset(), at));
        }
        for (int d = 0; d < f.v_dim && !f.values_in_keys; ++d)
          check(s.value(b.from_pages[i], h, t, d), g.value(b.to_pages[i], h, t, d),
                e.value(b.to_pages[i], h, t, d),
                scale_of(base, f.value_scales_offset(), static_cast<std::size_t>(t)));
      }
    }
}

TEST(QuantizePages, EqualsTheReferenceButForTies) {
  Rng rng(1, "pages");
  for (const Element codes : {Element::i8, Element::i4, Element::i2})
    for (const Element plain : {Element::f32, Element::f16, Element::bf16})
      for (const double deviation : {1.0, 1e-4, 3000.0}) {
        const Batch b = draw_batch(rng, plain, codes);
        SCOPED_TRACE(std::string(name_of(plain)) + " to " + std::string(name_of(codes)));
        test::Pool source(b.from, 4), expected(b.to, 3);
        for (std::size_t i = 0; i < b.tokens.size(); ++i)
          source.fill(rng, b.from_pages[i], b.tokens[i], deviation);
        reference::quantize_pages(
            {source.cache(), b.to, expected.bytes(), b.from_pages, b.to_pages, b.tokens});
        test::on_every_path([&](Threads& threads) {
          test::Pool got(b.to, 3);
          cpu::quantize_pages(
              {source.cache(), b.to, got.bytes(), b.from_pages, b.to_pages, b.tokens}, threads);
          expect_same(b, source, got, expected);
        });
      }
}

TEST(QuantizePages, ErrorIsHalfAStep) {
  Rng rng(2, "pages");
  const KvFormat from{.element = Element::f16, .kv_heads = 2, .page_tokens = 64};
  KvFormat to = from;
  to.element = Element::i4;
  test::Pool source(from, 1), got(to, 1);
  source.fill(rng, 0, 64);
  const std::vector<std::int32_t> page{0};
  Threads threads(1);
  cpu::quantize_pages({source.cache(), to, got.bytes(), page, page, {}}, threads);
  const KvCache a = source.cache(), b = got.cache();
  for (int h = 0; h < 2; ++h)
    for (int d = 0; d < to.k_dim; ++d) {
      const double scale =
          scale_of(b.head_page(0, h), to.key_scales_offset(), static_cast<std::size_t>(d));
      for (int t = 0; t < 64; ++t)
        EXPECT_NEAR(a.key(0, h, t, d), b.key(0, h, t, d), scale * (0.5 + 15 * 0x1p-10) + 0x1p-8);
    }
}

TEST(QuantizePages, GroupsOfEqualNumbersComeBackExactly) {
  const KvFormat from{.element = Element::f16,
                      .kv_heads = 1,
                      .k_dim = 16,
                      .v_dim = 16,
                      .page_tokens = 16,
                      .group_tokens = 16};
  KvFormat to = from;
  to.element = Element::i2;
  test::Pool source(from, 1), got(to, 1), back(from, 1);
  const std::vector<float> row(16, -1.5F);
  for (int t = 0; t < 16; ++t) store_token(from, source.page(0), 0, t, row, row);
  const std::vector<std::int32_t> page{0};
  Threads threads(1);
  cpu::quantize_pages({source.cache(), to, got.bytes(), page, page, {}}, threads);
  cpu::dequantize_pages({got.cache(), from, back.bytes(), page, page, {}}, threads);
  for (int t = 0; t < 16; ++t) {
    EXPECT_EQ(back.cache().key(0, 0, t, 3), -1.5F);
    EXPECT_EQ(back.cache().value(0, 0, t, 3), -1.5F);
  }
}

// zero + scale * code has at most 19 significant bits before the one rounding: every path agrees.
TEST(QuantizePages, DequantisedNumbersAreTheSameBits) {
  Rng rng(3, "pages");
  for (const Element codes : {Element::i8, Element::i4, Element::i2})
    for (const Element plain : {Element::f32, Element::f16, Element::bf16}) {
      const Batch b = draw_batch(rng, plain, codes);
      SCOPED_TRACE(std::string(name_of(codes)) + " to " + std::string(name_of(plain)));
      test::Pool source(b.to, 4), expected(b.from, 3);
      for (std::size_t i = 0; i < b.tokens.size(); ++i)
        if (b.tokens[i] > 0) source.fill(rng, b.from_pages[i], b.tokens[i]);
      reference::dequantize_pages(
          {source.cache(), b.from, expected.bytes(), b.from_pages, b.to_pages, b.tokens});
      test::on_every_path([&](Threads& threads) {
        test::Pool got(b.from, 3);
        cpu::dequantize_pages(
            {source.cache(), b.from, got.bytes(), b.from_pages, b.to_pages, b.tokens}, threads);
        for (std::size_t i = 0; i < b.tokens.size(); ++i)
          for (int h = 0; h < b.to.kv_heads; ++h)
            for (int t = 0; t < b.tokens[i]; ++t) {
              const std::int32_t p = b.to_pages[i];
              for (int d = 0; d < b.to.k_dim; ++d)
                ASSERT_EQ(got.cache().key(p, h, t, d), expected.cache().key(p, h, t, d));
              for (int d = 0; d < b.to.v_dim; ++d)
                ASSERT_EQ(got.cache().value(p, h, t, d), expected.cache().value(p, h, t, d));
            }
      });
    }
}

}  // namespace
}  // namespace kvsim::kernels
