#pragma once
// Arithmetic on a group of up to 64 tokens of one kv head, the unit in which the attention twins
// walk a cache: four tiles are worked on together, row by row, and meanwhile the lines of the next
// pass are fetched. One core's memory rate is limited by the lines it has in flight, and four pages
// read together keep more in flight than one. Scores are in log2 units: callers multiply queries by
// scale * log2(e).
#include <array>
#include <cstddef>
#include <cstdint>

#include "kernels/element.h"

namespace kvsim::kernels::cpu {

inline constexpr int kGroupTiles = 4;
inline constexpr int kGroupTokens = 64;

// Memory to bring near while passes compute, walked once in the given order: sequential runs let
// the processor's own prefetchers help.
class Prefetcher {
 public:
  // Forgets what was planned.
  void clear() { parts_ = part_ = lines_left_ = 0; }
  void plan(const std::byte* begin, std::size_t bytes) {
    if (parts_ > 0 && end_[last()] == begin) {
      end_[last()] += bytes;
    } else {
      begin_[static_cast<std::size_t>(parts_)] = begin;
      end_[static_cast<std::size_t>(parts_)] = begin + bytes;
      ++parts_;
    }
    lines_left_ += static_cast<int>((bytes + 63) / 64);
  }
  // The next pass makes `steps` calls of step() and fetches 1 / `passes_left` of what is left.
  void start(int steps, int passes_left) {
    due_ = 0;
    increment_ =
        steps <= 0
            ? 0
            : static_cast<std::uint32_t>(((lines_left_ / passes_left) * kUnit + steps - 1) / steps);
  }
  void step() {
    for (due_ += increment_; due_ >= kUnit; due_ -= kUnit) {
      if (part_ == parts_) return;
      const auto p = static_cast<std::size_t>(part_);
      __builtin_prefetch(begin_[p], 0, 2);
      --lines_left_;
      begin_[p] += 64;
      if (begin_[p] >= end_[p]) ++part_;
    }
  }

 private:
  static constexpr int kUnit = 1 << 12;
  static constexpr std::size_t kParts = 5 * kGroupTiles;  // keys, values and their scales
  [[nodiscard]] std::size_t last() const { return static_cast<std::size_t>(parts_ - 1); }
  std::array<const std::byte*, kParts> begin_{}, end_{};
  int parts_ = 0, part_ = 0, lines_left_ = 0;
  std::uint32_t increment_ = 0, due_ = 0;
};

// Keys of a group: tiles of [k_dim][16 tokens]. `tiles` of them hold tokens; the other pointers
// repeat one of these, so that they can be read.
struct KeyTiles {
  std::array<const std::byte*, kGroupTiles> tile{};
  Element element = Element::f32;  // f32, f16 or bf16
  int k_dim = 0;
};

// Values of a group: per tile, 16 rows of v_dim; only rows first .. last - 1 are read.
struct ValueTiles {
  std::array<const std::byte*, kGroupTiles> tile{};
  std::array<int, kGroupTiles> first{}, last{};
  int tiles = 0;
  Element element = Element::f32;
  int v_dim = 0;
};

// Running softmax of a row over the groups seen so far. Weights are taken relative to a reference
// that follows the largest score only when that has moved far away: floats have room for that, and
// most groups then need neither a reduction nor a correction of earlier sums.
struct Running {
  float reference = 0;                       // -infinity before the first token
  float factor = 1;                          // what the last group multiplied earlier sums by
  alignas(64) std::array<float, 16> sums{};  // of exp2(score - reference); their total counts
  [[nodiscard]] float sum() const {
    float total = 0;
    for (const float s : sums) total += s;
    return total;
  }
};

// scores[r][t] = q[r] . key[t]; q [rows][k_dim], scores [rows][64], 64-byte aligned.
void score(const KeyTiles&, const float* q, int rows, float* scores, Prefetcher&);
// Turns scores into weights exp2(score - reference) and moves `running` on. Row r sees token t when
// bit t of visible[r * visible_step] is set; others get weight 0.
void weigh(float* scores, int rows, const std::uint64_t* visible, int visible_step,
           Running* running);
// out[r] = out[r] * factor + sum_t weights[r][t] * value[t]; out [rows][v_dim].
void accumulate(const ValueTiles&, const float* weights, int rows, const Running* running,
                float* out, Prefetcher&);

}  // namespace kvsim::kernels::cpu
