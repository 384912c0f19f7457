// The flexgen cost model: every stream against its formula worked out by hand, how streams are put
// together, and the decode line against its own price.
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "hardware/cost_model.h"
#include "hardware/node.h"
#include "hardware/storage.h"
#include "sim/base/random.h"
#include "sim/scenario/yaml.h"
#include "tests/hardware/fake_model.h"

namespace kvsim {
namespace {

// 32 layers of width 4096: 15 GB of weights, 128 KiB of KV a token; KV that is written, and queries
// and outputs of decode attention, in rows of their own.
class OffloadModel final : public FakeModel {
 public:
  double head_bytes = 0;
  void step(const StepShape& s, std::vector<Work>& out) const override {
    FakeModel::step(s, out);
    for (Work& w : out)
      if (w.op == Operator::attention_decode) w.activation_bytes = kQueries * d(s.decodes);
    out.push_back({Operator::rotary, 0, 0, kv_bytes_per_token * d(s.tokens()), 0, 0, 32});
    if (head_bytes > 0)
      out.push_back({Operator::lm_head, 1e9 * d(s.sampling()), head_bytes, 0, 0, 0, 1});
  }
  static double d(std::int64_t v) { return static_cast<double>(v); }
  static constexpr double kQueries = 524288;  // bytes of a sequence, all layers
};

DeviceSpec device() {
  DeviceSpec dev;
  dev.name = "round";
  dev.bandwidth = Bandwidth{1e12};
  dev.compute = {{"fp16", FlopRate{1e14}}};
  dev.efficiency.gemm = 0.5;
  dev.efficiency.attention = 0.25;
  dev.efficiency.memory = 0.8;
  dev.efficiency.kv_memory = 0.5;
  return dev;
}

constexpr const char* kRates =
    "cpu_to_gpu: 10 GB/s, gpu_to_cpu: 5 GB/s, gpu_to_cpu_kv: 1 GB/s, ssd_to_cpu: 500 MB/s, "
    "cpu_to_ssd: 2 GB/s, cpu_to_ssd_prefill_kv: 800 MB/s, prefill_matmul: 20 TFLOP/s, "
    "decode_matmul: 4 TFLOP/s, prefill_attention: 10 TFLOP/s, decode_attention: 0.08 TFLOP/s, "
    "cpu_attention_rate: 0.01 TFLOP/s";
constexpr const char* kSpread =
    "weights: {gpu: 20 %, cpu: 50 %}, kv: {gpu: 10 %, cpu: 60 %}, activations: {gpu: 0 %, cpu: 75 "
    "%}";

class FlexGenCost {
 public:
  OffloadModel model;
  DeviceSpec dev = device();
  NodeSpec node;
  std::map<std::string, StorageSpec> drives;
  double kv_bits = 16;

  std::unique_ptr<CostModel> make(const std::string& params) {
    Diagnostics diagnostics;
    const Tree given = parse_yaml("{" + params + "}", "p.yaml", diagnostics);
    Reader reader(diagnostics);
    const Tree resolved =
        Registry::instance().find("cost-model", "flexgen")->resolve(given, reader, {});
    diagnostics.throw_if_any();
    CostModel::Context c;
    c.model = &model;
    c.device = &dev;
    c.kv_bits = kv_bits;
    if (!node.name.empty()) {
      c.node = &node;
      c.storage = &drives;
    }
    return Registry::instance().make<CostModel>("flexgen", resolved, c);
  }
};

using Terms = std::map<std::string, double>;
Terms seconds(CostModel& m, const StepShape& s) {
  Terms t;
  for (const CostModel::Part& p : m.explain(s)) t[p.name] += p.ns * 1e-9;
  return t;
}
double price(CostModel& m, const StepShape& s) {
  return static_cast<double>(m.mixed_step(s).count()) * 1e-9;
}
double total(const Terms& t) {
  double all = 0;
  for (const auto& [name, s] : t) all += s;
  return all;
}
StepShape prefill(const PrefillPiece& p) {
  StepShape s;
  s.prefills = {&p, 1};
  return s;
}

TEST(FlexGen, DecodeStreamsByHand) {
  FlexGenCost f;
  const auto m = f.make(std::string(kSpread) + ", cpu_attention: true, micro_batches: 3, " +
                        "overlap: none, " + kRates);
  Terms t = seconds(*m, decodes(10, 5000, 600));
  const double weights = 1.5e10, hidden = 32.0 * 10 * 4096 * 2, fresh = 131072.0 * 10,
               read = 131072.0 * 5000, query = 524288.0 * 10 / 2;
  EXPECT_NEAR(t["cpu_to_gpu"], (0.8 * weights + hidden + 0.9 * query) / 10e9, 1e-9);
  EXPECT_NEAR(t["gpu_to_cpu"], (hidden + 0.9 * query) / 5e9 + 0.9 * fresh / 1e9, 1e-9);
  EXPECT_NEAR(t["ssd_to_cpu"], (0.3 * weights + 0.25 * hidden + 0.3 * read) / 0.5e9, 1e-9);
  EXPECT_NEAR(t["cpu_to_ssd"], (0.25 * hidden + 0.3 * fresh) / 2e9, 1e-9);
  // 10 x 16 GFLOP at 4 TFLOP/s are 40 ms; three micro-batches read the weights in 56 ms.
  EXPECT_NEAR(t["products"], 3 * weights / 0.8e12, 1e-9);
  EXPECT_NEAR(t["gpu_attention"], 0.1 * 524288 * 5000 / 0.08e12, 1e-9);
  EXPECT_NEAR(t["cpu_attention"], 0.9 * 524288 * 5000 / 0.01e12, 1e-9);
  EXPECT_EQ(t["conversion"], 0);
  EXPECT_NEAR(price(*m, decodes(10, 5000, 600)), total(t), 1e-8);
}

TEST(FlexGen, KvIsLoadedWhereTheGpuAttends) {
  FlexGenCost f;
  const auto m = f.make(std::string(kSpread) + ", overlap: none, " + kRates);
  Terms t = seconds(*m, decodes(10, 5000, 600));
  const double hidden = 32.0 * 10 * 4096 * 2;
  EXPECT_NEAR(t["cpu_to_gpu"], (0.8 * 1.5e10 + hidden + 0.9 * 131072 * 5000) / 10e9, 1e-9);
  EXPECT_NEAR(t["gpu_attention"], 524288.0 * 5000 / 0.08e12, 1e-9);
  EXPECT_EQ(t["cpu_attention"], 0);
  // One micro-batch: arithmetic decides.
  EXPECT_NEAR(t["products"], 10 * 1.6e10 / 4e12, 1e-9);
}

TEST(FlexGen, PrefillStreamsByHand) {
  FlexGenCost f;
  const auto m = f.make(std::string(kSpread) + ", cpu_attention: true, overlap: none, " + kRates);
  const PrefillPiece piece{2000, 500, true};
  Terms t = seconds(*m, prefill(piece));
  const double hidden = 32.0 * 2000 * 4096 * 2, fresh = 131072.0 * 2000, earlier = 131072.0 * 500;
  EXPECT_NEAR(t["cpu_to_gpu"], (0.8 * 1.5e10 + hidden + 0.9 * earlier) / 10e9, 1e-8);
  EXPECT_NEAR(t["gpu_to_cpu"], hidden / 5e9 + 0.9 * fresh / 1e9, 1e-8);
  EXPECT_NEAR(t["ssd_to_cpu"], (0.3 * 1.5e10 + 0.25 * hidden + 0.3 * earlier) / 0.5e9, 1e-8);
  EXPECT_NEAR(t["cpu_to_ssd"], 0.25 * hidden / 2e9 + 0.3 * fresh / 0.8e9, 1e-8);
  EXPECT_NEAR(t["products"], 2000 * 1.6e10 / 20e12, 1e-8);
  // The square: 2000 queries times 2500 keys. The model counts tokens (history + tokens / 2).
  const double causal = 2000.0 * 1500, square = 2000.0 * 2500, exact = 2000.0 * (500 + 1000.5);
  EXPECT_NEAR(t["gpu_attention"], 524288 * causal * square / exact / 10e12, 1e-8);
  EXPECT_EQ(t["cpu_attention"], 0);
}

TEST(FlexGen, NarrowNumbersAreSmallerAndConverted) {
  FlexGenCost f;
  f.model.f.weight_bits = 4;
  f.model.weight_bytes = 4e9;  // 8e9 numbers
  f.model.head_bytes = 1e8;    // stays in 16 bits
  f.model.kv_bytes_per_token = 32768;
  f.kv_bits = 4;
  const auto m = f.make(
      "weights: {gpu: 0 %, cpu: 100 %}, kv: {gpu: 0 %, cpu: 100 %}, micro_batches: 2, group: 64, "
      "dequantize_bytes: 10, quantize_bytes: 20, overlap: none, " +
      std::string(kRates));
  Terms t = seconds(*m, decodes(10, 5000, 600));
  const double scales = 4.0 / 64;  // bytes a number, so that 4 bits are 4.5
  const double weights = 8e9 * (0.5 + scales) + 1e8, kv = 65536.0 * 5000 * (0.5 + scales);
  EXPECT_NEAR(t["cpu_to_gpu"], (weights + kv) / 10e9, 1e-8);
  EXPECT_NEAR(t["gpu_to_cpu"], 65536.0 * 10 * (0.5 + scales) / 1e9, 1e-8);
  EXPECT_NEAR(t["conversion"], (2 * 8e9 * 10 + 65536.0 * 5000 * 10 + 65536.0 * 10 * 20) / 0.8e12,
              1e-8);
  EXPECT_NEAR(t["products"], std::max(10 * 1.6e10 / 4e12, 2 * 1.6e10 / 0.8e12) + 10 * 1e9 / 4e12,
              1e-8);
  EXPECT_DOUBLE_EQ(m->offload()->weight_scale_bytes, scales);
  EXPECT_DOUBLE_EQ(m->offload()->kv_scale_bytes, scales);
}

TEST(FlexGen, MicroBatchesNeverOutnumberSequences) {
  FlexGenCost f;
  const auto one = f.make("micro_batches: 1"), many = f.make("micro_batches: 8");
  EXPECT_EQ(one->mixed_step(decodes(1, 500, 500)), many->mixed_step(decodes(1, 500, 500)));
  EXPECT_LT(one->mixed_step(decodes(8, 500, 500)), many->mixed_step(decodes(8, 500, 500)));
}

TEST(FlexGen, StreamsArePutTogetherAsSaid) {
  FlexGenCost f;
  const std::string rest = std::string(kSpread) + ", cpu_attention: true, " + kRates;
  const auto all = f.make(rest), pairs = f.make("overlap: pairs, " + rest),
             none = f.make("overlap: none, " + rest);
  const auto compute = [](Terms& t) {
    return t["products"] + t["gpu_attention"] + t["cpu_attention"] + t["conversion"];
  };
  const PrefillPiece piece{700, 0, true};
  StepShape s = prefill(piece);
  Terms t = seconds(*none, s);
  const double in = t["cpu_to_gpu"], out = t["gpu_to_cpu"], up = t["ssd_to_cpu"],
               down = t["cpu_to_ssd"];
  EXPECT_NEAR(price(*all, s), std::max({in, out, up, down, compute(t)}), 1e-8);
  EXPECT_NEAR(price(*pairs, s), std::max({in + up, out + down, compute(t)}), 1e-8);
  EXPECT_NEAR(price(*none, s), in + out + up + down + compute(t), 1e-8);
  for (const std::int64_t context : {1, 1000, 100000}) {
    s = decodes(20, 20 * context, context);
    t = seconds(*none, s);
    EXPECT_NEAR(
        price(*all, s),
        std::max({t["cpu_to_gpu"], t["gpu_to_cpu"], t["ssd_to_cpu"], t["cpu_to_ssd"], compute(t)}),
        1e-7);
    EXPECT_NEAR(
        price(*pairs, s),
        t["cpu_to_gpu"] + std::max({t["gpu_to_cpu"], t["ssd_to_cpu"], t["cpu_to_ssd"], compute(t)}),
        1e-7);
  }
}

StepShape random_shape(Rng& rng, PrefillPiece& piece) {
  const auto n = static_cast<std::int64_t>(1 + rng.below(200));
  const auto most = static_cast<std::int64_t>(1 + rng.below(4000));
  StepShape s = decodes(n, n * (1 + most) / 2, most);
  if (rng.below(2) == 0) {
    piece = {static_cast<std::int64_t>(1 + rng.below(3000)),
             static_cast<std::int64_t>(rng.below(3000)), true};
    s.prefills = {&piece, 1};
  }
  return s;
}

TEST(FlexGen, ExplanationAddsUp) {
  FlexGenCost f;
  for (const char* overlap : {"all", "pairs", "none"}) {
    const auto m = f.make(std::string(kSpread) + ", cpu_attention: true, micro_batches: 4, " +
                          "overlap: " + overlap + ", " + kRates);
    Rng rng(7, "explain");
    for (int i = 0; i < 200; ++i) {
      PrefillPiece piece;
      const StepShape s = random_shape(rng, piece);
      EXPECT_NEAR(total(seconds(*m, s)), price(*m, s), 1e-6 * price(*m, s));
    }
  }
}

// More of anything never makes an iteration shorter, a faster part never longer.
TEST(FlexGen, FasterPartsAndSmallerWorkAreNeverSlower) {
  FlexGenCost f;
  const std::string faster[] = {"cpu_to_gpu: 20 GB/s",
                                "gpu_to_cpu: 9 GB/s",
                                "gpu_to_cpu_kv: 2 GB/s",
                                "ssd_to_cpu: 1 GB/s",
                                "cpu_to_ssd: 3 GB/s",
                                "cpu_to_ssd_prefill_kv: 1 GB/s",
                                "prefill_matmul: 30 TFLOP/s",
                                "decode_matmul: 5 TFLOP/s",
                                "prefill_attention: 20 TFLOP/s",
                                "decode_attention: 1 TFLOP/s",
                                "cpu_attention_rate: 1 TFLOP/s"};
  for (const char* overlap : {"all", "pairs", "none"}) {
    const std::string rest =
        std::string(kSpread) + ", cpu_attention: true, overlap: " + overlap + ", ";
    const auto base = f.make(rest + kRates);
    Rng rng(8, "faster");
    for (const std::string& one : faster) {
      std::string rates = kRates;
      const std::string key = one.substr(0, one.find(':') + 1);
      const std::size_t at = rates.find(key), end = rates.find(',', at);
      rates.replace(at, end == std::string::npos ? end : end - at, one);
      const auto better = f.make(rest + rates);
      for (int i = 0; i < 30; ++i) {
        PrefillPiece piece;
        const StepShape s = random_shape(rng, piece);
        EXPECT_LE(better->mixed_step(s), base->mixed_step(s)) << one << ", " << overlap;
        StepShape more = s;
        more.decode_context_sum += 1000;
        EXPECT_LE(base->mixed_step(s), base->mixed_step(more)) << overlap;
        StepShape alone = s;
        alone.prefills = {};
        EXPECT_LE(base->mixed_step(alone), base->mixed_step(s)) << overlap;
      }
    }
  }
}

// Contexts grow through the point where another stream becomes the slowest.
TEST(FlexGen, DecodeLineIsTheSteppedPrice) {
  FlexGenCost f;
  for (const char* overlap : {"all", "pairs", "none"}) {
    const auto m =
        f.make(std::string("weights: {gpu: 0 %, cpu: 100 %}, kv: {gpu: 0 %, cpu: 100 %}, ") +
               "cpu_attention: true, overlap: " + overlap + ", " + kRates);
    StepShape s = decodes(16, 16, 1);
    int cells = 0;
    for (int n = 0; n < 6000;) {
      const DecodeLine line = m->decode_line(s);
      ++cells;
      ASSERT_GE(line.iterations, 1);
      for (std::int64_t i = 0; i < std::min<std::int64_t>(line.iterations, 6000); ++i, ++n) {
        const DecodeLine now = m->decode_line(s);
        ASSERT_EQ(line.at(s), now.at(s)) << overlap << " " << s.decode_context_sum;
        ASSERT_EQ(line.at(s), m->mixed_step(s));
        s.decode_context_sum += s.decodes;
        ++s.decode_context_max;
      }
    }
    EXPECT_LT(cells, 20) << overlap;
  }
}

TEST(FlexGen, AnIterationMayTakeHours) {
  FlexGenCost f;
  const auto m = f.make("kv: {gpu: 0 %, cpu: 0 %}, " + std::string(kRates));
  const double read = 131072.0 * 2e7;
  EXPECT_NEAR(price(*m, decodes(256, 20'000'000, 100'000)), read / 0.5e9, 1e-3);
  EXPECT_GT(read / 0.5e9, 5000);
}

TEST(FlexGen, RatesComeFromTheMachine) {
  FlexGenCost f;
  f.node.name = "n";
  f.node.device = "round";
  f.node.host_link = {"pcie", Bandwidth{2e10}, Duration{0}, "", Bytes{}};
  f.node.host_memory = Bytes{std::int64_t{1} << 38};
  f.node.memory_link = {"ddr", Bandwidth{1e11}, Duration{0}, "", Bytes{}};
  f.node.storage.push_back({"drive", 2, Attachment::socket, ""});
  StorageSpec& drive = f.drives["drive"];
  drive.name = "drive";
  drive.capacity = Bytes{std::int64_t{1} << 40};
  drive.read_bandwidth = Bandwidth{6e9};
  drive.write_bandwidth = Bandwidth{3e9};
  drive.read_rate = drive.write_rate = Rate{1e6};
  const auto m = f.make(
      "weights: {gpu: 0 %, cpu: 50 %}, kv: {gpu: 0 %, cpu: 50 %}, cpu_attention: true, overlap: "
      "none");
  Terms t = seconds(*m, decodes(10, 5000, 600));
  EXPECT_NEAR(t["cpu_to_gpu"], (1.5e10 + 524288.0 * 5) / 2e10, 1e-8);
  EXPECT_NEAR(t["ssd_to_cpu"], (0.5 * 1.5e10 + 0.5 * 131072 * 5000) / 12e9, 1e-8);
  EXPECT_NEAR(t["cpu_to_ssd"], 0.5 * 131072 * 10 / 6e9, 1e-8);
  EXPECT_NEAR(t["cpu_attention"], 131072.0 * 5000 / 1e11, 1e-8);
}

std::string complaint(const std::string& params, double kv_bits = 16) {
  FlexGenCost f;
  f.kv_bits = kv_bits;
  try {
    f.make(params);
  } catch (const InputError& e) {
    return e.what();
  }
  return "";
}

TEST(FlexGen, SaysWhatIsMissing) {
  const auto holds = [](const std::string& text, const std::string& part) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  holds(complaint("kv: {gpu: 60 %, cpu: 50 %}"),
        "kv: 60 % on the GPU and 50 % in host memory are more than 100 %");
  holds(complaint("weights: {gpu: 50 %, cpu: 50 %}"), "nothing that gives cpu_to_gpu");
  holds(complaint("weights: {gpu: 50 %}, cpu_to_gpu: 1 GB/s, gpu_to_cpu: 1 GB/s"),
        "nothing that gives ssd_to_cpu");
  holds(complaint("kv: {gpu: 0 %, cpu: 100 %}, cpu_attention: true, cpu_to_gpu: 1 GB/s, "
                  "gpu_to_cpu: 1 GB/s"),
        "how fast the CPU attends");
  holds(complaint("kv: {gpu: 0 %, cpu: 100 %}, cpu_attention: true, " + std::string(kRates), 4),
        "fewer than 16 bits");
  holds(complaint("gpu_to_cpu_kv: 0 GB/s"), "a rate must be above 0");
  EXPECT_EQ(complaint("weights: {gpu: 10 %, cpu: 90 %}, " + std::string(kRates)), "");
}

}  // namespace
}  // namespace kvsim
