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

// Lines to bring near while a pass computes: `lines` of 64 bytes from each part.
struct Prefetch {
  std::array<const std::byte*, kGroupTiles> part{};
  int parts = 0;
  int lines = 0;
};

// Spreads the lines evenly over the steps of a pass.
class Prefetcher {
 public:
  Prefetcher(const Prefetch& what, int steps)
      : what_(what),
        increment_(steps > 0 ? ((static_cast<std::uint32_t>(what.lines) << 12) +
                                static_cast<std::uint32_t>(steps) - 1) /
                                   static_cast<std::uint32_t>(steps)
                             : 0) {}
  void step() {
    due_ += increment_;
    const int end = static_cast<int>(due_ >> 12);
    for (; next_ < end && next_ < what_.lines; ++next_)
      for (int p = 0; p < what_.parts; ++p)
        __builtin_prefetch(what_.part[static_cast<std::size_t>(p)] + next_ * 64, 0, 3);
  }

 private:
  Prefetch what_;
  std::uint32_t increment_, due_ = 0;
  int next_ = 0;
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

// Running softmax of a row over the groups seen so far.
struct Running {
  float most = 0;    // largest score, -infinity before the first token
  float sum = 0;     // of exp2(score - most)
  float factor = 1;  // what the last group multiplied earlier sums by
};

// scores[r][t] = q[r] . key[t]; q [rows][k_dim], scores [rows][64], 64-byte aligned.
void score(const KeyTiles&, const float* q, int rows, float* scores, const Prefetch&);
// Turns scores into weights exp2(score - most) and moves `running` on. Row r sees token t when bit
// t of visible[r * visible_step] is set; others get weight 0.
void weigh(float* scores, int rows, const std::uint64_t* visible, int visible_step,
           Running* running);
// out[r] = out[r] * factor + sum_t weights[r][t] * value[t]; out [rows][v_dim].
void accumulate(const ValueTiles&, const float* weights, int rows, const Running* running,
                float* out, const Prefetch&);

}  // namespace kvsim::kernels::cpu
