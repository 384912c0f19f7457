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

}  // namespace
}  // namespace kvsim
