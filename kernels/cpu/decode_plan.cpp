#include "kernels/cpu/decode_plan.h"

namespace kvsim::kernels::cpu {

namespace {

std::vector<DecodeItem> items_of(const DecodeAttention& a) {
  std::vector<DecodeItem> items;
  std::int64_t cost = 0;
  const auto add = [&](std::int32_t sequence, std::int32_t sequences, const TokenRange& range) {
    if (range.groups() == 0) return;
    for (int head = 0; head < a.cache.format.kv_heads; ++head) {
      items.push_back({sequence, sequences, head, range, cost});
      cost += std::int64_t{range.groups()} * sequences;
    }
  };
  auto group = a.shared.begin();
  std::int32_t shared_end = 0, shared_tokens = 0;
  for (std::int32_t s = 0; s < static_cast<std::int32_t>(a.table.lengths.size()); ++s) {
    while (group != a.shared.end() && group->first < s) ++group;
    if (group != a.shared.end() && group->first == s) {
      shared_end = s + group->count;
      shared_tokens = group->tokens;
      add(s, group->count, {0, 0, shared_tokens});
    }
    const std::int32_t length = a.table.lengths[static_cast<std::size_t>(s)];
    if (length == 0) continue;
    const std::int32_t from = s < shared_end ? shared_tokens : 0;
    add(s, 1, TokenRange::seen_by(a.visible, length - 1, length - 1, from));
  }
  return items;
}

}  // namespace

DecodePlan plan_decode(const DecodeAttention& a, int threads) {
  DecodePlan plan;
  plan.items = items_of(a);
  const auto heads = static_cast<std::size_t>(a.cache.format.kv_heads);
  plan.contributions.assign(a.table.lengths.size() * heads, 0);
  const auto cell = [&](std::int32_t sequence, const DecodeItem& item) {
    return static_cast<std::size_t>(sequence) * heads + static_cast<std::size_t>(item.kv_head);
  };
  std::int64_t total = 0;
  for (const DecodeItem& i : plan.items) total += std::int64_t{i.range.groups()} * i.sequences;
  std::size_t item = 0;
  for (int k = 0; k < threads; ++k) {
    plan.thread_pieces.push_back(plan.pieces.size());
    const std::int64_t begin = total * k / threads, end = total * (k + 1) / threads;
    for (; item < plan.items.size(); ++item) {
      const DecodeItem& it = plan.items[item];
      // A group that a cut falls into belongs to the thread in whose part it begins.
      const auto group_at = [&](std::int64_t cost) {
        return static_cast<std::int32_t>(std::clamp<std::int64_t>(
            (cost - it.cost_before + it.sequences - 1) / it.sequences, 0, it.range.groups()));
      };
      const std::int32_t first = group_at(begin), last = group_at(end);
      if (first < last) {
        plan.pieces.push_back({item, first, last, 0});
        for (std::int32_t s = it.sequence; s < it.sequence + it.sequences; ++s)
          ++plan.contributions[cell(s, it)];
      }
      if (last < it.range.groups()) break;
    }
  }
  plan.thread_pieces.push_back(plan.pieces.size());
  const auto rows = static_cast<std::size_t>(a.q_heads) / heads;
  for (DecodePiece& p : plan.pieces) {
    const DecodeItem& it = plan.items[p.item];
    if (it.sequences == 1 && plan.contributions[cell(it.sequence, it)] == 1) continue;
    p.partial = plan.partials;
    plan.partials += rows * static_cast<std::size_t>(it.sequences);
  }
  return plan;
}

}  // namespace kvsim::kernels::cpu
