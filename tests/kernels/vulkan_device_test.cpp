#include "kernels/vulkan/device.h"

#include <gtest/gtest.h>

#include "kernels/vulkan/compute.h"
namespace kvsim::kernels::vulkan {
namespace {
TEST(VulkanDevice, X) {
  Device d(Options{.validation = true});
  std::vector<float> x(100, 2), y(100, 1);
  Buffer bx = filled<float>(d, x, "x"), by = filled<float>(d, y, "y");
  const std::vector<Step> steps{{"axpy", {64}, {&bx, &by}, {100, word(3.0F)}, {2, 1, 1}}};
  Recording r(d, steps);
  r.run();
  by.get<float>(y);
  EXPECT_EQ(y[99], 7);
  EXPECT_GT(r.seconds(), 0);
  for (const auto& m : d.messages()) ADD_FAILURE() << m;
}
}
}
