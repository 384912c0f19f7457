// The cost model of measured kernels against sums by hand.
#include <gtest/gtest.h>

#include <cmath>

#include "hardware/device.h"
#include "tests/hardware/fake_model.h"

namespace kvsim {
namespace {

constexpr double kLayers = 32;

struct Measured : FakeModel {
  Measured() {
    f.weight_bits = 16;
    weight_bytes = 2e9;  // 1e9 weights
    f.decode_attention = {32, 8, 128, 128, false, "f16", 4096};
    f.prefill_attention = f.decode_attention;
    kv_bytes_per_token = kLayers * 4096;
    attention_flops = kLayers * 2 * 32 * 256;  // per pair
  }
};

AttentionTime attention(std::int64_t count, double base, double unit) {
  return {"f16", 32, 8, 128, 128, false, count, base, unit};
}

DeviceSpec device() {
  DeviceSpec d;
  d.name = "bench";
  KernelProfile& p = d.kernels.emplace();
  p.linear = {{"f16", 1, 100, 0.5}, {"f16", 4, 400, 0.8}, {"f32", 1, 1, 9}};
  p.decode = {attention(1, 1000, 10), attention(5, 3000, 30)};
  p.prefill = {attention(64, 500, 2), attention(128, 700, 1)};
  return d;
}

std::unique_ptr<CostModel> make(const ModelWork& m, const DeviceSpec& d) {
  CostModel::Context c;
  c.model = &m;
  c.device = &d;
  return Registry::instance().make<CostModel>("kernels", Tree::map(), c);
}
double ns(Duration d) { return to_seconds(d) * 1e9; }

TEST(KernelTimes, DecodeIsTheSumOfItsCalls) {
  const Measured model;
  const DeviceSpec d = device();
  const auto cost = make(model, d);
  // One sequence: 32 calls of 100 ns and half a nanosecond per weight; attention 1000 a layer, 10
  // per token and layer.
  EXPECT_NEAR(ns(cost->mixed_step(decodes(1, 700, 700))),
              kLayers * 100 + 0.5e9 + kLayers * (1000 + 10 * 700), 1);
  // Three lie between the rows of 1 and 4, and of 1 and 5.
  EXPECT_NEAR(ns(cost->mixed_step(decodes(3, 2100, 900))),
              kLayers * 300 + 0.7e9 + kLayers * (2000 + 20 * 2100), 1);
  // Seven: the last two rows go on.
  EXPECT_NEAR(ns(cost->mixed_step(decodes(7, 70, 10))),
              kLayers * 700 + 1.1e9 + kLayers * (4000 + 40 * 70), 1);
}

TEST(KernelTimes, PromptsAreChargedByPairs) {
  const Measured model;
  const DeviceSpec d = device();
  const auto cost = make(model, d);
  const PrefillPiece piece{96, 1000, true};
  StepShape s;
  s.prefills = {&piece, 1};
  const double pairs = 96 * (1000 + 48);  // as the fake model counts them
  // 96 tokens: half-way between the rows of 64 and 128; the products' rows go on to 96.
  const double each = 0.5 + 0.3 * (96.0 - 1) / 3, base = 100 + 100 * (96.0 - 1);
  EXPECT_NEAR(ns(cost->mixed_step(s)), kLayers * base + each * 1e9 + kLayers * (600 + 1.5 * pairs),
              1);
}

TEST(KernelTimes, TheLineEqualsThePrice) {
  const Measured model;
  const DeviceSpec d = device();
  const auto cost = make(model, d);
  for (const std::int64_t n : {1, 2, 5, 9}) {
    const DecodeLine line = cost->decode_line(decodes(n, 1000 * n, 1000));
    for (const std::int64_t step : {0, 1, 17, 4000}) {
      const StepShape s = decodes(n, (1000 + step) * n, 1000 + step);
      EXPECT_EQ(line.at(s), cost->mixed_step(s)) << n << " " << step;
    }
  }
}

TEST(KernelTimes, WhatTheProfileLacksIsSaid) {
  Measured model;
  const auto refused = [&](const DeviceSpec& d, const std::string& what) {
    try {
      make(model, d);
      ADD_FAILURE() << what;
    } catch (const InputError& e) {
      EXPECT_NE(std::string(e.what()).find(what), std::string::npos) << e.what();
    }
  };
  DeviceSpec d = device();
  d.kernels.reset();
  refused(d, "no measured kernels");
  model.f.decode_attention.key_dim = 64;
  refused(device(), "no decode attention of 32 query heads, 8 kv heads, key 64, value 128, f16");
  model = Measured();
  model.f.prefill_attention.element = "i4";
  refused(device(), "no prefill attention");
  model = Measured();
  model.f.weight_bits = 4;
  refused(device(), "weights of 4 bits");
}

}  // namespace
}  // namespace kvsim
