#include "kernels/vulkan/attention_plan.h"

#include <algorithm>
#include <bit>
#include <cstdint>

#include "sim/base/diagnostics.h"

namespace kvsim::kernels::vulkan {

namespace {

int ceil_div(int a, int b) { return (a + b - 1) / b; }

std::int64_t shared_bytes(const KvFormat& f, const Blocking& b) {
  const std::int64_t rows = std::int64_t{b.queries} * b.heads;
  const std::int64_t work = std::max(b.groups * rows * f.k_dim, rows * f.v_dim);
  const std::int64_t weights = b.tile() * ((rows + 3) / 4 * 4);
  return 4 * (work + weights + b.groups * rows + rows * b.width);
}

int groups_of(const KvFormat& f, int tile) {
  if (!is_quantised(f.element)) return 1;
  if (tile % f.group_tokens == 0) return tile / f.group_tokens;
  return f.group_tokens % tile == 0 ? 1 : tile / f.group_tokens + 2;
}

struct Range {
  std::int32_t begin = 0, end = 0;
};

// Where ranges may begin: not inside a tile of keys nor inside a group of scales.
std::int32_t grain_of(const KvFormat& f) {
  return is_quantised(f.element) ? f.group_tokens : kTileTokens;
}

// What queries at positions first .. last see together, in at most two ranges (sinks and window).
std::vector<Range> visible_ranges(std::int32_t first, std::int32_t last, const Visibility& v,
                                  std::int32_t grain) {
  if (last < 0) return {};
  const std::int32_t from = v.window > 0 ? std::max(0, first - v.window + 1) / grain * grain : 0;
  if (from <= v.sinks) return {{0, last + 1}};
  std::vector<Range> ranges;
  if (v.sinks > 0) ranges.push_back({0, v.sinks});
  ranges.push_back({from, last + 1});
  return ranges;
}

// Cuts ranges into parts and hands out slots; all queries of an item count alike.
class Cutter {
 public:
  Cutter(AttentionPlan& plan, std::size_t queries) : plan_(plan) { plan_.slots.resize(queries); }
  void cut(std::vector<AttentionItem>& items, AttentionItem item, Range range, std::int32_t chunk) {
    for (std::int32_t at = range.begin; at < range.end; at += chunk) {
      item.begin = at;
      item.end = std::min(range.end, at + chunk);
      item.slot = next(item);
      items.push_back(item);
    }
  }
  void finish() {
    for (AttentionPlan::Slots& s : plan_.slots) {
      s.first = plan_.total_slots;
      plan_.total_slots += s.count;
    }
  }

 private:
  // The queries of an item have the same number of parts before it.
  std::int32_t next(const AttentionItem& item) {
    std::int32_t slot = 0;
    for (std::int32_t q = item.first_query; q < item.first_query + item.queries; ++q)
      slot = static_cast<std::int32_t>(plan_.slots[static_cast<std::size_t>(q)].count++);
    return slot;
  }
  AttentionPlan& plan_;
};

// Tokens of a part, so that about `workgroups` parts arise from `tokens` in all.
std::int32_t chunk_of(std::int64_t tokens, int workgroups, std::int32_t least, int tile) {
  const std::int64_t even = tokens / std::max(1, workgroups);
  const std::int64_t chunk = std::clamp<std::int64_t>(even, least, std::int64_t{1} << 24);
  return static_cast<std::int32_t>((chunk + tile - 1) / tile * tile);
}

constexpr std::int32_t kDecodeLeast = 256, kPrefillLeast = 2048;

}  // namespace

Blocking blocking(const DeviceInfo& device, const KvFormat& f, int q_heads, bool many_queries) {
  const int group = q_heads / f.kv_heads;
  // A CPU runs the invocations of a workgroup one vector after the other: long loops of few
  // invocations spare it the switching at barriers.
  Blocking b;
  b.width = device.software ? 16 : 128;
  const int most_tokens = device.software ? 4 : 2;
  const int most_rows = device.software ? 4 : 8;  // whose sums stay in registers
  for (int rows = std::min(group, most_rows); rows >= 1; --rows) {
    b.head_blocks = ceil_div(group, rows);
    b.heads = ceil_div(group, b.head_blocks);
    b.queries = many_queries
                    ? static_cast<int>(std::bit_floor(static_cast<unsigned>(most_rows / b.heads)))
                    : 1;
    for (; b.queries >= 1; b.queries /= 2)
      for (b.tokens = most_tokens; b.tokens >= 1; b.tokens /= 2) {
        b.groups = groups_of(f, b.tile());
        if (shared_bytes(f, b) <= device.max_shared) return b;
      }
  }
  throw InputError("attention: one query and its tile do not fit into the device's shared memory",
                   "smaller k_dim or v_dim, or larger group_tokens");
}

AttentionPlan plan(const DecodeAttention& a, const Blocking& b, const Blocking& shared,
                   int workgroups) {
  AttentionPlan p;
  const std::size_t sequences = a.table.lengths.size();
  Cutter cutter(p, sequences);
  const std::int32_t grain = grain_of(a.cache.format);
  std::int64_t tokens = 0;
  for (const std::int32_t length : a.table.lengths)
    for (const Range r : visible_ranges(length - 1, length - 1, a.visible, grain))
      tokens += r.end - r.begin;
  const std::int32_t chunk = chunk_of(tokens * a.cache.format.kv_heads * b.head_blocks, workgroups,
                                      kDecodeLeast, b.tile());
  std::vector<std::int32_t> own(sequences, 0);  // where a sequence's own tokens begin
  for (const SharedPrefix& prefix : a.shared) {
    if (prefix.tokens == 0 || a.visible.window > 0) continue;
    for (std::int32_t s = prefix.first; s < prefix.first + prefix.count; s += shared.queries) {
      const std::int32_t n = std::min(shared.queries, prefix.first + prefix.count - s);
      cutter.cut(p.shared, {s, s, n, prefix.tokens, 0, 0, 0, 0}, {0, prefix.tokens}, chunk);
    }
    std::fill_n(own.begin() + prefix.first, prefix.count, prefix.tokens);
  }
  for (std::size_t s = 0; s < sequences; ++s) {
    const std::int32_t length = a.table.lengths[s];
    const auto row = static_cast<std::int32_t>(s);
    for (Range r : visible_ranges(length - 1, length - 1, a.visible, grain)) {
      r.begin = std::max(r.begin, own[s]);
      cutter.cut(p.items, {row, row, 1, length - 1, 0, 0, 0, 0}, r, chunk);
    }
  }
  cutter.finish();
  return p;
}

AttentionPlan plan(const PrefillAttention& a, const Blocking& b, int workgroups) {
  AttentionPlan p;
  Cutter cutter(p, static_cast<std::size_t>(a.starts.back()));
  const std::int32_t grain = grain_of(a.cache.format);
  std::vector<std::pair<AttentionItem, Range>> whole;
  std::int64_t tokens = 0;
  std::int32_t mask_row = 0;
  for (std::size_t s = 0; s + 1 < a.starts.size(); ++s) {
    const std::int32_t count = a.starts[s + 1] - a.starts[s];
    const std::int32_t before = a.table.lengths[s] - count;
    for (std::int32_t i = 0; i < count; i += b.queries) {
      const std::int32_t n = std::min(b.queries, count - i);
      const AttentionItem item{
          static_cast<std::int32_t>(s), a.starts[s] + i, n, before + i, 0, 0, 0, mask_row + i / 64};
      for (const Range r : visible_ranges(before + i, before + i + n - 1, a.visible, grain)) {
        whole.emplace_back(item, r);
        tokens += r.end - r.begin;
      }
    }
    mask_row += ceil_div(count, 64);
  }
  const std::int32_t chunk = chunk_of(tokens * a.cache.format.kv_heads * b.head_blocks, workgroups,
                                      kPrefillLeast, b.tile());
  for (const auto& [item, range] : whole) cutter.cut(p.items, item, range, chunk);
  cutter.finish();
  return p;
}

}  // namespace kvsim::kernels::vulkan
