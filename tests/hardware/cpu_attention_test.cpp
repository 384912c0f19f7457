// Attention on the CPU: both pipelines against their formulas, and what stays on the GPU.
#include <gtest/gtest.h>

#include <algorithm>

#include "hardware/node.h"
#include "tests/hardware/fake_model.h"

namespace kvsim {
namespace {

DeviceSpec device() {
  DeviceSpec d;
  d.name = "round";
  d.bandwidth = Bandwidth{1e12};
  d.compute = {{"bf16", FlopRate{1e14}}};
  return d;
}
NodeSpec machine() {
  NodeSpec n;
  n.devices = 1;
  n.sockets = 2;
  n.memory_link.bandwidth = Bandwidth{1e11};
  n.host_link.bandwidth = Bandwidth{2e10};
  n.host_link.latency = Duration{1000};
  return n;
}
std::unique_ptr<CostModel> make(const ModelWork& m, const DeviceSpec& d, const NodeSpec& n,
                                const char* pipeline) {
  Tree params = Tree::map();
  params.set("pipeline", Tree::scalar(pipeline));
  params.set("efficiency", Tree::scalar("0.5"));
  return Registry::instance().make<CostModel>("cpu-attention", params,
                                              {&m, &d, nullptr, {}, {}, &n, nullptr});
}
std::unique_ptr<CostModel> roofline(const ModelWork& m, const DeviceSpec& d) {
  return Registry::instance().make<CostModel>("roofline", Tree::map(), {&m, &d, nullptr, {}, {}});
}
double attention(CostModel& c, const StepShape& s) {
  double ns = 0;
  for (const CostModel::Part& p : c.explain(s)) ns += p.name == "attention_decode" ? p.ns : 0;
  return ns;
}
double ns_of(CostModel& c, const StepShape& s) {
  return static_cast<double>(to_ns(c.mixed_step(s)));
}

TEST(CpuAttention, WhatFitsIsTheRoofline) {
  const FakeModel model;
  const DeviceSpec d = device();
  const NodeSpec n = machine();
  const auto law = make(model, d, n, "best"), gpu = roofline(model, d);
  const StepShape s = decodes(10, 20000, 3000);
  EXPECT_NEAR(ns_of(*law, s), ns_of(*gpu, s), 1.5);
  law->sized(20000);
  EXPECT_NEAR(ns_of(*law, s), ns_of(*gpu, s), 1.5);
  ASSERT_NE(law->offload(), nullptr);
  EXPECT_TRUE(law->offload()->fills);
}

TEST(CpuAttention, BothPipelinesByFormula) {
  const FakeModel model;
  const DeviceSpec d = device();
  const NodeSpec n = machine();
  const auto one = make(model, d, n, "one"), two = make(model, d, n, "two"),
             best = make(model, d, n, "best"), gpu = roofline(model, d);
  for (const auto& law : {one.get(), two.get(), best.get()}) law->sized(15000);
  const StepShape all = decodes(10, 20000, 3000), near = decodes(8, 15000, 3000),
                  far = decodes(2, 5000, 3000);
  // 2 sockets at 100 GB/s, half of it; 64 messages of 1 us.
  const double cpu = 5000 * model.kv_bytes_per_token / 1e11 * 1e9 + 64e3;
  const double g = attention(*gpu, near), l_all = ns_of(*gpu, all) - attention(*gpu, all),
               l_near = ns_of(*gpu, near) - g, l_far = ns_of(*gpu, far) - attention(*gpu, far);
  EXPECT_NEAR(ns_of(*one, all), l_all + std::max(g, cpu), 4);
  EXPECT_NEAR(ns_of(*two, all), std::max(l_near + l_far + g, cpu), 4);
  EXPECT_EQ(ns_of(*best, all), std::min(ns_of(*one, all), ns_of(*two, all)));
  double parts = 0;
  for (const CostModel::Part& p : best->explain(all)) parts += p.ns;
  EXPECT_NEAR(parts, ns_of(*best, all), 1.5);
}

TEST(CpuAttention, AsksForAMachine) {
  const FakeModel model;
  const DeviceSpec d = device();
  NodeSpec n = machine();
  n.memory_link.bandwidth = Bandwidth{0};
  EXPECT_THROW(make(model, d, n, "best"), InputError);
}

}  // namespace
}  // namespace kvsim
