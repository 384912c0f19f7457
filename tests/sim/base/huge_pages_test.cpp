#include "sim/base/huge_pages.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <vector>

namespace kvsim {
namespace {

long peak_kib() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

TEST(HugePages, TakeMemoryOnlyForWhatIsTouched) {
  const long before = peak_kib();
  prefer_huge_pages();
  std::vector<std::vector<std::uint64_t>> all(100);
  for (std::size_t i = 0; i < all.size(); ++i) all[i].assign(10'000, i);
  EXPECT_EQ(all[99][9'999], 99U);
  EXPECT_LT(peak_kib() - before, 64 * 1024);  // 8 MB are in use, a gibibyte was asked for
}

}  // namespace
}  // namespace kvsim
