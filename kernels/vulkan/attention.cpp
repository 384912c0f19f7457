#include "kernels/attention.h"

#include <numbers>

#include "kernels/vulkan/attention_plan.h"
#include "kernels/vulkan/call.h"
#include "kernels/vulkan/kv_arguments.h"
#include "kernels/vulkan/operations.h"
#include "sim/base/check.h"

namespace kvsim::kernels::vulkan {

namespace {

// A few per core of the device.
int workgroups_for(const DeviceInfo& info) {
  return info.software ? 32 : info.kind == DeviceKind::discrete ? 2048 : 256;
}

// What both kinds of attention share. `mask_words`: 0 without a block mask.
struct Common {
  KvCache cache;
  BlockTable table;
  int q_heads = 0;
  float scale = 1;
  Visibility visible;
  std::span<const float> q;
  std::span<float> out;
  std::span<const std::uint64_t> mask;
  std::int32_t mask_words = 0;
};

struct Places {
  Call::Paged paged;
  const Buffer *slots, *queries, *mask, *stats, *sums, *out;
};

void add_items(Call& call, const Common& a, const Places& at, std::span<const AttentionItem> items,
               const Blocking& b) {
  if (items.empty()) return;
  const KvFormat& f = a.cache.format;
  Step step;
  step.shader = "attention";
  step.constants = kv_constants(word(b.width), f);
  for (const int constant : {b.queries, b.heads, b.tokens, b.groups, a.mask_words > 0 ? 1 : 0})
    step.constants.push_back(word(constant));
  step.buffers = {at.paged.pages, at.paged.table, &call.own(items, "the list of work"),
                  at.slots,       at.queries,     at.mask,
                  at.stats,       at.sums};
  step.push = kv_push(f, {word(a.table.max_pages), word(a.q_heads), word(a.q_heads / f.kv_heads),
                          word(b.head_blocks), word(a.scale * std::numbers::log2e_v<float>),
                          word(a.visible.window), word(a.visible.sinks), word(a.mask_words)});
  call.for_groups(std::move(step), items.size(), 0, word(f.kv_heads * b.head_blocks));
}

void add(Call& call, const Common& a, const AttentionPlan& p, const Blocking& own,
         const Blocking& shared) {
  const KvFormat& f = a.cache.format;
  const std::size_t parts = std::size_t{p.total_slots} * static_cast<std::size_t>(a.q_heads);
  const Places at{
      call.paged(a.cache, a.table),
      &call.own<AttentionPlan::Slots>(p.slots, "the list of parts"),
      &call.in(a.q, "the queries"),
      &call.own(a.mask, "the block mask"),
      &call.scratch(parts * 8, "maxima and sums of the parts"),
      &call.scratch(parts * static_cast<std::size_t>(f.v_dim) * 4, "the parts of the result"),
      &call.out(a.out, "the result")};
  add_items(call, a, at, p.items, own);
  add_items(call, a, at, p.shared, shared);
  call.for_groups({"attention_merge",
                   {call.info().software ? 16U : 64U},
                   {at.slots, at.stats, at.sums, at.out},
                   {0, word(a.q_heads), word(f.v_dim)},
                   {}},
                  p.slots.size() * static_cast<std::size_t>(a.q_heads), 0);
}

void check(const KvCache& cache, int q_heads) {
  cache.format.check();
  KVSIM_CHECK(q_heads % cache.format.kv_heads == 0, "query heads share kv heads evenly");
}

}  // namespace

void build(Call& call, const DecodeAttention& a) {
  check(a.cache, a.q_heads);
  const Blocking own = blocking(call.info(), a.cache.format, a.q_heads, false);
  const Blocking shared = blocking(call.info(), a.cache.format, a.q_heads, true);
  add(call, {a.cache, a.table, a.q_heads, a.scale, a.visible, a.q, a.out, {}, 0},
      plan(a, own, shared, workgroups_for(call.info())), own, shared);
}

void build(Call& call, const PrefillAttention& a) {
  check(a.cache, a.q_heads);
  const Blocking own = blocking(call.info(), a.cache.format, a.q_heads, true);
  add(call,
      {a.cache, a.table, a.q_heads, a.scale, a.visible, a.q, a.out, a.mask,
       a.mask.empty() ? 0 : a.mask_words},
      plan(a, own, workgroups_for(call.info())), own, own);
}

void once(const DecodeAttention& a, Device& device) { run_once(a, device); }
void once(const PrefillAttention& a, Device& device) { run_once(a, device); }

}  // namespace kvsim::kernels::vulkan
