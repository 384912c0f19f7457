// Quantities over their whole range: what is printed reads back exactly, whatever the number.
#include <gtest/gtest.h>

#include <cmath>

#include "sim/base/random.h"
#include "sim/base/units.h"

namespace kvsim {
namespace {

TEST(UnitsProperty, CountsReadBackExactly) {
  Rng r(1, "units");
  for (int i = 0; i < 20'000; ++i) {
    const std::int64_t n = static_cast<std::int64_t>(r.next() >> 2 >> r.below(62));
    for (const Dimension d : {Dimension::time, Dimension::bytes}) {
      std::string error;
      EXPECT_EQ(parse_count(d, print_count(d, n), error), n) << print_count(d, n) << " " << error;
      EXPECT_EQ(parse_count(d, print_count(d, -n), error), -n)
          << print_count(d, -n) << " " << error;
    }
  }
}

TEST(UnitsProperty, RealsReadBackExactly) {
  Rng r(2, "units");
  for (int i = 0; i < 20'000; ++i) {
    const double v = std::ldexp(1 + r.uniform(), static_cast<int>(r.below(120)) - 60);
    for (const Dimension d :
         {Dimension::bandwidth, Dimension::flop_rate, Dimension::power, Dimension::price,
          Dimension::ratio, Dimension::rate, Dimension::none}) {
      std::string error;
      const auto again = parse_quantity(d, print_quantity(d, v), error);
      ASSERT_TRUE(again) << print_quantity(d, v) << " " << error;
      EXPECT_EQ(*again, v) << print_quantity(d, v);
    }
  }
}

TEST(UnitsProperty, EveryUnitScales) {
  const std::pair<const char*, std::int64_t> kTimes[] = {{"ns", 1},
                                                         {"us", 1000},
                                                         {"ms", 1'000'000},
                                                         {"s", 1'000'000'000},
                                                         {"min", 60'000'000'000},
                                                         {"h", 3'600'000'000'000},
                                                         {"d", 86'400'000'000'000}};
  std::string error;
  for (const auto& [unit, factor] : kTimes) {
    EXPECT_EQ(parse_count(Dimension::time, std::string("3 ") + unit, error), 3 * factor);
    EXPECT_EQ(parse_count(Dimension::time, std::string(" 1.5") + unit + " ", error),
              factor == 1 ? 2 : 3 * factor / 2);
  }
}

// Text of this alphabet often is nearly a quantity; nothing crashes, and a value comes without an
// error.
TEST(UnitsProperty, RandomTextIsReadOrRefused) {
  Rng r(3, "units");
  const std::string alphabet = "0123456789.-+eE %/ BGiTkMsunhd";
  for (int i = 0; i < 50'000; ++i) {
    std::string text;
    for (std::uint64_t n = r.below(12); n > 0; --n)
      text += alphabet[static_cast<std::size_t>(r.below(alphabet.size()))];
    for (const Dimension d :
         {Dimension::time, Dimension::bytes, Dimension::bandwidth, Dimension::ratio}) {
      std::string error;
      const auto v = parse_count(d, text, error);
      ASSERT_EQ(v.has_value(), error.empty()) << text;
    }
  }
}

}  // namespace
}  // namespace kvsim
