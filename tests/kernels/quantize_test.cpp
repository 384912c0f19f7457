#include "kernels/quantize.h"

#include <algorithm>

#include "sim/base/diagnostics.h"
#include "tests/kernels/twins.h"

namespace kvsim::kernels {
namespace {

struct Stored {
  std::vector<std::byte> codes;
  std::vector<std::uint16_t> scales, zeros;
  explicit Stored(const Codec& c)
      : codes(c.code_bytes(), std::byte{0xee}),
        scales(c.groups(), 0x7e00),
        zeros(c.symmetric ? 0 : c.groups(), 0x7e00) {}
  Quantized out() { return {codes, scales, zeros}; }
  [[nodiscard]] ConstQuantized in() const { return {codes, scales, zeros}; }
};

Codec draw_codec(Rng& rng, std::size_t round, std::span<const float> book) {
  Codec c;
  c.width = enum_names(CodeWidth{})[round % 5].first;
  c.grain = rng.below(2) == 0 ? Grain::token : Grain::channel;
  c.group = rng.below(3) == 0 ? 0 : 1 + static_cast<std::int32_t>(rng.below(40));
  c.symmetric = rng.below(2) == 0;
  c.tokens = static_cast<std::int32_t>(rng.below(20));
  c.dims = static_cast<std::int32_t>(rng.below(100));
  if (c.levels() <= 16 && rng.below(3) == 0)
    c.codebook = book.first(static_cast<std::size_t>(c.levels()));
  return c;
}

// 16 entries whose first n ascend too, with unequal steps on both sides of 0.
const std::vector<float> kBook{-1,    -0.7F, -0.1F, 0.2F, 0.3F, 0.32F, 0.4F, 0.5F,
                               0.55F, 0.6F,  0.7F,  0.8F, 0.9F, 1,     1.5F, 2};

TEST(Quantize, EqualsTheReferenceButForTies) {
  Rng rng(1, "codec");
  for (std::size_t round = 0; round < 80; ++round) {
    const Codec c = draw_codec(rng, round, kBook);
    c.check();
    SCOPED_TRACE(testing::Message() << name_of(c.width) << ' ' << name_of(c.grain) << " group "
                                    << c.group << ' ' << c.tokens << " x " << c.dims);
    const auto x =
        test::normals(rng, static_cast<std::size_t>(c.tokens) * static_cast<std::size_t>(c.dims),
                      round % 7 == 0 ? 5000 : 1);
    Stored expected(c);
    reference::quantize(c, x, expected.out());
    std::vector<float> numbers(x.size(), test::kNan);
    reference::dequantize(c, expected.in(), numbers);
    test::on_every_path([&](Threads& threads) {
      Stored got(c);
      cpu::quantize(c, x, got.out(), threads);
      EXPECT_EQ(got.scales, expected.scales);
      EXPECT_EQ(got.zeros, expected.zeros);
      std::vector<float> back(x.size(), test::kNan);
      reference::dequantize(c, got.in(), back);
      for (std::size_t i = 0; i < x.size(); ++i)
        if (back[i] != numbers[i]) {
          ASSERT_NEAR(std::abs(double{x[i]} - double{back[i]}),
                      std::abs(double{x[i]} - double{numbers[i]}), 1e-4 * std::abs(x[i]) + 1e-6);
        }
      cpu::dequantize(c, expected.in(), back, threads);
      for (std::size_t i = 0; i < x.size(); ++i)
        ASSERT_NEAR(back[i], numbers[i], 1e-6 * std::abs(numbers[i]) + 1e-7);
    });
  }
}

TEST(Quantize, ErrorIsHalfAStep) {
  Rng rng(2, "half");
  Threads threads(1);
  for (std::size_t round = 0; round < 60; ++round) {
    const Codec c = draw_codec(rng, round, kBook);
    if (!c.codebook.empty()) continue;
    const auto x =
        test::normals(rng, static_cast<std::size_t>(c.tokens) * static_cast<std::size_t>(c.dims));
    Stored s(c);
    cpu::quantize(c, x, s.out(), threads);
    std::vector<float> back(x.size());
    cpu::dequantize(c, s.in(), back, threads);
    for (std::int32_t t = 0; t < c.tokens; ++t)
      for (std::int32_t d = 0; d < c.dims; ++d) {
        const auto i = static_cast<std::size_t>(t * c.dims + d);
        const double scale = from_f16(s.scales[c.group_of(t, d)]);
        // Half a step, and what the f16 of scale and zero moves the ends of the range by.
        const double allowed = scale * (0.5 + c.levels() * 0x1p-11) + 8 * 0x1p-11 + 1e-6;
        ASSERT_NEAR(x[i], back[i], allowed);
      }
  }
}

TEST(Quantize, PlacesOfCodesByHand) {
  // One token of ten numbers 0 .. levels - 1, scale 1.
  Threads threads(1);
  const auto codes = [&](CodeWidth width, const std::vector<float>& x) {
    Codec c;
    c.width = width, c.tokens = 1, c.dims = static_cast<std::int32_t>(x.size());
    Stored s(c);
    cpu::quantize(c, x, s.out(), threads);
    EXPECT_EQ(from_f16(s.scales[0]), 1);
    std::vector<int> all;
    for (const std::byte b : s.codes) all.push_back(std::to_integer<int>(b));
    return all;
  };
  using V = std::vector<int>;
  EXPECT_EQ(codes(CodeWidth::bits4, {0, 15, 3, 2, 1}), (V{0xf0, 0x23, 0x01}));
  EXPECT_EQ(codes(CodeWidth::bits2, {3, 0, 1, 2, 2}), (V{0b10010011, 0b10}));
  EXPECT_EQ(codes(CodeWidth::bits3, {7, 0, 1, 5, 0, 0, 0, 4, 6}),
            (V{0b01000111, 0b00001010, 0b10000000, 6, 0, 0}));
  EXPECT_EQ(codes(CodeWidth::ternary, {2, 0, 1, 0, 2, 1}), (V{2 + 9 + 2 * 81, 1}));
}

TEST(Quantize, EffectiveBitsCountScalesAndPadding) {
  Codec c{.width = CodeWidth::ternary, .group = 64, .tokens = 10, .dims = 128, .codebook = {}};
  EXPECT_EQ(c.effective_bits(), (26.0 * 8 + 2 * 32) / 128);
  c.width = CodeWidth::bits2, c.group = 0, c.symmetric = true;
  EXPECT_EQ(c.effective_bits(), 2 + 16.0 / 128);
  c.grain = Grain::channel;
  EXPECT_EQ(c.effective_bits(), 2 + 16.0 / 10);
}

TEST(Quantize, BrokenCodebooksAreRefused) {
  const std::vector<float> three{0, 1, 2}, falling{2, 1, 0}, equal{1, 1, 1};
  const auto with = [](CodeWidth width, std::span<const float> book) {
    return Codec{.width = width, .tokens = 1, .dims = 1, .codebook = book};
  };
  EXPECT_NO_THROW(with(CodeWidth::ternary, three).check());
  EXPECT_THROW(with(CodeWidth::bits2, three).check(), InputError);
  EXPECT_THROW(with(CodeWidth::bits8, three).check(), InputError);
  EXPECT_THROW(with(CodeWidth::ternary, falling).check(), InputError);
  EXPECT_THROW(with(CodeWidth::ternary, equal).check(), InputError);
}

}  // namespace
}  // namespace kvsim::kernels
