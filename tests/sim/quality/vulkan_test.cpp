// The same question on a Vulkan device: the same tokens stay, and numbers agree within what kernels
// may differ by.
#include "tests/kernels/vulkan_fixture.h"
#include "tests/sim/quality/file_fixture.h"
#include "tests/sim/quality/quality_fixture.h"

namespace kvsim::quality {
namespace {

class QualityOnVulkan : public kernels::VulkanTest {
 protected:
  static void expect_alike(const Question& q) {
    const QualityResult cpu = measure_quality(q, {});
    MeasureOptions o;
    o.vulkan = &device();
    o.device = "vulkan";
    const QualityResult gpu = measure_quality(q, o);
    ASSERT_EQ(cpu.points.size(), gpu.points.size());
    for (std::size_t i = 0; i < cpu.points.size(); ++i) {
      const Measured &a = cpu.points[i].measured, &b = gpu.points[i].measured;
      EXPECT_EQ(a.kept_tokens, b.kept_tokens);
      ASSERT_EQ(a.values.size(), b.values.size());
      for (std::size_t v = 0; v < a.values.size(); ++v)
        EXPECT_NEAR(a.values[v].value, b.values[v].value, 5e-5 * (1 + std::abs(a.values[v].value)))
            << cpu.points[i].policy << " " << name_of(a.values[v].measure) << " "
            << a.values[v].statistic;
    }
  }
};

TEST_F(QualityOnVulkan, ProxiesAreEqualWithinTheBound) {
  expect_alike(question_of(
      "{source: {kind: synthetic, layers: 1, q_heads: 2, kv_heads: 1, dim: 32, sinkless_layers: 0, "
      "lazy_layers: 0 %}, prompt: 48, steps: 3, policies: [h2o, {policy: kivi, quantize: "
      "{residual: "
      "8}}], budgets: [50 %]}"));
}

TEST_F(QualityOnVulkan, PerplexityIsEqualWithinTheBound) {
  const Folder f;
  f.write("m.bin", SmallLlama{}.llama2c());
  f.write("ids.txt", "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 0 1 2 3 4 5 6");
  expect_alike(question_of(
      "{source: {kind: transformer, weights: m.bin, ids: ids.txt}, prompt: 12, steps: 4, policies: "
      "[h2o], budgets: [50 %], measures: [perplexity, out_err]}",
      f.path()));
}

}  // namespace
}  // namespace kvsim::quality
