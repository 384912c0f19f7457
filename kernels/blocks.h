#pragma once
// Moving KV blocks: between the memory layouts of engines and transfer libraries, and between the
// two orders of keys in a page. All bit-exact.
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "kernels/kv_cache.h"

namespace kvsim::kernels {

// layer_first [layer][block][head]: what engines hold (one tensor per layer).
// page_first  [block][layer][head]: all of a block in one piece, for transfers and storage.
// head_first  [head][layer][block]: what tensor-parallel ranks split.
enum class BlockOrder : std::uint8_t { layer_first, page_first, head_first };
constexpr auto enum_names(BlockOrder) {
  return std::array{std::pair{BlockOrder::layer_first, "layer-first"},
                    std::pair{BlockOrder::page_first, "page-first"},
                    std::pair{BlockOrder::head_first, "head-first"}};
}

struct BlockLayout {
  BlockOrder order = BlockOrder::layer_first;
  std::int32_t layers = 1, blocks = 0, heads = 1;
  std::int64_t head_bytes = 0;  // of one head's part of a block in one layer; multiple of 64

  [[nodiscard]] std::int64_t offset(std::int64_t layer, std::int64_t block,
                                    std::int64_t head) const {
    switch (order) {
      case BlockOrder::layer_first:
        return ((layer * blocks + block) * heads + head) * head_bytes;
      case BlockOrder::page_first:
        return ((block * layers + layer) * heads + head) * head_bytes;
      case BlockOrder::head_first:
        return ((head * layers + layer) * blocks + block) * head_bytes;
    }
    return 0;
  }
  [[nodiscard]] std::int64_t bytes() const { return head_bytes * layers * blocks * heads; }
};

// Block from_blocks[i] of `source` to block to_blocks[i] of `target`, all layers and heads: gather
// (targets 0, 1, 2 ...), scatter, or reshuffle. Layers, heads and head_bytes of both agree; targets
// differ from each other; the two memories do not overlap; both 64-byte aligned.
struct BlockCopy {
  BlockLayout from, to;
  std::span<const std::byte> source;
  std::span<std::byte> target;
  std::span<const std::int32_t> from_blocks, to_blocks;
};

// Copies whole pages of `source` and turns keys into `order`; everything else of the format stays.
struct KeyReorder {
  KvCache source;
  KeyOrder order = KeyOrder::chunk_major;
  std::span<std::byte> target;  // as many bytes as the source, 64-byte aligned
};

namespace reference {
void copy_blocks(const BlockCopy&);
void reorder_keys(const KeyReorder&);
}  // namespace reference

class Threads;
namespace cpu {
void copy_blocks(const BlockCopy&, Threads&);
void reorder_keys(const KeyReorder&, Threads&);
}  // namespace cpu

}  // namespace kvsim::kernels
