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

void TileReader::read_keys(const TileGroup& g, KeyTiles& keys) {
  keys.element = keys_in_place_ ? format_.element : Element::f32;
  keys.k_dim = format_.k_dim;
  const std::size_t numbers = static_cast<std::size_t>(format_.k_dim) * kTileTokens;
  float* stage = keys_in_place_ ? nullptr : keys_.at_least(numbers * kGroupTiles);
  for (std::size_t c = 0; c < kGroupTiles; ++c) {
    if (keys_in_place_) {
      keys.tile[c] = keys_at(g, c);
      continue;
    }
    const bool repeats = static_cast<int>(c) >= g.tiles;
    if (!repeats) stage_keys(format_, g.head_page[c], g.slot[c], stage + c * numbers);
    keys.tile[c] = reinterpret_cast<const std::byte*>(repeats ? stage : stage + c * numbers);
  }
}

void TileReader::read(const TileGroup& g, std::uint64_t visible, KeyTiles& keys,
                      ValueTiles& values) {
  read_keys(g, keys);
  values.element = values_in_place_ ? format_.element : Element::f32;
  values.v_dim = format_.v_dim;
  limit_rows(values, g.tiles, visible);
  const std::size_t key_numbers = static_cast<std::size_t>(format_.k_dim) * kTileTokens;
  const std::size_t value_numbers = static_cast<std::size_t>(format_.v_dim) * kTileTokens;
  // Values that are part of the keys are taken from these as f32: staged here, a tile at a time,
  // where the scores read them in place.
  float* tile_keys =
      format_.values_in_keys && keys_in_place_ ? keys_.at_least(key_numbers) : nullptr;
  float* stage = values_in_place_ ? nullptr : values_.at_least(value_numbers * kGroupTiles);
  for (std::size_t c = 0; c < static_cast<std::size_t>(g.tiles); ++c) {
    if (values_in_place_) {
      values.tile[c] = values_at(g, c);
      continue;
    }
    float* to = stage + c * value_numbers;
    if (format_.values_in_keys) {
      if (tile_keys != nullptr) stage_keys(format_, g.head_page[c], g.slot[c], tile_keys);
      stage_values_in_keys(
          tile_keys != nullptr ? tile_keys : reinterpret_cast<const float*>(keys.tile[c]),
          format_.v_dim, to);
    } else {
      stage_values(format_, g.head_page[c], g.slot[c], to);
    }
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

namespace {

// Four tiles of a group.
void plan_tiles(const Prefetcher::Lanes& tile, std::size_t bytes, Prefetcher& prefetcher) {
  const auto step = static_cast<std::ptrdiff_t>(bytes);
  const bool is_run =
      tile[1] == tile[0] + step && tile[2] == tile[1] + step && tile[3] == tile[2] + step;
  if (is_run)
    prefetcher.plan(tile[0], bytes * tile.size());
  else
    prefetcher.plan(tile, bytes);
}

}  // namespace

void TileReader::prefetch_keys(const TileGroup& g, Prefetcher& prefetcher) const {
  if (g.tiles == 0) return;
  plan_tiles({keys_at(g, 0), keys_at(g, 1), keys_at(g, 2), keys_at(g, 3)}, key_tile_, prefetcher);
  if (!is_quantised(format_.element)) return;
  const auto bytes = static_cast<std::size_t>(format_.k_dim) * 4;
  const auto scales_at = [&](std::size_t c) {
    return g.head_page[c] + key_scales_offset_ +
           static_cast<std::size_t>(g.slot[c] / format_.group_tokens) * bytes;
  };
  for (std::size_t c = 0; c < static_cast<std::size_t>(g.tiles); ++c)
    if (c == 0 || scales_at(c) != scales_at(c - 1)) prefetcher.plan(scales_at(c), bytes);
}

void TileReader::prefetch_values(const TileGroup& g, Prefetcher& prefetcher) const {
  if (g.tiles == 0 || format_.values_in_keys) return;
  plan_tiles({values_at(g, 0), values_at(g, 1), values_at(g, 2), values_at(g, 3)}, value_tile_,
             prefetcher);
  if (!is_quantised(format_.element)) return;
  Prefetcher::Lanes scales{};
  for (std::size_t c = 0; c < scales.size(); ++c)
    scales[c] = g.head_page[c] + value_scales_offset_ + static_cast<std::ptrdiff_t>(g.slot[c]) * 2;
  prefetcher.plan(scales, 1);
  for (const std::byte*& s : scales) s += static_cast<std::ptrdiff_t>(format_.page_tokens) * 2;
  prefetcher.plan(scales, 1);
}

void TileReader::prefetch(const TileGroup& group, const TileGroup& next,
                          Prefetcher& prefetcher) const {
  prefetcher.clear(2);
  prefetch_values(values_come_late() ? group : next, prefetcher);
  prefetch_keys(next, prefetcher);
}

}  // namespace kvsim::kernels::cpu
