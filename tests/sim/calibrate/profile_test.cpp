// kvsim calibrate profile against measured layers.
#include <gtest/gtest.h>

#include <filesystem>

#include "sim/base/diagnostics.h"
#include "sim/calibrate/profile_fit.h"

namespace kvsim {
namespace {

TEST(ProfileFit, MissingTablesAreNamed) {
  try {
    calibrate_profile({testing::TempDir()}, "rtx-pro-6000", "llama-3.1-8b");
    ADD_FAILURE() << "accepted";
  } catch (const InputError& e) {
    EXPECT_NE(std::string(e.what()).find("dense"), std::string::npos) << e.what();
  }
  EXPECT_THROW(calibrate_profile({testing::TempDir()}, "rtx-pro-6000", ""), InputError);
  EXPECT_THROW(calibrate_profile({testing::TempDir()}, "no-such-device", "llama-3.1-8b"),
               InputError);
}

TEST(ProfileFit, MeasuredLayersOfAnRtxPro6000) {
  const std::string dense =
      KVSIM_SOURCE_DIR "/../shared/validation/rtxpro6000-llama-3.1-8b/profile";
  const std::string moe = KVSIM_SOURCE_DIR "/../shared/validation/rtxpro6000-qwen3-30b-a3b/profile";
  if (!std::filesystem::exists(dense) || !std::filesystem::exists(moe))
    GTEST_SKIP() << "no measured profiles";
  const ProfileReport one = calibrate_profile({dense}, "rtx-pro-6000", "");
  EXPECT_EQ(one.models, std::vector<std::string>{"llama-3.1-8b"});
  EXPECT_NEAR(one.fit.efficiency.memory, 0.911, 0.005);  // as in the catalogue
  EXPECT_NEAR(one.fit.efficiency.gemm, 0.784, 0.005);
  EXPECT_LT(one.fit.p50, 0.1);
  const ProfileReport both = calibrate_profile({dense, moe}, "rtx-pro-6000", "");
  EXPECT_EQ(both.models.back(), "qwen3-30b-a3b");
  EXPECT_NEAR(both.fit.efficiency.expert_memory, 0.853, 0.01);
  EXPECT_LT(both.fit.p50, 0.12);
}

}  // namespace
}  // namespace kvsim
