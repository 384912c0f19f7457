// The list of work of an attention call: needs no device.
#include "kernels/vulkan/attention_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "sim/base/diagnostics.h"
#include "sim/base/random.h"

namespace kvsim::kernels::vulkan {
namespace {

std::size_t z(std::int64_t n) { return static_cast<std::size_t>(n); }

DeviceInfo device(bool software) {
  DeviceInfo info;
  info.software = software;
  info.max_shared = software ? 32768 : 49152;
  return info;
}

// What the shader does with an item, token by token: every query must meet every token that it sees
// exactly once, in parts that are numbered 0 .. count - 1.
class Coverage {
 public:
  explicit Coverage(const AttentionPlan& plan) : plan_(plan), slots_(plan.slots.size()) {}

  void meet(const std::vector<AttentionItem>& items, int most_queries, Visibility v) {
    for (const AttentionItem& item : items) {
      EXPECT_LE(item.queries, most_queries);
      EXPECT_EQ(item.begin % kTileTokens, 0);
      EXPECT_LT(item.begin, item.end);
      for (std::int32_t i = 0; i < item.queries; ++i) {
        const std::size_t query = z(item.first_query + i);
        EXPECT_TRUE(slots_[query].insert(item.slot).second) << "a part is written once";
        const std::int32_t position = item.position + i;
        for (std::int32_t t = item.begin; t < item.end; ++t)
          if (t <= position && (v.window == 0 || t > position - v.window || t < v.sinks)) {
            EXPECT_TRUE(seen_.insert({query, t}).second) << query << " meets " << t << " twice";
          }
      }
    }
  }
  void expect(std::size_t query, std::int32_t position, Visibility v) {
    for (std::int32_t t = 0; t <= position; ++t)
      if (v.window == 0 || t > position - v.window || t < v.sinks) {
        EXPECT_EQ(seen_.erase({query, t}), 1U) << query << " misses " << t;
      }
  }
  void finish() const {
    EXPECT_TRUE(seen_.empty());
    std::uint32_t next = 0;
    for (std::size_t q = 0; q < slots_.size(); ++q) {
      EXPECT_EQ(plan_.slots[q].first, next);
      EXPECT_EQ(plan_.slots[q].count, slots_[q].size());
      if (!slots_[q].empty()) {
        EXPECT_EQ(*slots_[q].rbegin(), static_cast<std::int32_t>(slots_[q].size()) - 1);
      }
      next += plan_.slots[q].count;
    }
    EXPECT_EQ(plan_.total_slots, next);
  }

 private:
  const AttentionPlan& plan_;
  std::vector<std::set<std::int32_t>> slots_;
  std::set<std::pair<std::size_t, std::int32_t>> seen_;
};

KvFormat draw_format(Rng& rng) {
  KvFormat f;
  f.element = enum_names(Element{})[rng.below(6)].first;
  f.page_tokens = 16 * static_cast<int>(1 + rng.below(4));
  f.group_tokens = f.page_tokens;
  f.kv_heads = 2;
  return f;
}
Visibility draw_visibility(Rng& rng) {
  if (rng.below(2) == 0) return {};
  return {static_cast<std::int32_t>(1 + rng.below(300)), static_cast<std::int32_t>(rng.below(50))};
}

TEST(VulkanAttentionPlan, DecodeMeetsEveryVisibleTokenOnce) {
  for (std::uint64_t round = 0; round < 60; ++round) {
    Rng rng = Rng(1, "decode plan").at(round);
    DecodeAttention a;
    a.cache.format = draw_format(rng);
    a.q_heads = 2 * static_cast<int>(1 + rng.below(5));
    a.visible = draw_visibility(rng);
    const std::int32_t shared =
        a.cache.format.page_tokens * static_cast<std::int32_t>(rng.below(6));
    std::vector<std::int32_t> lengths{0};
    for (int s = 0; s < 9; ++s)
      lengths.push_back(shared + static_cast<std::int32_t>(rng.below(900)));
    const std::vector<SharedPrefix> prefixes{{1, 3, shared}, {5, 4, shared}};
    if (a.visible.window == 0) a.shared = prefixes;
    a.table.lengths = lengths;
    const DeviceInfo info = device(round % 2 == 0);
    const Blocking own = blocking(info, a.cache.format, a.q_heads, false),
                   many = blocking(info, a.cache.format, a.q_heads, true);
    const AttentionPlan p = plan(a, own, many, static_cast<int>(1 + rng.below(100)));
    Coverage coverage(p);
    coverage.meet(p.items, 1, a.visible);
    coverage.meet(p.shared, many.queries, {});
    for (std::size_t s = 0; s < lengths.size(); ++s) coverage.expect(s, lengths[s] - 1, a.visible);
    coverage.finish();
  }
}

TEST(VulkanAttentionPlan, PrefillMeetsEveryVisibleTokenOnce) {
  for (std::uint64_t round = 0; round < 40; ++round) {
    Rng rng = Rng(2, "prefill plan").at(round);
    PrefillAttention a;
    a.cache.format = draw_format(rng);
    a.q_heads = 2 * static_cast<int>(1 + rng.below(5));
    a.visible = draw_visibility(rng);
    std::vector<std::int32_t> lengths, starts{0};
    for (const int count : {0, 1, 65, static_cast<int>(rng.below(100))}) {
      starts.push_back(starts.back() + count);
      lengths.push_back(count + static_cast<std::int32_t>(rng.below(300)));
    }
    a.starts = starts, a.table.lengths = lengths;
    const Blocking b = blocking(device(round % 2 == 0), a.cache.format, a.q_heads, true);
    const AttentionPlan p = plan(a, b, 50);
    Coverage coverage(p);
    coverage.meet(p.items, b.queries, a.visible);
    for (std::size_t s = 0; s < lengths.size(); ++s)
      for (std::int32_t q = starts[s]; q < starts[s + 1]; ++q)
        coverage.expect(z(q), lengths[s] - (starts[s + 1] - q), a.visible);
    coverage.finish();
    // A row of the mask belongs to 64 queries of one sequence.
    for (const AttentionItem& item : p.items) {
      std::int32_t row = 0;
      for (std::int32_t s = 0; s < item.table_row; ++s)
        row += (starts[z(s + 1)] - starts[z(s)] + 63) / 64;
      EXPECT_EQ(item.mask_row, row + (item.first_query - starts[z(item.table_row)]) / 64);
      EXPECT_EQ((item.first_query + item.queries - 1 - starts[z(item.table_row)]) / 64,
                (item.first_query - starts[z(item.table_row)]) / 64);
    }
  }
}

TEST(VulkanAttentionPlan, ManyWorkgroupsOnGpusFewOnCpus) {
  DecodeAttention a;
  a.q_heads = 32;
  const std::vector<std::int32_t> lengths{32768};
  a.table.lengths = lengths;
  const Blocking gpu = blocking(device(false), a.cache.format, 32, false),
                 cpu = blocking(device(true), a.cache.format, 32, false);
  EXPECT_EQ(gpu.heads, 4);
  EXPECT_EQ(gpu.width, 128);
  EXPECT_EQ(plan(a, gpu, gpu, 2048).items.size() * 8, 1024U);  // parts of 256 tokens
  EXPECT_EQ(plan(a, cpu, cpu, 32).items.size() * 8, 32U);
}

TEST(VulkanAttentionPlan, WhatFitsNoSharedMemoryIsRefused) {
  DeviceInfo info = device(false);
  info.max_shared = 4096;
  EXPECT_THROW(blocking(info, {.k_dim = 1024, .v_dim = 1024}, 8, false), InputError);
}

}  // namespace
}  // namespace kvsim::kernels::vulkan
