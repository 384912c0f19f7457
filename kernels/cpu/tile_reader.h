#pragma once
// Gives the tiles of a group in a form that score() and accumulate() read: in place where the
// format allows it, else staged as f32. One per thread.
#include <memory>
#include <vector>

#include "kernels/cpu/tile_codes.h"
#include "kernels/cpu/walk.h"

namespace kvsim::kernels::cpu {

// Floats on a line boundary; grows, never shrinks, keeps nothing when it grows.
class Scratch {
 public:
  float* at_least(std::size_t count) {
    if (count + 16 > data_.size()) data_.assign(count + 16, 0.0F);
    void* p = data_.data();
    std::size_t space = data_.size() * sizeof(float);
    return static_cast<float*>(std::align(64, count * sizeof(float), p, space));
  }

 private:
  std::vector<float> data_;
};

class TileReader {
 public:
  void open(const KvFormat& format);
  // The results point into the cache or into the reader, until the next call.
  void read(const TileGroup&, std::uint64_t visible, KeyTiles&, ValueTiles&);
  void read_keys(const TileGroup&, KeyTiles&);
  // Codes in place; requires reads_codes_in_place().
  void read(const TileGroup&, std::uint64_t visible, CodeTiles&) const;
  // Plans what the passes over `group` should fetch: what they themselves still come to, and what
  // those over `next` begin with.
  void prefetch(const TileGroup& group, const TileGroup& next, Prefetcher&) const;
  // What read_keys() of this group and the pass after it will touch. Nothing of an empty group.
  void prefetch_keys(const TileGroup&, Prefetcher&) const;

 private:
  // Not touched by read(), but by the pass after the scores.
  [[nodiscard]] bool values_come_late() const {
    return values_in_place_ || reads_codes_in_place(format_);
  }
  void prefetch_values(const TileGroup&, Prefetcher&) const;
  [[nodiscard]] const std::byte* keys_at(const TileGroup&, std::size_t tile) const;
  [[nodiscard]] const std::byte* values_at(const TileGroup&, std::size_t tile) const;

  KvFormat format_;
  bool keys_in_place_ = false, values_in_place_ = false;
  std::size_t key_tile_ = 0, value_tile_ = 0;  // bytes of a tile in the cache
  std::size_t values_offset_ = 0, key_scales_offset_ = 0, value_scales_offset_ = 0;
  Scratch keys_, values_;
};

}  // namespace kvsim::kernels::cpu
