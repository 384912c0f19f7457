// The work of an iteration: against formulas written out by hand, a per-token twin, affinity and
// conservation.
#include "models/transformer_work.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "models/attention_pairs.h"
#include "tests/models/catalogue.h"

namespace kvsim {
namespace {

using test::catalogue;

std::vector<Work> run(const TransformerWork& w, const StepShape& s) {
  std::vector<Work> out{Work{}};  // step() replaces what is there
  w.step(s, out);
  return out;
}
// Sum over the rows of an operator.
Work of(const std::vector<Work>& all, Operator op) {
  Work sum;
  sum.op = op;
  for (const Work& w : all)
    if (w.op == op) {
      sum.flops += w.flops, sum.weight_bytes += w.weight_bytes, sum.kv_bytes += w.kv_bytes;
      sum.activation_bytes += w.activation_bytes, sum.comm_bytes += w.comm_bytes,
          sum.launches += w.launches;
    }
  return sum;
}
Work all_of(const std::vector<Work>& all) {
  Work sum;
  for (const Work& w : all) {
    sum.flops += w.flops, sum.weight_bytes += w.weight_bytes, sum.kv_bytes += w.kv_bytes;
    sum.activation_bytes += w.activation_bytes, sum.comm_bytes += w.comm_bytes,
        sum.launches += w.launches;
  }
  return sum;
}
StepShape decode(const std::vector<std::int64_t>& contexts, std::int64_t window) {
  StepShape s;
  s.decodes = static_cast<std::int64_t>(contexts.size());
  for (const std::int64_t c : contexts) {
    s.decode_context_sum += c;
    s.decode_context_max = std::max(s.decode_context_max, c);
    s.decode_window_sum[0] += window > 0 ? std::min(c, window) : 0;
  }
  return s;
}

TEST(TransformerWork, DecodeByHand) {
  const TransformerWork w(catalogue("llama-3.1-8b"), {}, {});
  const auto out = run(w, decode({1000, 2000}, 0));
  const Work attention = of(out, Operator::attention_decode);
  EXPECT_DOUBLE_EQ(attention.kv_bytes, 3000.0 * 131072);
  EXPECT_DOUBLE_EQ(attention.flops, 32 * 4.0 * 32 * 128 * 3000);
  EXPECT_DOUBLE_EQ(of(out, Operator::rotary).kv_bytes, 2.0 * 131072);  // the new tokens' KV
  EXPECT_DOUBLE_EQ(of(out, Operator::attention_prefill).flops, 0);
  // Every weight but the embedding table and the norms is read once; 2 flops per weight and token.
  const Parameters p = parameters(catalogue("llama-3.1-8b"));
  EXPECT_DOUBLE_EQ(all_of(out).weight_bytes,
                   2.0 * static_cast<double>(p.attention + p.dense + p.lm_head));
  const double dense = of(out, Operator::qkv_proj).flops + of(out, Operator::o_proj).flops +
                       of(out, Operator::ffn_up).flops + of(out, Operator::ffn_down).flops +
                       of(out, Operator::lm_head).flops;
  EXPECT_DOUBLE_EQ(dense, 2 * 2.0 * static_cast<double>(p.attention + p.dense + p.lm_head));
  EXPECT_DOUBLE_EQ(all_of(out).comm_bytes, 0);
}

// Drafts are tokens like any other, but a sequence's context is read once for all of its queries.
TEST(TransformerWork, DraftsShareTheReadOfTheirContext) {
  const TransformerWork w(catalogue("llama-3.1-8b"), {}, {});
  StepShape s = decode({1000, 2000}, 0);
  const auto plain = run(w, s);
  s.draft_tokens = 6;
  const auto drafted = run(w, s);
  for (const Operator op : {Operator::qkv_proj, Operator::o_proj, Operator::ffn_up,
                            Operator::ffn_down, Operator::lm_head})
    EXPECT_DOUBLE_EQ(of(drafted, op).flops, 4 * of(plain, op).flops);
  EXPECT_DOUBLE_EQ(all_of(drafted).weight_bytes, all_of(plain).weight_bytes);
  EXPECT_DOUBLE_EQ(of(drafted, Operator::attention_decode).flops, 32 * 4.0 * 32 * 128 * 3000 * 4);
  EXPECT_DOUBLE_EQ(of(drafted, Operator::attention_decode).kv_bytes, 3006.0 * 131072);
  EXPECT_DOUBLE_EQ(of(drafted, Operator::rotary).kv_bytes, 8.0 * 131072);
  EXPECT_DOUBLE_EQ(of(drafted, Operator::attention_prefill).flops, 0);
}

TEST(TransformerWork, EmptyStepIsNoWork) {
  EXPECT_TRUE(run(TransformerWork(catalogue("llama-3.1-8b"), {}, {}), StepShape{}).empty());
}

// A piece of n tokens after h: 4 heads head_dim n (h + (n + 1) / 2) flops per layer; a chunk that
// does not finish the prompt samples nothing.
TEST(TransformerWork, PrefillByHand) {
  const TransformerWork w(catalogue("llama-3.1-8b"), {}, {});
  const std::vector<PrefillPiece> pieces{{512, 1000, false}, {100, 0, true}};
  StepShape s;
  s.prefills = pieces;
  const auto out = run(w, s);
  const double pairs = 512 * (1000 + 513 / 2.0) + 100 * 101 / 2.0;
  EXPECT_DOUBLE_EQ(of(out, Operator::attention_prefill).flops, 32 * 4.0 * 32 * 128 * pairs);
  EXPECT_DOUBLE_EQ(of(out, Operator::attention_prefill).kv_bytes, (1512.0 + 100) * 131072);
  EXPECT_DOUBLE_EQ(of(out, Operator::ffn_down).flops, 32 * 2.0 * 612 * 4096 * 14336);
  EXPECT_DOUBLE_EQ(of(out, Operator::lm_head).flops, 2.0 * 4096 * 128256);
}

TEST(TransformerWork, PaddingIsForDenseOperatorsOnly) {
  const TransformerWork w(catalogue("llama-3.1-8b"), {}, {});
  StepShape s = decode({100, 100, 100}, 0);
  const auto plain = run(w, s);
  s.padded_decodes = 8;
  const auto padded = run(w, s);
  EXPECT_DOUBLE_EQ(of(padded, Operator::ffn_up).flops, of(plain, Operator::ffn_up).flops / 3 * 8);
  for (const Operator op : {Operator::attention_decode, Operator::lm_head, Operator::sampler})
    EXPECT_DOUBLE_EQ(of(padded, op).flops, of(plain, op).flops);
  EXPECT_DOUBLE_EQ(of(padded, Operator::rotary).kv_bytes, of(plain, Operator::rotary).kv_bytes);
}

// Twin: attention of a decode batch, layer by layer and sequence by sequence.
TEST(TransformerWork, WindowedDecodeEqualsTheLoop) {
  for (const char* name :
       {"gemma-3-12b", "gpt-oss-20b", "gemma-2-9b", "mistral-7b-v0.1", "llama-3-8b"}) {
    const ModelSpec m = catalogue(name);
    const std::vector<std::int64_t> contexts{1, 100, 1024, 5000, 9000};
    double flops = 0, bytes = 0;
    for (const Layer& l : layers_of(m))
      for (const std::int64_t c : contexts) {
        const auto seen = static_cast<double>(l.window > 0 ? std::min(c, l.window) : c);
        flops += 2.0 * 2 * static_cast<double>(m.heads * m.head_width()) * seen;
        bytes += seen * static_cast<double>(m.kv_head_count() * m.head_width()) * 2 * 2;
      }
    const auto out = run(TransformerWork(m, {}, {}), decode(contexts, m.window));
    EXPECT_DOUBLE_EQ(of(out, Operator::attention_decode).flops, flops) << name;
    EXPECT_DOUBLE_EQ(of(out, Operator::attention_decode).kv_bytes, bytes) << name;
  }
}

// For fixed counts a step is affine in the context sums, and only attention_decode moves.
TEST(TransformerWork, AffineInContext) {
  for (const std::string& name : test::catalogue_names()) {
    const ModelSpec m = catalogue(name);
    const TransformerWork w(m, {}, {});
    const auto at = [&](std::int64_t context, std::int64_t window) {
      StepShape s;
      s.decodes = 4;
      s.decode_context_sum = context;
      s.decode_window_sum[0] = window;
      return run(w, s);
    };
    const auto a = at(1000, 400), b = at(3000, 600), c = at(5000, 800);
    ASSERT_EQ(a.size(), b.size());
    for (std::size_t i = 0; i < a.size(); ++i) {
      EXPECT_NEAR(b[i].flops - a[i].flops, c[i].flops - b[i].flops, 1e-9 * c[i].flops) << name;
      EXPECT_NEAR(b[i].kv_bytes - a[i].kv_bytes, c[i].kv_bytes - b[i].kv_bytes,
                  1e-9 * c[i].kv_bytes)
          << name;
      EXPECT_EQ(a[i].activation_bytes, c[i].activation_bytes) << name;
      if (a[i].op != Operator::attention_decode) {
        EXPECT_EQ(a[i].flops, c[i].flops) << name;
        EXPECT_EQ(a[i].kv_bytes, c[i].kv_bytes) << name;
      }
    }
  }
}

// Over tensor ranks the work adds up to the whole, for everything that is cut.
TEST(TransformerWork, RanksAddUp) {
  const ModelSpec m = catalogue("llama-3.1-70b");
  const std::vector<PrefillPiece> pieces{{300, 50, true}};
  StepShape s = decode({700, 900}, 0);
  s.prefills = pieces;
  const auto whole = run(TransformerWork(m, {}, {}), s);
  for (const int tp : {2, 4, 8}) {
    const auto rank = run(TransformerWork(m, Parallel{tp, 1, 1, false}, {}), s);
    for (const Operator op : {Operator::qkv_proj, Operator::o_proj, Operator::ffn_up,
                              Operator::ffn_down, Operator::lm_head, Operator::attention_prefill,
                              Operator::attention_decode, Operator::rotary}) {
      const Work r = of(rank, op), w = of(whole, op);
      EXPECT_NEAR(r.flops * tp, w.flops, 1e-9 * w.flops);
      EXPECT_NEAR(r.weight_bytes * tp, w.weight_bytes, 1e-9 * w.weight_bytes);
      EXPECT_NEAR(r.kv_bytes * tp, w.kv_bytes, 1e-9 * w.kv_bytes);
    }
    // two reductions per layer and one for the embedding, of tokens x hidden; half the gathered
    // logits of 3 samples
    const Work reduce = of(rank, Operator::all_reduce);
    EXPECT_DOUBLE_EQ(reduce.comm_bytes, 161.0 * 302 * 8192 * 2 + 3.0 * 128256 * 2 / 2);
    EXPECT_DOUBLE_EQ(reduce.launches, 162);
  }
  const auto staged = run(TransformerWork(m, Parallel{1, 4, 1, false}, {}), s);
  EXPECT_DOUBLE_EQ(of(staged, Operator::stage_transfer).comm_bytes, 3.0 * 2 * 302 * 8192 * 2);
  EXPECT_DOUBLE_EQ(all_of(staged).weight_bytes, all_of(whole).weight_bytes);
}

// Absorbed decode reads the latent once for all heads: 2 H (576 + 512) flops and 576 numbers per
// token and layer.
TEST(TransformerWork, LatentAttention) {
  const ModelSpec m = catalogue("deepseek-v2");
  const auto out = run(TransformerWork(m, {}, {}), decode({4096}, 0));
  EXPECT_DOUBLE_EQ(of(out, Operator::attention_decode).kv_bytes, 4096.0 * 69'120);
  EXPECT_DOUBLE_EQ(of(out, Operator::attention_decode).flops, 60 * 2.0 * 128 * (576 + 512) * 4096);
  const std::vector<PrefillPiece> pieces{{1000, 0, true}};
  StepShape s;
  s.prefills = pieces;
  const auto prefill = run(TransformerWork(m, {}, {}), s);
  EXPECT_DOUBLE_EQ(of(prefill, Operator::attention_prefill).flops,
                   60 * 2.0 * 128 * (192 + 128) * (1000 * 1001 / 2));
  // Without history the linear part is 2 flops per weight and token, as for any other model.
  const Parameters p = parameters(m);
  EXPECT_DOUBLE_EQ(of(prefill, Operator::qkv_proj).flops + of(prefill, Operator::o_proj).flops,
                   2.0 * 1000 * static_cast<double>(p.attention));
  EXPECT_DOUBLE_EQ(
      of(prefill, Operator::qkv_proj).weight_bytes + of(prefill, Operator::o_proj).weight_bytes,
      2.0 * static_cast<double>(p.attention));
  // The latent is replicated: a tensor rank reads all of it.
  const auto rank = run(TransformerWork(m, Parallel{8, 1, 1, false}, {}), decode({4096}, 0));
  EXPECT_DOUBLE_EQ(of(rank, Operator::attention_decode).kv_bytes, 4096.0 * 69'120);
}

// One token reads its own experts; many tokens read all; in between, the expectation for uniform
// choice.
TEST(TransformerWork, ExpertsTouched) {
  EXPECT_DOUBLE_EQ(TransformerWork::expected_experts(128, 128, 8, 1), 8);
  EXPECT_NEAR(TransformerWork::expected_experts(128, 128, 8, 1000), 128, 1e-9);
  // Twin: exact expectation for 2 of 4 experts and 2 tokens by enumerating all pairs of choices.
  const int sets[] = {0b0011, 0b0101, 0b1001, 0b0110, 0b1010, 0b1100};
  double sum = 0;
  for (const int a : sets)
    for (const int b : sets) sum += __builtin_popcount(static_cast<unsigned>(a | b));
  EXPECT_DOUBLE_EQ(TransformerWork::expected_experts(4, 4, 2, 2), sum / 36);
  // The same enumeration for ranks: 4 experts on 2 ranks, 2 active: the other rank is needed unless
  // both are here.
  double remote = 0;
  for (const int a : sets) remote += (a & 0b1100) != 0 ? 1 : 0;
  EXPECT_DOUBLE_EQ(TransformerWork::expected_remote_ranks(4, 2, 2), remote / 6);
  const ModelSpec m = catalogue("qwen3-30b-a3b");
  const auto out = run(TransformerWork(m, {}, {}), decode({100}, 0));
  EXPECT_DOUBLE_EQ(of(out, Operator::experts).weight_bytes, 48 * 8 * 3.0 * 2048 * 768 * 2);
  EXPECT_DOUBLE_EQ(of(out, Operator::experts).flops, 48 * 8 * 2 * 3.0 * 2048 * 768);
}

// Two data-parallel ranks with their own tokens: together they do the experts' work of all tokens.
TEST(TransformerWork, ExpertParallelGroup) {
  const ModelSpec m = catalogue("qwen3-30b-a3b");
  const TransformerWork w(m, Parallel{1, 1, 2, true}, {});
  StepShape one = decode({100, 100, 100}, 0), two = decode({50}, 0);
  one.group_tokens = two.group_tokens = 4;
  one.group_tokens_max = two.group_tokens_max = 3;
  const auto a = run(w, one), b = run(w, two);
  const auto whole = run(TransformerWork(m, {}, {}), decode({100, 100, 100, 50}, 0));
  EXPECT_DOUBLE_EQ(of(a, Operator::experts).flops + of(b, Operator::experts).flops,
                   of(whole, Operator::experts).flops);
  EXPECT_NEAR(of(a, Operator::experts).weight_bytes * 2, of(whole, Operator::experts).weight_bytes,
              1);
  EXPECT_DOUBLE_EQ(of(a, Operator::all_to_all).comm_bytes,
                   of(b, Operator::all_to_all).comm_bytes);  // the fullest rank's pace
  EXPECT_DOUBLE_EQ(of(a, Operator::all_to_all).comm_bytes,
                   48 * 2 * 3.0 * 2048 * 2 * TransformerWork::expected_remote_ranks(128, 8, 2));
  EXPECT_DOUBLE_EQ(of(a, Operator::all_reduce).launches, 0);
}

TEST(TransformerWork, QuantisedWeightsAndCache) {
  const ModelSpec m = catalogue("llama-3.1-8b");
  const auto out =
      run(TransformerWork(m, {}, {Dtype::fp8, Dtype::fp8, Dtype::bf16}), decode({1000}, 0));
  const Parameters p = parameters(m);
  EXPECT_DOUBLE_EQ(all_of(out).weight_bytes, static_cast<double>(p.attention + p.dense) +
                                                 2.0 * static_cast<double>(p.lm_head));
  EXPECT_DOUBLE_EQ(of(out, Operator::attention_decode).kv_bytes, 1000.0 * 65536);
  const auto oss = run(TransformerWork(catalogue("gpt-oss-20b"), {}, {}), decode({1}, 1));
  EXPECT_DOUBLE_EQ(of(oss, Operator::experts).weight_bytes, 24 * 4 * 3.0 * 2880 * 2880 * 4.25 / 8);
}

TEST(TransformerWork, Facts) {
  const TransformerWork w(catalogue("gemma-3-27b"), Parallel{2, 1, 1, false},
                          {Dtype::fp8, Dtype::bf16, Dtype::bf16});
  EXPECT_EQ(w.facts().layers, 62);
  EXPECT_EQ(w.facts().hidden, 5376);
  EXPECT_EQ(w.facts().windows[0], 1024);
  EXPECT_EQ(w.facts().windows[1], 0);
  EXPECT_EQ(w.facts().weight_bits, 8);
  EXPECT_EQ(w.facts().parallel.tensor, 2);
  const TransformerWork moe(catalogue("deepseek-v3"), {}, {});
  EXPECT_EQ(moe.facts().moe_layers, 58);
  EXPECT_EQ(moe.facts().experts, 256);
  EXPECT_THROW(TransformerWork(catalogue("falcon-7b"), Parallel{2, 1, 1, false}, {}), InputError);
}

// A recurrent layer costs the same whatever the context.
TEST(TransformerWork, RecurrentLayers) {
  const TransformerWork w(catalogue("jamba-v0.1"), {}, {});
  const auto a = run(w, decode({100}, 0)), b = run(w, decode({100'100}, 0));
  const double grown =
      of(b, Operator::attention_decode).kv_bytes - of(a, Operator::attention_decode).kv_bytes;
  EXPECT_DOUBLE_EQ(grown, 100'000.0 * 4 * 2 * 8 * 128 * 2);
}

// Model and work agree on the size of the model: flops of a long prefill per token approach 2 per
// active weight (the embedding aside), for every model of the catalogue.
TEST(TransformerWork, TwoFlopsPerActiveWeight) {
  for (const std::string& name : test::catalogue_names()) {
    const ModelSpec m = catalogue(name);
    // Models whose prompts skip weights, pass them more than once, or share them between layers.
    if (m.prefill_layers > 0 || m.prefill_passes > 1 || m.pool_tokens > 0 || m.encoder ||
        m.shared_blocks > 0)
      continue;
    const std::vector<PrefillPiece> pieces{{64, 0, false}};
    StepShape s;
    s.prefills = pieces;
    const auto out = run(TransformerWork(m, {}, {}), s);
    double linear = 0;
    for (const Work& w : out)
      if (w.op != Operator::attention_prefill && w.op != Operator::attention_decode &&
          w.op != Operator::norm && w.op != Operator::rotary && w.op != Operator::ffn_act)
        linear += w.flops;
    const Parameters p = parameters(m);
    const auto weights =
        static_cast<double>(active_parameters(m) - p.embedding - p.lm_head - p.norms);
    EXPECT_NEAR(linear / 64 / 2 / weights, 1.0, 0.003) << name;
  }
}

// A prompt beyond the decoder's own tokens goes through the encoder only: 2 flops a weight, and the
// chunk's attention.
TEST(TransformerWork, ContextGoesThroughTheEncoder) {
  const ModelSpec m = test::catalogue("cepe-llama-2-7b");
  const TransformerWork work(m, {}, {});
  const auto flops = [&](std::int64_t tokens, std::int64_t history) {
    const PrefillPiece piece{tokens, history, false};
    StepShape s;
    s.prefills = {&piece, 1};
    std::vector<Work> out;
    work.step(s, out);
    double sum = 0;
    for (const Work& w : out) sum += w.flops;
    return sum;
  };
  const EncoderSpec& e = *m.encoder;
  const double token = 2 * static_cast<double>(e.parameters) +
                       4.0 * static_cast<double>(e.cross_layers * e.chunk * e.hidden);
  EXPECT_DOUBLE_EQ(flops(1000, 8192), 1000 * token);
  // Within its own tokens nothing is different from the model without an encoder.
  const TransformerWork plain(test::catalogue("llama-2-7b"), {}, {});
  const PrefillPiece piece{1000, 0, true};
  StepShape s;
  s.prefills = {&piece, 1};
  std::vector<Work> a, b;
  work.step(s, a);
  plain.step(s, b);
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) EXPECT_EQ(a[i].flops, b[i].flops) << i;
}

// Below an early exit a prompt costs as in any layer, above it only its last token, and the keys
// and values that are cached there.
TEST(TransformerWork, EarlyExit) {
  ModelSpec m = test::catalogue("yoco-3b");
  const auto flops = [](const ModelSpec& model, bool samples) {
    const PrefillPiece piece{4096, 0, samples};
    StepShape s;
    s.prefills = {&piece, 1};
    std::vector<Work> out;
    TransformerWork(model, {}, {}).step(s, out);
    double sum = 0;
    for (const Work& w : out) sum += w.op == Operator::lm_head ? 0 : w.flops;
    return sum;
  };
  const double early = flops(m, false), with_last = flops(m, true);
  ModelSpec lower = m;  // the lower half alone
  lower.layers = 13;
  lower.attention.resize(13);
  lower.kv_source.resize(13);
  lower.prefill_layers = 0;
  const double kv = 2.0 * 4096 * 3072 * 2048;  // one layer's keys and values of every token
  EXPECT_NEAR(early, flops(lower, false) + kv, 0.002 * early);
  EXPECT_GT(with_last, early);
  EXPECT_LT(with_last, 1.01 * early);
  m.prefill_layers = 0;
  EXPECT_GT(flops(m, true), 1.9 * early);
}

// A state is read and written once per decode, and once per piece of a prompt.
TEST(TransformerWork, StatesMoveOncePerSequenceAndStep) {
  const ModelSpec m = test::catalogue("mamba-2.8b");
  const TransformerWork work(m, {}, {});
  const double all = 2.0 * 2 * 64 * (5120 * 16 + 5120 * 4);  // read and written, 2 bytes a number
  const auto moved = [&](const StepShape& s) {
    std::vector<Work> out;
    work.step(s, out);
    double sum = 0;
    for (const Work& w : out) sum += w.kv_bytes;
    return sum;
  };
  StepShape decode;
  decode.decodes = decode.padded_decodes = 7;
  decode.decode_context_sum = 70'000;
  EXPECT_DOUBLE_EQ(moved(decode), 7 * all);
  const PrefillPiece pieces[] = {{1000, 0, true}, {500, 2000, false}};
  StepShape prefill;
  prefill.prefills = pieces;
  EXPECT_DOUBLE_EQ(moved(prefill), 2 * all);
}

}  // namespace
}  // namespace kvsim
