// States of recurrent layers against published widths: each row states its product.
#include "models/recurrent.h"

#include <gtest/gtest.h>

#include "models/geometry.h"
#include "tests/models/catalogue.h"

namespace kvsim {
namespace {

using test::catalogue;

// Numbers per layer and sequence: state, and the inputs of the convolution.
TEST(Recurrent, StateOfEachMixer) {
  struct Row {
    const char* name;
    std::int64_t state, conv;
  };
  const Row rows[] = {
      {"mamba-2.8b", 5120 * 16, 5120 * 4},                 // (2 D) 16 + (2 D) 4
      {"jamba-v0.1", 8192 * 16, 8192 * 4},                 // the same
      {"mamba-2-2.7b", 5120 * 128, (5120 + 2 * 128) * 4},  // 80 heads of 64 x 128; x, B and C
      {"rwkv-4-7b", 5 * 4096, 0},                          // 5 D
      {"rwkv-6-7b", 4096 * 64 + 2 * 4096, 0},              // D d_head + 2 D
      {"retnet-6.7b", 2 * 4096 * 4096 / 16, 0},            // sum of d_k d_v = 2 D^2 / H
      {"gla-1.3b", 4 * 256 * 512, 0},
      {"deltanet-1.3b", 16 * 128 * 128, 3 * 2048 * 4},  // q, k and v of 2048 each
      {"qwen3-next-80b-a3b", 32 * 128 * 128, (2 * 16 * 128 + 32 * 128) * 4},
      {"recurrentgemma-2b", 2560, 2560 * 4},
      {"minimax-text-01", 64 * 128 * 128, 0}};
  for (const Row& r : rows) {
    const StateElements e = state_elements(catalogue(r.name));
    EXPECT_EQ(e.state, r.state) << r.name;
    EXPECT_EQ(e.conv, r.conv) << r.name;
  }
}

// No tokens are kept: a sequence of one token and one of a million take the same.
TEST(Recurrent, ModelsWithoutAttentionKeepNoTokens) {
  for (const char* name : {"mamba-2.8b", "mamba-2-2.7b", "rwkv-4-7b", "rwkv-6-7b", "retnet-6.7b",
                           "gla-1.3b", "deltanet-1.3b", "falcon-mamba-7b", "mcsd"}) {
    const ModelSpec m = catalogue(name);
    EXPECT_EQ(kv_token_bytes(m, Dtype::bf16).count(), 0) << name;
    EXPECT_EQ(kv_sequence_bytes(m, 1, Dtype::bf16), kv_sequence_bytes(m, 1'000'000, Dtype::fp8))
        << name;
    EXPECT_EQ(kv_sequence_bytes(m, 1, Dtype::bf16), layer_state_bytes(m) * m.layers) << name;
  }
}

TEST(Recurrent, PrecisionOfTheStateLeavesTheConvolutionAlone) {
  ModelSpec m = catalogue("qwen3-next-80b-a3b");
  EXPECT_EQ(layer_state_bytes(m).count(), 4 * 32 * 128 * 128 + 2 * 8192 * 4);
  m.recurrent->dtype = Dtype::bf16;
  EXPECT_EQ(layer_state_bytes(m).count(), 2 * 32 * 128 * 128 + 2 * 8192 * 4);
  EXPECT_EQ(layer_state_bytes(m, 4).count() * 4, layer_state_bytes(m).count());
}

// Given numbers win over the mixer's.
TEST(Recurrent, NumbersOfAFileWin) {
  ModelSpec m = catalogue("mamba-2.8b");
  m.recurrent->state_elements = 1000;
  m.recurrent->parameters = 77;
  EXPECT_EQ(state_elements(m).state, 1000);
  EXPECT_EQ(state_elements(m).conv, 0);
  EXPECT_EQ(mixer_parameters(m), 77);
}

}  // namespace
}  // namespace kvsim
