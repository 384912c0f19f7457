// The roofline cost model against closed forms, its decode line against its own price, and the fit
// of its efficiencies on made-up and on measured times.
#include "hardware/roofline.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <filesystem>

#include "hardware/csv_table.h"
#include "hardware/roofline_fit.h"
#include "sim/base/random.h"
#include "sim/scenario/yaml.h"
#include "tests/hardware/fake_model.h"

namespace kvsim {
namespace {

namespace fs = std::filesystem;

DeviceSpec round_device() {
  DeviceSpec d;
  d.name = "round";
  d.bandwidth = Bandwidth{1e12};
  d.compute = {{"bf16", FlopRate{1e14}}, {"fp8", FlopRate{2e14}}};
  d.efficiency.gemm = 0.5;
  d.efficiency.gemm_half_tokens = 32;
  d.efficiency.attention = 0.25;
  d.efficiency.attention_half_tokens = 100;
  d.efficiency.memory = 0.8;
  d.efficiency.kv_memory = 0.5;
  d.efficiency.launch = Duration{1000};
  return d;
}

std::unique_ptr<CostModel> make(const ModelWork& m, const DeviceSpec& d, Parallel p = {},
                                const LinkSpec* link = nullptr, const Tree& params = Tree::map()) {
  return Registry::instance().make<CostModel>("roofline", params, {&m, &d, link, p, {}});
}
double part(CostModel& m, const StepShape& s, const std::string& name) {
  double ns = 0;
  for (const CostModel::Part& p : m.explain(s)) ns += p.name == name ? p.ns : 0;
  return ns;
}

// A shared prefix is read once and multiplied with everybody's queries; the rest is as it was.
TEST(Roofline, SharedPrefixIsReadOnce) {
  const FakeModel model;
  const DeviceSpec d = round_device();
  const auto m = make(model, d);
  for (const auto& [sum, read] : {std::pair{2000, 500}, {2000, 100}}) {
    StepShape s = decodes(4, 4000, 1500);
    s.decode_shared_sum = sum;
    s.decode_shared_read = read;
    const double own = 131072.0 * (4000 - sum) / 0.5e12 * 1e9 + 96e3;
    const double prefix = std::max(524288.0 * sum / 0.25e14, 131072.0 * read / 0.5e12) * 1e9 + 64e3;
    EXPECT_NEAR(part(*m, s, "attention_decode"), own, 1e-3);
    EXPECT_NEAR(part(*m, s, "attention_prefix"), prefix, 1e-3);
    const double ffn = part(*m, s, "ffn_up");
    EXPECT_NEAR(static_cast<double>(to_ns(m->mixed_step(s))), ffn + own + prefix, 1.5);
    // The same beside a prompt.
    const PrefillPiece piece{1, 0, false};
    s.prefills = {&piece, 1};
    double all = 0;
    for (const CostModel::Part& p : m->explain(s)) all += p.ns;
    EXPECT_NEAR(static_cast<double>(to_ns(m->mixed_step(s))), all, 1.5);
    EXPECT_NEAR(part(*m, s, "attention_prefix"), prefix, 1e-3);
  }
}

// Prices of shapes without a shared prefix do not depend on what was priced before.
TEST(Roofline, SharedShapesLeaveOthersAlone) {
  const FakeModel model;
  const DeviceSpec d = round_device();
  const auto fresh = make(model, d), used = make(model, d);
  StepShape s = decodes(4, 4000, 1500);
  s.decode_shared_sum = 2000;
  s.decode_shared_read = 500;
  const PrefillPiece piece{77, 5, true};
  s.prefills = {&piece, 1};
  (void)used->mixed_step(s);
  const StepShape plain = decodes(4, 4000, 1500);
  EXPECT_EQ(fresh->mixed_step(plain), used->mixed_step(plain));
}

TEST(Roofline, DecodeIsBoundByMemory) {
  const FakeModel model;
  const DeviceSpec d = round_device();
  const auto m = make(model, d);
  const StepShape s = decodes(4, 4000, 1500);
  // Weights and activations at 0.8 of 1 TB/s, KV at 0.5 of it, 32 launches of 1 us each, three
  // times in attention.
  const double ffn = (1.5e10 + 4e5) / 0.8e12 * 1e9 + 32e3,
               attention = 131072.0 * 4000 / 0.5e12 * 1e9 + 96e3;
  EXPECT_NEAR(part(*m, s, "ffn_up"), ffn, 1e-3);
  EXPECT_NEAR(part(*m, s, "attention_decode"), attention, 1e-3);
  EXPECT_NEAR(static_cast<double>(m->mixed_step(s).count()), ffn + attention, 1.5);
}

TEST(Roofline, PrefillIsBoundByCompute) {
  const FakeModel model;
  const DeviceSpec d = round_device();
  const auto m = make(model, d);
  const PrefillPiece piece{2000, 1000, true};
  StepShape s;
  s.prefills = {&piece, 1};
  // A product of n rows costs n + 32; attention counts pairs, at 0.25 of the peak, as 2000 + 100
  // tokens.
  const double ffn = 1.6e10 * 2032 / 0.5e14 * 1e9 + 32e3, pairs = 2000.0 * 2000;
  EXPECT_NEAR(part(*m, s, "ffn_up"), ffn, 1);
  EXPECT_NEAR(part(*m, s, "attention_prefill"), 524288 * pairs * 1.05 / 0.25e14 * 1e9 + 96e3, 1);
}

TEST(Roofline, CollectivesTakeTheFasterAlgorithm) {
  FakeModel model;
  model.f.parallel.tensor = 4;
  const DeviceSpec d = round_device();
  const LinkSpec link{"nvlink", Bandwidth{1e11}, Duration{1000}, ""};
  const auto m = make(model, d, {4, 1, 1, false}, &link);
  // 64 all-reduces of 8 tokens x 8 KiB over 100 GB/s: at once, three times the bytes and one
  // latency; a launch each.
  EXPECT_NEAR(part(*m, decodes(8, 80, 10), "all_reduce"), 64 * (3 * 8 * 8192 / 100.0 + 1000 + 1000),
              1e-3);
  // Of 1024 tokens: by the ring, 2 x 3/4 of the bytes and 6 messages.
  EXPECT_NEAR(part(*m, decodes(1024, 10240, 10), "all_reduce"),
              64 * (1.5 * 1024 * 8192 / 100.0 + 6 * 1000 + 1000), 1e-3);
  EXPECT_THROW(make(model, d, {4, 1, 1, false}), InputError);
}

TEST(Roofline, PrecisionDecidesThePeak) {
  const DeviceSpec d = round_device();
  EXPECT_EQ(peak_rate(d, "auto", 16), 1e14);
  EXPECT_EQ(peak_rate(d, "auto", 8), 2e14);
  EXPECT_EQ(peak_rate(d, "auto", 4), 1e14);  // widened to 16 bits
  EXPECT_EQ(peak_rate(d, "fp8", 16), 2e14);
  EXPECT_THROW(peak_rate(d, "fp4", 4), InputError);
  DeviceSpec bare = d;
  bare.compute.clear();
  EXPECT_THROW(peak_rate(bare, "auto", 16), InputError);
}

TEST(Roofline, ParametersReplaceTheDevicesEfficiencies) {
  const FakeModel model;
  const DeviceSpec d = round_device();
  Tree params = Tree::map();
  params.set("memory", Tree::scalar("0.4"));
  params.set("launch", Tree::scalar("0"));
  const auto m = make(model, d, {}, nullptr, params);
  EXPECT_NEAR(part(*m, decodes(4, 400, 100), "ffn_up"), (1.5e10 + 4e5) / 0.4e12 * 1e9, 1e-3);
}

TEST(Roofline, DecodeLineIsTheSteppedPrice) {
  const FakeModel model;
  const DeviceSpec d = round_device();
  const auto m = make(model, d);
  Rng rng(5, "walk");
  for (int round = 0; round < 300; ++round) {
    const auto n = static_cast<std::int64_t>(1 + rng.below(1000));
    const auto each = static_cast<std::int64_t>(1 + rng.below(100'000));
    StepShape s = decodes(n, n * each, each);
    s.padded_decodes = n + static_cast<std::int64_t>(rng.below(9));
    const DecodeLine line = m->decode_line(s);
    for (int step = 0; step < 5; ++step) {
      const DecodeLine now = m->decode_line(s);
      ASSERT_EQ(now.base, line.base);
      ASSERT_EQ(now.per_context, line.per_context);
      const double ffn = std::max((1.5e10 + 1e5 * static_cast<double>(n)) / 0.8e12,
                                  1.6e10 *
                                      (static_cast<double>(n) *
                                       (1 + 32.0 / static_cast<double>(s.padded_decodes))) /
                                      0.5e14) *
                         1e9;
      const double attention = 131072.0 * static_cast<double>(s.decode_context_sum) / 0.5e12 * 1e9;
      ASSERT_NEAR(static_cast<double>(line.at(s).count()), ffn + attention + 128e3, 2);
      s.decode_context_sum += n;
      ++s.decode_context_max;
    }
  }
}

FitSample gemm(double rows, double in, double out, double us, std::string group) {
  FitSample s;
  s.work.op = Operator::ffn_up;
  s.work.flops = 2 * rows * in * out;
  s.work.weight_bytes = 2 * in * out;
  s.work.activation_bytes = 2 * rows * (in + out);
  s.work.launches = 1;
  s.rows.tokens = rows;
  s.ns = us * 1e3;
  s.group = std::move(group);
  return s;
}

TEST(RooflineFit, FindsTheNumbersThatMadeTheTimes) {
  Roofline truth;
  truth.gemm_peak = truth.attention_peak = 4e14;
  truth.bandwidth = 2e12;
  truth.efficiency = {0.62, 80, 0.5, 200, 0.71, 0.8, Duration{4000}, 0.6, 0.1, ""};
  std::vector<FitSample> samples;
  for (const double rows : {1.0, 8.0, 64.0, 200.0, 400.0, 1000.0, 4000.0})
    for (const double width : {1024.0, 4096.0, 12288.0}) {
      samples.push_back(gemm(rows, 4096, width, 0, fmt::format("{}", width)));
      samples.back().ns = truth.price(samples.back().work, samples.back().rows);
    }
  Roofline start = truth;
  start.efficiency = {};
  const FitReport r = fit_efficiency(start, samples);
  EXPECT_NEAR(r.efficiency.gemm, 0.62, 0.01);
  EXPECT_NEAR(r.efficiency.gemm_half_tokens, 80, 3);
  EXPECT_NEAR(r.efficiency.memory, 0.71, 0.01);
  EXPECT_NEAR(static_cast<double>(r.efficiency.launch.count()), 4000, 200);
  EXPECT_LT(r.p90, 0.01);
  ASSERT_EQ(r.groups.size(), 3U);
  for (const FitReport::Group& g : r.groups) EXPECT_LT(g.left_out_p50, 0.05) << g.name;
  EXPECT_THROW(fit_efficiency(start, {}), InputError);
}

// Llama-3.1-8B, one layer, bf16: widths of its products; 32 query and 8 KV heads of 128.
std::vector<FitSample> llama_samples(const std::string& folder) {
  const std::map<std::string, std::pair<double, double>> shapes{{"qkv_proj", {4096, 6144}},
                                                                {"o_proj", {4096, 4096}},
                                                                {"gate_up_proj", {4096, 28672}},
                                                                {"down_proj", {14336, 4096}}};
  std::vector<FitSample> all;
  const std::array<std::string_view, 3> dense{"layer", "tokens", "time_us"},
      head{"layer", "sequences", "time_us"};
  read_csv(folder + "/dense.csv.gz", dense, [&](const CsvRow& r) {
    const auto it = shapes.find(std::string(r.text(0)));
    const double tokens = r.number(1, 1, 1e9);
    if (tokens != std::exp2(std::round(std::log2(tokens))))
      return;  // serving spends its time at few tokens: even in the logarithm
    if (r.text(0) == "layernorm" && tokens <= 64) {
      all.push_back(gemm(tokens, 0, 0, r.number(2, 0, 1e9), "layernorm"));
      all.back().work.activation_bytes = 4 * 2 * 4096 * tokens;
    }
    if (it != shapes.end())
      all.push_back(gemm(r.number(1, 1, 1e9), it->second.first, it->second.second,
                         r.number(2, 0, 1e9), it->first));
  });
  read_csv(folder + "/per_sequence.csv.gz", head, [&](const CsvRow& r) {
    if (r.text(0) == "lm_head")
      all.push_back(gemm(r.number(1, 1, 1e9), 4096, 128256, r.number(2, 0, 1e9), "lm_head"));
  });
  const std::array<std::string_view, 5> attention{"prefill_chunk", "kv_prefill", "n_decode",
                                                  "kv_decode", "time_us"};
  read_csv(folder + "/attention.csv.gz", attention, [&](const CsvRow& r) {
    const double c = r.number(0, 0, 1e9), h = r.number(1, 0, 1e9), n = r.number(2, 0, 1e9),
                 kv = r.number(3, 0, 1e9);
    // One kind of work a row; below 16384 tokens of KV the device is not filled, and little time is
    // at stake.
    if ((c > 0) == (n > 0) || (c == 0 && n * kv < 16384)) return;
    FitSample s;
    s.work.op = c > 0 ? Operator::attention_prefill : Operator::attention_decode;
    s.work.flops = 4 * 4096 * (c * (h + c / 2) + n * kv);
    s.work.kv_bytes = 4096 * (h + c + n * kv);
    s.work.activation_bytes = 2 * 2 * 4096 * (c + n);
    s.work.launches = 1;
    s.rows.prefill = c;
    s.ns = r.number(4, 0, 1e9) * 1e3;
    s.group = c > 0 ? "attention_prefill" : "attention_decode";
    all.push_back(s);
  });
  return all;
}

TEST(RooflineFit, MeasuredOperatorsOfAnRtxPro6000) {
  const std::string folder =
      KVSIM_SOURCE_DIR "/../shared/validation/rtxpro6000-llama-3.1-8b/profile/tp1";
  if (!fs::exists(folder)) GTEST_SKIP() << "no measured profile at " << folder;
  Roofline law;
  law.gemm_peak = law.attention_peak = 503.8e12;
  law.bandwidth = 1597e9;
  const FitReport r = fit_efficiency(law, llama_samples(folder));
  const Efficiency& e = r.efficiency;
  fmt::print(
      "gemm {:.3f} half {:.0f} attention {:.3f} half {:.0f} memory {:.3f} kv {:.3f} launch {} ns; "
      "error p50 {:.1f} % p90 {:.1f} %\n",
      e.gemm, e.gemm_half_tokens, e.attention, e.attention_half_tokens, e.memory, e.kv_memory,
      e.launch.count(), 100 * r.p50, 100 * r.p90);
  for (const FitReport::Group& g : r.groups)
    fmt::print("  {}: {} samples, p50 {:.1f} %, left out {:.1f} %\n", g.name, g.samples,
               100 * g.p50, 100 * g.left_out_p50);
  EXPECT_LT(r.p50, 0.1);
  for (const FitReport::Group& g : r.groups) EXPECT_LT(g.p50, 0.12) << g.name;
  // The catalogue holds these figures.
  Diagnostics d;
  Reader reader(d);
  DeviceSpec device;
  read_fields(device, load_yaml(KVSIM_SOURCE_DIR "/hardware/catalog/devices/rtx-pro-6000.yaml", d),
              reader);
  EXPECT_TRUE(d.empty());
  EXPECT_NEAR(e.gemm, device.efficiency.gemm, 0.005);
  EXPECT_NEAR(e.gemm_half_tokens, device.efficiency.gemm_half_tokens, 2);
  EXPECT_NEAR(e.attention, device.efficiency.attention, 0.005);
  EXPECT_NEAR(e.attention_half_tokens, device.efficiency.attention_half_tokens, 5);
  EXPECT_NEAR(e.memory, device.efficiency.memory, 0.005);
  EXPECT_NEAR(e.kv_memory, device.efficiency.kv_memory, 0.005);
  EXPECT_NEAR(static_cast<double>(e.launch.count()),
              static_cast<double>(device.efficiency.launch.count()), 20);
}

}  // namespace
}  // namespace kvsim
