// Groups of GPUs that share the context of every sequence: what each computes, reads and hears from
// the others, and how long that takes, by formula.
#include <gtest/gtest.h>

#include <cmath>

#include "models/geometry.h"
#include "models/transformer_work.h"
#include "sim/run/build.h"

namespace kvsim {
namespace {

ModelSpec llama() {
  Diagnostics d;
  ModelSpec m = build_model(Tree::scalar("llama-3.1-8b"), "", "model", d);
  d.throw_if_any();
  return m;
}
constexpr double kLayers = 32, kHeads = 32, kWidth = 128, kTokenBytes = 131072;

Parallel groups(int context, bool gathers = false, bool rings = false) {
  Parallel p;
  p.context = context;
  p.gathers_context = gathers;
  p.rings_context = rings;
  return p;
}

Work of(const TransformerWork& w, const StepShape& s, Operator op) {
  std::vector<Work> all;
  w.step(s, all);
  for (const Work& one : all)
    if (one.op == op) return one;
  return {};
}

StepShape decode(std::int64_t n, std::int64_t context) {
  StepShape s;
  s.decodes = s.padded_decodes = n;
  s.decode_context_sum = n * context;
  s.decode_context_max = context;
  return s;
}

TEST(ContextParallel, WorkOfOneGroup) {
  const ModelSpec m = llama();
  const TransformerWork one(m, {}, {}), eight(m, groups(8), {}),
      ring(m, groups(8, false, true), {});
  const PrefillPiece piece{8000, 24000, false};
  StepShape prompt;
  prompt.prefills = {&piece, 1};
  for (const Operator op : {Operator::qkv_proj, Operator::ffn_up, Operator::attention_prefill})
    EXPECT_DOUBLE_EQ(of(eight, prompt, op).flops * 8, of(one, prompt, op).flops);
  // Weights, and the KV of all tokens, are read by every group; seven eighths of it come from
  // others.
  EXPECT_DOUBLE_EQ(of(eight, prompt, Operator::ffn_up).weight_bytes,
                   of(one, prompt, Operator::ffn_up).weight_bytes);
  EXPECT_DOUBLE_EQ(of(eight, prompt, Operator::attention_prefill).comm_bytes,
                   32000 * kTokenBytes * 7 / 8);
  const StepShape tokens = decode(4, 16000);
  EXPECT_DOUBLE_EQ(of(eight, tokens, Operator::ffn_up).flops,
                   of(one, tokens, Operator::ffn_up).flops);
  EXPECT_DOUBLE_EQ(of(eight, tokens, Operator::attention_decode).kv_bytes * 8,
                   of(one, tokens, Operator::attention_decode).kv_bytes);
  // A value, a maximum and a sum of every head (Tree Attention: b H (d + 2) s a layer).
  EXPECT_DOUBLE_EQ(of(eight, tokens, Operator::attention_merge).comm_bytes,
                   kLayers * 4 * kHeads * (kWidth + 2) * 2);
  EXPECT_DOUBLE_EQ(of(one, tokens, Operator::attention_merge).comm_bytes, 0);
  EXPECT_DOUBLE_EQ(of(ring, tokens, Operator::attention_decode).comm_bytes,
                   4 * 16000 * kTokenBytes * 7 / 8);
}

TEST(ContextParallel, MemoryGrowsWithTheDegree) {
  const ModelSpec m = llama();
  EXPECT_EQ(kv_block_bytes(m, groups(4), Dtype::bf16, 16) * 4,
            kv_block_bytes(m, {}, Dtype::bf16, 16));
  EXPECT_EQ(groups(4).gpus(), 4);
}

struct Law {
  ModelSpec model = llama();
  DeviceSpec device;
  LinkSpec link;
  Law() {
    device.name = "round";
    device.bandwidth = Bandwidth{1e12};
    device.compute = {{"bf16", FlopRate{1e15}}};
    link.bandwidth = Bandwidth{1e11};
    link.latency = Duration{2000};
  }
  [[nodiscard]] double ns(const Parallel& p, const StepShape& s) const {
    const TransformerWork work(model, p, {});
    const auto law = Registry::instance().make<CostModel>("roofline", Tree::map(),
                                                          {&work, &device, &link, p, {}});
    return static_cast<double>(to_ns(law->mixed_step(s)));
  }
};

// A tree of p groups takes log2 p exchanges of the partial results a layer, whatever the context.
TEST(ContextParallel, TreeGrowsWithTheLogarithm) {
  const Law law;
  const StepShape s = decode(1, 400'000);
  const double message = kHeads * (kWidth + 2) * 2 / 1e11 * 1e9 + 2000;
  const double eight = law.ns(groups(8), s), four = law.ns(groups(4), s);
  // Halving the part that is read, and one exchange more.
  const double read = 400'000 * kTokenBytes / 1e12 * 1e9 / law.device.efficiency.kv_memory;
  EXPECT_NEAR(eight - four, kLayers * message - read / 8, 20);
}

// Round a ring, every group attends to all parts, and parts are slower on the link than in memory.
TEST(ContextParallel, RingsMoveTheContext) {
  const Law law;
  const StepShape far = decode(1, 400'000), near = decode(1, 200'000);
  const double slope =
      (law.ns(groups(8, false, true), far) - law.ns(groups(8, false, true), near)) / 2e5;
  const double read = kTokenBytes / 8 / 1e12 * 1e9 / law.device.efficiency.kv_memory;
  EXPECT_NEAR(slope, read + kTokenBytes * 7 / 8 / 1e11 * 1e9, 0.01);
  EXPECT_GT(law.ns(groups(8, false, true), far), 5 * law.ns(groups(8), far));
}

// Where arithmetic hides the link, a ring costs nothing; collecting first always costs its time.
TEST(ContextParallel, RingHidesWhatGatheringWaitsFor) {
  const Law law;
  const PrefillPiece piece{100'000, 0, false};
  StepShape s;
  s.prefills = {&piece, 1};
  const double ways = 100'000 * kTokenBytes * 7 / 8 / 1e11 * 1e9 + kLayers * 7 * 2000;
  EXPECT_NEAR(law.ns(groups(8, true), s) - law.ns(groups(8), s), ways, 2);
}

TEST(ContextParallel, RefusesLayersThatForget) {
  Diagnostics d;
  const ModelSpec m = build_model(Tree::scalar("gemma-3-27b"), "", "model", d);
  EXPECT_THROW(check_split(m, groups(2)), InputError);
}

}  // namespace
}  // namespace kvsim
