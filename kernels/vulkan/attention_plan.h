#pragma once
// Which part of which sequence each workgroup of shaders/attention.comp reads, and how rows and
// tokens are cut to fit the device. Made on the host once per batch, so that the shader needs no
// scheduling of its own: unequal lengths, windows with sinks, chunked prefill and shared prefixes
// are all lists of items.
#include <cstdint>
#include <vector>

#include "kernels/attention.h"
#include "kernels/vulkan/device.h"

namespace kvsim::kernels::vulkan {

// Sizes that are constants of the compiled shader.
struct Blocking {
  int width = 128;      // invocations of a workgroup
  int tokens = 2;       // of an invocation in a tile
  int heads = 1;        // query heads of a workgroup; all share a kv head
  int head_blocks = 1;  // workgroups over the heads of a group
  int queries = 1;      // of a workgroup; 1, 2, 4 or 8
  int groups = 1;       // of key scales that a tile may touch
  [[nodiscard]] int tile() const { return width * tokens; }
};
// `many_queries`: prefill. Throws InputError when no blocking fits into the device's shared memory.
Blocking blocking(const DeviceInfo&, const KvFormat&, int q_heads, bool many_queries);

// Layout as in shaders/attention.comp. Tokens begin .. end - 1 of table row `table_row`, for
// `queries` query rows from `first_query` on; the first is at `position`, each next one further.
// begin is a multiple of 16. Results go to the queries' part number `slot`.
struct AttentionItem {
  std::int32_t table_row = 0, first_query = 0, queries = 0, position = 0;
  std::int32_t begin = 0, end = 0, slot = 0, mask_row = 0;
};
struct AttentionPlan {
  // Where the parts of a query lie in the scratch: first .. first + count - 1.
  struct Slots {
    std::uint32_t first = 0, count = 0;
  };
  std::vector<AttentionItem> items;   // of blocking.queries = 1 in decode
  std::vector<AttentionItem> shared;  // over shared prefixes: several queries each
  std::vector<Slots> slots;           // [query]
  std::uint32_t total_slots = 0;
};
// `workgroups`: how many keep the device busy.
AttentionPlan plan(const DecodeAttention&, const Blocking&, const Blocking& shared, int workgroups);
AttentionPlan plan(const PrefillAttention&, const Blocking&, int workgroups);

}  // namespace kvsim::kernels::vulkan
