#pragma once
// Which tiles of a sequence a pass reads, and in which order.
#include <algorithm>
#include <cstdint>

#include "kernels/attention.h"
#include "kernels/cpu/tile.h"

namespace kvsim::kernels::cpu {

// Tokens 0 .. sinks - 1 and begin .. end - 1 of a sequence, as tiles: only those that hold one of
// them are read.
struct TokenRange {
  std::int32_t sinks = 0, begin = 0, end = 0;

  // What queries at positions first .. last see between them, from token `from` on.
  static TokenRange seen_by(const Visibility& v, std::int32_t first, std::int32_t last,
                            std::int32_t from = 0) {
    if (v.window == 0 || first < v.window) return {0, from, last + 1};
    const std::int32_t begin = first - v.window + 1;
    return {std::min(v.sinks, begin), begin, last + 1};
  }
  [[nodiscard]] std::int32_t sink_tiles() const { return (sinks + kTileTokens - 1) / kTileTokens; }
  [[nodiscard]] std::int32_t first_tile() const {
    return std::max(begin / kTileTokens, sink_tiles());
  }
  [[nodiscard]] std::int32_t tiles() const {
    return sink_tiles() + std::max(0, (end + kTileTokens - 1) / kTileTokens - first_tile());
  }
  [[nodiscard]] std::int32_t groups() const { return (tiles() + kGroupTiles - 1) / kGroupTiles; }
  // The i-th tile that is read, as its number within the sequence.
  [[nodiscard]] std::int32_t tile(std::int32_t i) const {
    return i < sink_tiles() ? i : first_tile() + i - sink_tiles();
  }
  // Bit t: token t of the tile is seen.
  [[nodiscard]] std::uint64_t mask(std::int32_t tile) const {
    const auto below = [&](std::int32_t limit) {
      const std::int32_t n = std::clamp(limit - tile * kTileTokens, 0, kTileTokens);
      return (std::uint64_t{1} << n) - 1;
    };
    return below(sinks) | (below(end) & ~below(begin));
  }
};

// A group of tiles as they lie in memory.
struct TileGroup {
  std::array<const std::byte*, kGroupTiles> head_page{};
  std::array<int, kGroupTiles> slot{};           // of the tile's first token within its page
  std::array<std::int32_t, kGroupTiles> tile{};  // number within the sequence
  int tiles = 0;
};

// Tiles 4 * group .. of a list of `tiles`, whose i-th has the number tile_of(i).
template <class TileOf>
TileGroup tile_group(const KvCache& cache, const BlockTable& table, std::size_t sequence,
                     int kv_head, std::int32_t tiles, const TileOf& tile_of, std::int32_t group) {
  TileGroup g;
  g.tiles = std::min(kGroupTiles, tiles - group * kGroupTiles);
  const std::int32_t page_tokens = cache.format.page_tokens;
  const std::size_t head_bytes = cache.format.head_page_bytes();
  const std::byte* const head = cache.pages.data() + static_cast<std::size_t>(kv_head) * head_bytes;
  const std::size_t page_bytes = head_bytes * static_cast<std::size_t>(cache.format.kv_heads);
  const auto head_page_at = [&](std::int32_t page) {
    return head + static_cast<std::size_t>(page) * page_bytes;
  };
  std::int32_t index = 0, slot = 0;  // of the tile: page of the sequence, token within it
  for (std::size_t c = 0; c < kGroupTiles; ++c) {
    // Places beyond the end repeat the first tile, so that they can be read.
    const auto i = static_cast<int>(c) < g.tiles ? static_cast<std::int32_t>(c) : 0;
    g.tile[c] = tile_of(group * kGroupTiles + i);
    if (c > 0 && g.tile[c] == g.tile[c - 1] + 1) {  // the usual case, without a division
      slot += kTileTokens;
      if (slot == page_tokens) ++index, slot = 0;
    } else {
      index = g.tile[c] * kTileTokens / page_tokens;
      slot = g.tile[c] * kTileTokens % page_tokens;
    }
    g.head_page[c] = head_page_at(table.page_of(sequence, index));
    g.slot[c] = slot;
  }
  return g;
}

// Bit 16 c + t: token t of the group's tile c is seen.
inline std::uint64_t visible_in(const TileGroup& g, const TokenRange& range) {
  std::uint64_t all = 0;
  for (int c = 0; c < g.tiles; ++c)
    all |= range.mask(g.tile[static_cast<std::size_t>(c)]) << (c * kTileTokens);
  return all;
}

// Rows of the values' tiles that hold a seen token: the others may be unwritten.
inline void limit_rows(ValueTiles& values, int tiles, std::uint64_t visible) {
  values.tiles = tiles;
  for (int c = 0; c < tiles; ++c) {
    const auto i = static_cast<std::size_t>(c);
    const auto mask = static_cast<std::uint16_t>(visible >> (c * kTileTokens));
    values.first[i] = mask == 0 ? 0 : std::countr_zero(mask);
    values.last[i] = kTileTokens - (mask == 0 ? kTileTokens : std::countl_zero(mask));
  }
}

}  // namespace kvsim::kernels::cpu
