// KV bytes, weights and their split, against figures that anybody can recompute.
#include "models/geometry.h"

#include <gtest/gtest.h>

#include "tests/models/catalogue.h"

namespace kvsim {
namespace {

using test::catalogue;

TEST(Geometry, Llama31) {
  const ModelSpec m = catalogue("llama-3.1-8b");
  EXPECT_EQ(kv_token_bytes(m, Dtype::bf16).count(), 131072);
  EXPECT_EQ(kv_token_bytes(m, Dtype::fp8).count(), 65536);
  EXPECT_EQ(parameters(m).total(), 8'030'261'248);  // number of weights in the published checkpoint
  EXPECT_EQ(weight_bytes(m, {}).count(), 2 * 8'030'261'248);
  EXPECT_EQ(kv_block_bytes(m, Parallel{2, 1, 1, false}, Dtype::bf16, 16).count(), 16 * 131072 / 2);
}

TEST(Geometry, KvOfRanksAddsUpUntilHeadsAreReplicated) {
  const ModelSpec m = catalogue("llama-3.1-8b");
  const std::int64_t whole = kv_token_bytes(m, Dtype::bf16).count();
  for (const int tp : {1, 2, 4, 8})
    EXPECT_EQ(kv_token_bytes(m, Dtype::bf16, tp).count() * tp, whole);
  EXPECT_EQ(kv_token_bytes(m, Dtype::bf16, 16).count() * 8,
            whole);  // one head per rank, held twice
  const ModelSpec mla = catalogue("deepseek-v3");
  EXPECT_EQ(kv_token_bytes(mla, Dtype::bf16, 8), kv_token_bytes(mla, Dtype::bf16, 1));
}

// Over tensor ranks everything that is cut adds up; norms, routers and replicated heads are held by
// every rank.
TEST(Geometry, WeightsOfRanksAddUp) {
  for (const std::string& name : test::catalogue_names()) {
    const ModelSpec m = catalogue(name);
    const Parameters whole = parameters(m);
    for (const int tp : {2, 4, 8}) {
      if (m.heads % tp != 0 || m.kv_head_count() % tp != 0) continue;
      // Factors over a head's width, and fewer heads than ranks, are held by every rank.
      if (m.tpa || !m.layer_kv_heads.empty()) continue;
      const Parameters rank = rank_parameters(m, Parallel{tp, 1, 1, false}, 0);
      EXPECT_EQ(rank.norms, whole.norms) << name;
      EXPECT_EQ(rank.router, whole.router) << name;
      const auto close = [&](std::int64_t part, std::int64_t all, const char* what) {
        EXPECT_NEAR(static_cast<double>(part * tp), static_cast<double>(all),
                    0.002 * static_cast<double>(all))
            << name << " " << what;
        EXPECT_GE(part * tp, all) << name << " " << what;
      };
      close(rank.dense, whole.dense, "dense");
      close(rank.experts, whole.experts, "experts");
      close(rank.shared, whole.shared, "shared");
      close(rank.lm_head, whole.lm_head, "lm_head");
      if (!m.mla) close(rank.attention, whole.attention, "attention");
      if (m.moe && m.moe->experts % tp == 0) {
        EXPECT_EQ(rank_parameters(m, Parallel{tp, 1, 1, true}, 0).experts * tp, whole.experts)
            << name;
      }
    }
  }
}

TEST(Geometry, StagesAddUp) {
  const ModelSpec m = catalogue("deepseek-v3");
  const Parallel split{1, 4, 1, false};
  std::int64_t sum = 0;
  for (int s = 0; s < 4; ++s) sum += rank_parameters(m, split, s).total();
  EXPECT_EQ(sum, parameters(m).total());
  EXPECT_EQ(stage_layers(61, 4), (std::vector<std::int64_t>{15, 15, 16, 15}));
  EXPECT_EQ(stage_layers(7, 4), (std::vector<std::int64_t>{2, 2, 2, 1}));
  EXPECT_EQ(stage_layers(8, 3), (std::vector<std::int64_t>{3, 3, 2}));
  EXPECT_EQ(kv_block_bytes(m, split, Dtype::bf16, 64).count(), 16 * 64 * 576 * 2);
}

// A window bounds what a sequence keeps: Gemma 3 27B has 10 full and 52 sliding layers of 16 heads
// x 128.
TEST(Geometry, WindowsBoundTheCache) {
  const ModelSpec m = catalogue("gemma-3-27b");
  const auto groups = kv_groups(m);
  ASSERT_EQ(groups.size(), 2U);
  EXPECT_EQ(groups[0].layers, 52);
  EXPECT_EQ(groups[1].layers, 10);
  const std::int64_t layer = 2 * 16 * 128 * 2;
  EXPECT_EQ(kv_sequence_bytes(m, 500, Dtype::bf16).count(), 500 * 62 * layer);
  EXPECT_EQ(kv_sequence_bytes(m, 100'000, Dtype::bf16).count(), (100'000 * 10 + 1024 * 52) * layer);
  EXPECT_EQ(kv_groups(catalogue("llama-4-scout-17b-16e"))[1].layers, 12);
}

// Cross-layer sharing in pairs: half the layers own a cache and half the key and value projections
// go.
TEST(Geometry, SharedCaches) {
  ModelSpec m = catalogue("llama-3.1-8b");
  const Parameters before = parameters(m);
  for (std::int64_t l = 0; l < m.layers; ++l) m.kv_source.push_back(l / 2 * 2);
  EXPECT_EQ(kv_token_bytes(m, Dtype::bf16).count(), 65536);
  EXPECT_EQ(before.attention - parameters(m).attention, 16 * 4096 * 2 * 1024);
}

// Embeddings, head, router and norms keep 16 bits; gpt-oss's experts keep 4.25 bits whatever the
// rest.
TEST(Geometry, QuantisedWeights) {
  const ModelSpec m = catalogue("llama-3.1-8b");
  const Parameters p = parameters(m);
  EXPECT_EQ(weight_bytes(m, {Dtype::fp8, Dtype::bf16, Dtype::bf16}).count(),
            p.attention + p.dense + 2 * (p.embedding + p.lm_head + p.norms));
  const ModelSpec oss = catalogue("gpt-oss-120b");
  EXPECT_NEAR(static_cast<double>(weight_bytes(oss, {}).count()), 65.2e9,
              0.4e9);  // size of the published checkpoint
}

TEST(Geometry, RefusesSplitsThatDoNotFit) {
  const auto refused = [](const char* name, Parallel split) {
    EXPECT_THROW(check_split(catalogue(name), split), InputError) << name;
  };
  refused("falcon-7b", {2, 1, 1, false});  // 71 heads
  refused("qwen2.5-7b", {3, 1, 1, false});
  refused("llama-3.1-8b", {1, 33, 1, false});  // more stages than layers
  refused("mixtral-8x7b", {2, 1, 8, true});    // 16 ranks for 8 experts
  refused("llama-3.1-8b", {0, 1, 1, false});
  check_split(catalogue("llama-3.1-8b"), {16, 2, 2, false});
}

TEST(Geometry, CheckModelNamesTheKey) {
  Diagnostics d;
  Reader r(d);
  ModelSpec m;
  const Tree t = parse_yaml(
      "layers: 4\nhidden: 64\nheads: 4\nkv_heads: 3\nintermediate: 128\nattention: [sliding, "
      "full]\n",
      "m.yaml", d);
  EXPECT_FALSE(read_model(t, m, r));
  ASSERT_EQ(d.all().size(), 2U);
  EXPECT_NE(to_string(d.all()[0]).find("m.yaml:4:"), std::string::npos) << to_string(d.all()[0]);
  EXPECT_NE(to_string(d.all()[0]).find("kv_heads: 3 key heads do not divide 4 heads"),
            std::string::npos);
  EXPECT_NE(to_string(d.all()[1]).find("window"), std::string::npos);
}

// Bounds of single fields allow products beyond 64 bits; the whole is refused.
TEST(Geometry, RefusesAbsurdSizes) {
  for (const char* text :
       {"{layers: 1024, hidden: 1048576, heads: 1, head_dim: 1, intermediate: 1, moe: {experts: "
        "65536, "
        "active: 1, intermediate: 1048576}}",
        "{layers: 1024, hidden: 64, heads: 65536, head_dim: 65536, intermediate: 1, max_context: "
        "1073741824}"}) {
    Diagnostics d;
    Reader r(d);
    ModelSpec m;
    EXPECT_FALSE(read_model(parse_yaml(text, "m.yaml", d), m, r)) << text;
    EXPECT_FALSE(d.empty());
  }
}

}  // namespace
}  // namespace kvsim
