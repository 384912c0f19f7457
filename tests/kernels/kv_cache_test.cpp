#include "kernels/kv_cache.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "sim/base/diagnostics.h"
#include "sim/base/random.h"

namespace kvsim::kernels {
namespace {

TEST(Element, F16ConversionsAreExactBothWays) {
  for (std::uint32_t h = 0; h < 0x10000U; ++h) {
    const auto half = static_cast<std::uint16_t>(h);
    const float f = from_f16(half);
    const int exponent = static_cast<int>((h >> 10) & 31U);
    const double fraction = static_cast<double>(h & 0x3ffU) / 1024;
    if (exponent == 31) {
      EXPECT_EQ(std::isnan(f), (h & 0x3ffU) != 0);
      EXPECT_EQ(std::isinf(f), (h & 0x3ffU) == 0);
    } else {
      const double magnitude =
          exponent == 0 ? std::ldexp(fraction, -14) : std::ldexp(1 + fraction, exponent - 15);
      EXPECT_EQ(static_cast<double>(std::abs(f)), magnitude);
      EXPECT_EQ(to_f16(f), half);
    }
  }
}

TEST(Element, RoundingIsToNearestEven) {
  EXPECT_EQ(to_f16(1 + 0x1p-11F), to_f16(1));   // a tie: down to even
  EXPECT_EQ(to_f16(1 + 3 * 0x1p-11F), 0x3c02);  // a tie: up to even
  EXPECT_EQ(to_f16(65519.0F), 0x7bff);
  EXPECT_EQ(to_f16(65520.0F), 0x7c00);  // half-way beyond the largest: infinity
  EXPECT_EQ(to_f16(0x1p-25F), 0);       // half of the smallest: to even
  EXPECT_EQ(to_f16(0x1.8p-25F), 1);
  EXPECT_EQ(to_f16(-0.0F), 0x8000);
  EXPECT_EQ(to_bf16(1 + 0x1p-8F), to_bf16(1));
  EXPECT_EQ(to_bf16(1 + 3 * 0x1p-8F), 0x3f82);
  EXPECT_TRUE(std::isnan(from_bf16(to_bf16(std::numeric_limits<float>::quiet_NaN()))));
}

std::vector<KvFormat> formats() {
  std::vector<KvFormat> all;
  for (const auto& [element, name] : enum_names(Element{}))
    for (const auto& [order, order_name] : enum_names(KeyOrder{}))
      for (const bool mla : {false, true})
        all.push_back({.element = element,
                       .kv_heads = mla ? 1 : 3,
                       .k_dim = (mla ? 128 : 64) + (order == KeyOrder::dim_major ? 16 : 64),
                       .v_dim = mla ? 128 : 64,
                       .page_tokens = 32,
                       .group_tokens = 16,
                       .key_order = order,
                       .values_in_keys = mla});
  return all;
}

// Every number keeps to its own place: what is written comes back, and no write disturbs another.
TEST(KvCache, NumbersComeBackFromEveryPlace) {
  for (const KvFormat& f : formats()) {
    f.check();
    std::vector<std::byte> page(f.page_bytes(), std::byte{0xff});
    Rng rng(1, "page");
    const auto draw = [&](int dim) {
      std::vector<float> v(static_cast<std::size_t>(f.page_tokens * dim));
      for (float& x : v) x = static_cast<float>(rng.normal());
      return v;
    };
    std::vector<std::vector<float>> keys, values;
    for (int h = 0; h < f.kv_heads; ++h) {
      keys.push_back(draw(f.k_dim));
      values.push_back(draw(f.v_dim));
      if (is_quantised(f.element)) {
        quantize_page(f, page.data(), h, f.page_tokens, keys.back(), values.back());
        continue;
      }
      for (int t = 0; t < f.page_tokens; ++t)
        store_token(
            f, page.data(), h, t,
            std::span(keys.back())
                .subspan(static_cast<std::size_t>(t * f.k_dim), static_cast<std::size_t>(f.k_dim)),
            std::span(values.back())
                .subspan(static_cast<std::size_t>(t * f.v_dim), static_cast<std::size_t>(f.v_dim)));
    }
    const KvCache cache{f, page};
    const double step = f.element == Element::f32    ? 0
                        : f.element == Element::f16  ? 0x1p-9
                        : f.element == Element::bf16 ? 0x1p-6
                                                     : 6.0 / (1 << bits_of(f.element));
    for (int h = 0; h < f.kv_heads; ++h)
      for (int t = 0; t < f.page_tokens; ++t) {
        for (int d = 0; d < f.k_dim; ++d)
          EXPECT_NEAR(cache.key(0, h, t, d),
                      keys[static_cast<std::size_t>(h)][static_cast<std::size_t>(t * f.k_dim + d)],
                      step);
        for (int d = 0; d < f.v_dim; ++d)
          EXPECT_NEAR(
              cache.value(0, h, t, d),
              f.values_in_keys
                  ? cache.key(0, h, t, d)
                  : values[static_cast<std::size_t>(h)][static_cast<std::size_t>(t * f.v_dim + d)],
              step);
      }
  }
}

TEST(KvCache, BytesOfAPageAreCountedByHand) {
  // 64 tokens of 8 heads of 128 in 4 bits: keys 4096, their scales 512, values 4096, theirs 256.
  const KvFormat f{.element = Element::i4, .page_tokens = 64};
  EXPECT_EQ(f.head_page_bytes(), 4096U + 512 + 4096 + 256);
  EXPECT_EQ(f.bytes_per_token(), 8 * (64 + 8 + 64 + 4));
  // DeepSeek's latent: 576 numbers of 2 bytes.
  const KvFormat mla{.kv_heads = 1, .k_dim = 576, .v_dim = 512, .values_in_keys = true};
  EXPECT_EQ(mla.page_bytes(), 16U * 1152);
  EXPECT_EQ(mla.bytes_per_token(), 1152);
}

TEST(KvCache, BrokenFormatsAreRefused) {
  EXPECT_THROW((KvFormat{.k_dim = 72}.check()), InputError);
  EXPECT_THROW(
      (KvFormat{.element = Element::i4, .k_dim = 80, .key_order = KeyOrder::chunk_major}.check()),
      InputError);
  EXPECT_THROW((KvFormat{.page_tokens = 24}.check()), InputError);
  EXPECT_THROW((KvFormat{.element = Element::i8, .page_tokens = 96}.check()), InputError);
  EXPECT_THROW((KvFormat{.k_dim = 64, .v_dim = 128, .values_in_keys = true}.check()), InputError);
}

}  // namespace
}  // namespace kvsim::kernels
