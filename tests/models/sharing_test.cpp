// Bytes per token of shapes whose layers share, factor, pool or drop their caches. Each test states
// its closed form and where it was published.
#include <gtest/gtest.h>

#include "models/geometry.h"
#include "models/recurrent.h"
#include "tests/models/catalogue.h"

namespace kvsim {
namespace {

using test::catalogue;

std::int64_t token(const ModelSpec& m) { return kv_token_bytes(m, Dtype::bf16).count(); }

// C28, CLA (arXiv:2405.12981): pairs of layers share, on top of any grouping: half.
TEST(Claims, C28_CrossLayerAttention) {
  ModelSpec m = catalogue("hunyuan-large");
  EXPECT_EQ(token(m), 32 * 2 * 8 * 128 * 2);
  const std::int64_t paired = token(m);
  m.kv_source.clear();
  EXPECT_EQ(token(m), 2 * paired);
  m.kv_heads = 1;
  const std::int64_t mqa = token(m);
  for (std::int64_t l = 0; l < m.layers; ++l) m.kv_source.push_back(l / 2 * 2);
  EXPECT_EQ(mqa, 2 * token(m));
}

// LCKV (arXiv:2405.10637): layers 0, 20 and 21 of 22: 3 / L of the cache; the source lies above its
// readers.
TEST(Sharing, CondensedLayers) {
  ModelSpec m = catalogue("lckv-1.1b");
  EXPECT_EQ(token(m), 3 * 2 * 4 * 64 * 2);
  m.kv_source.clear();
  EXPECT_EQ(token(m), 22 * 2 * 4 * 64 * 2);
}

// YOCO (arXiv:2405.05254): one global cache, and windows of 1024 tokens in the lower half. At 1M
// tokens about L times less than every layer's own.
TEST(Sharing, OneGlobalCache) {
  ModelSpec m = catalogue("yoco-3b");
  constexpr std::int64_t kMillion = 1 << 20, kLayer = 2 * 8 * 128 * 2;
  EXPECT_EQ(kv_sequence_bytes(m, kMillion, Dtype::bf16).count(), kLayer * (kMillion + 13 * 1024));
  m.attention.clear();
  m.kv_source.clear();
  EXPECT_EQ(kv_sequence_bytes(m, kMillion, Dtype::bf16).count(), kLayer * 26 * kMillion);
}

// MLKV (arXiv:2406.09297): m key-value heads in the whole model: m / (L H) of multi-head attention.
TEST(Sharing, HeadsAcrossLayers) {
  ModelSpec m = catalogue("mlkv-160m");
  const std::int64_t shared = token(m);
  EXPECT_EQ(shared, 6 * 2 * 64 * 2);
  m.kv_source.clear();
  m.kv_heads = 0;
  EXPECT_EQ(token(m) * 6, shared * 12 * 12);
}

TEST(Sharing, WindowsThatShare) {
  const ModelSpec m = catalogue("mixattention-8b");
  // Of 32 layers, 2 keep everything and 16 a window.
  const auto groups = kv_groups(m);
  ASSERT_EQ(groups.size(), 2U);
  EXPECT_EQ(groups[0].layers, 2);
  EXPECT_EQ(groups[0].readers, 2);
  EXPECT_EQ(groups[1].layers, 16);
  EXPECT_EQ(groups[1].readers, 12);
  constexpr std::int64_t kLayer = 2 * 8 * 128 * 2;
  EXPECT_EQ(kv_sequence_bytes(m, 131'072, Dtype::bf16).count(), kLayer * (2 * 131'072 + 16 * 1024));
}

// TPA (arXiv:2501.06425, table of caches): (R_K + R_V) (heads + width) numbers a token and layer.
TEST(Sharing, TensorProducts) {
  const ModelSpec m = catalogue("tpa-1.5b");
  EXPECT_EQ(kv_elements(m), (2 + 2) * (78 + 64));
  EXPECT_EQ(token(m), 48 * 4 * 142 * 2);
  EXPECT_EQ(kv_elements(m, 2), 4 * (39 + 64));  // the factor over heads is cut, the other is not
}

// MFA (arXiv:2412.19255): one key-value head of width C: 2 C; with keys reused as values, C.
TEST(Sharing, FactoredQueries) {
  ModelSpec m = catalogue("step-3");
  EXPECT_EQ(token(m), 61 * 2 * 256 * 2);
  m.tied_kv = true;
  EXPECT_EQ(token(m), 61 * 256 * 2);
}

// SVFormer (arXiv:2410.17897): every layer's keys, one layer's values: (L + 1) / 2 L of the cache.
TEST(Sharing, ValuesOfTheFirstLayer) {
  ModelSpec m = catalogue("svformer-1b");
  EXPECT_EQ(token(m), 17 * 8 * 64 * 2);
  m.v_source.clear();
  EXPECT_EQ(token(m), 32 * 8 * 64 * 2);
}

TEST(Sharing, HeadsThatDifferByLayer) {
  const ModelSpec m = catalogue("qcqa-llama-2-7b");
  EXPECT_EQ(token(m), 8 * (16 + 8 + 4 + 4) * 2 * 128 * 2);
  EXPECT_EQ(token(m) * 4, token(catalogue("llama-2-7b")));
  EXPECT_EQ(kv_groups(m).size(), 3U);
}

// C32, Infini-attention (arXiv:2404.07143, table 2): 1.6M numbers of memory, d_k (d_v + 1) H L,
// against 183M of a Memorizing Transformer: 65,536 tokens kept by one layer and 2,048 by the eleven
// others.
TEST(Claims, C32_CompressiveMemory) {
  const ModelSpec m = catalogue("infini-attention");
  const std::int64_t memory = m.layers * m.memory->state_elements;
  EXPECT_EQ(memory, 12 * 8 * 128 * (128 + 1));
  EXPECT_NEAR(static_cast<double>(memory) / 1e6, 1.6, 0.05);
  const std::int64_t memorizing = (65'536 + 11 * 2'048) * 2 * 128 * 8;
  EXPECT_NEAR(static_cast<double>(memorizing) / 1e6, 183, 0.02 * 183);
  EXPECT_NEAR(static_cast<double>(memorizing) / static_cast<double>(memory), 114, 0.01 * 114);
  // Beyond the segment nothing grows.
  EXPECT_EQ(kv_sequence_bytes(m, 2'048, Dtype::bf16), kv_sequence_bytes(m, 1 << 20, Dtype::bf16));
}

// C33, CEPE (arXiv:2402.16617): at 128K tokens, KV of 4096 tokens and a vector of 1024 numbers for
// every other one.
TEST(Claims, C33_EncodedContext) {
  const ModelSpec m = catalogue("cepe-llama-2-7b");
  constexpr std::int64_t kTokens = 131'072;
  const std::int64_t full = token(m) * kTokens;
  const std::int64_t kept = kv_sequence_bytes(m, kTokens, Dtype::bf16).count();
  EXPECT_EQ(kept, std::int64_t{4096} * 524'288 + (kTokens - 4096) * 2048);
  EXPECT_LT(kept * 6, full);
}

// XC-Cache (arXiv:2404.15420): one vector of the hidden width a token: 2 L times less, 98 %.
TEST(Sharing, OneVectorPerToken) {
  const ModelSpec m = catalogue("xc-cache-llama-2-7b");
  EXPECT_EQ(2 * m.encoder->hidden, token(m) / 64);
}

// Block Transformer (arXiv:2406.02657): lower layers keep an entry per 4 tokens, upper ones a
// block.
TEST(Sharing, BlocksOfTokens) {
  const ModelSpec m = catalogue("block-transformer");
  constexpr std::int64_t kLayer = 2 * 16 * 128 * 2;
  EXPECT_EQ(kv_sequence_bytes(m, 8192, Dtype::bf16).count(), 12 * kLayer * (2048 + 4));
}

// C34, GoldFinch (arXiv:2407.12077): hidden / 16 numbers and a token id in the whole model.
TEST(Claims, C34_CompressedKeys) {
  const ModelSpec m = catalogue("goldfinch-1.5b");
  EXPECT_EQ(token(m), 2048 / 16 * 2 + 2);
  const auto ratio = [](std::int64_t layers, std::int64_t hidden) {
    return static_cast<double>(2 * layers * hidden * 2) / static_cast<double>(hidden / 16 * 2 + 2);
  };
  EXPECT_DOUBLE_EQ(static_cast<double>(2 * m.layers * m.hidden * 2) / static_cast<double>(token(m)),
                   ratio(24, 2048));
  EXPECT_NEAR(ratio(24, 2048), 756, 0.01 * 756);
  EXPECT_NEAR(ratio(80, 8192), 2550, 0.01 * 2550);
}

// One layer of attention in eight, four, six or so.
TEST(Sharing, Hybrids) {
  const std::pair<const char*, std::int64_t> rows[] = {{"jamba-v0.1", 4 * 2 * 8 * 128 * 2},
                                                       {"jamba-1.5-large", 9 * 2 * 8 * 128 * 2},
                                                       {"qwen3-next-80b-a3b", 12 * 2 * 2 * 256 * 2},
                                                       {"minimax-text-01", 10 * 2 * 8 * 128 * 2},
                                                       {"kimi-linear-48b-a3b", 7 * (512 + 64) * 2},
                                                       {"nemotron-h-8b", 4 * 2 * 8 * 128 * 2},
                                                       {"recurrentgemma-2b", 8 * 2 * 256 * 2},
                                                       {"zamba-7b", 13 * 2 * 16 * 464 * 2},
                                                       {"mixcon", 8 * 2 * 8 * 128 * 2}};
  for (const auto& [name, bytes] : rows) EXPECT_EQ(token(catalogue(name)), bytes) << name;
}

// A block of Zamba is stored once however often it is used.
TEST(Sharing, WeightsUsedAgain) {
  ModelSpec m = catalogue("zamba-7b");
  const Parameters once = parameters(m);
  m.shared_blocks = 0;
  const Parameters each = parameters(m);
  const std::int64_t block = each.dense / 13;
  EXPECT_EQ(each.dense - once.dense, 12 * block);
  EXPECT_GT(each.attention, once.attention);
}

// Bytes of a block on a stage are those of its layers' tokens.
TEST(Sharing, BlocksAddUp) {
  for (const std::string& name : test::catalogue_names()) {
    const ModelSpec m = catalogue(name);
    if (m.pool_tokens > 0) continue;
    EXPECT_EQ(kv_block_bytes(m, {}, Dtype::bf16, 16).count(), 16 * token(m)) << name;
    std::int64_t groups = 0;
    for (const KvGroup& g : kv_groups(m)) groups += 2 * g.elements * g.layers;
    EXPECT_EQ(groups, token(m)) << name;
  }
}

}  // namespace
}  // namespace kvsim
