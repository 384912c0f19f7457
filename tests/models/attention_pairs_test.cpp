// The closed forms equal a double loop over queries and keys.
#include "models/attention_pairs.h"

#include <gtest/gtest.h>

#include <set>

namespace kvsim {
namespace {

bool attends(AttentionKind kind, std::int64_t window, std::int64_t query, std::int64_t key) {
  if (key > query) return false;
  if (kind == AttentionKind::sliding) return key > query - window;
  if (kind == AttentionKind::chunked) return key / window == query / window;
  return kind != AttentionKind::recurrent;
}

TEST(AttentionPairs, EqualTheDoubleLoop) {
  using enum AttentionKind;
  for (const AttentionKind kind : {full, sliding, chunked, mla, recurrent})
    for (const std::int64_t window : {1, 2, 5, 8})
      for (std::int64_t history = 0; history <= 20; ++history)
        for (std::int64_t tokens = 1; tokens <= 20; ++tokens) {
          std::int64_t pairs = 0;
          std::set<std::int64_t> keys;
          for (std::int64_t q = history; q < history + tokens; ++q)
            for (std::int64_t k = 0; k < history + tokens; ++k)
              if (attends(kind, window, q, k)) ++pairs, keys.insert(k);
          ASSERT_EQ(causal_pairs(kind, window, history, tokens), pairs)
              << history << " + " << tokens << " window " << window;
          ASSERT_EQ(prefill_kv_tokens(kind, window, history, tokens),
                    static_cast<std::int64_t>(keys.size()))
              << history << " + " << tokens << " window " << window;
        }
}

TEST(AttentionPairs, FullHasTheTextbookForm) {
  EXPECT_EQ(causal_pairs(AttentionKind::full, 0, 1000, 512), 512 * 1000 + 512 * 513 / 2);
  EXPECT_GT(causal_pairs(AttentionKind::full, 0, 0, std::int64_t{1} << 31), 0);  // stays in range
}

// Chunks of a prompt add up to the prompt.
TEST(AttentionPairs, Conservation) {
  using enum AttentionKind;
  for (const AttentionKind kind : {full, sliding, chunked}) {
    std::int64_t sum = 0;
    for (std::int64_t at = 0; at < 1000; at += 50) sum += causal_pairs(kind, 128, at, 50);
    EXPECT_EQ(sum, causal_pairs(kind, 128, 0, 1000));
  }
}

TEST(AttentionPairs, KeptTokens) {
  EXPECT_EQ(kept_kv_tokens(AttentionKind::full, 0, 100), 100);
  EXPECT_EQ(kept_kv_tokens(AttentionKind::sliding, 64, 100), 64);
  EXPECT_EQ(kept_kv_tokens(AttentionKind::chunked, 64, 10), 10);
  EXPECT_EQ(kept_kv_tokens(AttentionKind::recurrent, 0, 10), 0);
}

}  // namespace
}  // namespace kvsim
