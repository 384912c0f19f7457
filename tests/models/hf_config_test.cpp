// config.json texts with the facts of published models give the shape of the catalogue entry; odd
// ones are refused.
#include "models/hf_config.h"

#include <gtest/gtest.h>

#include <cmath>

#include "models/geometry.h"
#include "models/transformer_work.h"
#include "tests/models/catalogue.h"

namespace kvsim {
namespace {

struct Case {
  const char* name;
  const char* json;
};

const Case kCases[] = {
    {"llama-3.1-8b",
     R"({"model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
      "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 131072,
      "tie_word_embeddings": false, "torch_dtype": "bfloat16", "rope_scaling": {"factor": 8.0, "rope_type": "llama3"}})"},
    {"llama-2-13b",
     R"({"model_type": "llama", "hidden_size": 5120, "intermediate_size": 13824, "num_hidden_layers": 40,
      "num_attention_heads": 40, "vocab_size": 32000, "max_position_embeddings": 4096})"},
    {"mistral-7b-v0.1",
     R"({"model_type": "mistral", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
      "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32000, "max_position_embeddings": 32768, "sliding_window": 4096})"},
    {"mistral-nemo-12b",
     R"({"model_type": "mistral", "hidden_size": 5120, "head_dim": 128, "intermediate_size": 14336, "num_hidden_layers": 40,
      "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 131072, "max_position_embeddings": 131072, "sliding_window": null})"},
    {"mixtral-8x7b",
     R"({"model_type": "mixtral", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
      "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32000, "max_position_embeddings": 32768, "sliding_window": null,
      "num_local_experts": 8, "num_experts_per_tok": 2})"},
    {"qwen2.5-7b",
     R"({"model_type": "qwen2", "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
      "num_key_value_heads": 4, "vocab_size": 152064, "max_position_embeddings": 32768, "sliding_window": 131072, "max_window_layers": 28,
      "use_sliding_window": false, "tie_word_embeddings": false})"},
    {"qwen3-8b",
     R"({"model_type": "qwen3", "hidden_size": 4096, "head_dim": 128, "intermediate_size": 12288, "num_hidden_layers": 36,
      "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 151936, "max_position_embeddings": 40960, "use_sliding_window": false,
      "sliding_window": null, "attention_bias": false})"},
    {"qwen3-30b-a3b",
     R"({"model_type": "qwen3_moe", "hidden_size": 2048, "head_dim": 128, "intermediate_size": 6144, "num_hidden_layers": 48,
      "num_attention_heads": 32, "num_key_value_heads": 4, "vocab_size": 151936, "max_position_embeddings": 40960, "decoder_sparse_step": 1,
      "mlp_only_layers": [], "moe_intermediate_size": 768, "num_experts": 128, "num_experts_per_tok": 8, "use_sliding_window": false})"},
    {"gemma-2-9b",
     R"({"model_type": "gemma2", "hidden_size": 3584, "head_dim": 256, "intermediate_size": 14336, "num_hidden_layers": 42,
      "num_attention_heads": 16, "num_key_value_heads": 8, "vocab_size": 256000, "max_position_embeddings": 8192, "sliding_window": 4096})"},
    {"gemma-3-12b",
     R"({"model_type": "gemma3", "torch_dtype": "bfloat16", "vision_config": {"hidden_size": 1152, "num_hidden_layers": 27},
      "text_config": {"model_type": "gemma3_text", "hidden_size": 3840, "intermediate_size": 15360, "num_attention_heads": 16,
      "num_hidden_layers": 48, "num_key_value_heads": 8, "sliding_window": 1024}})"},
    {"jamba-v0.1",
     R"({"model_type": "jamba", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
      "num_key_value_heads": 8, "vocab_size": 65536, "max_position_embeddings": 262144, "attn_layer_period": 8, "attn_layer_offset": 4,
      "expert_layer_period": 2, "expert_layer_offset": 1, "num_experts": 16, "num_experts_per_tok": 2, "mamba_d_state": 16,
      "mamba_d_conv": 4, "mamba_expand": 2, "mamba_dt_rank": 256, "tie_word_embeddings": false})"},
    {"mamba-2.8b",
     R"({"model_type": "mamba", "hidden_size": 2560, "intermediate_size": 5120, "num_hidden_layers": 64, "state_size": 16, "conv_kernel": 4,
      "time_step_rank": 160, "vocab_size": 50280})"},
    {"recurrentgemma-2b",
     R"({"model_type": "recurrent_gemma", "hidden_size": 2560, "intermediate_size": 15360, "num_hidden_layers": 26,
      "num_attention_heads": 10, "num_key_value_heads": 1, "head_dim": 256, "vocab_size": 256000, "lru_width": 2560,
      "attention_window_size": 2048, "conv1d_width": 4})"},
    {"qwen3-next-80b-a3b",
     R"({"model_type": "qwen3_next", "hidden_size": 2048, "head_dim": 256, "intermediate_size": 5120, "num_hidden_layers": 48,
      "num_attention_heads": 16, "num_key_value_heads": 2, "vocab_size": 151936, "max_position_embeddings": 262144,
      "full_attention_interval": 4, "num_experts": 512, "num_experts_per_tok": 10, "moe_intermediate_size": 512,
      "shared_expert_intermediate_size": 512, "decoder_sparse_step": 1, "mlp_only_layers": [], "linear_num_value_heads": 32,
      "linear_num_key_heads": 16, "linear_key_head_dim": 128, "linear_value_head_dim": 128, "linear_conv_kernel_dim": 4})"},
    {"phi-2",
     R"({"model_type": "phi", "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 32, "num_attention_heads": 32,
      "num_key_value_heads": null, "vocab_size": 51200, "max_position_embeddings": 2048, "torch_dtype": "float16", "qk_layernorm": false})"},
    {"phi-3-mini",
     R"({"model_type": "phi3", "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 32, "num_attention_heads": 32,
      "num_key_value_heads": 32, "vocab_size": 32064, "max_position_embeddings": 131072, "sliding_window": 262144})"},
    {"falcon-7b",
     R"({"model_type": "falcon", "hidden_size": 4544, "num_hidden_layers": 32, "num_attention_heads": 71, "multi_query": true,
      "parallel_attn": true, "new_decoder_architecture": false, "bias": false, "alibi": false, "vocab_size": 65024})"},
    {"falcon-40b",
     R"({"model_type": "falcon", "hidden_size": 8192, "num_hidden_layers": 60, "num_attention_heads": 128, "num_kv_heads": 8,
      "multi_query": true, "parallel_attn": true, "new_decoder_architecture": true, "bias": false, "vocab_size": 65024})"},
    {"opt-13b",
     R"({"model_type": "opt", "hidden_size": 5120, "ffn_dim": 20480, "num_hidden_layers": 40, "num_attention_heads": 40,
      "max_position_embeddings": 2048, "vocab_size": 50272, "word_embed_proj_dim": 5120, "torch_dtype": "float16"})"},
    {"deepseek-v2",
     R"({"model_type": "deepseek_v2", "hidden_size": 5120, "intermediate_size": 12288, "moe_intermediate_size": 1536,
      "num_hidden_layers": 60, "num_attention_heads": 128, "num_key_value_heads": 128, "q_lora_rank": 1536, "kv_lora_rank": 512,
      "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "n_routed_experts": 160, "n_shared_experts": 2,
      "num_experts_per_tok": 6, "first_k_dense_replace": 1, "moe_layer_freq": 1, "vocab_size": 102400, "max_position_embeddings": 163840})"},
    {"deepseek-v3",
     R"({"model_type": "deepseek_v3", "hidden_size": 7168, "intermediate_size": 18432, "moe_intermediate_size": 2048,
      "num_hidden_layers": 61, "num_attention_heads": 128, "num_key_value_heads": 128, "q_lora_rank": 1536, "kv_lora_rank": 512,
      "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "n_routed_experts": 256, "n_shared_experts": 1,
      "num_experts_per_tok": 8, "first_k_dense_replace": 3, "vocab_size": 129280, "max_position_embeddings": 163840,
      "quantization_config": {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128]}})"},
    {"kimi-k2",
     R"({"model_type": "kimi_k2", "hidden_size": 7168, "intermediate_size": 18432, "moe_intermediate_size": 2048,
      "num_hidden_layers": 61, "num_attention_heads": 64, "num_key_value_heads": 64, "q_lora_rank": 1536, "kv_lora_rank": 512,
      "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "n_routed_experts": 384, "n_shared_experts": 1,
      "num_experts_per_tok": 8, "first_k_dense_replace": 1, "vocab_size": 163840, "max_position_embeddings": 131072,
      "quantization_config": {"quant_method": "fp8"}})"},
    {"gpt-oss-120b",
     R"({"model_type": "gpt_oss", "hidden_size": 2880, "head_dim": 64, "intermediate_size": 2880, "num_hidden_layers": 36,
      "num_attention_heads": 64, "num_key_value_heads": 8, "num_local_experts": 128, "experts_per_token": 4, "sliding_window": 128,
      "attention_bias": true, "vocab_size": 201088, "max_position_embeddings": 131072, "quantization_config": {"quant_method": "mxfp4"}})"},
    {"llama-4-scout-17b-16e",
     R"({"model_type": "llama4", "text_config": {"model_type": "llama4_text", "hidden_size": 5120, "head_dim": 128,
      "intermediate_size": 8192, "intermediate_size_mlp": 16384, "num_hidden_layers": 48, "num_attention_heads": 40,
      "num_key_value_heads": 8, "num_local_experts": 16, "num_experts_per_tok": 1, "interleave_moe_layer_step": 1,
      "attention_chunk_size": 8192, "vocab_size": 202048, "max_position_embeddings": 10485760, "use_qk_norm": true}})"},
};

ModelSpec read(const char* json, Diagnostics& d) {
  Reader r(d);
  return from_hf_config(parse_yaml(json, "config.json", d), r);
}

TEST(HfConfig, GivesTheShapeOfTheCatalogueEntry) {
  for (const Case& c : kCases) {
    Diagnostics d;
    const ModelSpec got = read(c.json, d);
    ASSERT_TRUE(d.empty()) << c.name << ": " << to_string(d.all().front());
    const ModelSpec want = test::catalogue(c.name);
    const auto a = layers_of(got), b = layers_of(want);
    ASSERT_EQ(a.size(), b.size()) << c.name;
    for (std::size_t l = 0; l < a.size(); ++l) {
      EXPECT_EQ(a[l].attention, b[l].attention) << c.name << " layer " << l;
      EXPECT_EQ(a[l].window, b[l].window) << c.name << " layer " << l;
      EXPECT_EQ(a[l].moe, b[l].moe) << c.name << " layer " << l;
      EXPECT_EQ(a[l].dense_width, b[l].dense_width) << c.name << " layer " << l;
    }
    EXPECT_EQ(parameters(got).total(), parameters(want).total()) << c.name;
    EXPECT_EQ(active_parameters(got), active_parameters(want)) << c.name;
    EXPECT_EQ(kv_elements(got), kv_elements(want)) << c.name;
    EXPECT_EQ(got.heads, want.heads) << c.name;
    EXPECT_EQ(got.max_context, want.max_context) << c.name;
    EXPECT_EQ(bits(got.weights), bits(want.weights)) << c.name;
    EXPECT_EQ(got.expert_bits, want.expert_bits) << c.name;
    EXPECT_EQ(got.parallel_residual, want.parallel_residual) << c.name;
  }
}

TEST(HfConfig, SparseStepsAndDenseLayers) {
  Diagnostics d;
  const ModelSpec m = read(
      R"({"model_type": "qwen2_moe", "hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 6,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100, "decoder_sparse_step": 2, "mlp_only_layers": [3],
    "moe_intermediate_size": 32, "shared_expert_intermediate_size": 128, "num_experts": 8, "num_experts_per_tok": 2,
    "use_sliding_window": true, "sliding_window": 16, "max_window_layers": 4, "max_position_embeddings": 1024})",
      d);
  ASSERT_TRUE(d.empty());
  const auto layers = layers_of(m);
  const bool moe[] = {false, true, false, false, false, true};
  for (std::size_t l = 0; l < 6; ++l) {
    EXPECT_EQ(layers[l].moe, moe[l]) << l;
    EXPECT_EQ(layers[l].dense_width, moe[l] ? 128 : 256) << l;
    EXPECT_EQ(layers[l].window, l >= 4 ? 16 : 0) << l;
  }
}

TEST(HfConfig, LayerTypesAndInterleavedExperts) {
  Diagnostics d;
  const ModelSpec m = read(
      R"({"model_type": "llama4_text", "hidden_size": 64, "head_dim": 16, "intermediate_size": 32,
    "intermediate_size_mlp": 128, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "num_local_experts": 4,
    "num_experts_per_tok": 1, "interleave_moe_layer_step": 2, "attention_chunk_size": 8, "vocab_size": 100, "max_position_embeddings": 64,
    "layer_types": ["chunked_attention", "full_attention", "chunked_attention", "full_attention"]})",
      d);
  ASSERT_TRUE(d.empty());
  const auto layers = layers_of(m);
  EXPECT_EQ(layers[0].attention, AttentionKind::chunked);
  EXPECT_EQ(layers[1].attention, AttentionKind::full);
  EXPECT_FALSE(layers[0].moe);
  EXPECT_TRUE(layers[1].moe);
  EXPECT_EQ(layers[0].dense_width, 128);
  EXPECT_EQ(layers[1].dense_width, 32);
}

TEST(HfConfig, RefusesWithPlaceAndCure) {
  Diagnostics d;
  read(R"({"model_type": "stablelm"})", d);
  ASSERT_EQ(d.all().size(), 1U);
  const std::string text = to_string(d.all()[0]);
  EXPECT_NE(text.find("config.json:1:"), std::string::npos) << text;
  EXPECT_NE(text.find("unknown model type 'stablelm'"), std::string::npos) << text;
  EXPECT_NE(text.find("deepseek_v3"), std::string::npos) << text;
  for (
      const char* bad :
      {"[]", "{}", R"({"model_type": "llama"})", R"({"model_type": ["llama"]})",
       R"({"model_type": "llama", "hidden_size": -4, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 1, "vocab_size": 1})",
       R"({"model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 99999999, "num_attention_heads": 32, "intermediate_size": 1, "vocab_size": 1})",
       R"({"model_type": "qwen2_moe", "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 1, "intermediate_size": 1, "vocab_size": 1,
                              "num_experts": 4, "num_experts_per_tok": 9, "moe_intermediate_size": 4, "decoder_sparse_step": 0})",
       R"({"model_type": "llama", "hidden_size": 10, "num_hidden_layers": 1, "num_attention_heads": 3, "num_key_value_heads": 2, "intermediate_size": 1, "vocab_size": 1})"}) {
    Diagnostics e;
    read(bad, e);
    EXPECT_FALSE(e.empty()) << bad;
  }
}

// Every value of every file replaced by something hostile: refused, or a model that can be counted.
TEST(HfConfig, HostileValues) {
  int accepted = 0, refused = 0;
  for (const Case& c : kCases) {
    Diagnostics parse;
    const Tree good = parse_yaml(c.json, "config.json", parse);
    for (const Tree::Entry& e : good.entries())
      for (const char* value :
           {"0", "-1", "1", "7", "1073741824", "99999999999999999999", "x", ""}) {
        Tree bad = good;
        bad.set(e.key, *value == 0 ? Tree::list() : Tree::scalar(value));
        Diagnostics d;
        Reader r(d);
        const ModelSpec m = from_hf_config(bad, r);
        if (!d.empty()) {
          ++refused;
          continue;
        }
        ++accepted;
        EXPECT_GE(parameters(m).total(), 0) << c.name << " " << e.key << " " << value;
        EXPECT_GE(kv_sequence_bytes(m, m.max_context, Dtype::bf16).count(), 0) << c.name;
        std::vector<Work> out;
        const std::vector<PrefillPiece> pieces{{64, 0, true}};
        StepShape s;
        s.prefills = pieces;
        TransformerWork(m, {}, {}).step(s, out);
        for (const Work& w : out) EXPECT_TRUE(std::isfinite(w.flops) && w.flops >= 0) << c.name;
      }
  }
  EXPECT_GT(accepted, 100);
  EXPECT_GT(refused, 500);
}

}  // namespace
}  // namespace kvsim
