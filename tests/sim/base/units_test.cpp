// Quantities with units: exact, refused when bare, printed so that they read back.
#include "sim/base/units.h"

#include <gtest/gtest.h>

namespace kvsim {
namespace {

std::int64_t count(Dimension d, const char* text) {
  std::string error;
  const auto v = parse_count(d, text, error);
  EXPECT_TRUE(v) << error;
  return v.value_or(-1);
}

TEST(Units, DecimalAndBinaryDiffer) {
  EXPECT_EQ(count(Dimension::bytes, "80 GB"), 80'000'000'000);
  EXPECT_EQ(count(Dimension::bytes, "80GiB"), 80LL << 30);
  EXPECT_EQ(count(Dimension::bytes, "1.5 KiB"), 1536);
  EXPECT_EQ(count(Dimension::time, "150 us"), 150'000);
  EXPECT_EQ(count(Dimension::time, "0"), 0);
}

TEST(Units, RefusesBareUnknownAndHuge) {
  for (const char* bad :
       {"80", "80 GiBs", "abc", "", "1e300 TB", "nan GB", "inf s", "0x10 B", "--5 B"}) {
    std::string error;
    EXPECT_FALSE(parse_count(Dimension::bytes, bad, error)) << bad;
    EXPECT_FALSE(error.empty()) << bad;
  }
}

TEST(Units, PrintsWhatReadsBack) {
  for (const std::int64_t n :
       {0LL, 1LL, 1000LL, 1024LL, 1536LL, 80'000'000'000LL, 123'456'789LL, 1LL << 50}) {
    EXPECT_EQ(count(Dimension::bytes, print_count(Dimension::bytes, n).c_str()), n);
    EXPECT_EQ(count(Dimension::time, print_count(Dimension::time, n).c_str()), n);
  }
  EXPECT_EQ(print_count(Dimension::time, 1'500'000), "1500 us");
  EXPECT_EQ(print_quantity(Dimension::bandwidth, 3.35e12), "3.35 TB/s");
}

}  // namespace
}  // namespace kvsim
