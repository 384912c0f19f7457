// What each manager makes of a model: grains, reservations, loans, and what it refuses.
#include "policies/memory/memory.h"

#include <gtest/gtest.h>

namespace kvsim {
namespace {

using namespace literals;

// Llama-3-8B in 16 bits on one GPU: 8 KV heads of 128, 32 layers.
MemoryManager::Context llama_8b() {
  MemoryManager::Context c;
  c.max_model_len = 2048;
  c.max_batched_tokens = 1000;
  c.plane = Bytes{8 * 128 * 2};
  c.planes = 64;
  c.activation_bytes = 1'000'000'000;
  c.block_bytes = 16 * 64 * 2048;
  return c;
}

std::unique_ptr<MemoryManager> make(const char* name, const Tree& params,
                                    const MemoryManager::Context& c = llama_8b()) {
  return Registry::instance().make<MemoryManager>(name, params, c);
}

Tree with(const char* key, const char* value) {
  Tree t = Tree::map();
  t.set(key, Tree::scalar(value));
  return t;
}

// Taxonomy S85: tokens per page = page / (G d s / TP).
TEST(MemoryManagers, PageGrainIsThatOfThePaper) {
  EXPECT_EQ(make("virtual", with("page", "2 MiB"))->rules().block_tokens, 1024);
  EXPECT_EQ(make("virtual", with("page", "64 KiB"))->rules().block_tokens, 32);
  MemoryManager::Context two = llama_8b();  // tensor parallel over two GPUs
  two.plane = Bytes{4 * 128 * 2};
  EXPECT_EQ(make("virtual", with("page", "2 MiB"), two)->rules().block_tokens, 2048);
  const MemoryRules r = make("virtual", with("page", "2 MiB"))->rules();
  EXPECT_EQ(r.block_bytes, 128_MiB);
  EXPECT_EQ(to_ns(r.map_block), 64 * 37'500);
  EXPECT_FALSE(r.null_block);
}

TEST(MemoryManagers, ReservationsOfTheThreeBaselines) {
  const auto reserve = [](const char* by, std::int64_t prompt, std::int64_t output) {
    return make("reserved", with("by", by))->reserve(prompt, output);
  };
  EXPECT_EQ(reserve("max", 100, 25), 2048);
  EXPECT_EQ(reserve("pow2", 100, 25), 132);  // the vLLM paper's example: 25 outputs reserve 32
  EXPECT_EQ(reserve("pow2", 100, 32), 132);
  EXPECT_EQ(reserve("pow2", 100, 1), 101);
  EXPECT_EQ(reserve("pow2", 1000, 1048), 2048);  // not beyond the model
  EXPECT_EQ(reserve("oracle", 100, 25), 125);
  EXPECT_EQ(make("paged", Tree::map())->reserve(100, 25), 0);
}

// An iteration of all its tokens needs the whole reserve again; of none, no more than was kept
// back.
TEST(MemoryManagers, WhatIsLentIsWhatTheReserveHolds) {
  for (const char* share : {"0 %", "25 %", "100 %"}) {
    const MemoryRules r = make("pooled", with("lent", share))->rules();
    EXPECT_EQ(r.unlent_bytes + r.lent_blocks * r.pool_block_bytes, 1'000'000'000) << share;
    EXPECT_GE(r.unlent_bytes, 0);
  }
  EXPECT_EQ(make("pooled", with("lent", "0 %"))->rules().lent_blocks, 0);
  EXPECT_EQ(make("pooled", with("lent", "100 %"))->rules().lent_blocks, 1'000'000'000 / 2'097'152);
}

// Of 32 layers those stay that cannot move within the time of the prompt: n layers take n / 32 of
// the time of all.
TEST(MemoryManagers, LayersStayThatCannotMoveInTime) {
  MemoryManager::Context c = llama_8b();
  c.layers = 32;
  const auto resident = [&](Tree params, Duration compute, Duration move) {
    return make("layer-wise", std::move(params), c)->resident_layers(compute, move);
  };
  using namespace std::chrono_literals;
  EXPECT_EQ(resident(Tree::map(), 100ms, 400ms), 24);
  EXPECT_EQ(resident(Tree::map(), 100ms, 101ms), 1);
  EXPECT_EQ(resident(Tree::map(), 99ms, 3200ms), 32);  // not even one
  EXPECT_EQ(resident(Tree::map(), 100ms, 50ms), 1);    // all could: the place of one is needed
  EXPECT_EQ(resident(with("resident", "7"), 100ms, 400ms), 7);
  EXPECT_THROW(make("layer-wise", with("resident", "33"), c), InputError);
  c.shares_prefixes = true;
  EXPECT_THROW(make("layer-wise", Tree::map(), c), InputError);
}

TEST(MemoryManagers, RefuseWhatTheyCannotDo) {
  MemoryManager::Context shared = llama_8b();
  shared.shares_prefixes = true;
  EXPECT_THROW(make("reserved", Tree::map(), shared), InputError);
  EXPECT_THROW(make("virtual", Tree::map(), shared), InputError);
  EXPECT_NO_THROW(make("virtual", with("deferred", "false"), shared));
  MemoryManager::Context wide = llama_8b();
  wide.plane = Bytes{8192};
  EXPECT_THROW(make("virtual", with("page", "4 KiB"), wide), InputError);
  MemoryManager::Context none = llama_8b();
  none.activation_bytes = 0;
  EXPECT_THROW(make("pooled", Tree::map(), none), InputError);
}

}  // namespace
}  // namespace kvsim
