// Runs of the public simulator Vidur: the same integers, and times within a nanosecond.
#include <gtest/gtest.h>

#include <filesystem>

#include "sim/run/validation.h"

namespace kvsim {
namespace {

class VidurParity : public testing::TestWithParam<const char*> {};

TEST_P(VidurParity, EveryRequestAndIterationIsTheSame) {
  const std::string root = KVSIM_SOURCE_DIR;
  if (!std::filesystem::exists(root + "/../shared/peers/vidur"))
    GTEST_SKIP() << "no ../shared/peers/vidur beside this checkout";
  const Comparison c =
      validate_case(root + "/scenarios/peers/" + GetParam() + std::string(".yaml"), {});
  ASSERT_TRUE(c.parity);
  std::int64_t compared = 0;
  for (const Parity::Row& r : c.parity->rows) {
    EXPECT_EQ(r.different, 0) << r.quantity << ": " << r.first;
    compared += r.compared;
  }
  EXPECT_GT(compared, 30'000);
  EXPECT_TRUE(c.parity->is_exact());
}

INSTANTIATE_TEST_SUITE_P(Runs, VidurParity,
                         testing::Values("vidur-vllm", "vidur-sarathi", "vidur-vllm-four"));

// Ten blocks less are another run.
TEST(VidurParity, TellsWhereRunsPart) {
  const std::string root = KVSIM_SOURCE_DIR;
  if (!std::filesystem::exists(root + "/../shared/peers/vidur"))
    GTEST_SKIP() << "no ../shared/peers/vidur beside this checkout";
  const Comparison c =
      validate_case(root + "/scenarios/peers/vidur-sarathi.yaml", {"engine.kv_blocks=1990"});
  ASSERT_TRUE(c.parity);
  EXPECT_FALSE(c.parity->is_exact());
}

}  // namespace
}  // namespace kvsim
