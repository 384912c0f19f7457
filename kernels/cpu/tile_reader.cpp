#include "kernels/cpu/tile_reader.h"

#include "kernels/cpu/stage.h"

namespace kvsim::kernels::cpu {

void TileReader::open(const KvFormat& f) {
  format_ = f;
  keys_in_place_ = !is_quantised(f.element) && f.key_order == KeyOrder::dim_major;
  values_in_place_ = !is_quantised(f.element) && !f.values_in_keys;
  const auto tile_bytes = [&](int dim) {
    return static_cast<std::size_t>(dim) * kTileTokens *
           static_cast<std::size_t>(bits_of(f.element)) / 8;
  };
  key_tile_ = tile_bytes(f.k_dim);
  value_tile_ = tile_bytes(f.v_dim);
  values_offset_ = f.values_offset();
  key_scales_offset_ = f.key_scales_offset();
  value_scales_offset_ = f.value_scales_offset();
}

const std::byte* TileReader::keys_at(const TileGroup& g, std::size_t tile) const {
  return g.head_page[tile] + static_cast<std::size_t>(g.slot[tile] / kTileTokens) * key_tile_;
}
const std::byte* TileReader::values_at(const TileGroup& g, std::size_t tile) const {
  return g.head_page[tile] + values_offset_ +
         static_cast<std::size_t>(g.slot[tile] / kTileTokens) * value_tile_;
}

void TileReader::read(const TileGroup& g, std::uint64_t visible, KeyTiles& keys,
                      ValueTiles& values) {
  keys.element = keys_in_place_ ? format_.element : Element::f32;
  keys.k_dim = format_.k_dim;
  values.element = values_in_place_ ? format_.element : Element::f32;
  values.v_dim = format_.v_dim;
  limit_rows(values, g.tiles, visible);
  const std::size_t key_numbers = static_cast<std::size_t>(format_.k_dim) * kTileTokens;
  const std::size_t value_numbers = static_cast<std::size_t>(format_.v_dim) * kTileTokens;
  const bool needs_keys = !keys_in_place_ || format_.values_in_keys;
  float* key_stage = needs_keys ? keys_.at_least(key_numbers * kGroupTiles) : nullptr;
  float* value_stage = values_in_place_ ? nullptr : values_.at_least(value_numbers * kGroupTiles);
  for (std::size_t c = 0; c < kGroupTiles; ++c) {
    const bool repeats = static_cast<int>(c) >= g.tiles;
    float* staged = needs_keys ? key_stage + c * key_numbers : nullptr;
    if (needs_keys && !repeats) stage_keys(format_, g.head_page[c], g.slot[c], staged);
    keys.tile[c] = keys_in_place_
                       ? keys_at(g, c)
                       : reinterpret_cast<const std::byte*>(repeats ? key_stage : staged);
    if (repeats) continue;
    if (values_in_place_) {
      values.tile[c] = values_at(g, c);
      continue;
    }
    float* to = value_stage + c * value_numbers;
    if (format_.values_in_keys)
      stage_values_in_keys(staged, format_.v_dim, to);
    else
      stage_values(format_, g.head_page[c], g.slot[c], to);
    values.tile[c] = reinterpret_cast<const std::byte*>(to);
  }
}

void TileReader::read(const TileGroup& g, std::uint64_t visible, CodeTiles& out) const {
  out.tiles = g.tiles;
  out.element = format_.element;
  out.k_dim = format_.k_dim;
  out.v_dim = format_.v_dim;
  out.visible = visible;
  out.value_zeros = static_cast<std::ptrdiff_t>(format_.page_tokens) * 2;
  ValueTiles rows;
  limit_rows(rows, g.tiles, visible);
  out.first = rows.first;
  out.last = rows.last;
  for (std::size_t c = 0; c < static_cast<std::size_t>(g.tiles); ++c) {
    out.keys[c] = keys_at(g, c);
    out.key_scales[c] =
        g.head_page[c] + key_scales_offset_ +
        static_cast<std::ptrdiff_t>(g.slot[c] / format_.group_tokens) * 4 * format_.k_dim;
    out.values[c] = values_at(g, c);
    out.value_scales[c] =
        g.head_page[c] + value_scales_offset_ + static_cast<std::ptrdiff_t>(g.slot[c]) * 2;
  }
}

void TileReader::prefetch(const TileGroup& g, Prefetcher& prefetcher) const {
  prefetcher.clear();
  // Page by page, in the order of memory.
  const auto tiles = static_cast<std::size_t>(g.tiles);
  const bool has_scales = is_quantised(format_.element);
  const auto scales = static_cast<std::size_t>(format_.k_dim) * 4;
  for (std::size_t first = 0, c = 0; first < tiles; first = c) {
    const std::byte* page = g.head_page[first];
    for (; c < tiles && g.head_page[c] == page; ++c) prefetcher.plan(keys_at(g, c), key_tile_);
    const auto group_of = [&](std::size_t i) {
      return static_cast<std::size_t>(g.slot[i] / format_.group_tokens);
    };
    for (std::size_t i = first; has_scales && i < c; ++i)
      if (i == first || group_of(i) != group_of(i - 1))
        prefetcher.plan(page + key_scales_offset_ + group_of(i) * scales, scales);
    if (format_.values_in_keys) continue;
    for (std::size_t i = first; i < c; ++i) prefetcher.plan(values_at(g, i), value_tile_);
    if (!has_scales) continue;
    const std::byte* tile_scales =
        page + value_scales_offset_ + static_cast<std::ptrdiff_t>(g.slot[first]) * 2;
    prefetcher.plan(tile_scales, (c - first) * kTileTokens * 2);
    prefetcher.plan(tile_scales + static_cast<std::ptrdiff_t>(format_.page_tokens) * 2,
                    (c - first) * kTileTokens * 2);
  }
}

}  // namespace kvsim::kernels::cpu
